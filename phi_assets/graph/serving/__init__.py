"""The endpoint, its deployment and its traffic."""
