"""What is known about a sample, for people."""
