"""Our JSON Lines mean the same to every reader, and are the same bytes on every machine."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, Policies, SampleSection
from phi_assets.dataset.contract.rules import RULES
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.samples.export import export_jsonl
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.schema import POLARS_SCHEMA
from tests.dataset.shards import Row, quiet, raw_split

KEEP_ALL = ContractSection(policies=Policies.model_validate(dict.fromkeys(RULES, "warn")))

LONGEST_ROW = 8_000_000

GOLDEN_SHA256 = "041456b641afad025652584faa23d5d95ba47e57ce3895f653534e099c01ade1"
"""Of all rows but the longest."""

TEXTS = {
    "control characters": "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "NUL alone": "\x00",
    "ends of line": "one\ntwo\r\nthree\rfour\vfive\fsix\x1cseven\x85eight\u2028nine\u2029ten",
    "quotes and escapes": '\\ \\\\ " \' / \\n \\u0041 \\ud83d {"a": [1]} </script>',
    "astral": "😀 \U0001d4b3 \U00010437 👩\u200d👩\u200d👧 🇩🇪 \U0010ffff",
    "combining": "e\u0301 o\u0308\u0323 \u0301alone Zalgo\u0335\u0321\u034d",
    "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd\u202c مرحبا \u2066x\u2069",
    "no characters": "\ufffe\uffff\ufdd0\U0001ffff",
    "marks of byte order": "\ufeffbegins\ufeffgoes on",
    "private and unassigned": "\ue000\u0378\U000e0001\U000fffff",
    "spaces": " \t\u00a0\u3000\u200b leading and trailing \u2003",
    "what looks like something else": "null",
    "digits": "0123456789",
    "a date": "2024-01-31T00:00:00Z",
    "every code point": "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000)))),
    "very long": "0123456789" * (LONGEST_ROW // 10),
}


def conversation(number: int, text: str) -> Row:
    messages = [{"content": f"{number}", "role": "user"}, {"content": text, "role": "assistant"}]
    return {"prompt": f"{number}", "prompt_id": f"{number:04}", "messages": messages}


ROWS: list[Row] = [
    *(conversation(number, text) for number, text in enumerate(TEXTS.values())),
    {"prompt": "", "prompt_id": "", "messages": [{"content": "", "role": ""}]},
    {"prompt": None, "prompt_id": None, "messages": None},
    {"prompt": "no messages", "prompt_id": "a", "messages": []},
    {"prompt": "no content", "prompt_id": "b", "messages": [{"content": None, "role": "user"}]},
    {"prompt": "no role", "prompt_id": "c", "messages": [{"content": "?", "role": None}] * 3},
    {"prompt": "nothing", "prompt_id": "d", "messages": [{"content": None, "role": None}]},
    {"prompt": "many", "prompt_id": "e", "messages": [{"content": str(n), "role": "user"} for n in range(3000)]},
    {"prompt": TEXTS["control characters"], "prompt_id": TEXTS["astral"], "messages": []},
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The JSON Lines of a prepared sample that keeps everything."""
    folder = tmp_path_factory.mktemp("sample")
    (sample,) = prepare_split(
        raw_split(folder, ROWS, shards=2), SampleSection(percent=100), KEEP_ALL, folder / "out", quiet
    )
    return Path(sample.jsonl)


def with_json(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def with_orjson(path: Path) -> list[Row]:
    return [orjson.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def with_pandas(path: Path) -> list[Row]:
    import pandas as pd

    # Left alone, it takes ids for numbers.
    frame = pd.read_json(path, lines=True, dtype=False)  # type: ignore[arg-type]
    rows = frame.to_dict("records")
    return [{str(name): None if is_missing(value) else value for name, value in row.items()} for row in rows]


def is_missing(value: Any) -> bool:
    """How pandas says null in a column of texts."""
    return isinstance(value, float) and math.isnan(value)


def with_polars(path: Path) -> list[Row]:
    return pl.read_ndjson(path, schema=POLARS_SCHEMA).to_dicts()


def with_duckdb(path: Path) -> list[Row]:
    import duckdb

    columns = "{prompt: 'VARCHAR', prompt_id: 'VARCHAR', messages: 'STRUCT(content VARCHAR, role VARCHAR)[]'}"
    query = (
        f"SELECT prompt, prompt_id, messages FROM read_json(?, format = 'newline_delimited', columns = {columns},"
        " maximum_object_size = 67108864)"
    )
    with duckdb.connect() as database:
        rows = database.execute(query, [str(path)]).fetchall()
    return [dict(zip(("prompt", "prompt_id", "messages"), row, strict=True)) for row in rows]


def with_datasets(path: Path) -> list[Row]:
    import datasets

    cache = path.parent / "cache"
    split = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(cache))
    assert isinstance(split, datasets.Dataset)
    return split.to_list()


def with_ours(path: Path) -> list[Row]:
    return list(read_jsonl(path))


READERS: tuple[Callable[[Path], list[Row]], ...] = (
    with_json,
    with_orjson,
    with_pandas,
    with_polars,
    with_duckdb,
    with_datasets,
    with_ours,
)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_every_reader_finds_the_same_objects(written: Path, read: Callable[[Path], list[Row]]) -> None:
    found = read(written)
    assert len(found) == len(ROWS)
    names = [*TEXTS, *(f"row {number}" for number in range(len(TEXTS), len(ROWS)))]
    assert [name for name, row, expected in zip(names, found, ROWS, strict=True) if row != expected] == []


def test_the_parquet_beside_it_has_the_same_rows(written: Path) -> None:
    assert pq.read_table(written.with_suffix(".parquet")).to_pylist() == ROWS


def test_lines_are_utf8_and_end_with_one_newline_each(written: Path) -> None:
    content = written.read_bytes()
    lines = content.split(b"\n")
    assert len(lines) == len(ROWS) + 1
    assert lines[-1] == b""
    assert b"\r" not in content
    assert not content.startswith(b"\xef\xbb\xbf")
    assert max(map(len, lines)) > LONGEST_ROW
    # What need not be escaped is not: the text stays readable and short.
    assert "😀 \U0001d4b3".encode() in content
    assert all(line.startswith(b'{"prompt":') for line in lines[:-1])


def test_bytes_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """And with every version of the libraries: else registered data would change with an upgrade."""
    short = [row for number, row in enumerate(ROWS) if number != list(TEXTS).index("very long")]
    ref = raw_split(tmp_path, short, shards=3)
    export_jsonl(ref, SampleSection(percent=100), tmp_path / "bare.jsonl")
    (sample,) = prepare_split(ref, SampleSection(percent=100), KEEP_ALL, tmp_path / "out", quiet)
    content = (tmp_path / "bare.jsonl").read_bytes()
    assert Path(sample.jsonl).read_bytes() == content
    assert sample.sha256 == hashlib.sha256(content).hexdigest() == GOLDEN_SHA256
    # Nothing peculiar to one library, either.
    assert content == b"".join(orjson.dumps(row) + b"\n" for row in short)


def test_lines_end_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a":"one\u2028two\u0085three"}\n{"a":1}\n', encoding="utf-8")
    assert list(read_jsonl(path)) == [{"a": "one\u2028two\u0085three"}, {"a": 1}]
    path.write_text('{"a":1}\n{"a":', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"rows\.jsonl, line 2 is not JSON"):
        list(read_jsonl(path))
