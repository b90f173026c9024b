"""Files that are there whole or not at all, and what they were made from."""
