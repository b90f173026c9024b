"""One JSON array of any length, read element by element."""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from phi_assets.dataset.errors import DatasetError

_SPACE = " \t\n\r"
_LONGEST_CUT = 12
"""Characters of the longest thing, strings aside, that is one only when it is whole: a character as two escapes."""


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
        self._decoder = json.JSONDecoder()
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
        line = self._lines + self._window.count("\n", 0, self._position if position is None else position) + 1
        return DatasetError(
            f"{self._path}, line {line} is not JSON ({what}): expected one array of objects, or one object a line; "
            "replace the file, or delete it, so that it is fetched again"
        )

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
