"""Samples as data assets: one upload per content."""

from pathlib import Path

import pytest

from phi_assets.azureml.client import Workspace
from phi_assets.azureml.data import data_version, ensure_data_asset
from phi_assets.azureml.errors import DataUploadFailed
from phi_assets.emulator.process import Connection
from tests.azureml.toys import make_sample
from tests.emulator_requests import Requests


def test_uploaded_once_then_found_by_its_hash(toys: Workspace, tmp_path: Path, emulator: Connection) -> None:
    sample = make_sample(tmp_path, "train_sft", str(tmp_path))
    with Requests(emulator) as first:
        created = ensure_data_asset(toys, "reuse", sample)
    assert (created.action, created.version) == ("created", data_version(sample))
    assert [line for line in first.writes if "LocalUpload" in line]

    with Requests(emulator) as second:
        reused = ensure_data_asset(toys, "reuse", sample)
    assert reused == created.model_copy(update={"action": "reused"})
    assert len(second.lines) == 1
    assert not second.writes


def test_reuse_does_not_need_the_file(toys: Workspace, tmp_path: Path) -> None:
    sample = make_sample(tmp_path, "train_sft", str(tmp_path))
    ensure_data_asset(toys, "gone", sample)
    Path(sample.jsonl).unlink()
    assert ensure_data_asset(toys, "gone", sample).action == "reused"


def test_other_content_is_another_version(toys: Workspace, tmp_path: Path) -> None:
    first = ensure_data_asset(toys, "versions", make_sample(tmp_path, "train_sft", f"one {tmp_path}"))
    second = ensure_data_asset(toys, "versions", make_sample(tmp_path, "train_sft", f"two {tmp_path}"))
    assert second.action == "created"
    assert second.version != first.version


def test_a_missing_file_is_named(toys: Workspace, tmp_path: Path) -> None:
    sample = make_sample(tmp_path, "test_sft", f"missing {tmp_path}")
    Path(sample.jsonl).unlink()
    with pytest.raises(DataUploadFailed, match=r"test_sft.jsonl.*Materialize sampled/test_sft again"):
        ensure_data_asset(toys, "missing", sample)
