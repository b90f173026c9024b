"""The workspace itself: its assets, computes, quota, and long-running operations."""
