"""A file that is written out while it grows is the same file, and a disk that fails is heard of."""

import errno
import hashlib
import io
import os
import threading
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import polars as pl
import psutil
import pytest

from phi_assets.dataset.files import write_behind
from phi_assets.dataset.files.write import HashingFile, json_lines
from phi_assets.dataset.files.write_behind import WriteBehind

MB = 1 << 20

only_linux = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="nothing is written behind on this system")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("write-behind")]


def ended(path: Path) -> bool:
    """Nothing goes on with the file any more, and nobody holds it open."""
    for thread in threads():
        thread.join(60)
    return threads() == [] and str(path) not in [file.path for file in psutil.Process().open_files()]


def test_a_large_file_is_complete(tmp_path: Path) -> None:
    digest = hashlib.sha256()
    with HashingFile(tmp_path / "file", with_sha256=True) as file:
        for number in range(70):
            piece = number.to_bytes(1) * (MB + number)
            assert file.write(piece) == len(piece)
            digest.update(piece)
    assert file.written.size == (tmp_path / "file").stat().st_size
    assert file.written.sha256 == digest.hexdigest() == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
    assert ended(tmp_path / "file")


@only_linux
def test_what_has_been_written_does_not_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[int] = []

    def advise(descriptor: int, start: int, length: int, advice: int) -> None:
        assert (start, advice) == (0, os.POSIX_FADV_DONTNEED)
        assert os.fstat(descriptor).st_size >= length
        forgotten.append(length)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    with (tmp_path / "file").open("xb", buffering=0) as file, closing(WriteBehind(file)) as behind:
        for _ in range(48):
            file.write(bytes(MB))
            behind.grown_to(file.tell())
            assert len(threads()) == (file.tell() >= 16 * MB)
    assert ended(tmp_path / "file")
    # How many there are, the disk decides: while one is underway, the writer goes on.
    assert forgotten[0] == 16 * MB
    assert forgotten == sorted(forgotten)


@only_linux
def test_room_is_taken_ahead_and_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, int]] = []
    take = os.posix_fallocate

    def allocate(descriptor: int, start: int, length: int) -> None:
        take(descriptor, start, length)
        taken.append((start, length))

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with HashingFile(tmp_path / "file") as file:
        file.write(bytes(MB - 1))
        assert taken == []
        while file.written.size < 300 * MB:
            file.write(bytes(MB + 1))
            assert os.stat(tmp_path / "file").st_size > file.written.size
    status = os.stat(tmp_path / "file")
    assert status.st_size == file.written.size
    assert status.st_blocks * 512 < file.written.size + MB
    assert all(length == min(start, 64 * MB) for start, length in taken)
    assert all(earlier + length <= later for (earlier, length), (later, _) in pairwise(taken))
    assert ended(tmp_path / "file")


@only_linux
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EOPNOTSUPP])
def test_where_no_room_can_be_taken_ahead_the_file_is_the_same(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def allocate(descriptor: int, start: int, length: int) -> None:
        # A disk that is nearly full gives what it has before it says so.
        os.ftruncate(descriptor, start + length // 2)
        asked.append(start)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    with HashingFile(tmp_path / "file", with_sha256=True) as file:
        for number in range(5):
            file.write(number.to_bytes(1) * 2 * MB)
            assert os.stat(tmp_path / "file").st_size == file.written.size
    assert asked == [2 * MB]
    assert file.written.sha256 == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()


@only_linux
def test_a_disk_that_fails_is_heard_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def write(file: HashingFile, times: int) -> None:
        for _ in range(times):
            file.write(bytes(17 * MB))

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="Input/output error"), HashingFile(tmp_path / "file") as file:
        write(file, 20)
    assert file.closed
    assert ended(tmp_path / "file")


@only_linux
def test_a_slow_disk_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def sync(descriptor: int) -> None:
        begun.set()
        assert may_end.wait(60)

    monkeypatch.setattr(os, "fdatasync", sync)
    with HashingFile(tmp_path / "file") as file:
        for _ in range(5):
            file.write(bytes(17 * MB))
    assert begun.wait(60)
    assert not may_end.is_set()
    assert file.written.size == (tmp_path / "file").stat().st_size == 85 * MB
    may_end.set()
    assert ended(tmp_path / "file")


def test_systems_without_it_write_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_behind, "_IS_POSSIBLE", False)
    with HashingFile(tmp_path / "file") as file:
        file.write(bytes(40 * MB))
        assert threads() == []
    assert file.written.size == (tmp_path / "file").stat().st_size == 40 * MB


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 50, 5000])
def test_lines_are_what_polars_writes(length: int) -> None:
    """Short lines lie elsewhere in Arrow's memory than long ones; none may be mistaken for the other."""
    rows = pl.DataFrame({"a": ["x" * length, None, "ü", "x" * (length // 2), ""]})
    for part in (rows, rows[1:], rows[3:], rows[:0], pl.concat([rows, rows], rechunk=False)):
        expected = io.BytesIO()
        part.write_ndjson(expected)
        assert b"".join(json_lines(part)) == expected.getvalue()
