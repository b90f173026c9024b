"""The schema of ultrachat: what every shard must hold, and how rows leave this project."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.dataset.errors import REPLACE, DatasetError, require_machine
from phi_assets.dataset.files.write import JSON_LINE
from phi_assets.dataset.sources.fields import IN_MESSAGES, is_refused
from phi_assets.dataset.sources.messages import ROLES
from phi_assets.refs import DataFile

File = Path | DataFile

COLUMNS = {
    "prompt": "string",
    "prompt_id": "string",
    "messages": "list<struct<content: string, role: string>>",
}
"""Columns in the order in which they are written, with their types in Arrow's notation.

<https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k>
"""

PROBLEM = "problem"
"""One more column of converted shards, a text: why the row cannot be a conversation; null where it can."""

ARROW_SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("messages", pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
    ]
)

JSON_LINE_FIELD = pa.field(JSON_LINE, pa.string())
"""One more column, of converted shards and of what is made of them where any row has tools or calls of them."""

CONVERTED_SCHEMA = ARROW_SCHEMA.append(pa.field(PROBLEM, pa.string())).append(JSON_LINE_FIELD)

_ROLES = frozenset({"system", "user", "assistant", "tool"})

POLARS_SCHEMA = pl.Schema(
    {
        "prompt": pl.String,
        "prompt_id": pl.String,
        "messages": pl.List(pl.Struct({"content": pl.String, "role": pl.String})),
    }
)


def prove_schema(file: File) -> int:
    """Rows of a Parquet file whose footer says that it holds the columns of ultrachat.

    Order of columns and struct fields is free, further ones are allowed, and strings and lists may be the large kind.
    A column `problem` is text, as converted shards have it.

    Raises:
        DatasetError: the file is not readable Parquet, or a column is missing or of another type.
    """
    metadata = read_footer(file)
    schema = metadata.schema.to_arrow_schema()
    problems = _problems(schema)
    if PROBLEM in schema.names and not _is_text(schema.field(PROBLEM).type):
        problems.append(f"column {PROBLEM!r} is {schema.field(PROBLEM).type}, expected string")
    if problems:
        raise DatasetError(
            f"{file} does not have the schema of ultrachat: {'; '.join(problems)}. "
            "The recipe's dataset.format and dataset.columns say how other data becomes conversations"
        )
    return metadata.num_rows


def is_canonical(schema: pa.Schema) -> bool:
    """Whether a source's Parquet file can be used as it lies.

    One with a column `problem` or `json_line` cannot: these have a meaning here.
    """
    return not _problems(schema) and PROBLEM not in schema.names and JSON_LINE not in schema.names


def carries_more(files: Iterable[File]) -> bool:
    """Whether any row of these shards has a `json_line`; of a damaged one, who reads its rows says what is wrong."""
    for file in files:
        try:
            metadata = read_footer(file)
        except DatasetError:
            continue
        if has_lines(file, metadata):
            return True
    return False


def has_lines(file: File, metadata: pq.FileMetaData) -> bool:
    """Whether any row of the shard has a `json_line`."""
    names = metadata.schema.to_arrow_schema().names
    return JSON_LINE in names and bool(values_in(file, metadata, [JSON_LINE]))


def fields_besides(file: File) -> Mapping[str, int] | None:
    """How many rows of a canonical file have a value in columns, or fields of messages, that nobody needs, by name.

    None where it cannot be used as it lies: roles are called otherwise, or there is something to carry or to refuse.
    """
    metadata = read_footer(file)
    schema = metadata.schema.to_arrow_schema()
    # A role that nobody knows is the contract's matter.
    if any(role not in _ROLES and role.strip().lower() in ROLES for role in _roles(file, metadata)):
        return None
    columns = [name for name in schema.names if name not in COLUMNS]
    fields = [field.name for field in schema.field("messages").type.value_type if field.name not in ("content", "role")]
    if not columns and not fields:
        return {}
    found = values_in(file, metadata, columns) | {
        IN_MESSAGES + field: rows for field in fields if (rows := _rows_with(file, metadata, field))
    }
    carried = ("tool_call_id", "from", "value")
    return None if any(is_refused(name) or name.removeprefix(IN_MESSAGES) in carried for name in found) else found


def values_in(file: File, metadata: pq.FileMetaData, columns: Iterable[str]) -> dict[str, int]:
    """How many rows of a Parquet file have a value in each of these columns; none without one."""
    leaves = {metadata.schema.column(number).path: number for number in range(len(metadata.schema))}
    found = {}
    for name in columns:
        parts = (
            [metadata.row_group(group).column(leaves[name]) for group in range(metadata.num_row_groups)]
            if name in leaves
            else []
        )
        if parts and all(part.is_stats_set and part.statistics.has_null_count for part in parts):
            rows = sum(part.num_values - part.statistics.null_count for part in parts)
        else:
            with pq.ParquetFile(readable(file), metadata=metadata, buffer_size=1 << 20) as parquet:
                arrays = (batch.column(0) for batch in parquet.iter_batches(columns=[name]))
                rows = sum(len(array) - array.null_count for array in arrays)
        if rows:
            found[name] = rows
    return found


def _leaves(file: File, metadata: pq.FileMetaData, field: str) -> Iterator[pa.Array]:
    """The column `messages` with this field alone, batch by batch."""
    paths = [metadata.schema.column(number).path for number in range(len(metadata.schema))]
    wanted = [path for path in paths if path.split(".")[0] == "messages" and path.split(".")[3:4] == [field]]
    with pq.ParquetFile(readable(file), metadata=metadata, buffer_size=1 << 20) as parquet:
        for batch in parquet.iter_batches(batch_size=1 << 14, columns=wanted):
            yield batch.column(0)


def _rows_with(file: File, metadata: pq.FileMetaData, field: str) -> int:
    rows = 0
    for messages in _leaves(file, metadata, field):
        has_value = messages.flatten().field(field).is_valid()
        rows += len(messages.value_parent_indices().filter(has_value).unique())
    return rows


def _roles(file: File, metadata: pq.FileMetaData) -> frozenset[str]:
    found: set[str | None] = set()
    for messages in _leaves(file, metadata, "role"):
        found.update(messages.flatten().field("role").unique().to_pylist())
    return frozenset(role for role in found if role is not None)


def read_footer(file: File, named: File | None = None) -> pq.FileMetaData:
    """What a Parquet file says about itself; `named` is what messages call it, where it is a copy.

    Raises:
        DatasetError: the file is not readable Parquet.
    """
    try:
        metadata = pq.read_metadata(readable(file))
        metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        require_machine(error, named or file)
        raise DatasetError(f"{named or file} is not a complete Parquet file ({error}): {REPLACE}") from error
    return metadata


def readable(file: File) -> Any:
    """What pyarrow reads: the path, or at a URL a file of which only what is read is sent."""
    return file.readable() if isinstance(file, DataFile) else file


def _problems(schema: pa.Schema) -> list[str]:
    return [problem for column in COLUMNS if (problem := _problem(schema, column))]


def _problem(schema: pa.Schema, column: str) -> str | None:
    if column not in schema.names:
        return f"column {column!r} is missing, expected {COLUMNS[column]}; found columns {', '.join(schema.names)}"
    if schema.names.count(column) > 1:
        return f"column {column!r} occurs {schema.names.count(column)} times, expected once"
    found = schema.field(column).type
    fits = _is_messages(found) if column == "messages" else _is_text(found)
    return None if fits else f"column {column!r} is {found}, expected {COLUMNS[column]}"


def _is_text(found: pa.DataType) -> bool:
    return pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)


def _is_messages(found: pa.DataType) -> bool:
    if not (pa.types.is_list(found) or pa.types.is_large_list(found)):
        return False
    message = found.value_type
    if not pa.types.is_struct(message):
        return False
    fields = {field.name: field.type for field in message}
    return all(name in fields and _is_text(fields[name]) for name in ("content", "role"))
