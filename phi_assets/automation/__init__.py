"""Jobs: what a person starts by name."""
