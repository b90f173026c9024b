"""Content on its way into a file, visible only when it is complete."""

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from phi_assets.emulator.wire.errors import ServiceError


class Upload:
    """The content of a blob on its way; see `BlobStore.writing`."""

    def __init__(self, staged: Path, publish: Callable[[Path, str | None], Any], content_md5: str | None):
        """`publish` gets the file, and the MD5 of all that went through `write` if that is all of it."""
        self._staged = staged
        self._publish = publish
        self._content_md5 = content_md5
        self.file: BinaryIO = staged.open("xb")
        self.published: Any = None
        """What `publish` has answered."""
        self._hash = hashlib.md5(usedforsecurity=False)
        self._hashed = 0

    def write(self, content: bytes) -> None:
        self._hash.update(content)
        self._hashed += len(content)
        self.file.write(content)

    def commit(self) -> None:
        """Makes the content visible. Raises ServiceError as `BlobStore.writing` says."""
        try:
            self._check_md5()
            self.file.flush()
            os.fsync(self.file.fileno())
            is_whole = self.file.tell() == self._hashed
            self.file.close()
            self.published = self._publish(self._staged, self._md5() if is_whole else None)
        finally:
            self.discard()

    def discard(self) -> None:
        """Forgets what has been written, unless it is committed."""
        self.file.close()
        self._staged.unlink(missing_ok=True)

    def __enter__(self) -> "Upload":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def _md5(self) -> str:
        return base64.b64encode(self._hash.digest()).decode()

    def _check_md5(self) -> None:
        if self._content_md5 is not None and self._content_md5 != self._md5():
            message = "The MD5 value specified in the request did not match the MD5 value calculated by the server."
            raise ServiceError(400, "Md5Mismatch", message)
