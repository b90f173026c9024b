"""SQLite's write-ahead log, as far as its own checks go: https://www.sqlite.org/fileformat.html#the_write_ahead_log.

Imported by whoever looks at an emulator's folder, so it imports nothing of the server.
"""

import struct
import sys
from array import array
from pathlib import Path

_MAGIC = 0x377F0682
"""With the lowest bit set, checksums are those of big-endian words."""
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MASK = 0xFFFFFFFF


def is_damaged(log: Path) -> bool:
    """Whether SQLite would leave out, without a word, transactions that are complete in the log.

    It reads up to the first frame whose checksum is wrong, as a crash leaves one at the end. A log that a server writes
    at the same time can seem damaged.
    """
    content = log.read_bytes()
    if len(content) < _HEADER.size:
        return bool(content)
    magic, _, page_bytes, _, *salts, first, second = _HEADER.unpack_from(content)
    is_big_endian = bool(magic & 1)
    sums = _checksum(content[: _HEADER.size - 8], (0, 0), is_big_endian)
    if magic & ~1 != _MAGIC or sums != (first, second) or not 512 <= page_bytes <= 1 << 16:
        return True
    frame_bytes = _FRAME.size + page_bytes
    frames = range(_HEADER.size, len(content) - frame_bytes + 1, frame_bytes)
    # Frames with other salts are from before the log was begun anew, which leaves its file as long as it was.
    commits = [start for start in frames if _FRAME.unpack_from(content, start)[1] and _salts(content, start) == salts]
    for start in range(_HEADER.size, commits[-1] + 1 if commits else 0, frame_bytes):
        sums = _checksum(content[start : start + 8], sums, is_big_endian)
        sums = _checksum(content[start + _FRAME.size : start + frame_bytes], sums, is_big_endian)
        if _salts(content, start) != salts or sums != _FRAME.unpack_from(content, start)[4:]:
            return True
    return False


def _salts(content: bytes, start: int) -> list[int]:
    return list(_FRAME.unpack_from(content, start)[2:4])


def _checksum(content: bytes, sums: tuple[int, int], is_big_endian: bool) -> tuple[int, int]:
    words = array("I", content)
    if is_big_endian != (sys.byteorder == "big"):
        words.byteswap()
    first, second = sums
    pairs = iter(words)
    for one, other in zip(pairs, pairs, strict=True):
        first = (first + one + second) & _MASK
        second = (second + other + first) & _MASK
    return first, second
