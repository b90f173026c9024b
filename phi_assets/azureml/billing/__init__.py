"""What costs money, what it costs, and how it is ended."""
