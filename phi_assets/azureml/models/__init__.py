"""Models of a registry, and those that are registered in the workspace."""
