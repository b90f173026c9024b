"""Data is read and judged as a materialization does it, and what stands in the way is said."""

import json
from pathlib import Path

import pytest

from phi_assets.config.recipe_files import load_recipe
from phi_assets.dataset.samples.validate import validate_file, validate_recipe
from tests.dataset.cases.inputs import INPUTS, asked, lines


def test_the_data_of_the_quickstart_stands_in_nobodys_way(tmp_path: Path) -> None:
    log: list[str] = []
    assert validate_recipe(load_recipe("quickstart"), tmp_path, log.append) == []
    assert [line.split(":")[0] for line in log if "rows sampled" in line] == [
        "test_sft",
        "test_gen",
        "train_sft",
        "train_gen",
    ]
    assert list(tmp_path.rglob("*.jsonl")) == []


@pytest.mark.parametrize("name", ["one split only", "semicolons", "xz", "UUIDs", "calls of tools"])
def test_a_file_is_judged_whatever_lies_beside_it(tmp_path: Path, name: str) -> None:
    INPUTS[name](tmp_path)
    (tmp_path / "train_notes.jsonl").write_text("no JSON", encoding="utf-8")
    (file,) = tmp_path.glob("train.*")
    log: list[str] = []
    assert validate_file(file, load_recipe("quickstart"), log.append) == []
    assert "40 of 40 rows sampled" in log[-1]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] == ".") == []


def test_a_folder_is_judged_with_its_splits(tmp_path: Path) -> None:
    INPUTS["a greeting in every row"](tmp_path)
    log: list[str] = []
    assert validate_file(tmp_path, load_recipe("quickstart"), log.append) == []
    assert any(line.startswith("test_sft: 10 of 10 rows sampled") for line in log)


def test_what_cannot_be_read_is_said_by_the_name_that_it_has(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_bytes(lines([{"messages": asked(0), "label": True}]))
    (problem,) = validate_file(file, load_recipe("quickstart"), lambda _: None)
    assert problem.startswith("chats.jsonl, row 1 has label True: ")


def test_limits_of_the_contract_are_said(tmp_path: Path) -> None:
    file = tmp_path / "train_sft.jsonl"
    rows = [{"messages": asked(n)} for n in range(3)] + [{"messages": asked(n)[:1]} for n in range(10, 14)]
    rows += [
        {"messages": [{"role": "user", "content": "What is long?"}, {"role": "assistant", "content": "Long. " * 900}]}
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    quarantined, few, long = validate_file(file, load_recipe("quickstart"), lambda _: None)
    assert quarantined == (
        "train_sft: 4 of 8 rows, 50.0 %, are left out (ending 4, too_long 1), more than "
        "contract.max_quarantined_percent (10)"
    )
    assert few.startswith("train_sft: 4 rows are left, fewer than contract.minimum_rows (10)")
    assert long.startswith("train_sft: 25.0% of the conversations are longer than contract.context_tokens (256)")
