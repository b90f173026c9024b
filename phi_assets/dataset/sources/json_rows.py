"""JSON in its shapes: a value a line, values one after the other, one array of any length, or one object around it."""

import codecs
import json
from collections.abc import Iterable, Iterator
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Any

import orjson

from phi_assets.dataset.errors import REPLACE, DatasetError
from phi_assets.dataset.sources.formats import FORMATS, SPEAKERS
from phi_assets.dataset.sources.tables import LONGEST_ROW_BYTES, Batch, Table, batched, damage, lines, not_utf8, opened

_SPACE = " \t\n\r"
_LONGEST_CUT = 12
"""Characters of the longest thing, strings aside, that is one only when it is whole: a character as two escapes."""

_FIRST_LINE_BYTES = 1 << 20
"""As much of the first line says whether there is a value in each."""


def open_json(path: Path, packed: str | None) -> Table:
    """The rows of a JSON file, whatever its name: one a line, one after the other, in an array, or in an object that
    holds nothing else of the kind. A row that is a list of messages is a row with the column `messages`.

    Raises:
        DatasetError: the file is damaged, now or when its batches are read; the message names file and line.
    """
    rows = _values(path, packed)
    beginning = list(islice(rows, 2))
    if len(beginning) == 1 and isinstance(beginning[0][0], dict):
        beginning = _unwrapped(*beginning[0], path)
    batches = batched((_as_row(value), size) for value, size in chain(beginning, rows))
    first = next(batches, Batch([], 0))
    columns = dict.fromkeys(key for row in first.rows if isinstance(row, dict) for key in row)
    if first.rows and not columns:
        raise DatasetError(
            f"{path} holds no JSON objects, one a line: its first rows are all something else. "
            "Write each row as an object with the columns of a conversation"
        )
    return Table(tuple(columns), lambda _: chain([first], batches))


def _values(path: Path, packed: str | None) -> Iterator[tuple[Any, int]]:
    """Each value of the file with its length; an array that is the whole file is its elements."""
    with damage(path):
        with opened(path, packed) as file:
            first, number = b"", 0
            while not first.strip():
                if not (first := file.readline(_FIRST_LINE_BYTES)):
                    return
                number += 1
            is_cut = len(first) >= _FIRST_LINE_BYTES
            if not (is_cut and first.lstrip()[:1] == b"[") and (is_cut or not _goes_on(first.strip())):
                yield from _lines(lines(file, path, first, number), path, number)
                return
        with opened(path, packed) as file:
            yield from elements(file, path, LONGEST_ROW_BYTES)


def _goes_on(line: bytes) -> bool:
    """Whether the file's first line is the beginning of something that ends in another one, or is one array of rows."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line[:1] == b"[" or (line[:1] == b"{" and not line.endswith(b"}"))
    if not isinstance(value, list) or _is_conversation(value):
        return False
    return not value or any(isinstance(each, list | dict) for each in value)


def _lines(text: Iterable[bytes], path: Path, first: int) -> Iterator[tuple[Any, int]]:
    for number, line in enumerate(text, start=first):
        if stripped := line.strip():
            value = _parsed(stripped, path, number)
            _prove_keys_once(stripped, value, path, number)
            yield value, len(line)


def _parsed(line: bytes, path: Path, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        # What orjson refuses may be JSON all the same: half of a surrogate pair, NaN, a very large number.
        try:
            return json.loads(line.decode())
        except UnicodeDecodeError as undecodable:
            raise not_utf8(path, number, undecodable) from undecodable
        except (json.JSONDecodeError, RecursionError):
            raise DatasetError(
                f"{path}, line {number} is not JSON ({error}): expected one object a line; {REPLACE}"
            ) from error


def _prove_keys_once(line: bytes, value: Any, path: Path, number: int) -> None:
    """No object has a key twice: a reader takes one of the values and forgets the other."""
    # Counting what ends a key costs little; only a line with more of it than keys is parsed again.
    try:
        if line.count(b'":') - line.count(b'\\":') > _keys(value):
            json.loads(line, object_pairs_hook=_once)
    except RecursionError:
        return
    except _RepeatedKeyError as error:
        raise _repeated(path, number, error) from error


def _keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_keys(each) for each in value.values() if isinstance(each, dict | list))
    return sum(_keys(each) for each in value) if isinstance(value, list) else 0


class _RepeatedKeyError(Exception):
    """An object has this key twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKeyError(next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1))
    return found


def _repeated(path: Path, line: int, error: _RepeatedKeyError) -> DatasetError:
    return DatasetError(
        f"{path}, line {line} has an object with the key {str(error)!r} more than once: one of the values would be "
        "lost. Write the key once"
    )


def _is_conversation(value: Any) -> bool:
    """Whether a list is messages."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and any(speaker in each for speaker, _ in SPEAKERS) for each in value)
    )


def _as_row(value: Any) -> Any:
    return {"messages": value} if _is_conversation(value) else value


def _unwrapped(value: dict[str, Any], size: int, path: Path) -> list[tuple[Any, int]]:
    """The rows that the only object of a file holds under one of its keys; itself where it is a row."""
    is_row = any(all(name in value for name, column in form.items() if column.required) for form in FORMATS.values())
    if is_row or any(_is_conversation(each) for each in value.values()):
        return [(value, size)]
    inside = {
        key: each
        for key, each in value.items()
        if isinstance(each, list)
        and each
        and not _is_conversation(each)
        and all(isinstance(row, dict) or _is_conversation(row) for row in each)
    }
    if not inside:
        return [(value, size)]
    if len(inside) > 1:
        raise DatasetError(
            f"{path} is one object with rows under several keys ({', '.join(inside)}): which of them is the split, "
            "nothing says. Write each into a file of its own"
        )
    (rows,) = inside.values()
    return [(row, size // len(rows)) for row in rows]


def elements(file: BufferedReader, path: Path, longest: int, chunk: int = 1 << 20) -> Iterator[tuple[Any, int]]:
    """Each value of the text, or of the array that it is, with its length in characters.

    Raises:
        DatasetError: as `array_elements`.
    """
    if file.peek(1 << 10).lstrip()[:1] == b"[":
        yield from array_elements(file, path, longest, chunk)
        return
    text = _Text(file, path, longest, chunk)
    while text.next_character():
        yield text.element()


def array_elements(file: BufferedReader, path: Path, longest: int, chunk: int = 1 << 20) -> Iterator[tuple[Any, int]]:
    """Each element of the array, with its length in characters.

    The file is read by `chunk` bytes, or as many more as an element takes; `path` is for messages.

    Raises:
        DatasetError: the text is not UTF-8 or not one array, ends too early, or an element is longer than `longest`.
    """
    text = _Text(file, path, longest, chunk)
    text.expect("[")
    if text.next_character() != "]":
        yield text.element()
        while text.next_character() != "]":
            text.expect(",")
            yield text.element()
    text.expect("]")
    if text.next_character():
        raise text.error("there is more after the end of the array")


class _Text:
    """A window on the text that begins at what has to be read next."""

    def __init__(self, file: BufferedReader, path: Path, longest: int, chunk: int) -> None:
        self._file = file
        self._path = path
        self._longest = longest
        self._chunk = chunk
        self._decoder = json.JSONDecoder(object_pairs_hook=_once)
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._window = ""
        self._position = 0
        self._lines = 0
        self._is_over = False

    def next_character(self) -> str:
        """The first that is not white space; empty at the end of the text."""
        while True:
            while self._position < len(self._window):
                if self._window[self._position] not in _SPACE:
                    return self._window[self._position]
                self._position += 1
            if self._is_over:
                return ""
            self._read_on()

    def expect(self, character: str) -> None:
        """The next character is this one, and has been read."""
        if (found := self.next_character()) != character:
            what = f"found {found!r}" if found else "the file ends"
            raise self.error(f"expected {character!r}, {what}")
        self._position += 1

    def element(self) -> tuple[Any, int]:
        """The next value, and its length."""
        self.next_character()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._window, self._position)
            except json.JSONDecodeError as error:
                if self._is_over or not self._may_be_cut(error):
                    raise self.error(error.msg, error.pos) from error
            except RecursionError as error:
                raise self.error("a value is nested too deeply") from error
            except _RepeatedKeyError as error:
                raise _repeated(self._path, self._line(), error) from error
            else:
                # A number at the end of the window may go on.
                if self._is_over or end < len(self._window) - _LONGEST_CUT:
                    length, self._position = end - self._position, end
                    return value, length
            if len(self._window) - self._position >= self._longest:
                raise self.error(f"one value is longer than {self._longest >> 20} MB")
            self._read_on()

    def error(self, what: str, position: int | None = None) -> DatasetError:
        """Names file and line."""
        return DatasetError(
            f"{self._path}, line {self._line(position)} is not JSON ({what}): expected one array of objects, or one "
            f"object a line; {REPLACE}"
        )

    def _line(self, position: int | None = None) -> int:
        return self._lines + self._window.count("\n", 0, self._position if position is None else position) + 1

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        # Where a value goes on behind the window, the decoder stumbles over the window's end or over the beginning of
        # a string that has none.
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._window) - _LONGEST_CUT

    def _read_on(self) -> None:
        """The window has lost what has been read and, beyond the rest, has grown by at least as much again."""
        self._lines += self._window.count("\n", 0, self._position)
        rest = self._window[self._position :]
        chunk = self._file.read(max(self._chunk, len(rest)))
        self._is_over = not chunk
        try:
            self._window = rest + self._utf8.decode(chunk, final=self._is_over)
        except UnicodeDecodeError as error:
            self._window, self._position = rest, 0
            line = self._lines + 1 + rest.count("\n") + chunk.count(b"\n", 0, max(error.start, 0))
            raise DatasetError(
                f"{self._path}, line {line} is not UTF-8 ({error.reason}): save the file in that encoding"
            ) from error
        self._position = 0
