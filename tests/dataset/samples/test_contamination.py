"""Questions of benchmarks in data to train on: found inside of conversations, wherever the file's questions lie."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.config.recipe_files import load_recipe
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.manifest import preparation_identity
from phi_assets.dataset.samples.likeness import likeness
from phi_assets.dataset.samples.prepare import prepare_split
from phi_assets.fingerprint import fingerprint
from tests.dataset.shards import make_rows, raw_split

ALL = SampleSection(percent=100)
EGGS = "Janet's ducks lay sixteen eggs per day, and she eats three of them for breakfast. How many does she sell?"
SHORT = "What is the capital of Mali?"


def chat(*turns: str) -> dict[str, Any]:
    messages = [{"content": text, "role": ("user", "assistant")[n % 2]} for n, text in enumerate(turns)]
    return {"prompt": turns[0], "prompt_id": " ".join(turns), "messages": messages}


def benchmark(folder: Path, *questions: Any, column: str = "question", name: str = "gsm8k.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({column: question, "answer": "x"}) + "\n" for question in questions))
    return path


def left_out(folder: Path, rows: list[dict[str, Any]], *files: Path, said: list[str] | None = None, **contract: Any):
    """What is said of each row in quarantine."""
    section = ContractSection(decontaminate=list(files), **contract)
    log = (said if said is not None else []).append
    (sample,) = prepare_split(raw_split(folder, rows), ALL, section, folder / "out", log)
    assert likeness(sample, section, None) == {"contaminated": []}
    if not sample.quarantine:
        return {}
    table = pq.read_table(sample.quarantine).to_pylist()
    assert all(row["rules"] == ["contaminated"] for row in table)
    return {row["row"]: row["problem"] for row in table}


def test_a_question_is_found_inside_a_conversation_however_it_is_written(tmp_path: Path) -> None:
    rows = [
        *make_rows(20),
        chat("Hello.", "Hello!", f"Here is one: {EGGS.upper()} Think first.", "Thirteen."),
        chat("Janets ducks lay sixteen eggs per day and she eats four of them for lunch", "So?"),
        chat("Who are you?", f"Somebody who asks: {EGGS}"),
        chat("Are there ducks that lay sixteen eggs per day?", "No."),
    ]
    found = left_out(tmp_path, rows, benchmark(tmp_path, "Who would say so and then not do so?", EGGS))
    assert found == {20: "holds 100% of row 2 of gsm8k.jsonl", 22: "holds 100% of row 2 of gsm8k.jsonl"}


def test_the_threshold_is_a_share_of_the_question(tmp_path: Path) -> None:
    half = "Janet's ducks lay sixteen eggs per day, and she eats three of them for supper, says her sister."
    rows = [*make_rows(5), chat(half, "So?")]
    file = benchmark(tmp_path, EGGS)
    assert left_out(tmp_path, rows, file) == {5: "holds 57% of row 1 of gsm8k.jsonl"}
    assert left_out(tmp_path, rows, file, decontaminate_threshold=0.6) == {}


def test_a_short_question_is_found_where_a_conversation_begins_with_it(tmp_path: Path) -> None:
    rows = [
        *make_rows(5),
        chat(f"{SHORT.lower()}", "Bamako."),
        chat("Tell me this: what is the capital of Mali?", "No."),
    ]
    said: list[str] = []
    found = left_out(tmp_path, rows, benchmark(tmp_path, SHORT, "Who?", ""), said=said)
    assert found == {5: "begins with a short question of the files"}
    assert "3 of gsm8k.jsonl; 2 of them are too short to be told from chance" in said[0]


def test_the_form_that_questions_share_is_no_content(tmp_path: Path) -> None:
    form = "Read the following question with care and choose the one answer that is right"
    questions = [
        f"{form}: is {number} {number + 1} a pair of {number} or of {number * 2} things" for number in range(150)
    ]
    rows = [*make_rows(5), chat(f"{form}: do cows eat grass?", "Yes."), chat(questions[70], "No.")]
    assert left_out(tmp_path, rows, benchmark(tmp_path, *questions)) == {6: "holds 100% of row 71 of gsm8k.jsonl"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("question", EGGS),
        ("problem", EGGS),
        ("prompt", EGGS),
        ("turns", [EGGS, "And of two ducks?"]),
        ("messages", [{"role": "user", "content": EGGS}, {"role": "assistant", "content": "one " * 90}]),
        ("conversations", [{"from": "human", "value": EGGS}, {"from": "gpt", "value": "one " * 90}]),
    ],
)
def test_questions_are_found_in_the_columns_of_the_usual_benchmarks(tmp_path: Path, column: str, value: Any) -> None:
    rows = [*make_rows(5), chat(EGGS, "Nine.")]
    assert list(left_out(tmp_path, rows, benchmark(tmp_path, value, column=column))) == [5]


def test_every_file_of_every_kind_is_compared(tmp_path: Path) -> None:
    other = "Which of the planets that go around the sun has the most moons of all?"
    pl.DataFrame({"question": [None, other]}).write_parquet(tmp_path / "arc.parquet")
    rows = [chat(EGGS, "Nine."), *make_rows(5), chat(other, "Saturn.")]
    found = left_out(tmp_path, rows, benchmark(tmp_path, EGGS), tmp_path / "arc.parquet")
    assert found == {0: "holds 100% of row 1 of gsm8k.jsonl", 6: "holds 100% of row 2 of arc.parquet"}


def test_a_file_without_questions_is_refused_with_what_it_has(tmp_path: Path) -> None:
    file = benchmark(tmp_path, EGGS, column="sentence")
    with pytest.raises(DatasetError, match=r"has the columns sentence, answer: call the one with the questions 'quest"):
        left_out(tmp_path, make_rows(5), file)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"contract\.decontaminate names .*none\.jsonl, which cannot be read"):
        left_out(tmp_path, make_rows(5), tmp_path / "none.jsonl")


def test_test_samples_may_hold_what_is_asked(tmp_path: Path) -> None:
    section = ContractSection(decontaminate=[benchmark(tmp_path, EGGS)])
    ref = raw_split(tmp_path, [chat(EGGS, "Nine."), *make_rows(5)], split="test_sft")
    (sample,) = prepare_split(ref, ALL, section, tmp_path / "out", print)
    assert sample.rows == 6
    assert "contaminated" not in sample.violations


def test_the_sample_is_another_one_once_a_file_is(tmp_path: Path) -> None:
    ref = raw_split(tmp_path, make_rows(5))

    def identity(*files: Path, **others: Any) -> str:
        section = ContractSection(decontaminate=list(files), **others)
        return fingerprint(preparation_identity(ref, ALL, section, validation=False, against=None))

    found = [identity(), identity(benchmark(tmp_path, EGGS)), identity(benchmark(tmp_path, EGGS, SHORT))]
    (tmp_path / "moved").mkdir()
    assert identity(benchmark(tmp_path / "moved", EGGS, SHORT)) == found[-1]
    found.append(identity(benchmark(tmp_path, EGGS, SHORT), decontaminate_threshold=0.7))
    assert len(set(found)) == 4


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("contract: {decontaminate: [gsm8k.jsonl, ~/other.csv]}")
    (tmp_path / "derived").mkdir()
    (tmp_path / "derived" / "more.yaml").write_text(f"extends: {tmp_path / 'mine.yaml'}")
    for recipe in ("mine.yaml", "derived/more.yaml"):
        files = load_recipe(str(tmp_path / recipe)).contract.decontaminate
        assert files == [tmp_path / "gsm8k.jsonl", Path.home() / "other.csv"]
