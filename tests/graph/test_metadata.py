"""What the UI shows is really there to be shown."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import pytest

from phi_assets.azureml.training.metrics import MetricPoint
from phi_assets.config.dataset import Policy
from phi_assets.dataset.contract.rules import RULES
from phi_assets.dataset.reports.report import Profile, SplitReport, TokenHistogram, read_report
from phi_assets.graph.dataset.metadata import ASKS, CHAT_SCHEMA, sample_metadata, split_metadata
from phi_assets.graph.dataset.pictures import token_histogram
from phi_assets.graph.presentation import presented, rounded
from phi_assets.graph.rendering import table
from phi_assets.graph.training.pictures import loss_curve
from phi_assets.refs import DataFile, SampleRef, SplitRef
from tests.dataset.prepared import (
    USUAL_RULES,
    chat_rows,
    make_conversation,
    make_profile,
    make_violations,
    write_sample,
)

RAW = dg.AssetKey(["ultrachat", "raw_split"])


def metadata_of(ref: SampleRef) -> dict[str, Any]:
    return sample_metadata(ref, RAW)


def png(markdown: str, alternative: str) -> bytes:
    """The picture in a Markdown text that is nothing else."""
    found = re.fullmatch(rf"!\[{alternative}\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found
    return base64.b64decode(found[1])


def has_color(picture: bytes, color: tuple[int, int, int]) -> bool:
    """Whether a fair part of the picture is of this colour."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    return image.tobytes().count(bytes(color)) > 500


def records(value: Any) -> list[dict[str, Any]]:
    """The rows of a table."""
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def recorded(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata as Dagster has it after it went through the event log."""
    key = dg.AssetKey("sampled_train_sft")

    @dg.asset(key=key)
    def sampled() -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(metadata=metadata)

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([sampled], instance=instance).success
        event = instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.asset_materialization is not None
        return dict(event.asset_materialization.metadata)


def with_report(ref: SampleRef, **changes: Any) -> SampleRef:
    """The sample with another report."""
    report = read_report(Path(ref.report)).model_copy(update=changes)
    Path(ref.report).write_text(report.model_dump_json(), encoding="utf-8")
    return ref


def test_the_loss_curve_is_a_small_png() -> None:
    points = [MetricPoint(value=1 / (step + 1), step=step) for step in range(50)]
    picture = png(loss_curve({"loss": points, "eval_loss": points[::25], "learning_rate": points}), "loss curve")
    assert picture.startswith(b"\x89PNG")
    # It is stored in the event log.
    assert len(picture) < 100_000


def test_a_table_has_the_columns_of_its_rows() -> None:
    value = table([{"name": "seed", "value": 42}, {"name": "epochs", "value": 2}])
    assert [column.name for column in value.schema.columns] == ["name", "value"]
    assert [record.data["value"] for record in value.records] == ["42", "2"]


def test_an_empty_table_is_a_table() -> None:
    assert table([]).records == []


BLUE, RED = (0x4F, 0x6B, 0xED), (0xD1, 0x49, 0x5B)

HISTOGRAMS: dict[str, tuple[dict[str, Any], set[tuple[int, int, int]]]] = {
    "far below the context": ({"edges": (0, 50, 100), "counts": (3, 4), "context_tokens": 4096}, {BLUE}),
    "all beyond": ({"edges": (0, 50, 100), "counts": (0, 7), "truncated_rows": 7, "context_tokens": 50}, {RED}),
    "context within a bin": (
        {"edges": (0, 50, 100), "counts": (3, 4), "truncated_rows": 2, "context_tokens": 75},
        {BLUE, RED},
    ),
    "last bin takes all above": (
        {"edges": (0, 50, 100, 9000), "counts": (0, 0, 9), "truncated_rows": 9, "context_tokens": 150},
        {RED},
    ),
    "nothing": ({"edges": (0, 1), "counts": (0,), "context_tokens": 4096}, set()),
}


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_the_token_histogram_is_a_small_png_that_is_red_where_conversations_are_truncated(name: str) -> None:
    content, colors = HISTOGRAMS[name]
    changes = {key: value for key, value in content.items() if key not in ("edges", "counts")}
    histogram = TokenHistogram(edges=content["edges"], counts=content["counts"])
    rows = sum(histogram.counts)
    profile = make_profile(chat_rows(1)).model_copy(
        update={"rows": rows, "truncated_rows": 0, "histogram": histogram, "token_counter": "$a_{b$"} | changes
    )
    picture = png(token_histogram(profile), "tokens in a conversation")
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000
    assert {color for color in (BLUE, RED) if has_color(picture, color)} == colors


def test_a_sample_has_numbers_under_stable_keys(tmp_path: Path) -> None:
    rows = chat_rows(30)
    rows[4]["messages"][1]["content"] = "word " * 70
    ref = write_sample(tmp_path, "train_sft", rows, quarantined=3, not_sampled=1_000)
    metadata = metadata_of(ref)
    numbers = {key: value for key, value in metadata.items() if type(value) in (int, float)}
    violations = {key: value for key, value in numbers.items() if key.startswith("violations/")}
    assert violations == {f"violations/{rule}": 3 if rule == "roles" else 0 for rule in USUAL_RULES}
    size = sum(len(message["content"].encode()) for row in rows for message in row["messages"])
    words = [sum(len(message["content"].split()) for message in row["messages"]) for row in rows]
    assert {key: value for key, value in numbers.items() if key not in violations} == {
        "dagster/row_count": 30,
        "rows_total": 1_033,
        "rows_not_sampled": 1_000,
        "rows_quarantined": 3,
        "size_bytes": Path(ref.jsonl).stat().st_size,
        "bytes": size,
        "messages": 120,
        "turns_mean": 2.0,
        "tokens": sum(words),
        "tokens_mean": sum(words) / 30,
        "tokens_p95": sorted(words)[28],
        "truncated_share": 1 / 30,
    }
    assert metadata["token_counter"] == "words"
    assert metadata["sha256"] == ref.sha256


def test_a_sample_shows_where_rows_went_what_was_asked_and_how_long_they_are(tmp_path: Path) -> None:
    ref = write_sample(tmp_path, "test_sft", chat_rows(30), quarantined=3, not_sampled=1_000)
    metadata = metadata_of(ref)
    assert [(row["where"], row["rows"]) for row in records(metadata["where_rows_went"])] == [
        ("raw_test_sft", "1,033"),
        ("not sampled", "1,000"),
        ("in quarantine", "3"),
        ("sampled_test_sft", "30"),
    ]
    contract = {row["rule"]: row for row in records(metadata["contract"])}
    assert list(contract) == [rule for rule in USUAL_RULES if not rule.startswith("leaked")]
    assert contract["roles"]["rows"] == "3"
    assert contract["roles"]["policy"] == "drop"
    assert contract["roles"]["they are"] == "in quarantine"
    assert contract["ending"]["they are"] == "-"
    assert [row["of a conversation"] for row in records(metadata["lengths"])] == ["tokens", "messages"]
    assert records(metadata["lengths"])[1]["longest"] == "4"
    assert [(row["role"], row["messages"]) for row in records(metadata["roles"])] == [
        ("user", "60"),
        ("assistant", "60"),
    ]


def test_every_rule_is_explained() -> None:
    assert set(ASKS) == set(RULES)


def test_every_policy_says_what_became_of_the_rows(tmp_path: Path) -> None:
    violations = tuple(
        violation.model_copy(update={"policy": policy, "rows": 1})
        for violation, policy in zip(make_violations("train_sft", {}), get_args(Policy), strict=False)
    )
    ref = with_report(write_sample(tmp_path, "train_sft", chat_rows(3)), violations=violations)
    said = {row["policy"]: row["they are"] for row in records(metadata_of(ref)["contract"])}
    assert said == {
        "drop": "in quarantine",
        "warn": "kept, unless another rule drops them",
        "fail": "the run fails",
    }


def test_columns_have_a_schema_and_come_from_the_raw_split(tmp_path: Path) -> None:
    for split in ("test_gen", "train_sft", "validation_sft"):
        metadata = recorded(metadata_of(write_sample(tmp_path / split, split, chat_rows(3))))
        assert metadata["dagster/column_schema"].schema == CHAT_SCHEMA
        assert metadata["dagster/column_lineage"].column_lineage.deps_by_column == {
            name: [dg.TableColumnDep(RAW, name)] for name in ("prompt", "prompt_id", "messages")
        }


def test_conversations_and_violations_are_shown(tmp_path: Path) -> None:
    ref = write_sample(tmp_path, "train_sft", chat_rows(30), quarantined=3)
    metadata = metadata_of(ref)
    assert metadata["conversations"].md_str.count("#### Row") == 5
    assert "### roles: 3 rows, in quarantine" in metadata["violations"].md_str
    assert metadata["violations"].md_str.count("#### Row") == 3


def test_files_are_named_when_they_are_there(tmp_path: Path) -> None:
    ref = write_sample(tmp_path, "train_sft", chat_rows(3))
    metadata = metadata_of(ref)
    assert {name: metadata[name].path for name in ("jsonl", "parquet", "report")} == {
        "jsonl": str(ref.jsonl),
        "parquet": str(ref.parquet),
        "report": str(ref.report),
    }
    assert "quarantine" not in metadata
    elsewhere = DataFile.at("/somewhere/train_sft.quarantine.parquet")
    with_quarantine = metadata_of(ref.model_copy(update={"quarantine": elsewhere}))
    assert with_quarantine["quarantine"].path == "/somewhere/train_sft.quarantine.parquet"


def test_validation_shows_its_own_rows_and_where_all_others_went(tmp_path: Path) -> None:
    train = write_sample(tmp_path, "train_sft", chat_rows(30), quarantined=3, not_sampled=60)
    validation = write_sample(tmp_path, "validation_sft", chat_rows(7, "validation"))
    profiles: dict[str, Profile] = {}
    for ref in (train, validation):
        profiles |= read_report(Path(ref.report)).samples
    with_report(train, samples=profiles, rows_total=100)
    metadata = metadata_of(validation.model_copy(update={"report": train.report, "rows_total": 100}))
    assert metadata["dagster/row_count"] == 7
    assert "validation 0?" in metadata["conversations"].md_str
    assert [row["rows"] for row in records(metadata["where_rows_went"])] == ["100", "60", "3", "30", "7"]


def test_the_largest_report_fits_into_the_event_log(tmp_path: Path) -> None:
    row = {**chat_rows(1)[0], "messages": [{"role": "user", "content": "😀" * 4000}] * 60}
    ref = write_sample(tmp_path, "train_sft", chat_rows(30))
    report: SplitReport = read_report(Path(ref.report))
    profile = report.samples["train_sft"]
    role = profile.roles[0].model_copy(update={"role": "😀" * 4000})
    examples = tuple(make_conversation(number, row) for number in range(5))
    with_report(
        ref,
        samples={"train_sft": profile.model_copy(update={"examples": examples, "roles": (role,) * 500})},
        violations=make_violations("train_sft", dict.fromkeys(RULES, 9), [row] * 3),
    )
    metadata = recorded(metadata_of(ref))
    assert len(json.dumps({key: dg.serialize_value(value) for key, value in metadata.items()})) < 150_000


def test_a_raw_split_has_its_size_and_schema() -> None:
    ref = SplitRef(
        split="train_sft",
        files=(DataFile.at("a"), DataFile.at("b")),
        rows=5,
        size_bytes=9,
        sha256="ab",
        source="bundled",
    )
    metadata = split_metadata(ref)
    assert (metadata["dagster/row_count"], metadata["size_bytes"], metadata["shards"]) == (5, 9, 2)
    assert metadata["dagster/column_schema"] == CHAT_SCHEMA
    assert "not_carried" not in metadata
    with_more = ref.model_copy(update={"not_carried": {"page": 1234, "messages.name": 2}})
    assert [dict(row) for row in records(split_metadata(with_more)["not_carried"])] == [
        {"field": "page", "rows": "1,234"},
        {"field": "messages.name", "rows": "2"},
    ]


def test_a_sample_says_what_of_the_source_it_does_not_hold(tmp_path: Path) -> None:
    ref = write_sample(tmp_path, "test_sft", chat_rows(3))
    assert "not_carried" not in metadata_of(ref)
    with_report(ref, not_carried={f"field {number}": 3 for number in range(150)})
    assert len(records(metadata_of(ref)["not_carried"])) == 100


def test_metadata_is_in_the_order_of_what_a_person_asks() -> None:
    metadata = {
        "sha256": "ab",
        "rows": 1234,
        "jsonl": dg.MetadataValue.path("/a"),
        "studio": dg.MetadataValue.url("https://a"),
        "inputs": dg.MetadataValue.json({}),
        "picture": dg.MetadataValue.md("![]()"),
        "changed": "nothing",
        "loss": 0.0123456,
        "cost": 12345.678,
        "action": "made",
        "reason": "There was none.",
    }
    shown = presented(metadata, "cost", "loss", "not there")
    assert list(shown) == [
        *("action", "reason", "changed", "cost", "loss", "picture", "studio", "rows", "jsonl", "sha256", "inputs")
    ]
    assert (shown["loss"], shown["cost"], shown["rows"]) == (0.01235, 12346, 1234)


@pytest.mark.parametrize("number", [0.0, float("inf")])
def test_what_cannot_be_rounded_stays(number: float) -> None:
    assert rounded(number) == number
