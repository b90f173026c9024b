"""Conversations that are nearly the same: which are found, which is kept, and what is said of the others."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, Policies, SampleSection
from phi_assets.dataset.contract import near as near_module
from phi_assets.dataset.contract.near import Similar, signatures, similarity
from phi_assets.dataset.contract.seen import MISSING
from phi_assets.dataset.contract.words import words_of
from phi_assets.dataset.files.manifest import preparation_identity
from phi_assets.dataset.reports.report import read_report
from phi_assets.dataset.samples.likeness import likeness
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import DataFile, SampleRef, SplitRef
from tests.benchmarks.near import Planted, measure, planted, share_in_common
from tests.dataset.shards import quiet, raw_split

ALL = SampleSection(percent=100)


def chat(question: str, answer: str, name: str = "") -> dict[str, Any]:
    messages = [{"content": question, "role": "user"}, {"content": answer, "role": "assistant"}]
    return {"prompt": question, "prompt_id": name or f"{question} {answer}", "messages": messages}


def prose(seed: str, words: int = 80) -> list[str]:
    choice = random.Random(seed)
    return [f"{choice.choice('bdfgklmnprst')}{choice.choice('aeiou')}{choice.randrange(300)}" for _ in range(words)]


def changed(words: list[str], *places: int) -> str:
    """The words as a text, some of them others."""
    return " ".join(f"other{place}" if place in places else word for place, word in enumerate(words))


def near(threshold: float = 0.7, **policies: Any) -> ContractSection:
    return ContractSection(near_duplicate_threshold=threshold, policies=Policies(**policies))


def left_out(ref: SampleRef) -> dict[int, tuple[list[str], str]]:
    """The rules that each row in quarantine breaks, and what is said of it."""
    if not ref.quarantine:
        return {}
    return {row["row"]: (row["rules"], row["problem"]) for row in pq.read_table(ref.quarantine).to_pylist()}


def signed(*texts: str) -> np.ndarray:
    return np.concatenate([signatures(words) for words in words_of(pl.Series(texts))])


@pytest.mark.parametrize("words", [12, 60, 1500])
def test_the_estimate_is_right_on_average_and_seldom_far_off(words: int) -> None:
    choice = random.Random(words)
    texts, shares = [], []
    for number in range(200):
        text = prose(f"{words} {number}", words)
        other = changed(text, *choice.sample(range(words), max(1, words // 40)))
        texts += [" ".join(text), other]
        shares.append(share_in_common(" ".join(text), other))
    found = signed(*texts)
    errors = similarity(found[::2], found[1::2]) - shares
    assert abs(errors.mean()) < 0.006
    assert np.sqrt((errors**2).mean()) < 0.03


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_signatures_of_few_and_of_many_sequences_are_filled_alike(
    threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = np.random.default_rng(5)
    rows = np.full((300, 256), 0xFFFF, dtype=np.uint16)
    for row in rows[1:]:
        places = choice.choice(256, choice.integers(1, 80), replace=False)
        row[places] = choice.integers(0, 0xFFFF, len(places))
    found = []
    for few in (-1, 32, 256):
        monkeypatch.setattr(near_module, "_FEW_PARTS", few)
        found.append(Similar(threshold).keys(rows))
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()
    # Nothing is like a row without sequences.
    assert (found[0][0] == MISSING).all()
    assert (found[0][1:] != MISSING).all()


@pytest.mark.parametrize(("policy", "kept"), [("drop", 1), ("warn", 150)])
def test_of_rows_that_are_all_alike_the_first_is_kept(tmp_path: Path, policy: str, kept: int) -> None:
    text = prose("a", 150)
    rows = [chat("Which?", changed(text, number), str(number)) for number in range(150)]
    contract = near(0.8, near_duplicate=policy)
    (sample,) = prepare_split(raw_split(tmp_path, rows, group=40), ALL, contract, tmp_path / "out", quiet)
    assert (sample.rows, sample.violations["near_duplicate"]) == (kept, 149)


def test_short_conversations_are_compared_exactly() -> None:
    one, other = "the lamp in the hall is out again", "the lamp in the hall is on again"
    assert similarity(*signed(one, other)) == share_in_common(one, other) == 2 / 6
    # Without a sequence there is nothing to compare.
    assert similarity(*signed("yes it is so", "yes it is so")) == 0


@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.9])
def test_planted_near_duplicates_are_found_and_nothing_else(tmp_path: Path, threshold: float) -> None:
    plan = planted(rows=1200, pairs=300, seed=7)
    ref = raw_split(tmp_path, plan.rows, shards=2, group=250)
    (sample,) = prepare_split(ref, ALL, near(threshold), tmp_path / "out", quiet)
    found = measure(plan, threshold, left_out(sample))
    assert found.unrelated == 0
    assert found.recall >= 0.9
    assert found.precision >= 0.9
    # What is more than the estimate's error above the threshold, or below it, is told apart without fail.
    assert found.clear_recall == 1
    assert found.clearly_wrong == 0


def test_the_first_in_the_order_of_the_files_is_kept(tmp_path: Path) -> None:
    text = prose("a")
    rows = [
        chat("Which?", changed(text)),
        chat("Which?", " ".join(prose("b"))),
        chat("Which?", changed(text, 40)),
        # Like the row before it, which is not kept, and less like the first.
        chat("Which?", changed(text, 40, 10, 20)),
        chat("Which?", changed(text, 3)),
    ]
    (sample,) = prepare_split(raw_split(tmp_path, rows), ALL, near(0.8), tmp_path / "out", quiet)
    assert left_out(sample) == {
        2: (["near_duplicate"], "89% like row 0"),
        4: (["near_duplicate"], "86% like row 0"),
    }
    (violation,) = (each for each in read_report(Path(sample.report)).violations if each.rows)
    assert [(each.row, each.found) for each in violation.examples] == [(2, "89% like row 0"), (4, "86% like row 0")]


def test_what_was_left_out_for_another_reason_takes_nothing_with_it(tmp_path: Path) -> None:
    text = prose("a")
    blank = chat("Which?", changed(text))
    blank["messages"] = [*blank["messages"], {"content": " ", "role": "user"}, {"content": "So.", "role": "assistant"}]
    rows = [blank, chat("Which?", changed(text, 4)), chat("Which?", changed(text, 4), "again")]
    (sample,) = prepare_split(raw_split(tmp_path, rows), ALL, near(), tmp_path / "out", quiet)
    # And what is quite the same breaks the rule for that.
    assert {row: rules for row, (rules, _) in left_out(sample).items()} == {
        0: ["empty_content"],
        2: ["duplicate_conversation"],
    }


def test_what_the_system_is_told_makes_nothing_similar(tmp_path: Path) -> None:
    told = {"content": " ".join(prose("told", 300)), "role": "system"}
    rows = [chat("Which?", " ".join(prose(str(number), 20))) for number in range(3)]
    for row in rows:
        row["messages"] = [told, *row["messages"]]
    (sample,) = prepare_split(raw_split(tmp_path, rows), ALL, near(0.5), tmp_path / "out", quiet)
    assert sample.rows == 3


def test_the_same_rows_are_kept_however_they_lie(tmp_path: Path) -> None:
    plan = planted(rows=600, pairs=200, seed=3)
    samples = []
    for number, (shards, group) in enumerate([(1, 1000), (3, 50), (2, 177)]):
        folder = tmp_path / str(number)
        ref = raw_split(folder, plan.rows, shards=shards, group=group)
        refs = prepare_split(ref, ALL, near(0.7), folder / "out", quiet, validation=True)
        samples.append([(Path(each.jsonl).read_bytes(), left_out(each)) for each in refs])
    assert samples[0] == samples[1] == samples[2]


def test_what_is_nearly_in_the_test_sample_is_not_trained_on(tmp_path: Path) -> None:
    text = prose("a")
    tested = [chat(f"Number {number}?", " ".join(prose(str(number)))) for number in range(12)]
    tested.append(chat("What of it, then?", changed(text)))
    test_ref = raw_split(tmp_path / "test", tested, split="test_sft")
    (test,) = prepare_split(test_ref, ALL, near(), tmp_path / "out", quiet)
    rows = [chat("And what of it?", changed(text, 30)), *(chat("Who?", " ".join(prose(f"x{n}"))) for n in range(12))]
    contract = near(0.7)
    (sample,) = prepare_split(raw_split(tmp_path, rows), ALL, contract, tmp_path / "out", quiet, against=test)
    assert left_out(sample) == {0: (["leaked_near_duplicate"], "77% like row 12 of the test sample")}
    assert likeness(sample, contract, test) == {"leaked_near_duplicate": []}
    # Looked at again, a file that holds such a row is found out.
    (whole,) = prepare_split(raw_split(tmp_path, rows), ALL, ContractSection(), tmp_path / "all", quiet, against=test)
    assert likeness(whole, contract, test) == {"leaked_near_duplicate": [0]}


def test_who_asks_for_nothing_new_gets_what_there_was() -> None:
    ref = SplitRef(split="train_sft", files=(DataFile.at("a"),), rows=1, size_bytes=1, sha256="a" * 64, source="x")

    def identity(contract: ContractSection) -> str:
        return fingerprint(preparation_identity(ref, SampleSection(), contract, validation=True, against=None))

    before = "5e72fcff116ec0523c09aa9de071e1edc71bbd42ed3c9e376e6ba54e4498a359"
    assert identity(ContractSection()) == before
    assert len({before, identity(near(0.7)), identity(near(0.8)), identity(near(0.8, near_duplicate="warn"))}) == 4


def test_a_threshold_below_which_too_much_is_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"greater than or equal to 0\.5"):
        near(0.4)


def test_planted_pairs_are_as_similar_as_they_say() -> None:
    plan: Planted = planted(rows=60, pairs=20, seed=1)
    for copy, original in plan.original.items():
        texts = [" ".join(m["content"] for m in plan.rows[row]["messages"]) for row in (copy, original)]
        assert plan.similarity[copy] == share_in_common(*texts)
