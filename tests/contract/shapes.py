"""Recorded shapes, and how a document differs from one."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "recorded" / "shapes.json"

_WORKSPACE = "/subscriptions/{sub}/resourceGroups/{rg}/providers/Microsoft.MachineLearningServices/workspaces/{ws}"
_LOCATION = "/subscriptions/{sub}/providers/Microsoft.MachineLearningServices/locations/{location}"
_SEGMENT = re.compile(r'\["(?P<quoted>.*?)"\]|(?P<plain>\[\]|\{\*\}|[^.\[]+)')
_ANY = "{*}"
_ELEMENT = "[]"

Path_ = tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """Key paths with their JSON types; an object below a path in `free` may have any keys."""

    types: Mapping[Path_, frozenset[str]]
    sometimes: frozenset[Path_]
    free: frozenset[Path_]

    @cached_property
    def _below(self) -> dict[Path_, list[str]]:
        below: dict[Path_, list[str]] = {}
        for path in self.types:
            below.setdefault(path[:-1], []).append(path[-1])
        return below

    def differences(self, value: Any, *, complete: bool = True, path: Path_ = ()) -> Iterator[str]:
        """`<key path>: <what differs>` of a document; unless `complete`, keys that are missing are no difference."""
        if isinstance(value, Mapping):
            required = [key for key in self._below.get(path, []) if key != _ANY]
            if complete:
                for key in required:
                    if key not in value and (*path, key) not in self.sometimes:
                        yield f"{shown((*path, key))}: missing"
            for key, entry in value.items():
                if key in required:
                    yield from self._entry(entry, (*path, key), complete)
                elif _ANY in self._below.get(path, []):
                    yield from self._entry(entry, (*path, _ANY), complete)
                elif path not in self.free:
                    yield f"{shown((*path, key))}: not recorded"
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for entry in value:
                if (*path, _ELEMENT) in self.types:
                    yield from self._entry(entry, (*path, _ELEMENT), complete)
                elif path not in self.free:
                    yield f"{shown((*path, _ELEMENT))}: not recorded"

    def _entry(self, value: Any, path: Path_, complete: bool) -> Iterator[str]:
        kind = _json_type(value)
        if kind in self.types[path]:
            yield from self.differences(value, complete=complete, path=path)
        else:
            yield f"{shown(path)}: {kind} instead of {'|'.join(sorted(self.types[path]))}"

    def compared(self, value: Any, path: Path_ = ()) -> int:
        """How many keys and elements of a document are in the shape."""
        found = 0
        entries: Sequence[tuple[str, Any]] = ()
        if isinstance(value, Mapping):
            entries = [(key if (*path, key) in self.types else _ANY, entry) for key, entry in value.items()]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            entries = [(_ELEMENT, entry) for entry in value]
        for key, entry in entries:
            if (*path, key) in self.types:
                found += 1 + self.compared(entry, (*path, key))
        return found


@dataclass(frozen=True)
class Operation:
    """What was recorded of one method, path and status."""

    method: str
    path: str
    """With placeholders such as `{job}`."""
    status: int
    answer: Shape
    request: Shape
    headers: Mapping[str, str | None]
    """Those that every answer had; the value where it is a constant."""
    values: Mapping[Path_, frozenset[str]]
    """Constants of the protocol that were seen in answers, for example statuses."""

    @property
    def name(self) -> str:
        """`GET {WS}/jobs/{job} 200`."""
        path = self.path.replace(_WORKSPACE, "{WS}").replace(_LOCATION, "{LOC}")
        return f"{self.method} {path} {self.status}"

    def other_values(self, value: Any, path: Path_ = ()) -> Iterator[str]:
        """Key paths of an answer at which there is another value than any that was seen there."""
        if isinstance(value, Mapping):
            known = {candidate[len(path)] for candidate in self.values if len(candidate) > len(path)}
            for key, entry in value.items():
                yield from self.other_values(entry, (*path, key if key in known else _ANY))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for entry in value:
                yield from self.other_values(entry, (*path, _ELEMENT))
        elif value is not None and path in self.values and value not in self.values[path]:
            yield shown(path)


def recorded() -> dict[str, Operation]:
    """All recorded operations by their names."""
    entries = json.loads(FILE.read_text(encoding="utf-8"))
    found = [
        Operation(
            entry["method"],
            entry["path"],
            entry["status"],
            _shape(entry["types"], entry["sometimes_keys"], entry["free_name_objects"]),
            _shape(entry["request_types"], [], entry["free_name_objects"]),
            {header["name"]: header["value"] for header in entry["headers"] if header["always"]},
            {_parsed(path): _any_of(seen) for path, seen in entry["example_values"].items()},
        )
        for entry in entries
    ]
    return {operation.name: operation for operation in found}


def shown(path: Path_) -> str:
    """The path as `shapes.json` writes it."""
    text = ""
    for segment in path:
        if segment == _ELEMENT:
            text += segment
        elif "." in segment:
            text += f'["{segment}"]'
        else:
            text += f".{segment}" if text else segment
    return text


def _shape(types: Mapping[str, str], sometimes: Sequence[str], free: Sequence[str]) -> Shape:
    return Shape(
        {_parsed(path): frozenset(kinds.split("|")) for path, kinds in types.items()},
        frozenset(map(_parsed, sometimes)),
        frozenset(map(_parsed, free)),
    )


def _any_of(seen: str | Sequence[str]) -> frozenset[str]:
    return frozenset([seen] if isinstance(seen, str) else seen)


def _parsed(path: str) -> Path_:
    return tuple(match["quoted"] or match["plain"] for match in _SEGMENT.finditer(path))


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "object" if isinstance(value, Mapping) else "array"
