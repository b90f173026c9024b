"""Written samples looked at again, by other means than those that wrote them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from phi_assets.dataset.contract.markup import FAMILIES
from phi_assets.dataset.contract.openings import openings
from phi_assets.dataset.contract.rules import SOURCE
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.write import JSON_LINE
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.sources.schema import POLARS_SCHEMA, File, readable
from phi_assets.refs import SampleRef

VERIFIED_RULES = (
    "schema",
    "no_messages",
    "roles",
    "ending",
    "empty_content",
    "markup",
    "prompt_mismatch",
    "duplicate_id",
    "duplicate_conversation",
)
"""Rules that the rows of one file tell by themselves."""

_MORE = (JSON_LINE, SOURCE)
"""Columns of text that a sample may have besides, in this order: lines that say more, and sources that are mixed."""

EXAMPLES = 3
"""How many rows are shown of all that have something in common."""

_SHOWN = 1_000
"""Characters of a prompt."""

_CHUNK = 1 << 20

_SCAN_ROWS = 10_000
"""Rows of one scan: 1.2 GB of conversations then take 300 MB of memory instead of 700, in the same time."""

_messages = pl.col("messages")
_role = pl.element().struct.field("role")
_content = pl.element().struct.field("content")

_shape: pl.Expr = _messages.list.eval(
    pl.when(_role.is_in(["system", "user", "assistant", "tool"]))
    .then(_role.str.head(1))
    .when(_role.is_not_null())
    .then(pl.lit("?"))
).list.join("", ignore_nulls=False)
"""One letter for each message: `suaua` is a system message and two turns, `uatta` a turn in which two
tools say something; null where a role is."""

_question: pl.Expr = _messages.list.head(2).list.eval(_content.filter(_role == "user")).list.first()
"""Content of the user's first message, before which there may be a system message."""

_BREAKS: dict[str, pl.Expr] = {
    "schema": pl.any_horizontal(pl.col("prompt", "prompt_id", "messages").is_null())
    | _messages.list.eval(_role.is_null() | _content.is_null()).list.any(),
    "no_messages": _messages.list.len() == 0,
    "roles": ~_shape.str.contains(r"^(s?(ua(t+a)*)*u(a(t+a)*t*)?)?$"),
    "ending": _messages.list.get(-1, null_on_oob=True).struct.field("role") != "assistant",
    "empty_content": _messages.list.eval(~_content.str.contains(r"\S")).list.any(),
    "prompt_mismatch": pl.col("prompt") != _question,
}
"""Whether a row breaks the rule; null where it lacks what the rule is about."""


def _key(value: pl.Expr) -> pl.Expr:
    # The hash of what is missing is a number like any other.
    return pl.when(value.is_not_null()).then(value.hash())


_KEYS: dict[str, pl.Expr] = {
    "prompt_id": _key(pl.col("prompt_id")),
    # A question of punctuation alone says nothing about where it comes from.
    "question": _key(_messages.map_batches(openings, return_dtype=pl.String).replace("", None)),
    "conversation": _key(_messages),
}


_IDENTITY = ("prompt_id", "conversation")


@dataclass(frozen=True)
class Examined:
    """What the rows of a Parquet file are like."""

    path: Path
    broken: dict[str, list[int]]
    """Rows, by their number in the file, that break a rule; every rule of `VERIFIED_RULES` is there."""
    keys: pl.DataFrame
    """`prompt_id` and normalized `question` of every row in order, as hashes; null where there is none."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.keys.height


class Example(BaseModel):
    """A row of a sample's file, for people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: int
    """Its number in the file."""
    prompt_id: str | None
    prompt: str | None
    """As it begins."""


@dataclass(frozen=True)
class Common:
    """Rows of one file that occur in another, by their numbers in the first."""

    ids: list[int]
    """Their prompt_id does."""
    questions: list[int]
    """Their first question does; case, punctuation and white space aside."""

    @property
    def rows(self) -> list[int]:
        """All of them, in order."""
        return sorted({*self.ids, *self.questions})


def file_problems(ref: SampleRef) -> list[str]:
    """What is wrong with the files of a sample, in sentences; nothing, when they hold what the ref promises.

    Besides `judging_problems`: the JSON Lines file has `ref.rows` lines and `ref.size_bytes` bytes, and its first and
    last rows are those of the Parquet file.
    """
    problems = judging_problems(ref)
    return [*problems, *_jsonl_problems(ref, compare=not problems)]


def judging_problems(ref: SampleRef) -> list[str]:
    """Why the rows of a sample cannot be judged, in sentences; nothing, when they can.

    The Parquet file has exactly the columns of a conversation and `ref.rows` rows, and the report is about them.
    """
    return [*_parquet_problems(Path(ref.parquet), ref.rows), *_report_problems(ref)]


def _parquet_problems(path: Path, rows: int) -> Iterator[str]:
    try:
        found = pl.read_parquet_schema(path)
        count = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        yield f"{path} is not readable Parquet: {error}"
        return
    more = {name: pl.String for name in _MORE if name in found}
    if list(found.items()) != [*POLARS_SCHEMA.items(), *more.items()]:
        yield f"{path} has the columns {_described(found)}, expected {_described(POLARS_SCHEMA)}"
    if count != rows:
        yield f"{path} has {count:,} rows, expected {rows:,}"


def _report_problems(ref: SampleRef) -> Iterator[str]:
    try:
        samples = read_report(Path(ref.report)).samples
    except (OSError, ValueError) as error:
        yield f"The report {ref.report or 'beside the sample'} cannot be read: {error}"
        return
    rows = samples[ref.split].rows if ref.split in samples else 0
    if rows != ref.rows:
        yield f"The report {ref.report} is about {rows:,} rows of {ref.split}, expected {ref.rows:,}"


def examine(parquet: Path, markup: Sequence[str] = FAMILIES, repeated: int = 0) -> Examined:
    """All rows of a sample's Parquet file, read once; in memory are 10,000 rows at most, and a few bytes of each other.

    `markup` is what no message may hold. So many rows may be `repeated` on purpose: exactly as many as are the same as
    the row right before them, or none is.

    Raises:
        DatasetError: the file cannot be read, or has other columns than a conversation.
    """
    pattern = "|".join(map(re.escape, markup)) or r"\b\B"
    breaks = {**_BREAKS, "markup": _messages.list.eval(_content.str.contains(pattern)).list.any()}
    parts = [pl.DataFrame(schema=dict.fromkeys(breaks, pl.Boolean) | dict.fromkeys(_KEYS, pl.UInt64))]
    parts += _scanned(parquet, {**breaks, **_KEYS})
    frame = pl.concat(parts)
    broken = {rule: _numbers(frame[rule].fill_null(value=False)) for rule in breaks}
    same = frame.select((pl.col(name) == pl.col(name).shift()).fill_null(value=False) for name in _IDENTITY)
    again = same.to_series(0) & same.to_series(1)
    first = ~again if repeated and again.sum() == repeated else pl.Series([True]).new_from_index(0, frame.height)
    for rule, name in zip(("duplicate_id", "duplicate_conversation"), _IDENTITY, strict=True):
        broken[rule] = _numbers(_repeats(frame[name]) & first)
    return Examined(parquet, broken, frame.select("prompt_id", "question"))


def keys(parquet: Path) -> pl.DataFrame:
    """The `keys` of `Examined` alone.

    Raises:
        DatasetError: the file cannot be read, or has other columns than a conversation.
    """
    wanted = {name: _KEYS[name] for name in ("prompt_id", "question")}
    return pl.concat([pl.DataFrame(schema=dict.fromkeys(wanted, pl.UInt64)), *_scanned(parquet, wanted)])


def common(rows: pl.DataFrame, others: pl.DataFrame) -> Common:
    """Rows that share a prompt_id or a question with one of the others; both are `keys` of files."""
    return Common(
        *(
            _numbers(rows[name].is_in(others[name].drop_nulls().implode()).fill_null(value=False))
            for name in ("prompt_id", "question")
        )
    )


def examples(parquet: File, rows: Sequence[int]) -> list[Example]:
    """The first of the given rows; of a file that lies elsewhere, their row groups' prompts are read."""
    wanted = [*rows[:EXAMPLES]]
    found: list[Example] = []
    if not wanted:
        return found
    with pq.ParquetFile(readable(parquet)) as file:
        first = 0
        for group in range(file.num_row_groups):
            after = first + file.metadata.row_group(group).num_rows
            if here := [row for row in wanted if first <= row < after]:
                prompts = file.read_row_group(group, columns=["prompt_id", "prompt"]).take([r - first for r in here])
                for row, each in zip(here, prompts.to_pylist(), strict=True):
                    found.append(Example(row=row, prompt_id=each["prompt_id"], prompt=_shown(each["prompt"])))
            first = after
    return found


def _shown(prompt: str | None) -> str | None:
    return prompt if prompt is None else prompt[:_SHOWN]


def _scanned(parquet: Path, wanted: dict[str, pl.Expr]) -> Iterator[pl.DataFrame]:
    try:
        rows = pq.read_metadata(parquet).num_rows
        for start in range(0, rows, _SCAN_ROWS):
            part = _scan(parquet).slice(start, _SCAN_ROWS).select(**wanted)
            yield part.collect(engine="streaming")
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise DatasetError(f"{parquet} cannot be read: {error}; materialize the sample again") from error


def _scan(parquet: Path) -> pl.LazyFrame:
    return pl.scan_parquet(parquet, schema=POLARS_SCHEMA, extra_columns="ignore", glob=False)


def _whole_row(parquet: Path, number: int) -> dict[str, Any]:
    """A row as its line has it."""
    row = pl.scan_parquet(parquet, glob=False).slice(number, 1).collect().row(0, named=True)
    line, _ = (row.pop(name, None) for name in _MORE)
    return row if line is None else orjson.loads(line)


def _repeats(values: pl.Series) -> pl.Series:
    return values.is_not_null() & ~values.is_first_distinct()


def _numbers(flags: pl.Series) -> list[int]:
    return flags.arg_true().to_list()


def _jsonl_problems(ref: SampleRef, *, compare: bool) -> Iterator[str]:
    path = Path(ref.jsonl)
    try:
        size, lines, last_start = _line_counts(path)
    except OSError as error:
        yield f"{path} cannot be read: {error}"
        return
    if size != ref.size_bytes:
        yield f"{path} has {size:,} bytes, expected {ref.size_bytes:,}"
    if lines != ref.rows:
        yield f"{path} has {lines:,} complete lines, expected {ref.rows:,}"
    if not lines:
        return
    with path.open("rb") as file:
        first = file.readline()
        file.seek(last_start)
        last = file.read()
    for which, line in (("first", first), ("last", last)):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield f"The {which} line of {path} is not JSON: {error}"
            continue
        if compare and lines == ref.rows:
            number = 0 if which == "first" else ref.rows - 1
            if row != _whole_row(Path(ref.parquet), number):
                yield f"The {which} line of {path} is another row than the {which} one of {ref.parquet}"


def _line_counts(path: Path) -> tuple[int, int, int]:
    """Size, newlines, and where the last line begins; what follows the last newline belongs to the last line."""
    size = lines = last = before_last = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            lines += chunk.count(b"\n")
            end = chunk.rfind(b"\n")
            if end >= 0:
                earlier = chunk.rfind(b"\n", 0, end)
                before_last = size + earlier + 1 if earlier >= 0 else last
                last = size + end + 1
            size += len(chunk)
    return size, lines, before_last


def _described(schema: Mapping[str, pl.DataType]) -> str:
    return ", ".join(f"{name}: {kind}" for name, kind in schema.items())
