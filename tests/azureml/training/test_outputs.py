"""Where the model of a job lies: told by us, said by run history, or found by registering it; never declared lost."""

from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import OutputMissing
from phi_assets.azureml.models.registered import ensure_registered_model
from phi_assets.azureml.training import submission
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.azureml.training.outputs import inspect_output, model_place
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml.toys import make_request


def _nobody_says_where(control: Control, *, count: int | None = None) -> None:
    """Run data of jobs and steps cannot be read, the first `count` times."""
    control.add_fault(
        action="status", status=403, code="AuthorizationFailed", plane="history", path="rundata", count=count
    )


def test_the_job_is_told_where_to_put_its_model(toys: Workspace, tmp_path: Path) -> None:
    job = ensure_job(toys, request=make_request(toys, tmp_path))
    found: Any = toys.ml.jobs.get(job.name)
    assert found.outputs["trained_model"].path == model_place(job.name)
    report = inspect_output(toys, found)
    assert (report.folder.uri, report.is_complete, job.model_seen) == (model_place(job.name), True, True)


def test_where_the_service_puts_it_elsewhere_run_history_says_so(
    toys: Workspace, control: Control, tmp_path: Path
) -> None:
    request = make_request(toys, tmp_path)
    control.add_scenario("job", scenario="output_paths_ignored", match=request.job_name(1))
    job = ensure_job(toys, request=request)
    report = inspect_output(toys, toys.ml.jobs.get(job.name))
    assert (report.is_complete, job.model_seen) == (True, True)
    assert report.folder.uri != model_place(job.name)
    assert job.name not in report.folder.uri  # neither the job's name nor the output's is in the default
    assert ensure_job(toys, request=request).action == "reused"


def test_where_the_jobs_own_run_data_cannot_be_read_its_steps_say_where_the_model_is(
    toys: Workspace, control: Control, tmp_path: Path
) -> None:
    request = make_request(toys, tmp_path)
    control.add_scenario("job", scenario="output_paths_ignored", match=request.job_name(1))
    _nobody_says_where(control, count=1)
    job = ensure_job(toys, request=request)
    assert (job.action, job.model_seen) == ("submitted", True)


def test_a_job_that_was_told_no_place_is_adopted(
    toys: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier versions have submitted them."""
    request = make_request(toys, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(submission, "model_place", lambda name: None)
        submitted = ensure_job(toys, request=request)
    found: Any = toys.ml.jobs.get(submitted.name)
    assert found.outputs["trained_model"].path is None
    adopted = ensure_job(toys, request=request)
    assert (adopted.action, adopted.name, adopted.model_seen) == ("reused", submitted.name, True)


def test_doubt_loses_no_job_and_registration_decides(toys: Workspace, control: Control, tmp_path: Path) -> None:
    request = make_request(toys, tmp_path)
    control.add_scenario("job", scenario="output_paths_ignored", match=request.job_name(1))
    _nobody_says_where(control)
    lines: list[str] = []
    job = ensure_job(toys, request=request, log=lines.append)
    assert (job.action, job.model_seen) == ("submitted", False)
    assert any("run history does not say where its outputs lie" in line for line in lines)
    again = ensure_job(toys, request=request)
    assert (again.action, again.name) == ("reused", job.name)
    assert "may not be the place" in again.reason

    lines.clear()
    model = ensure_registered_model(toys, job=again, name="doubtful", description="", log=lines.append)
    assert model.action == "created"
    assert lines[-1].startswith(f"Model doubtful:{model.version}: its model is complete")


def test_a_registered_version_without_a_model_is_an_error(
    toys: Workspace, control: Control, emulator: Connection, tmp_path: Path
) -> None:
    request = make_request(toys, tmp_path, prefix=f"lost {tmp_path.name}")
    control.add_scenario("job", scenario="output_paths_ignored", match=request.job_name(1))
    job = ensure_job(toys, request=request)
    ensure_registered_model(toys, job=job, name="lost", description="")
    folder = inspect_output(toys, toys.ml.jobs.get(job.name)).folder.uri.partition("/paths/")[2]
    (path,) = emulator.directory.rglob(folder.rstrip("/"))
    (path / "MLmodel").unlink()
    unseen = job.model_copy(update={"model_seen": False})
    with pytest.raises(OutputMissing, match=r"registered from job .*, but .*no MLmodel\. Delete that version"):
        ensure_registered_model(toys, job=unseen, name="lost", description="")


def test_a_place_that_the_service_names_and_that_is_empty_proves_absence(
    toys: Workspace, control: Control, tmp_path: Path
) -> None:
    request = make_request(toys, tmp_path, attempts=1)
    for scenario in ("output_paths_ignored", "completed_without_output"):
        control.add_scenario("job", scenario=scenario, match=request.job_name(1))
    with pytest.raises(OutputMissing, match=r"is empty\. Run again to submit the next attempt"):
        ensure_job(toys, request=request)
