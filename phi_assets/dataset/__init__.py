"""Chat data: from the hub, a folder or the package, through a sample, to files that a fine-tune can read."""
