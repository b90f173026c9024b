"""What the UI shows of a scored model is really there to be shown, and its numbers keep their names."""

import json
from pathlib import Path
from typing import Any

import pytest

from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.evaluation.scoring import Champion, evaluate
from phi_assets.evaluation.write import ScoringFiles
from phi_assets.graph.scoring.metadata import scoring_metadata
from phi_assets.refs import DataFile, ScoringRef
from tests.evaluation.answers import MODEL, make_answers, make_questions, make_rival
from tests.graph.test_metadata import has_color, png, recorded, records

REFERENCES = [
    "An onion is brown or red.",
    "A cat has four legs.",
    "The sun is yellow.",
    "Snow is white and cold.",
    "Grass is green.",
    "Two and two is four.",
]
GOOD = [
    "An onion is brown.",
    "A cat has four legs.",
    "The sun is yellow.",
    "Snow is cold.",
    "Grass is green.",
    "It is four.",
]
BAD = ["", "dog", "moon", "I cannot help with that.", "yes", "no"]

BLUE, GREY = (0x4F, 0x6B, 0xED), (0x8A, 0x8A, 0x8A)

FIGURES = {"length_ratio", "empty_rate", "refusal_rate", "problem_rate", "repetition", "empty_answers"} | {
    "failed_prompts",
    "left_out_prompts",
}
SPEED = {
    *(f"latency_ms_{name}" for name in ("mean", "p50", "p95", "p99", "max")),
    *("requests_per_second", "tokens", "tokens_per_second"),
}
CHRF = {"chrf", "chrf_low", "chrf_high"}


def written(
    folder: Path,
    texts: list[str],
    references: list[str],
    *,
    base: list[str] | None = None,
    champion: list[str] | None = None,
) -> dict[str, Any]:
    questions = make_questions(references)
    rivals = [make_rival(others, questions) if others else None for others in (base, champion)]
    scored = evaluate(
        questions,
        make_answers(texts, questions),
        TokenCounter(None),
        0,
        base=rivals[0],
        champion=Champion(rivals[1], "a note"),
    )
    files = ScoringFiles.named(folder, "abc")
    files.write(scored)
    ref = ScoringRef(
        jsonl=DataFile.at(files.jsonl),
        parquet=DataFile.at(files.parquet),
        report=DataFile.at(files.report),
        rows=len(texts),
        fingerprint="abc",
        model_id=MODEL,
        deployment="ft-2",
        action="scored",
    )
    return scoring_metadata(ref)


def numbers(metadata: dict[str, Any]) -> set[str]:
    return {key for key, value in metadata.items() if type(value) in (int, float)} - {"dagster/row_count"}


def test_numbers_have_stable_keys(tmp_path: Path) -> None:
    alone = written(tmp_path, GOOD, REFERENCES)
    assert numbers(alone) == CHRF | FIGURES | SPEED
    compared = written(tmp_path, GOOD, REFERENCES, base=BAD, champion=GOOD)
    others = {f"{who}/{key}" for who in ("base", "champion") for key in ("chrf", "chrf_gain")}
    assert numbers(compared) == CHRF | FIGURES | SPEED | others
    assert compared["base/chrf_gain"] == pytest.approx(compared["chrf"] - compared["base/chrf"], abs=0.02)
    assert compared["champion/chrf_gain"] == 0
    # The UI plots them in the order of the alphabet: the first screen is how good the model is.
    plotted = sorted(numbers(compared) | {"dagster/row_count"})
    assert set(plotted[:8]) == others | CHRF | {"dagster/row_count"}
    assert compared["dagster/row_count"] == 6


def test_without_references_likeness_is_left_out(tmp_path: Path) -> None:
    metadata = written(tmp_path, GOOD, [""] * 6, base=BAD)
    assert numbers(metadata) == FIGURES - {"length_ratio"} | SPEED
    assert [row["chrF, 95 % interval"] for row in records(metadata["compared"])] == ["-", "-"]
    assert png(metadata["quality"].md_str, "quality of the answers").startswith(b"\x89PNG")


def test_models_are_compared_in_a_table(tmp_path: Path) -> None:
    rows = records(written(tmp_path, GOOD, REFERENCES, base=BAD, champion=GOOD)["compared"])
    assert [row["who"] for row in rows] == ["this model", "base model", "champion"]
    assert [row["empty"] for row in rows] == ["0%", "17%", "0%"]
    assert [row["refusals"] for row in rows] == ["0%", "17%", "0%"]
    assert rows[0]["this model is better by"] == "-"
    assert rows[2]["this model is better by"] == "0.0 (0.0 to 0.0)"
    assert [row["model"] for row in rows] == [MODEL, "azureml:other:1", "azureml:other:1"]


def test_answers_are_shown_beside_reference_and_base_model(tmp_path: Path) -> None:
    rows = records(written(tmp_path, BAD, REFERENCES, base=GOOD)["answers"])
    assert [(row["answer"], row["reference"], row["base model"]) for row in rows] == list(
        zip(BAD, REFERENCES, GOOD, strict=True)
    )
    assert [row["problem"] for row in rows] == ["empty", *"-----"]
    assert "base model" not in records(written(tmp_path, BAD, REFERENCES)["answers"])[0]


def test_pictures_are_small_and_show_every_model(tmp_path: Path) -> None:
    texts = [GOOD[0], "", GOOD[2], "", GOOD[4], ""]
    metadata = written(tmp_path, texts, REFERENCES, base=["", *REFERENCES[1:3], "", "", REFERENCES[5]])
    quality = png(metadata["quality"].md_str, "quality of the answers")
    latency = png(metadata["latency"].md_str, "latency of the answers")
    assert len(quality) + len(latency) < 100_000
    assert has_color(quality, BLUE)
    assert has_color(quality, GREY)
    assert has_color(latency, BLUE)
    alone = png(written(tmp_path, GOOD, REFERENCES)["quality"].md_str, "quality of the answers")
    assert not has_color(alone, GREY)


def test_many_long_answers_fit_into_the_event_log(tmp_path: Path) -> None:
    texts = [f"{number} 😀 " + "word and other words " * 50 for number in range(200)]
    metadata = recorded(written(tmp_path, texts, texts, base=texts, champion=texts))
    assert len(metadata["answers"].records) == 20
    assert len(json.dumps({key: str(value) for key, value in metadata.items()})) < 250_000


def test_what_later_models_are_compared_by_survives_the_event_log(tmp_path: Path) -> None:
    metadata = recorded(written(tmp_path, BAD, REFERENCES, champion=GOOD))
    assert metadata["model"].value == MODEL
    assert metadata["is_champion"].value is False
    assert Path(metadata["jsonl"].value).is_file()
