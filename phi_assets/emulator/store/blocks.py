"""Blocks of blobs that are on their way in pieces, kept until a block list names them."""

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from phi_assets.emulator.store.blob_names import digest
from phi_assets.emulator.wire.errors import ServiceError

Paths = list[Path]


class Blocks:
    """The blocks of all blobs below `root`; whoever calls holds the lock of the blob with this `key`."""

    def __init__(self, root: Path):
        self._root = root

    def add(self, key: str, block_id: str, staged: Path) -> None:
        """The file becomes the block of this id, in place of an earlier one."""
        folder = self._folder(key)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged.replace(folder / digest(block_id))

    def take(self, key: str, block_ids: Sequence[str]) -> "Taken":
        """The blocks of a list, which nobody else can take away or change any more.

        Raises:
            ServiceError: 400 `InvalidBlockList` if one of them was never put.
        """
        mine = self._root / f"taken-{uuid.uuid4().hex}"
        mine.mkdir(mode=0o700, parents=True)
        try:
            for block in {digest(block_id) for block_id in block_ids}:
                os.link(self._folder(key) / block, mine / block)
        except FileNotFoundError as error:
            shutil.rmtree(mine, ignore_errors=True)
            raise ServiceError(400, "InvalidBlockList", "The specified block list is invalid.") from error
        return Taken(mine, [mine / digest(block_id) for block_id in block_ids])

    def forget(self, key: str) -> None:
        """Whatever has not become part of the blob is discarded with its commit, as in the service."""
        shutil.rmtree(self._folder(key), ignore_errors=True)

    def _folder(self, key: str) -> Path:
        return self._root / digest(key)


class Taken:
    """Blocks in the order of their list; forgotten at the end of the context."""

    def __init__(self, folder: Path, files: Paths):
        self._folder = folder
        self._files = files

    @contextmanager
    def files(self) -> Iterator[Paths]:
        """One file for each entry of the list."""
        try:
            yield self._files
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
