"""What starts runs by itself, and what it has to know of earlier ones."""
