"""Reads the rows of a training file in any of the formats that the component declares."""

import ast
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from phi_assets.emulator.components.common import ComponentError

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")
MLTABLE = "MLTable"
# One message may be long; the csv module's own limit is 128 KiB.
CSV_FIELD_LIMIT = 64 * 1024 * 1024

Row = dict[str, Any]


def data_files(path: Path) -> list[Path]:
    """The files of a data input: the file itself, or those that the MLTable file of a folder names.

    Raises:
        ComponentError: there is no such file, its format is not supported, or the folder is no usable MLTable.
    """
    if path.is_dir():
        return _mltable_files(path)
    if not path.is_file():
        raise ComponentError(f"the data file {path} does not exist; check the data asset that the job was given")
    if path.suffix.lower().lstrip(".") not in FORMATS:
        raise ComponentError(f"{path.name} has an unsupported format; use one of: {', '.join(FORMATS)}")
    return [path]


def _mltable_files(folder: Path) -> list[Path]:
    definition = folder / MLTABLE
    if not definition.is_file():
        raise ComponentError(
            f"the folder {folder} has no MLTable file; give a file ({', '.join(FORMATS)}) or an MLTable"
        )
    document = yaml.safe_load(definition.read_text(encoding="utf-8"))
    entries = document.get("paths") if isinstance(document, dict) else None
    files: list[Path] = []
    for entry in entries or []:
        if not isinstance(entry, dict) or not ({"file", "pattern"} & entry.keys()):
            raise ComponentError(f"{definition}: the entry {entry!r} of paths is neither a file nor a pattern")
        if "file" in entry:
            files += data_files(folder / str(entry["file"]))
        else:
            files += [file for match in sorted(folder.glob(str(entry["pattern"]))) for file in data_files(match)]
    if not files:
        raise ComponentError(f"{definition} names no file under paths")
    return files


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Every row of a data input with the place it came from, as in ``train.jsonl, line 3``.

    Raises:
        ComponentError: a file cannot be read as what its name says; the message names the place.
    """
    readers = {
        "jsonl": _read_jsonl,
        "json": _read_json,
        "csv": lambda file: _read_delimited(file, ","),
        "tsv": lambda file: _read_delimited(file, "\t"),
        "parquet": _read_parquet,
    }
    for file in data_files(path):
        yield from readers[file.suffix.lower().lstrip(".")](file)


def _object(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise ComponentError(f"{place}: expected an object with named columns, found {type(value).__name__}")
    return value


def _read_jsonl(file: Path) -> Iterator[tuple[str, Row]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            place = f"{file.name}, line {number}"
            try:
                value = json.loads(line)
            except ValueError as error:
                raise ComponentError(
                    f"{place}: not valid JSON ({error}); a .jsonl file has one object a line"
                ) from error
            yield place, _object(value, place)


def _read_json(file: Path) -> Iterator[tuple[str, Row]]:
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        # Many tools write one object a line and call it .json.
        if b"\n" in file.read_bytes().strip():
            yield from _read_jsonl(file)
            return
        raise ComponentError(f"{file.name}: not valid JSON ({error})") from error
    for number, value in enumerate(document if isinstance(document, list) else [document], start=1):
        place = f"{file.name}, row {number}"
        yield place, _object(value, place)


def _read_delimited(file: Path, delimiter: str) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(CSV_FIELD_LIMIT)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream, delimiter=delimiter), start=1):
            yield f"{file.name}, row {number}", {name: value for name, value in row.items() if name is not None}


def _read_parquet(file: Path) -> Iterator[tuple[str, Row]]:
    # Here, so that the other formats do not pay for it.
    import pyarrow as pa
    from pyarrow import parquet

    try:
        source = parquet.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise ComponentError(f"{file.name}: not a Parquet file ({error})") from error
    number = 0
    with source:
        for batch in source.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{file.name}, row {number}", row


def messages_of(row: Row, place: str) -> Any:
    """The value of the column ``messages``, parsed where a text format holds it as text.

    Raises:
        ComponentError: the column is missing, or its text is neither JSON nor a Python literal.
    """
    if "messages" not in row:
        found = ", ".join(sorted(str(name) for name in row)) or "none"
        raise ComponentError(
            f"{place}: there is no column 'messages' (columns found: {found}); each row needs a list of "
            "messages with 'role' and 'content'"
        )
    return _parsed(row["messages"], "messages", place)


def tools_of(row: Row, place: str) -> list[Any] | None:
    """The tools of a row, from its column ``tools``; None where it has none.

    Raises:
        ComponentError: its text is neither JSON nor a Python literal, or no list.
    """
    tools = _parsed(row.get("tools") or None, "tools", place)
    if tools is not None and not isinstance(tools, list):
        raise ComponentError(f"{place}: 'tools' is no list of tools")
    return tools


def _parsed(value: Any, column: str, place: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        try:
            # What pandas writes into a CSV cell for a list of dicts.
            return ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise ComponentError(f"{place}: the text in {column!r} is neither JSON nor a Python list") from error
