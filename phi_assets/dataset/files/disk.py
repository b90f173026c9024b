"""Room on the disk, and what is said when there is none."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phi_assets.dataset.errors import DatasetError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk, the user's quota, or the largest file that is allowed."""


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """What happens inside writes below `folder`.

    Raises:
        DatasetError: there is no room left; other failures pass as they are.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise DatasetError(full_message(folder)) from error


def is_full(error: BaseException) -> bool:
    """Whether a write failed for want of room."""
    return isinstance(error, OSError) and error.errno in _FULL


def full_message(folder: Path) -> str:
    return f"The disk that holds {folder} is full, or a quota is used up: make room there, or move PHI_HOME"
