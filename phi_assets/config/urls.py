"""Texts that are a path on this machine's disk or a URL."""

from urllib.parse import urlsplit


def is_url(place: str) -> bool:
    """Whether the text is a URL, or a data asset's `azureml:<name>:<version>`, and no path on this machine's disk."""
    return ("://" in place or place.startswith("azureml:")) and not place.startswith("file://")


def url_problem(place: str) -> str | None:
    """Why the text must not be written down where people read it, as a clause; None where nothing speaks against it."""
    if not is_url(place):
        return None
    parts = urlsplit(place)
    # In abfss://container@account.dfs.core.windows.net the container stands where others have a user.
    if parts.password or parts.query:
        return (
            "has what opens the storage in the URL: give a URL without it, and sign in (PHI_CREDENTIAL) or set the "
            "variables of the storage's own library"
        )
    return None
