"""Prompts that the model failed at, or that were too long for it, are counted and shown, and are in no figure."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.evaluation.answers import AnswerSet, Failure
from phi_assets.evaluation.figures import answer_figures
from phi_assets.evaluation.report import read_scoring_report
from phi_assets.evaluation.scoring import Champion, Scored, evaluate
from phi_assets.evaluation.write import ScoringFiles, read_rival
from phi_assets.graph.scoring.checks import _answered
from phi_assets.graph.scoring.metadata import base_metadata, scoring_metadata
from phi_assets.refs import AnswersRef, DataFile, ScoringRef
from tests.evaluation.answers import MODEL, make_answers, make_questions, make_rival
from tests.graph.scoring.test_metadata import GOOD, REFERENCES
from tests.graph.test_metadata import recorded, records

REASON = "answered {}: the container for foundation models says so"
NOBODY = Champion(None, "")


def with_failures(*numbers: int) -> AnswerSet:
    given = make_answers(GOOD, make_questions(REFERENCES))
    answers = tuple(
        Failure(REASON, is_models=True) if number in numbers else answer for number, answer in enumerate(given.answers)
    )
    return given.model_copy(update={"answers": answers, "container_log": "Traceback" if numbers else ""})


def scored(*failed: int, champion: Champion = NOBODY) -> Scored:
    questions = make_questions(REFERENCES)
    base = make_rival(GOOD, questions)
    return evaluate(questions, with_failures(*failed), TokenCounter(None), 0, base=base, champion=champion, left_out=3)


def write(folder: Path, found: Scored) -> ScoringRef:
    files = ScoringFiles.named(folder, "abc")
    files.write(found)
    return ScoringRef(
        jsonl=DataFile.at(files.jsonl),
        parquet=DataFile.at(files.parquet),
        report=DataFile.at(files.report),
        rows=len(found.rows),
        failed=found.report.failed,
        left_out=found.report.left_out,
        fingerprint="abc",
        model_id=MODEL,
        deployment="ft-2",
        action="scored",
    )


def test_figures_are_over_the_answered_ones(tmp_path: Path) -> None:
    found = scored(0, 4)
    left = [1, 2, 3, 5]
    report = found.report
    assert (report.failed, report.left_out, report.figures.answers) == (2, 3, 4)
    assert report.figures == answer_figures([GOOD[n] for n in left], [REFERENCES[n] for n in left], seed=0)
    assert report.base is not None
    assert report.base.figures.answers == 4
    assert report.speed.latency_ms_max == 600
    assert report.speed.requests_per_second == 2
    assert read_scoring_report(Path(write(tmp_path, found).report)) == report


def test_rows_are_all_there_with_their_reasons(tmp_path: Path) -> None:
    ref = write(tmp_path, scored(0, 4))
    table = pq.read_table(ref.parquet)
    assert table["failure"].to_pylist() == [REASON, None, None, None, REASON, None]
    assert table["answer"].to_pylist() == [None, *GOOD[1:4], None, GOOD[5]]
    # The base model's answer to the same question is shown all the same.
    assert table["base_answer"].to_pylist() == GOOD
    # Who has not answered a question is not compared by it.
    rival = read_rival("other", Path(ref.jsonl))
    assert list(rival.answers.values()) == [*GOOD[1:4], GOOD[5]]
    against = scored(1, champion=Champion(rival, "")).report.champion
    assert against is not None
    assert against.figures.answers == 3


def test_a_question_that_only_the_base_model_failed_at_has_a_row_like_others(tmp_path: Path) -> None:
    questions = make_questions(REFERENCES)
    base = make_rival(GOOD[:5], questions[:5])
    found = evaluate(questions, with_failures(), TokenCounter(None), 0, base=base, champion=NOBODY)
    shown = records(recorded(scoring_metadata(write(tmp_path, found)))["answers"])
    assert [row["base model"] for row in shown] == [*GOOD[:5], "-"]


def test_they_are_shown_first_with_the_containers_log(tmp_path: Path) -> None:
    metadata = recorded(scoring_metadata(write(tmp_path, scored(4))))
    assert (metadata["failed_prompts"].value, metadata["left_out_prompts"].value) == (1, 3)
    shown = records(metadata["answers"])
    assert (shown[0]["prompt"], shown[0]["answer"], shown[0]["ms"], shown[0]["problem"]) == (
        "Question 4?",
        "-",
        "-",
        REASON,
    )
    assert len(shown) == 6
    assert records(metadata["compared"])[0]["answers"] == "5 of 6"
    assert "Traceback" in metadata["container_log"].md_str
    whole = scoring_metadata(write(tmp_path, scored()))
    assert "container_log" not in whole
    assert records(whole["compared"])[0]["answers"] == "6"


def test_the_base_models_are_shown_too(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    path.write_text(with_failures(2).model_dump_json())
    assert AnswerSet.model_validate_json(path.read_bytes()) == with_failures(2)
    ref = AnswersRef(path=DataFile.at(path), rows=6, failed=1, fingerprint="a", model_id="base", action="scored")
    metadata = recorded(base_metadata(ref))
    assert [row["reason"] for row in records(metadata["failures"])] == [REASON]
    assert "Traceback" in metadata["container_log"].md_str


@pytest.mark.parametrize(
    ("failed", "left_out", "says"),
    [
        (0, 0, None),
        (2, 0, "failed at 2 of 6 prompts"),
        (0, 3, "3 more were not asked"),
        (2, 3, "failed at 2 of 6 prompts; the asset's metadata has reasons and the container's log. 3 more"),
    ],
)
def test_the_check_warns(failed: int, left_out: int, says: str | None) -> None:
    result = _answered(6, failed, left_out)
    assert result.passed is (says is None)
    assert result.severity.value == "WARN"
    assert (says or "") in (result.description or "")
