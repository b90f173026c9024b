"""Before any data is fetched as a whole, its first rows say what would come of it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from phi_assets.config.dataset import SampleSection
from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import load_recipe
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.samples import heads
from phi_assets.dataset.samples.first_look import DataLook, look_at_data, rows_to_train_on
from phi_assets.dataset.samples.heads import Head
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.dataset.samples.usable import NoneUsableError
from phi_assets.dataset.sources.convert import convert_beginning
from phi_assets.dataset.sources.raw_splits import fetch_split
from tests.dataset.cases.inputs import INPUTS, asked, chats, held_out, lines, pairs, table
from tests.dataset.shards import make_rows, quiet, write_shards

FURTHER_DOWN = {"a label in the last row of many"}
"""What the first rows cannot tell; `validate` does."""


def recipe_of(folder: Path, **changes: dict[str, Any]) -> Recipe:
    content = load_recipe("quickstart").model_dump(mode="json", by_alias=True)
    content["dataset"] = {"source": "local", "path": str(folder), **changes.pop("dataset", {})}
    content["sample"] = {"percent": 50}
    for section, values in changes.items():
        content[section] |= values
    return Recipe.model_validate(content)


def look(folder: Path, **changes: dict[str, Any]) -> DataLook:
    recipe = recipe_of(folder, **changes)
    return look_at_data(recipe, recipe.dataset, folder / "out", quiet)


def split_of(found: DataLook, split: str) -> tuple[str, Head]:
    """What is said of a split, and its first rows."""
    seen = found.of(split)
    assert seen is not None
    assert seen.head is not None
    return seen.in_words, seen.head


def why_not(folder: Path) -> str:
    """What a materialization says of data that cannot be used; empty where it can."""
    recipe = recipe_of(folder)
    try:
        raw = fetch_split(recipe.dataset, "train_sft", folder / "out", quiet)
        prepare_split(raw, SampleSection(percent=100), recipe.contract, folder / "out", quiet)
    except NoneUsableError as error:
        return error.problem
    except DatasetError as error:
        return str(error)
    return ""


def test_every_input_that_cannot_be_used_is_told_by_its_first_rows_and_no_other(tmp_path: Path) -> None:
    told = 0
    for number, (name, write) in enumerate(INPUTS.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(folder)
        found, problem = look(folder), why_not(folder)
        if name in FURTHER_DOWN:
            assert (found.problems, bool(problem)) == ([], True)
            continue
        train = [said.partition(": ")[2] for said in found.problems if said.startswith("train_sft")]
        assert train == ([problem] if problem else []), name
        told += bool(problem)
        if not problem:
            assert split_of(found, "train_sft")[1].rows in (None, 40), name
    assert told > 5


def test_the_first_rows_say_size_format_columns_and_what_is_not_carried(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(lines([{**row, "mood": "good"} for row in chats(500)]))
    (tmp_path / "test.jsonl").write_bytes(lines(held_out()))
    found = look(tmp_path)
    assert (found.problems, found.warnings) == ([], ())
    words, train = split_of(found, "train_sft")
    assert words.startswith("about 5")
    assert "in 1 file(s), 0.1 MB, format messages (columns messages, mood); of the first 200 rows 200 keep" in words
    assert words.endswith("in no conversation are mood (200 rows)")
    words, test = split_of(found, "test_sft")
    assert words.startswith("10 rows in 1 file(s)")
    # Rows are estimated by the length of the first ones.
    assert train.rows == pytest.approx(500, rel=0.05)
    assert rows_to_train_on(recipe_of(tmp_path), found) == pytest.approx(500 * 0.5 * 0.95, rel=0.05)
    assert test.is_whole
    assert not train.is_whole
    assert not (tmp_path / "out").exists()


def test_rows_of_parquet_are_counted_and_those_of_packed_text_unknown(tmp_path: Path) -> None:
    write_shards(tmp_path, "train_sft", make_rows(900, seed=1), shards=3)
    found = look(tmp_path, dataset={"splits": {"test_sft": "train_sft"}})
    words, train = split_of(found, "train_sft")
    assert train.rows == 900
    # One split for both.
    assert "of which this is the train part" in words
    assert rows_to_train_on(recipe_of(tmp_path), found) == round(900 * 0.5 * 0.95 * 0.9)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "train.jsonl.gz").write_bytes(gzip.compress(lines(chats(2000))))
    packed = look(tmp_path / "packed")
    assert "an unknown number of rows in 1 file(s)" in split_of(packed, "train_sft")[0]
    assert rows_to_train_on(recipe_of(tmp_path), packed) is None


def test_what_is_not_there_is_said_once(tmp_path: Path) -> None:
    gone = look(tmp_path / "gone")
    assert gone.splits == ()
    assert gone.problems == [gone.problem]
    assert "dataset.path" in gone.problem
    (tmp_path / "train_sft.jsonl").write_bytes(lines(chats()))
    lacking = look(tmp_path).problems
    assert [problem.partition(":")[0] for problem in lacking] == ["test_sft", "test_gen"]
    assert all("there are train_sft" in problem for problem in lacking)


def test_rows_none_of_which_can_be_used_are_a_problem_and_too_many_of_them_a_warning(tmp_path: Path) -> None:
    unanswered = [{"messages": asked(n)[:1]} for n in range(40)]
    (tmp_path / "train.jsonl").write_bytes(lines(unanswered))
    (tmp_path / "test.jsonl").write_bytes(lines(held_out()))
    (problem,) = look(tmp_path).problems
    assert problem.startswith("train_sft: None of the 40 sampled rows of 'train_sft' keeps the contract (ending 40).")
    assert "row 1 of train.jsonl is the first" in problem
    # What is looked at here is not kept.
    assert "/" not in problem.replace("train_sft/", "")
    (tmp_path / "train.jsonl").write_bytes(lines([*unanswered[:10], *chats(10)]))
    found = look(tmp_path, contract={"context_tokens": 16})
    assert found.problems == []
    quarantined, *_ = found.warnings
    assert quarantined.startswith("train_sft: of the first 20 rows ")
    assert "ending 10" in quarantined
    assert "contract.max_quarantined_percent" in quarantined
    found = look(tmp_path, sample={"percent": 20})
    few = found.warnings[-1]
    assert few == (
        "train_sft: 20 % of about 20 rows are 4, fewer than contract.minimum_rows (10): raise sample.percent"
    )


def test_a_large_table_is_cut_where_a_row_ends() -> None:
    rows = [{**pair, "prompt": f'{pair["prompt"]}\nIt was called "Anna\nII".'} for pair in pairs(200)]
    content = table(rows, ",")
    cuts = {heads._cut(content[:end], "csv") for end in range(len(content) - 400, len(content))}
    for cut in cuts:
        assert cut is not None
        assert cut.count(b'"') % 2 == 0
        assert cut.endswith(b"\n")
    assert len(cuts) > 1
    whole = lines(chats())
    assert heads._cut(whole[:-10], "jsonl") == lines(chats()[:-1])
    assert heads._cut(json.dumps(chats(), indent=1).encode()[:500], "json") is None
    assert heads._cut(b"\n".join(json.dumps(row, indent=1).encode() for row in chats())[:500], "jsonl") is None


def test_of_long_rows_few_are_read(tmp_path: Path) -> None:
    long = [{"messages": [{"role": "user", "content": "x" * (1 << 20)}, *asked(n)[1:]]} for n in range(20)]
    (tmp_path / "train.jsonl").write_bytes(lines(long))
    dataset = recipe_of(tmp_path).dataset
    begun = convert_beginning(tmp_path / "train.jsonl", dataset, tmp_path / "out", quiet)
    assert (begun.rows, begun.rows_of_file) == (1, None)
