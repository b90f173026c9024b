"""Sources of any readable kind and format, as Parquet shards in the schema of ultrachat."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.disk import room_in
from phi_assets.dataset.files.write import staging
from phi_assets.dataset.progress import Progress
from phi_assets.dataset.sources.formats import choose_format
from phi_assets.dataset.sources.readers import Table, container, open_table
from phi_assets.dataset.sources.row_mapping import Row, RowMapping
from phi_assets.dataset.sources.schema import CONVERTED_SCHEMA, PROBLEM, is_canonical, read_footer
from phi_assets.fingerprint import file_sha256, fingerprint

Log = Callable[[str], None]

FORMAT_VERSION = 1
"""Raise it when the same source would become other rows, so that no older conversion counts as this one."""

_REPEATED: Any = ["messages.list.element.role", PROBLEM]
"""Columns whose values are few; a dictionary of the others would be made and thrown away."""

_MANIFEST = "conversion.json"


def needs_conversion(files: Sequence[Path], dataset: DatasetSection) -> bool:
    """Whether the files are anything but Parquet in the schema of ultrachat, or the recipe gives names a meaning.

    Raises:
        DatasetError: a Parquet file is damaged.
    """
    if dataset.format not in ("auto", "messages") or dataset.columns or dataset.roles:
        return True
    return not all(container(file) == "parquet" and is_canonical(_schema(file)) for file in files)


def convert(files: Sequence[Path], dataset: DatasetSection, directory: Path, log: Log) -> tuple[Path, ...]:
    """Shards with the rows of `files` as conversations, in their order, one for each file that has any.

    They lie in a folder of `directory` whose name follows from the files' content and what the recipe says of it. A
    conversion that is there already is used again. Row groups have 1,000 rows, fewer where these are long: memory is
    bounded by 16 MB of rows, or one row or one page of a Parquet file that is larger. A row that cannot be a
    conversation is kept, with the reason in `problem`.

    Raises:
        DatasetError: a file is damaged or of no known format, there are no rows, or the disk is full. Nothing is left
            of the attempt then, and an earlier conversion is what it was.
    """
    identity = _identity(files, dataset)
    with room_in(directory), staging(directory, identity) as staged:
        final = directory / identity
        if (known := _existing(final)) is not None:
            return known
        written = _convert(files, dataset, staged, log)
        manifest = {"files": {shard.name: shard.stat().st_size for shard in written}}
        (staged / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        # A folder takes no place that is taken; what lies there is damaged.
        shutil.rmtree(final, ignore_errors=True)
        os.replace(staged, final)
    return tuple(final / shard.name for shard in written)


def _schema(file: Path) -> pa.Schema:
    return read_footer(file).schema.to_arrow_schema()


def _identity(files: Iterable[Path], dataset: DatasetSection) -> str:
    """Everything that decides the rows."""
    return fingerprint(
        {
            "version": FORMAT_VERSION,
            "files": [[container(file), file_sha256(file)] for file in files],
            "mapping": dataset.model_dump(mode="json", include={"format", "columns", "roles"}),
        }
    )[:16]


def _existing(folder: Path) -> tuple[Path, ...] | None:
    try:
        promised = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["files"]
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    shards = tuple(folder / name for name in promised)
    is_whole = all(shard.is_file() and shard.stat().st_size == promised[shard.name] for shard in shards)
    return shards if is_whole else None


def _convert(files: Sequence[Path], dataset: DatasetSection, folder: Path, log: Log) -> list[Path]:
    mapping: RowMapping | None = None
    shards = []
    for number, file in enumerate(files):
        scratch = folder / "scratch"
        scratch.mkdir()
        table = open_table(file, scratch)
        # A file without rows may have no columns either.
        if table.columns:
            mapping = mapping or RowMapping(choose_format(dataset, table.columns, str(file)), dataset.roles)
            shard = folder / f"rows-{number:05d}-of-{len(files):05d}.parquet"
            if _write_shard(table, mapping, file, shard, log):
                shards.append(shard)
        shutil.rmtree(scratch)
    if not shards:
        raise DatasetError(f"{', '.join(map(str, files))} has no rows: there is nothing to sample from")
    return shards


def _write_shard(table: Table, mapping: RowMapping, file: Path, shard: Path, log: Log) -> int:
    mapping.format.prove_columns(table.columns, str(file))
    if table.schema is not None:
        mapping.format.prove_types(table.schema, str(file))
    rows = problems = 0
    with (
        Progress(f"Converting {file.name}", table.rows, log) as progress,
        pq.ParquetWriter(shard, CONVERTED_SCHEMA, use_dictionary=_REPEATED) as writer,
    ):
        for batch in table.batches(list(mapping.format.names.values())):
            converted = [mapping.map(row, json_cells=table.json_cells) for row in batch.rows]
            writer.write_table(_table(converted))
            rows += len(converted)
            problems += sum(row.problem is not None for row in converted)
            progress.advance(len(converted), batch.size)
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
    }
    return pa.table(columns, schema=CONVERTED_SCHEMA)
