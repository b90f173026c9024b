"""Blobs of the workspace and of other storage accounts, as places of files."""
