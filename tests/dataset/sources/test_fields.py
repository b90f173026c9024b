"""Fields that no conversation holds: each is in the report, or refused by name before anything is written."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi_assets.config.dataset import ContractSection, DatasetSection, SampleSection
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.sources.fields import REFUSED
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.refs import SplitRef
from tests.dataset.cases.inputs import asked, lines
from tests.dataset.shards import make_rows, quiet

KNOWN = {"messages", "prompt", "prompt_id", "system", "tools", "role", "content", "from", "value", "tool_calls"}
NAMES = st.text("abcdefghijklmnop_é", min_size=1, max_size=12).filter(lambda name: name not in {*REFUSED, *KNOWN})


def fetch(folder: Path, log: list[str] | None = None, **section: Any) -> SplitRef:
    dataset = DatasetSection(source="local", path=folder, **section)
    return fetch_split(dataset, "train_sft", folder / "out", (log if log is not None else []).append)


def one_of(rows: list[dict[str, Any]], folder: Path, kind: str) -> None:
    """The rows as one file."""
    if kind == "jsonl":
        (folder / "train_sft.jsonl").write_bytes(lines(rows))
    elif kind == "json":
        (folder / "train_sft.json").write_text(json.dumps(rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), folder / "train_sft.parquet")


def columns_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All keys in every row, as a table has them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    fields = list(dict.fromkeys(name for row in rows for message in row["messages"] for name in message))
    return [
        {
            **{name: row.get(name) for name in names},
            "messages": [{name: message.get(name) for name in fields} for message in row["messages"]],
        }
        for row in rows
    ]


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    columns=st.lists(st.tuples(st.integers(0, 7), NAMES), max_size=4),
    fields=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 1), NAMES), max_size=4),
    kind=st.sampled_from(["jsonl", "json", "parquet"]),
    canonical=st.booleans(),
)
def test_every_unknown_field_is_found_in_the_report(
    tmp_path_factory: pytest.TempPathFactory,
    columns: list[tuple[int, str]],
    fields: list[tuple[int, int, str]],
    kind: str,
    canonical: bool,
) -> None:
    folder = tmp_path_factory.mktemp("fields")
    rows: list[dict[str, Any]] = make_rows(8) if canonical else [{"messages": asked(n)} for n in range(8)]
    found: set[tuple[str, int]] = set()
    for row, name in columns:
        rows[row][name] = f"value of {row}"
        found.add((name, row))
    for row, place, name in fields:
        rows[row]["messages"][place][name] = f"value of {row}"
        found.add((f"messages.{name}", row))
    one_of(columns_of(rows) if kind == "parquet" else rows, folder, kind)
    log: list[str] = []
    ref = fetch(folder, log)
    expected = Counter(name for name, _ in found)
    assert ref.not_carried == expected
    assert all(any(f"{name} ({count} rows)" in line for line in log) for name, count in expected.items())
    (sample,) = prepare_split(ref, SampleSection(percent=100), ContractSection(), folder / "samples", quiet)
    assert read_report(Path(sample.report)).not_carried == expected


REFUSED_BY_NAME: dict[str, dict[str, Any]] = {
    "label": {"label": False},
    "weight": {"weight": 0.5},
    "rejected": {"rejected": "no"},
    "chosen": {"chosen": "yes"},
    "images": {"images": ["a.png"]},
    "audio": {"audio": {"path": "a.wav"}},
    "history": {"history": [["q", "a"]]},
    "functions": {"functions": [{"name": "f"}]},
    "messages.weight": {"weight": 0},
    "messages.train": {"train": False},
    "messages.reasoning_content": {"reasoning_content": "Hm."},
    "messages.thinking": {"thinking": "Hm."},
    "messages.function_call": {"function_call": {"name": "f", "arguments": "{}"}},
    "messages.refusal": {"refusal": "No."},
    "messages.content.image_url": {
        "content": [{"type": "text", "text": "See."}, {"type": "image_url", "image_url": {"url": "a.png"}}]
    },
    "messages.content.tool_use": {"content": [{"type": "tool_use", "name": "f"}]},
}


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("name", REFUSED_BY_NAME)
def test_what_changes_the_learning_is_refused_by_name_before_anything_is_written(
    tmp_path: Path, name: str, kind: str
) -> None:
    rows: list[dict[str, Any]] = [{"messages": asked(n)} for n in range(3)]
    (rows[1]["messages"][1] if "." in name else rows[1]).update(REFUSED_BY_NAME[name])
    if kind == "parquet" and "content" in REFUSED_BY_NAME[name]:
        # A column has one type: texts are parts as well.
        for message in (message for row in rows for message in row["messages"] if isinstance(message["content"], str)):
            message["content"] = [{"type": "text", "text": message["content"]}]
    one_of(columns_of(rows) if kind == "parquet" else rows, tmp_path, kind)
    with pytest.raises(DatasetError, match=rf"train_sft\.{kind}, row 2 has {name} .*dataset\.drop: \[{name}\]"):
        fetch(tmp_path)
    assert [path for path in (tmp_path / "out" / "converted").rglob("*") if path.suffix != ".lock"] == []
    ref = fetch(tmp_path, drop=[name])
    assert ref.not_carried == {name: 1}
    converted = [row for file in ref.files for row in pq.read_table(file).to_pylist()]
    assert len(converted) == 3
    assert [row["problem"] for row in converted] == [None] * 3


@pytest.mark.parametrize(
    "nothing", [{"weight": 1}, {"weight": 1.0}, {"weight": None}, {"train": True}, {"images": []}, {"refusal": ""}]
)
def test_values_that_change_nothing_are_no_error(tmp_path: Path, nothing: dict[str, Any]) -> None:
    one_of([{"messages": [asked(n)[0], {**asked(n)[1], **nothing}], **nothing} for n in range(3)], tmp_path, "jsonl")
    (name,) = nothing
    counted = {} if nothing[name] is None else {name: 3, f"messages.{name}": 3}
    assert fetch(tmp_path).not_carried == counted


def test_what_is_carried_can_be_dropped_by_name_too(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    call = {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    row = {"messages": [asked(0)[0], {**asked(0)[1], **call}], "tools": tools, "system": "Be kind."}
    one_of([row], tmp_path, "jsonl")
    ref = fetch(tmp_path, drop=["tools", "messages.tool_calls", "system"])
    (converted,) = (row for file in ref.files for row in pq.read_table(file).to_pylist())
    assert ref.not_carried == {"tools": 1, "messages.tool_calls": 1, "system": 1}
    assert [message["role"] for message in converted["messages"]] == ["user", "assistant"]
    assert converted["json_line"] is None
    (whole,) = (row for file in fetch(tmp_path).files for row in pq.read_table(file).to_pylist())
    assert json.loads(whole["json_line"])["tools"] == tools
    assert whole["messages"][0] == {"content": "Be kind.", "role": "system"}


def test_a_report_is_made_anew_where_only_the_fields_are_others(tmp_path: Path) -> None:
    reports = []
    for more in ({}, {"page": 7}):
        one_of([{"messages": asked(n), **more} for n in range(3)], tmp_path, "jsonl")
        ref = fetch(tmp_path)
        (sample,) = prepare_split(ref, SampleSection(percent=100), ContractSection(), tmp_path / "samples", quiet)
        reports.append(read_report(Path(sample.report)).not_carried)
        assert len(list(read_jsonl(Path(sample.jsonl)))) == 3
    assert reports == [{}, {"page": 3}]
