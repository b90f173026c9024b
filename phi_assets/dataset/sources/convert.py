"""Sources of any readable kind and format, as Parquet shards in the schema of ultrachat."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.disk import room_in
from phi_assets.dataset.files.write import JSON_LINE, staging
from phi_assets.dataset.progress import Progress
from phi_assets.dataset.sources.fields import Fields, is_refused
from phi_assets.dataset.sources.formats import SourceFormat, choose_format
from phi_assets.dataset.sources.readers import container, open_table
from phi_assets.dataset.sources.row_mapping import Row, RowMapping
from phi_assets.dataset.sources.schema import (
    CONVERTED_SCHEMA,
    PROBLEM,
    File,
    fields_besides,
    is_canonical,
    read_footer,
)
from phi_assets.dataset.sources.tables import Batch, Table
from phi_assets.fingerprint import file_sha256, fingerprint
from phi_assets.refs import DataFile

Log = Callable[[str], None]

FORMAT_VERSION = 2
"""Raise it when the same source would become other rows, so that no older conversion counts as this one."""

_REPEATED: Any = ["messages.list.element.role", PROBLEM]
"""Columns whose values are few; a dictionary of the others would be made and thrown away."""

_BEGINNING_ROWS, _BEGINNING_BYTES = 200, 512 << 10

_MANIFEST = "conversion.json"


@dataclass(frozen=True)
class Shards:
    """A split as Parquet in the schema of ultrachat."""

    files: tuple[File, ...]
    sources: tuple[str, ...]
    """Names of the source's files that they were made of."""
    not_carried: Mapping[str, int]
    """How many of the source's rows have a value in a column, or in `messages.<field>`, that is in no conversation."""


def as_they_lie(files: Sequence[File], dataset: DatasetSection) -> Shards | None:
    """The files themselves, where they are Parquet in the schema of ultrachat and mean what they say; else None.

    Raises:
        DatasetError: a Parquet file is damaged.
    """
    if dataset.format not in ("auto", "messages") or dataset.columns or dataset.roles:
        return None
    rows: Counter[str] = Counter()
    for file in files:
        if container(file) != "parquet" or not is_canonical(_schema(file)):
            return None
        if (besides := fields_besides(file)) is None:
            return None
        rows.update(besides)
    return Shards(tuple(files), (), rows)


def convert(files: Sequence[File], dataset: DatasetSection, directory: Path, log: Log) -> Shards:
    """Shards with the rows of `files` as conversations, in their order, one for each file that has any.

    They lie in a folder of `directory` whose name follows from the files' content and what the recipe says of it; of
    Parquet at a URL, from what its place says of it. A conversion that is there already is used again. Parquet at a URL
    is read there, only the columns that are needed; any other file at a URL is fetched first. Row groups have 1,000
    rows, fewer where these are long: memory is bounded by 16 MB of rows, or one row or one page of a Parquet file that
    is larger, and at a URL by 8 MB of each column besides. A row that cannot be a conversation is kept, with the reason
    in `problem`. What a conversation has no place for is counted.

    Raises:
        DatasetError: a file is damaged or of no known format, changes while it is read at its URL, holds what changes
            the learning and cannot be carried, there are no rows, or the disk is full. Nothing is left of the attempt
            then, and an earlier conversion is what it was.
    """
    identity = _identity(files, dataset)
    with room_in(directory), staging(directory, identity) as staged:
        final = directory / identity
        if (known := _existing(final, files)) is not None:
            return known
        written = _convert(files, dataset, staged, log)
        sizes = {Path(shard).name: Path(shard).stat().st_size for shard in written.files}
        manifest = {"files": sizes, "not_carried": dict(written.not_carried)}
        (staged / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        # A folder takes no place that is taken; what lies there is damaged.
        shutil.rmtree(final, ignore_errors=True)
        os.replace(staged, final)
    return replace(written, files=tuple(final / Path(shard).name for shard in written.files))


@dataclass(frozen=True)
class Beginning:
    """The first rows of a file, as conversations."""

    shards: Shards
    format: SourceFormat
    columns: tuple[str, ...]
    """Of the file."""
    rows: int
    size: int
    """Bytes that these rows have in the file, roughly."""
    rows_of_file: int | None
    """How many there are in all, where that is known."""


def convert_beginning(file: Path, dataset: DatasetSection, directory: Path, log: Log) -> Beginning:
    """The first 200 rows of a file, or the first 512 kB, lie below `directory`, as `convert` would convert all of them.

    Raises:
        DatasetError: as `convert` does, of these rows.
    """
    scratch, shard = directory / "scratch", directory / "rows-00000-of-00001.parquet"
    scratch.mkdir(parents=True)
    table = open_table(file, scratch)
    if not table.columns:
        raise _without_rows([file])
    taken: list[Batch] = []
    more: list[Batch] = []

    def beginning(columns: Sequence[str]) -> Iterator[Batch]:
        batches = table.batches(columns)
        for batch in islice(batches, 1):
            most = min(_BEGINNING_ROWS, max(_BEGINNING_BYTES * len(batch.rows) // max(batch.size, 1), 1))
            part = Batch(batch.rows[:most], batch.size * min(most, len(batch.rows)) // len(batch.rows))
            taken.append(part)
            yield part
            more.extend([batch] if most < len(batch.rows) else islice(batches, 1))

    mapping = _mapping(dataset, table, file, Fields(dataset.drop))
    rows = _write_shard(replace(table, batches=beginning), mapping, file, shard, log)
    if not rows:
        raise _without_rows([file])
    return Beginning(
        shards=_shards([shard], [file], mapping.fields.rows),
        format=mapping.format,
        columns=table.columns,
        rows=rows,
        size=taken[0].size,
        rows_of_file=table.rows if table.rows is not None else (None if more else rows),
    )


def _schema(file: File) -> pa.Schema:
    return read_footer(file).schema.to_arrow_schema()


def _identity(files: Iterable[File], dataset: DatasetSection) -> str:
    """Everything that decides the rows."""
    return fingerprint(
        {
            "version": FORMAT_VERSION,
            "files": [[container(file), *_state(file)] for file in files],
            "mapping": dataset.model_dump(mode="json", include={"format", "columns", "roles", "drop", "tools"}),
        }
    )[:16]


def _state(file: File) -> tuple[Any, ...]:
    """What tells this state of the file from every other."""
    there = _read_there(file)
    return (there.name, there.size, there.version) if there else (file_sha256(Path(file)),)


def _read_there(file: File) -> DataFile | None:
    """The file, where it is read at its URL and not fetched."""
    return file if isinstance(file, DataFile) and container(file) == "parquet" else None


def _existing(folder: Path, files: Sequence[File]) -> Shards | None:
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    promised = manifest["files"]
    shards = tuple(folder / name for name in promised)
    is_whole = all(shard.is_file() and shard.stat().st_size == promised[shard.name] for shard in shards)
    return _shards(shards, files, manifest["not_carried"]) if is_whole else None


def _shards(shards: Sequence[Path], files: Sequence[File], not_carried: Mapping[str, int]) -> Shards:
    made_of = (PurePosixPath(files[int(shard.name.split("-")[1])].name).name for shard in shards)
    return Shards(tuple(shards), tuple(made_of), not_carried)


def _convert(files: Sequence[File], dataset: DatasetSection, folder: Path, log: Log) -> Shards:
    mapping: RowMapping | None = None
    fields = Fields(dataset.drop)
    shards = []
    for number, file in enumerate(files):
        scratch = folder / "scratch"
        scratch.mkdir()
        table = open_table(file, scratch)
        # A file without rows may have no columns either.
        if table.columns:
            mapping = mapping or _mapping(dataset, table, file, fields)
            shard = folder / f"rows-{number:05d}-of-{len(files):05d}.parquet"
            if _write_shard(table, mapping, file, shard, log):
                shards.append(shard)
        if (there := _read_there(file)) and not there.is_there:
            raise DatasetError(f"{file} has changed or gone since it was looked at: run again")
        shutil.rmtree(scratch)
    if not shards:
        raise _without_rows(files)
    return _shards(shards, files, fields.rows)


def _mapping(dataset: DatasetSection, table: Table, file: File, fields: Fields) -> RowMapping:
    chosen = choose_format(dataset, table.columns, str(file))
    return RowMapping(chosen, dataset.roles, fields, tools_as_text=dataset.tools == "text")


def _without_rows(files: Sequence[File]) -> DatasetError:
    return DatasetError(f"{', '.join(map(str, files))} has no rows: there is nothing to sample from")


def _write_shard(table: Table, mapping: RowMapping, file: File, shard: Path, log: Log) -> int:
    mapping.format.prove_columns(table.columns, str(file))
    if table.schema is not None:
        mapping.format.prove_types(table.schema, str(file))
    read = [*mapping.format.names.values(), *filter(is_refused, table.columns)]
    rows = problems = 0
    mapping.fields.begin(str(file))
    with (
        Progress(f"Converting {PurePosixPath(file.name).name}", table.rows, log) as progress,
        pq.ParquetWriter(shard, CONVERTED_SCHEMA, use_dictionary=_REPEATED) as writer,
    ):
        for batch in table.batches(list(dict.fromkeys(read))):
            converted = [mapping.map(row, json_cells=table.json_cells) for row in batch.rows]
            mapping.fields.prove_none_refused()
            writer.write_table(_table(converted))
            rows += len(converted)
            problems += sum(row.problem is not None for row in converted)
            progress.advance(len(converted), batch.size)
    mapping.fields.rows.update(table.unread([column for column in table.columns if column not in read]))
    if not rows:
        shard.unlink()
        return 0
    unmapped = f", of which {problems:,} cannot be conversations" if problems else ""
    log(f"Converted {rows:,} rows of {file} from the format {mapping.format.name}{unmapped}")
    return rows


def _table(rows: list[Row]) -> pa.Table:
    messages = [message for row in rows for message in row.messages or ()]
    ends = accumulate((len(row.messages or ()) for row in rows), initial=0)
    is_null = pa.array([row.messages is None for row in rows], pa.bool_())
    fields: list[Any] = [
        pa.array((content for content, _ in messages), pa.string(), size=len(messages)),
        pa.array((role for _, role in messages), pa.string(), size=len(messages)),
    ]
    kind = CONVERTED_SCHEMA.field("messages").type
    columns = {
        "prompt": pa.array([row.prompt for row in rows], pa.string()),
        "prompt_id": pa.array([row.prompt_id for row in rows], pa.string()),
        "messages": pa.ListArray.from_arrays(
            pa.array(ends, pa.int32()),
            pa.StructArray.from_arrays(fields, fields=list(kind.value_type)),
            kind,
            mask=is_null,
        ),
        PROBLEM: pa.array([row.problem for row in rows], pa.string()),
        JSON_LINE: pa.array([row.json_line for row in rows], pa.string()),
    }
    return pa.table(columns, schema=CONVERTED_SCHEMA)
