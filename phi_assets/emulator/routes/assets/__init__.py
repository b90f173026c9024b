"""The routes of versioned assets."""
