"""From answers to a report: every figure means what it says, and others are compared on the same questions only."""

import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from sacrebleu import sentence_chrf

from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.evaluation.chrf import chrf
from phi_assets.evaluation.figures import answer_figures
from phi_assets.evaluation.intervals import mean_interval
from phi_assets.evaluation.report import Comparison, ScoringReport, read_scoring_report
from phi_assets.evaluation.scoring import Champion, Rival, Scored, evaluate
from phi_assets.evaluation.write import ScoringFiles, read_rival
from tests.evaluation.answers import MODEL, first_messages, make_answers, make_questions, make_rival

REFERENCES = [
    "An onion is brown or red.",
    "A cat has four legs.",
    "The sun is yellow.",
    "Snow is white and cold.",
    "Two and two is four.",
    "Grass is green.",
]
GOOD = [
    "An onion is brown.",
    "A cat has four legs.",
    "The sun is yellow.",
    "Snow is cold.",
    "It is four.",
    "Grass is green.",
]
BAD = ["", "I cannot help with that.", "dog " * 20, "no", "???", "yes"]

NOBODY = Champion(None, "No other model has been scored.")


def scored(texts: list[str], *, base: list[str] | None = None, champion: Champion = NOBODY) -> Scored:
    questions = make_questions(REFERENCES)
    rival = make_rival(base, questions, "azureml:base:1") if base else None
    return evaluate(questions, make_answers(texts, questions), TokenCounter(None), 0, base=rival, champion=champion)


def test_chrf_is_sacrebleus_and_none_without_a_reference() -> None:
    scores = chrf([*GOOD, "anything"], [*REFERENCES, "  "])
    expected = [sentence_chrf(answer, [reference]).score for answer, reference in zip(GOOD, REFERENCES, strict=True)]
    assert scores == [*(pytest.approx(score, abs=1e-3) for score in expected), None]
    assert scores[1] == 100
    assert chrf([""], ["An onion"]) == [0]


def test_figures_count_what_is_no_answer() -> None:
    figures = answer_figures(BAD, REFERENCES, seed=0)
    assert figures.answers == 6
    assert (figures.empty_rate, figures.refusal_rate, figures.problem_rate) == (0.1667, 0.1667, 0.5)
    # Of its 17 sequences of four words, "dog dog dog dog" is new once.
    assert figures.repetition == pytest.approx(16 / 17 / 6, abs=1e-4)
    good = answer_figures(GOOD, REFERENCES, seed=0)
    assert (good.empty_rate, good.refusal_rate, good.problem_rate, good.repetition) == (0, 0, 0, 0)
    # The median of 18/25, 20/20, 18/18, 13/23, 11/20 and 15/15.
    assert good.length_ratio == pytest.approx((0.72 + 1) / 2)
    assert good.chrf is not None
    assert figures.chrf is not None
    assert good.chrf.mean > figures.chrf.mean + 40


def test_without_references_only_likeness_and_length_are_unknown() -> None:
    figures = answer_figures(GOOD, [""] * 6, seed=0)
    assert (figures.chrf, figures.length_ratio) == (None, None)
    assert figures.empty_rate == 0


def test_speed_is_of_the_requests_as_they_were_made() -> None:
    speed = scored(GOOD).report.speed
    assert (speed.latency_ms_p50, speed.latency_ms_p95, speed.latency_ms_max) == (350, 575, 600)
    assert (speed.latency_ms_mean, speed.concurrency, speed.requests_per_second) == (350, 2, 3)
    estimate = sum(round(0.214 * len(text)) for text in GOOD)
    assert (speed.tokens, speed.tokens_per_second) == (estimate, estimate / 2)
    assert speed.token_counter == "estimated, 0.214 tokens a byte"


def test_the_base_model_is_compared_on_the_same_questions() -> None:
    report = scored(GOOD, base=BAD).report
    assert report.base is not None
    assert report.base.is_better
    assert not report.base.is_worse
    assert report.base.model_id == "azureml:base:1"
    assert report.base.figures == answer_figures(BAD, REFERENCES, seed=0)
    turned = scored(BAD, base=GOOD).report
    assert turned.base is not None
    assert turned.base.is_worse
    same = scored(GOOD, base=GOOD).report
    assert same.base is not None
    assert (same.base.is_better, same.base.is_worse) == (False, False)
    assert scored(GOOD).report.base is None


def test_a_champion_is_compared_on_what_both_were_asked() -> None:
    questions = make_questions(REFERENCES)
    half = make_rival(BAD[:3], questions[:3])
    report = scored(GOOD, champion=Champion(half, "half")).report
    assert report.champion is not None
    assert report.champion.figures.answers == 3
    assert report.champion.chrf_gain is not None
    assert report.champion.chrf_gain.count == 3
    assert report.champion_note == "half"


def test_a_champion_that_was_asked_something_else_is_none() -> None:
    stranger = Rival("azureml:other:1", {"0" * 16: "An onion is brown."})
    report = scored(GOOD, champion=Champion(stranger, "stranger")).report
    assert report.champion is None
    note = "Champion azureml:other:1 has answered other questions, so nobody knows whether this model is worse."
    assert (report.champion_note, report.champion_unknown, report.is_champion) == (note, True, True)
    gone = scored(GOOD, champion=Champion(None, "gone", is_lost=True)).report
    assert (gone.champion_note, gone.champion_unknown, gone.is_champion) == ("gone", True, True)
    assert not scored(GOOD).report.champion_unknown


def test_who_is_worse_than_the_champion_is_none() -> None:
    questions = make_questions(REFERENCES)
    assert not scored(BAD, champion=Champion(make_rival(GOOD, questions), "")).report.is_champion
    assert scored(GOOD, champion=Champion(make_rival(BAD, questions), "")).report.is_champion
    # As good.
    assert scored(GOOD, champion=Champion(make_rival(GOOD, questions), "")).report.is_champion
    assert scored(BAD).report.is_champion


def compared(gains: list[float]) -> Comparison:
    base = scored(GOOD, base=BAD).report.base
    assert base is not None
    return base.model_copy(update={"chrf_gain": mean_interval(gains, 0)})


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([5.0, 6.0] * 6, "better"),
        ([-1.0, -1.5] * 6, "not worse"),
        ([-5.0, -6.0] * 6, "worse"),
        ([-20.0, 20.0] * 6, "unclear"),
        # Nobody can tell with so few, however far they are apart.
        ([-50.0, -51.0], "unclear"),
    ],
)
def test_a_model_may_be_below_the_champion_by_the_margin(gains: list[float], verdict: str) -> None:
    assert compared(gains).verdict(2) == verdict


def test_where_answers_cannot_tell_it_is_said_how_many_would() -> None:
    doubtful = compared([-20.0, 16.0] * 6)
    assert doubtful.chrf_gain is not None
    # As many as draw the interval together to the distance between the mean and the margin; here there is none.
    assert doubtful.chrf_gain.mean == -2
    assert doubtful.answers_needed(2) is None
    needed = compared([-20.0, 30.0] * 6).answers_needed(2)
    assert needed is not None
    assert 12 < needed < 100
    words = compared([-20.0, 30.0] * 6).in_words(2)
    assert "cannot tell whether that is worse by more than 2; " in words
    assert words.endswith(f"about {needed} would do (`scoring.samples`).")
    assert compared([-5.0, -6.0] * 6).in_words(2).endswith("worse by more than 2.")


def test_many_small_losses_do_not_add_up() -> None:
    report = scored(GOOD, champion=Champion(make_rival(GOOD, make_questions(REFERENCES)), "")).report
    within = report.model_copy(update={"champion": compared([-1.0, -1.5] * 6), "margin": 2.0})
    assert not within.looks_worse
    # It may serve, and the next one is measured by the champion all the same.
    assert not within.is_champion
    assert report.model_copy(update={"champion": compared([0.0, 0.5] * 6), "margin": 2.0}).is_champion


def test_a_chain_of_ten_slightly_worse_models_ends_where_it_began() -> None:
    questions = make_questions(REFERENCES)
    champion, served, worse = ("first", GOOD), 0, list(GOOD)
    for number in range(1, 11):
        # One more word is wrong.
        place = number % len(GOOD)
        worse = [*worse[:place], f"{worse[place].rpartition(' ')[0]} dog.", *worse[place + 1 :]]
        if number > len(GOOD):
            worse[place] = f"dog {worse[place].partition(' ')[2]}"
        rival = make_rival(champion[1], questions, champion[0])
        report = scored(worse, champion=Champion(rival, "")).report.model_copy(update={"margin": 10.0})
        served += not report.looks_worse
        if report.is_champion:
            champion = (f"model {number}", worse)
    assert champion[0] == "first"
    # The first of them may serve, and the later ones are measured by the first model all the same.
    assert 0 < served < 10


def test_every_question_has_a_row_in_both_formats(tmp_path: Path) -> None:
    found = scored(GOOD, base=BAD)
    files = ScoringFiles.named(tmp_path / "new", "abc")
    assert not files.exist
    files.write(found)
    assert files.exist
    rows = [json.loads(line) for line in files.jsonl.read_text(encoding="utf-8").splitlines()]
    assert rows == found.rows
    assert [(row["answer"], row["base_answer"], row["reference"]) for row in rows] == list(
        zip(GOOD, BAD, REFERENCES, strict=True)
    )
    assert [row["prompt"] for row in rows] == first_messages(rows) == [f"Question {number}?" for number in range(6)]
    assert [row["latency_ms"] for row in rows] == [100, 200, 300, 400, 500, 600]
    assert [row["tokens"] for row in rows] == [round(0.214 * len(text)) for text in GOOD]
    assert {row["deployment"] for row in rows} == {"ft-2"}
    assert [row["base_chrf"] for row in rows] == chrf(BAD, REFERENCES)
    table = duckdb.read_parquet(str(files.parquet))
    assert table.columns == list(rows[0])
    assert table.select("prompt, answer, chrf, base_answer").fetchall() == [
        (row["prompt"], row["answer"], row["chrf"], row["base_answer"]) for row in rows
    ]
    assert read_scoring_report(files.report) == found.report
    assert [path.name for path in files.jsonl.parent.glob("*.partial")] == []


def test_columns_have_their_types_where_every_value_is_missing(tmp_path: Path) -> None:
    questions = make_questions(["", ""])
    found = evaluate(questions, make_answers(["a", "b"], questions), TokenCounter(None), 0, base=None, champion=NOBODY)
    files = ScoringFiles.named(tmp_path, "abc")
    files.write(found)
    types = pq.read_schema(files.parquet)
    assert {str(types.field(name).type) for name in ("base_answer", "problem", "reference")} == {"large_string"}
    assert {str(types.field(name).type) for name in ("chrf", "base_chrf", "length_ratio")} == {"double"}


def test_a_model_that_was_scored_is_a_rival_of_the_next(tmp_path: Path) -> None:
    files = ScoringFiles.named(tmp_path, "abc")
    files.write(scored(GOOD))
    rival = read_rival(MODEL, files.jsonl)
    assert rival == make_rival(GOOD, make_questions(REFERENCES), MODEL)


def test_the_same_answers_have_the_same_report() -> None:
    first, second = scored(GOOD, base=BAD), scored(GOOD, base=BAD)
    assert first == second
    assert ScoringReport.model_validate_json(first.report.model_dump_json()) == first.report
