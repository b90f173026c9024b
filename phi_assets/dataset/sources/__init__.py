"""Where conversations come from, and how they are written there."""
