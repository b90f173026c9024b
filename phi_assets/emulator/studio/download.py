"""A registered model as one file, which is made while it is sent: a model may be larger than the memory."""

import tarfile
from collections.abc import Iterator, Sequence

from phi_assets.emulator.store.blobs import BlobStore

_CHUNK = 1 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)


def tar_size(files: Sequence[tuple[str, int]]) -> int:
    """Bytes of the archive of files with these names and sizes."""
    return sum(len(_header(name, size, 0)) + size + _padding(size) for name, size in files) + len(_END)


def tar_of(blobs: BlobStore, container: str, prefix: str, files: Sequence[tuple[str, int]]) -> Iterator[bytes]:
    """An uncompressed tar of these blobs, named below `prefix`, piece by piece.

    https://www.gnu.org/software/tar/manual/html_node/Standard.html

    Raises:
        OSError: a blob has gone, or has another size by now; what was sent is then shorter than was announced.
    """
    for name, size in files:
        properties, file = blobs.open(container, prefix + name)
        with file:
            if properties.size != size:
                raise OSError(f"{name} had {size} bytes and has {properties.size} now.")
            yield _header(name, size, int(properties.modified.timestamp()))
            while chunk := file.read(_CHUNK):
                yield chunk
        yield bytes(_padding(size))
    yield _END


def _header(name: str, size: int, modified: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = size, modified, 0o644
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE
