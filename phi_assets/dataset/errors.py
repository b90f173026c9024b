"""What can go wrong with data."""


class DatasetError(Exception):
    """Data cannot be had or used; the message names the source, what is wrong with it and what to do next."""
