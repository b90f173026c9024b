"""What the live model answers, and how good that is."""
