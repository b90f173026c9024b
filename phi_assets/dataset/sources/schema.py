"""The schema of ultrachat: what every shard must hold, and how rows leave this project."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.dataset.errors import DatasetError

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

CONVERTED_SCHEMA = ARROW_SCHEMA.append(pa.field(PROBLEM, pa.string()))

POLARS_SCHEMA = pl.Schema(
    {
        "prompt": pl.String,
        "prompt_id": pl.String,
        "messages": pl.List(pl.Struct({"content": pl.String, "role": pl.String})),
    }
)


def prove_schema(file: Path) -> int:
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

    One with a column `problem` cannot: what it calls a problem is not what that column means here.
    """
    return not _problems(schema) and PROBLEM not in schema.names


def read_footer(file: Path, named: Path | None = None) -> pq.FileMetaData:
    """What a Parquet file says about itself; `named` is what messages call it, where it is a copy.

    Raises:
        DatasetError: the file is not readable Parquet.
    """
    try:
        metadata = pq.read_metadata(file)
        metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(
            f"{named or file} is not a complete Parquet file ({error}): "
            "delete it, so that it is fetched again, or replace it"
        ) from error
    return metadata


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
