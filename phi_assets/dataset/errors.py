"""What can go wrong with data."""

from phi_assets.shortages import shortage

REPLACE = (
    "replace the file with a whole copy of it; what lies below PHI_HOME may be deleted, it is fetched or made again"
)
"""What helps where a file is damaged."""


class DatasetError(Exception):
    """Data cannot be had or used; the message names the source, what is wrong with it and what to do next."""


def require_machine(error: BaseException, file: object) -> None:
    """The error of whoever reads or writes a file is not for want of something that the machine has no more of.

    Raises:
        DatasetError: it is for want of that.
    """
    wanting = shortage(error)
    if wanting is not None:
        raise DatasetError(
            f"{file} cannot be used now: the machine has no more {wanting}. Nothing is damaged: end other programs, or "
            "raise the limit, and try again."
        ) from error
