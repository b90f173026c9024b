"""Samples as data assets: one upload per content."""

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.azureml.connection.errors import DataUploadFailed
from phi_assets.azureml.connection.retry import get_or_none
from phi_assets.azureml.training.data import data_version, ensure_data_asset
from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.fingerprint import file_sha256
from phi_assets.refs import DataFile, SampleRef
from tests.azureml.toys import make_sample
from tests.e2e.harness import template
from tests.emulator_requests import Requests


def test_uploaded_once_then_found_by_its_hash(toys: Workspace, tmp_path: Path, emulator: Connection) -> None:
    sample = make_sample(tmp_path, "train_sft", str(tmp_path))
    with Requests(emulator) as first:
        created = ensure_data_asset(toys, "reuse", sample)
    assert (created.action, created.version) == ("created", data_version(sample))
    assert [line for line in first.writes if "LocalUpload" in line]

    with Requests(emulator) as second:
        reused = ensure_data_asset(toys, "reuse", sample)
    assert reused == created.model_copy(update={"action": "reused", "reason": reused.reason})
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
    with pytest.raises(DataUploadFailed, match=r"test_sft.jsonl.*Materialize sampled_test_sft again"):
        ensure_data_asset(toys, "missing", sample)


def test_a_file_that_is_not_what_the_sample_says_is_not_registered(
    toys: Workspace, tmp_path: Path, emulator: Connection
) -> None:
    sample = make_sample(tmp_path, "validation_sft", f"before {tmp_path}")
    make_sample(tmp_path, "validation_sft", f"behind {tmp_path}")
    with (
        Requests(emulator) as requests,
        pytest.raises(DataUploadFailed, match=r"validation_sft.jsonl has changed.*Materialize sampled_validation_sft"),
    ):
        ensure_data_asset(toys, "changed", sample)
    assert not requests.writes


def test_the_asset_says_what_it_holds(toys: Workspace, tmp_path: Path) -> None:
    sample = make_sample(tmp_path, "validation_sft", str(tmp_path))
    sample = sample.model_copy(update={"rows": 1200, "rows_total": 20_000, "rows_quarantined": 7})
    asset: Any = toys.ml.data.get("told", ensure_data_asset(toys, "told", sample).version)
    assert asset.description == "Sample validation_sft: 1,200 of the 20,000 rows of its raw split"
    assert asset.tags == {
        **toys.owner().tags,
        "phi/sha256": sample.sha256,
        "phi/split": "validation_sft",
        "phi/rows": "1200",
        "phi/rows_total": "20000",
        "phi/rows_quarantined": "7",
    }


def _upload(emulator: Path, sample: SampleRef, said: Path) -> None:
    ensure_data_asset(connect_emulator(process.ensure_running(emulator)), "killed", sample)
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    said.write_text(str(int(peak.split()[1]) << 10))


def uploading(emulator: Connection, sample: SampleRef, said: Path) -> BaseProcess:
    """A process of its own that uploads, and then writes down how much memory it ever had."""
    template.serve_forks()
    context = multiprocessing.get_context("forkserver")
    worker = context.Process(target=_upload, args=(emulator.directory, sample, said))
    worker.start()
    return worker


@pytest.mark.slow
def test_an_upload_does_not_read_the_file_into_memory(toys: Workspace, tmp_path: Path, emulator: Connection) -> None:
    def peak(megabytes: int) -> int:
        path = tmp_path / "train_sft.jsonl"
        with path.open("w") as file:
            for number in range(megabytes):
                file.write(json.dumps({"number": number, "text": "x" * 1_000_000}) + "\n")
        sample = make_sample(tmp_path, "test_sft").model_copy(
            update={"jsonl": DataFile.at(path), "size_bytes": path.stat().st_size, "sha256": file_sha256(path)}
        )
        with Requests(emulator) as requests:
            worker = uploading(emulator, sample, tmp_path / "peak")
            worker.join()
        assert worker.exitcode == 0
        assert requests.uploaded == {path.name: sample.size_bytes}
        path.unlink()
        return int((tmp_path / "peak").read_text())

    # The SDK sends blocks of 4 MiB, several at a time.
    assert peak(300) - peak(1) < 150_000_000


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [5, 17, 18], ids=["in the middle", "before the list of blocks", "before the mark"])
def test_an_upload_whose_worker_was_killed_is_completed_by_the_next(
    toys: Workspace, tmp_path: Path, emulator: Connection, control: Control, blocks: int
) -> None:
    # More than 64 MiB are sent in blocks of 4 MiB, then a list of them, then the mark of completeness.
    sample = make_sample(tmp_path, "train_sft", f"{blocks:02}" * 17_500_000)
    assert -(-sample.size_bytes // (4 << 20)) == 17
    held = control.add_fault(plane="blob", method="PUT", skip=blocks, action="hold", when="before")
    worker = uploading(emulator, sample, tmp_path / "peak")
    control.wait_until_held(held)
    worker.kill()
    worker.join(60)
    assert worker.exitcode == -9
    control.release(held, discard=True)
    assert get_or_none(lambda: toys.ml.data.get("killed", data_version(sample))) is None

    ref = ensure_data_asset(toys, "killed", sample)
    assert ref.action == "created"
    asset: Any = toys.ml.data.get("killed", ref.version)
    (uploaded,) = emulator.directory.rglob(asset.path.partition("/paths/")[2])
    assert uploaded.read_bytes() == Path(sample.jsonl).read_bytes()


def test_the_same_content_uploaded_by_two_at_once_is_one_asset(
    toys: Workspace, tmp_path: Path, control: Control, background: ThreadPoolExecutor
) -> None:
    sample = make_sample(tmp_path, "train_sft", str(tmp_path))
    held = control.add_fault(plane="blob", method="PUT", count=1, action="hold", when="before")
    slow = background.submit(ensure_data_asset, toys, "contested", sample)
    control.wait_until_held(held)
    quick = ensure_data_asset(toys, "contested", sample)
    control.release(held)
    late = slow.result(60)
    assert (quick.action, late.action) == ("created", "reused")
    assert "Somebody else" in late.reason
    assert late.id == quick.id
