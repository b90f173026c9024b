"""The Dagster resource of the chat data."""

from pathlib import Path

from phi_assets.dataset.sample import read_jsonl
from phi_assets.recipe import DatasetSection, SampleSection
from phi_assets.refs import DatasetRef
from phi_assets.resources.ultrachat import UltrachatSource
from tests.dataset.shards import make_rows, write_shards


def quiet(_: str) -> None:
    """Says nothing."""


def test_from_recipe_to_sample(tmp_path: Path) -> None:
    rows = make_rows(40)
    write_shards(tmp_path / "source", "train_sft", rows)
    section = DatasetSection(source="local", path=tmp_path / "source")
    source = UltrachatSource.from_recipe(section, tmp_path / "data")
    assert source.section == section
    raw = source.fetch(source.pin(), "train_sft", quiet)
    sample = source.sample(raw, SampleSection(percent=50), quiet)
    assert list(read_jsonl(Path(sample.jsonl))) == rows[:20]
    assert Path(sample.jsonl).is_relative_to(tmp_path / "data")


def test_samples_of_two_recipes_do_not_replace_each_other(tmp_path: Path) -> None:
    write_shards(tmp_path, "train_sft", make_rows(40))
    source = UltrachatSource.from_recipe(DatasetSection(source="local", path=tmp_path), tmp_path / "data")
    raw = source.fetch(source.pin(), "train_sft", quiet)
    half, quarter = (source.sample(raw, SampleSection(percent=percent), quiet) for percent in (50, 25))
    assert [sum(1 for _ in read_jsonl(Path(ref.jsonl))) for ref in (half, quarter)] == [20, 10]
    assert source.sample(raw, SampleSection(percent=50), quiet) == half


def test_a_pinned_commit_needs_no_hub_to_be_named(tmp_path: Path) -> None:
    source = UltrachatSource.from_recipe(DatasetSection(revision="a" * 40), tmp_path)
    assert source.pin() == DatasetRef(source="hub", name="HuggingFaceH4/ultrachat_200k", revision="a" * 40)
