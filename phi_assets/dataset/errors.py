"""What can go wrong with data."""

REPLACE = (
    "replace the file with a whole copy of it; what lies below PHI_HOME may be deleted, it is fetched or made again"
)
"""What helps where a file is damaged."""


class DatasetError(Exception):
    """Data cannot be had or used; the message names the source, what is wrong with it and what to do next."""
