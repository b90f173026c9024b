"""What is asked of every row."""
