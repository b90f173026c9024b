"""What the first rows of the data tell becomes findings like any other."""

from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.preflight.data import judge_data, judge_lengths
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.config.dataset import ContractSection, DatasetSection
from phi_assets.config.recipe import Recipe
from phi_assets.dataset.samples.first_look import DataLook, look_at_data
from tests.dataset.cases.inputs import asked, chats, held_out, lines
from tests.dataset.contract.test_tokens import TOKENIZER
from tests.dataset.shards import quiet


def found_in(folder: Path, *, accepted: tuple[str, ...] = (), **choices: Any) -> Findings:
    dataset = DatasetSection(source="local", path=folder, **choices)
    found = Findings(accepted=accepted)
    judge_data(look_at_data(Recipe(name="mine", dataset=dataset), dataset, folder / "data", quiet), found)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.jsonl").write_bytes(lines(chats(300)))
    (tmp_path / "test.jsonl").write_bytes(lines(held_out()))
    return tmp_path


def test_good_data_is_a_fact_for_each_split(folder: Path) -> None:
    found = found_in(folder)
    assert (found.all, found.looked_at) == ([], ["data"])
    assert found.facts["data"] == str(folder)
    assert "format messages" in found.facts["data/train_sft"]
    assert "10 rows in 1 file(s)" in found.facts["data/test_gen"]


def test_what_cannot_be_learned_is_an_error_with_file_row_and_cure(folder: Path) -> None:
    (folder / "train.jsonl").write_bytes(lines([*chats(7), {"messages": asked(7), "label": False}, *chats(300)]))
    (error,) = found_in(folder).all
    assert (error.group, error.code, error.level) == ("data", "data_unusable", "error")
    for part in (str(folder), "train_sft, train_gen", "train.jsonl, row 8 has label False", "dataset.drop: [label]"):
        assert part in error.in_words
    assert "python -m phi_assets validate" in error.in_words
    assert found_in(folder, drop=["label"]).all == []
    (warning,) = found_in(folder, accepted=("data_unusable",)).all
    assert warning.level == "warning"


def test_a_source_that_is_not_there_is_another_error_and_doubts_are_warnings(folder: Path) -> None:
    (error,) = found_in(folder / "gone").all
    assert (error.code, error.level) == ("data_unreachable", "error")
    (folder / "train.jsonl").write_bytes(lines([*chats(30), *({"messages": asked(n)[:1]} for n in range(100, 110))]))
    (doubt, few) = found_in(folder).all
    assert (doubt.code, doubt.level) == ("data_doubtful", "warning")
    assert "train_sft: of the first 40 rows 25.0 % break the contract (ending 10)" in doubt.in_words
    assert "fewer than contract.minimum_rows" in few.in_words


def test_what_nobody_knows_yet_is_unknown_and_no_error() -> None:
    found = Findings()
    judge_data(DataLook("asset chats", unknown="nothing is known of it yet"), found)
    assert found.all == []
    assert found.facts["data"] == "asset chats: nothing is known of it yet"


def test_rows_that_the_component_cuts_are_counted_and_shown(folder: Path) -> None:
    dataset = DatasetSection(source="local", path=folder)
    recipe = Recipe(name="mine", dataset=dataset, contract=ContractSection(tokenizer=TOKENIZER))
    look = look_at_data(recipe, dataset, folder / "data", quiet)
    train = look.of("train_sft")
    assert train is not None
    assert len(train.tokens) == 200
    limit = sorted(train.tokens)[99]
    longer = sum(tokens > limit for tokens in train.tokens)
    assert 0 < longer <= 100
    found = Findings()
    judge_lengths(look, recipe, {"max_seq_length": limit}, found)
    (warning,) = found.all
    said = f"{longer} of the first 200 rows to train on are longer, the longest with {max(train.tokens)} tokens"
    assert (warning.code, warning.level) == ("rows_truncated", "warning")
    assert said in warning.in_words
    assert found.facts["data/max_seq_length"].startswith(f"{limit}: {said}")
    found = Findings()
    judge_lengths(look, recipe, {"max_seq_length": -1}, found)
    judge_lengths(look, recipe, {"max_seq_length": max(train.tokens)}, found)
    assert found.all == []
    assert found.facts["data/max_seq_length"].startswith(f"{max(train.tokens)}: 0 of the first 200 rows")
