"""The documents of jobs and runs, seen inside the emulator."""

from pathlib import Path
from typing import Any

import pytest

from phi_assets.emulator.runner.records import Records
from phi_assets.emulator.workspace.context import Emulator, open_emulator


@pytest.fixture
def emulator(tmp_path: Path) -> Emulator:
    opened = open_emulator(tmp_path / "emulator", "https://127.0.0.1:1")
    opened.store.put("job", "job", {"status": "NotStarted"})
    return opened


def statuses(records: Records) -> list[str]:
    """Of the job and of its run."""
    job, run = records.job("job"), records.run("job")
    assert job is not None
    assert run is not None
    return [job["status"], run["status"]]


def test_a_job_and_its_run_change_together(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(emulator)
    records.create_root("job", {})
    assert records.set_status("job", "Running")
    assert statuses(records) == ["Running", "Running"]
    update = emulator.store.update

    def fail_for_jobs(kind: str, *arguments: Any) -> Any:
        if kind == "job":
            raise OSError("the disk is full")
        return update(kind, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(emulator.store, "update", fail_for_jobs)
        with pytest.raises(OSError, match="the disk is full"):
            records.set_status("job", "Failed")
    assert statuses(records) == ["Running", "Running"]
    assert records.set_status("job", "Canceled")
    assert not records.set_status("job", "Running")
    assert statuses(records) == ["Canceled", "Canceled"]
