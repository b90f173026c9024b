"""Exactly once: every row of the decision table, against the real emulator with jobs that cost nothing."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import (
    AttemptsExhausted,
    JobCanceled,
    JobConflict,
    JobFailed,
    JobNotFound,
    JobTimeout,
    JobUnderway,
    OutputMissing,
    SubmissionFailed,
)
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.training.cancelling import cancel_job
from phi_assets.azureml.training.jobs import SubmittedJob, ensure_job
from phi_assets.azureml.training.lookup import get_job
from phi_assets.emulator.process import Connection
from tests.azureml.toys import make_request
from tests.azureml.training.waiting_room import Lines, Submissions, exists, set_state
from tests.emulator_requests import Requests


def test_submitted_then_reused_without_a_write(toys: Workspace, tmp_path: Path, emulator: Connection) -> None:
    request = make_request(toys, tmp_path)
    submissions, lines = Submissions(), Lines()
    first = ensure_job(toys, request=request, log=lines, on_submitted=submissions)
    assert (first.action, first.attempt, first.status) == ("submitted", 1, "Completed")
    assert first.name == request.job_name(1)
    reason = "No job for these inputs exists."
    assert first.reason == reason
    assert submissions == [
        SubmittedJob(first.name, first.studio_url, "submitted", 1, request.fingerprint, reason, request.labelled_inputs)
    ]
    assert first.metrics["loss"] == 1.0
    assert any(line.startswith(f"Job {first.name}:") and line.endswith("-> Completed") for line in lines)
    assert any(line.strip().startswith("toy_step:") and line.endswith("Completed") for line in lines)
    assert any("toy_step" in line and "'loss': 3.0" in line for line in lines)

    with Requests(emulator) as again:
        second = ensure_job(toys, request=request)
    reason = f"Job {first.name} is Completed and its model is complete (3 files, {second.reason.rpartition(', ')[2]}"
    assert second == first.model_copy(update={"action": "reused", "reason": reason})
    assert not again.writes
    assert len(again.lines) <= 12


def test_the_job_carries_its_fingerprint_inputs_and_name_for_people(toys: Workspace, tmp_path: Path) -> None:
    request = make_request(toys, tmp_path, prefix="tags: ")
    ensure_job(toys, request=request)
    job = get_job(toys, request.job_name(1))
    assert job.display_name == request.display_name(1)
    assert job.experiment_name == "toys"
    assert job.tags["phi/fingerprint"] == request.fingerprint
    assert job.tags["phi/train"] == request.train.sha256
    assert job.tags["phi/parameter/prefix"] == "tags: "


def test_a_second_caller_attaches_to_the_running_job(
    toys: Workspace, tmp_path: Path, gate: Path, background: ThreadPoolExecutor
) -> None:
    request = make_request(toys, tmp_path, gate=str(gate))
    submissions, lines = Submissions(), Lines()
    first = background.submit(ensure_job, toys, request=request, on_submitted=submissions)
    submissions.first()
    second = background.submit(ensure_job, toys, request=request, log=lines)
    lines.expect("Action: attached")
    gate.touch()
    assert (first.result(60).action, second.result(60).action) == ("submitted", "attached")
    assert first.result().name == second.result().name
    assert not exists(toys, request, 2)


def test_two_at_the_same_instant_make_one_job(toys: Workspace, tmp_path: Path, background: ThreadPoolExecutor) -> None:
    request = make_request(toys, tmp_path)
    # Another experiment is other content to the service, which then refuses the second PUT, but not to us.
    rival = replace(request, finetune=request.finetune.model_copy(update={"experiment": "rival"}))
    assert rival.fingerprint == request.fingerprint
    barrier = threading.Barrier(2)

    def together(line: str) -> None:
        if "Action: submitted" in line:
            barrier.wait(60)

    jobs = [background.submit(ensure_job, toys, request=each, log=together) for each in (request, rival)]
    assert sorted(job.result(60).action for job in jobs) == ["attached", "submitted"]
    assert len({job.result().name for job in jobs}) == 1
    assert not exists(toys, request, 2)


def test_a_failed_job_raises_the_services_text_and_is_resubmitted_until_the_limit(
    toys: Workspace, tmp_path: Path, emulator: Connection
) -> None:
    request = make_request(toys, tmp_path, attempts=2, outcome="fail")
    with pytest.raises(JobFailed, match="the toy step was told to fail") as caught:
        ensure_job(toys, request=request)
    assert request.job_name(1) in str(caught.value)
    assert caught.value.studio_url
    assert caught.value.studio_url in str(caught.value)

    lines = Lines()
    with pytest.raises(JobFailed, match=request.job_name(2)):
        ensure_job(toys, request=request, log=lines)
    assert any("is Failed" in line and "Action: resubmitted" in line for line in lines)

    with Requests(emulator) as exhausted, pytest.raises(AttemptsExhausted, match="attempt 2 of 2"):
        ensure_job(toys, request=request)
    assert not exhausted.writes


def test_a_job_cancelled_from_outside_fails_the_wait_and_is_resubmitted_later(
    toys: Workspace, tmp_path: Path, gate: Path, background: ThreadPoolExecutor
) -> None:
    request = make_request(toys, tmp_path, gate=str(gate))
    submissions, lines = Submissions(), Lines()
    waiting = background.submit(ensure_job, toys, request=request, log=lines, on_submitted=submissions)
    lines.expect("Running")
    assert cancel_job(toys, submissions.first().name) is JobStatus.CANCELED
    with pytest.raises(JobCanceled, match=rf"{request.job_name(1)} was cancelled"):
        waiting.result(60)
    gate.touch()
    again = ensure_job(toys, request=request)
    assert (again.action, again.attempt) == ("resubmitted", 2)


def test_completed_without_its_output_is_no_success(toys: Workspace, tmp_path: Path) -> None:
    request = make_request(toys, tmp_path, attempts=1, outcome="nothing")
    with pytest.raises(OutputMissing, match=rf"{request.job_name(1)} is Completed, but .* is empty"):
        ensure_job(toys, request=request)
    with pytest.raises(AttemptsExhausted, match="is empty"):
        ensure_job(toys, request=request)


@pytest.mark.parametrize("damage", ["everything", "MLmodel", "MLmodel is empty"])
def test_a_lost_output_is_made_again(toys: Workspace, tmp_path: Path, emulator: Connection, damage: str) -> None:
    request = make_request(toys, tmp_path, prefix=damage)
    first = ensure_job(toys, request=request)
    output = next(emulator.directory.rglob(f"phi/{first.name}/trained_model"))
    if damage == "everything":
        shutil.rmtree(output)
    elif damage == "MLmodel":
        (output / "MLmodel").unlink()
    else:
        (output / "MLmodel").write_text("")
    again = ensure_job(toys, request=request)
    assert (again.action, again.attempt) == ("resubmitted", 2)


def test_force_makes_another_attempt_beyond_the_limit(toys: Workspace, tmp_path: Path) -> None:
    request = make_request(toys, tmp_path, attempts=1)
    ensure_job(toys, request=request)
    forced = ensure_job(toys, request=request, force=True)
    assert (forced.action, forced.attempt) == ("resubmitted", 2)
    assert ensure_job(toys, request=request).name == forced.name


def test_force_never_makes_a_second_job_beside_a_running_one(
    toys: Workspace, tmp_path: Path, gate: Path, background: ThreadPoolExecutor
) -> None:
    request = make_request(toys, tmp_path, gate=str(gate))
    submissions, lines = Submissions(), Lines()
    background.submit(ensure_job, toys, request=request, on_submitted=submissions)
    submissions.first()
    forced = background.submit(ensure_job, toys, request=request, log=lines, force=True)
    lines.expect("Action: attached")
    gate.touch()
    assert forced.result(60).attempt == 1


@pytest.mark.parametrize("state", ["NotResponding", "Paused", "CancelRequested", "SomethingNew"])
def test_states_that_are_no_end_are_waited_out(
    toys: Workspace, tmp_path: Path, gate: Path, emulator: Connection, background: ThreadPoolExecutor, state: str
) -> None:
    request = make_request(toys, tmp_path, gate=str(gate), prefix=state)
    name, lines = request.job_name(1), Lines()
    waiting = background.submit(ensure_job, toys, request=request, log=lines)
    # The job, and not a step of it.
    lines.expect(f"Job {name}: ", "Running")
    set_state(emulator, name, state)
    lines.expect(f"Running -> {JobStatus(state)}")
    assert not waiting.done()
    set_state(emulator, name, "Running")
    lines.expect(f"{JobStatus(state)} -> Running")
    gate.touch()
    assert waiting.result(60).action == "submitted"
    if state == "SomethingNew":
        assert sum("'SomethingNew'" in line for line in lines) == 1


def test_a_job_over_its_time_is_cancelled(toys: Workspace, tmp_path: Path, gate: Path) -> None:
    request = make_request(toys, tmp_path, gate=str(gate))
    hurried = replace(request, finetune=request.finetune.model_copy(update={"timeout_hours": 0.5 / 3600}))
    with pytest.raises(JobTimeout, match=r"ran for more than .*has been cancelled"):
        ensure_job(toys, request=hurried)
    assert get_job(toys, request.job_name(1)).status == "Canceled"


def test_a_job_that_another_recipe_has_submitted_runs_on_when_this_one_waits_no_longer(
    toys: Workspace, tmp_path: Path, gate: Path
) -> None:
    theirs = replace(make_request(toys, tmp_path, gate=str(gate)), owner=toys.owner("patient"))
    with pytest.raises(JobUnderway):
        ensure_job(toys, request=theirs, wait=False)
    hurried = theirs.finetune.model_copy(update={"timeout_hours": 0.5 / 3600})
    words = r"ran for more than .*: it was submitted by recipe 'patient' of project .*, for which it runs on"
    with pytest.raises(JobTimeout, match=words):
        ensure_job(toys, request=replace(theirs, owner=toys.owner("hasty"), finetune=hurried))
    gate.touch()
    assert ensure_job(toys, request=theirs).action == "attached"


def test_a_refused_job_says_why_and_leaves_nothing(toys: Workspace, tmp_path: Path) -> None:
    request = make_request(toys, tmp_path)
    request = replace(request, compute=request.compute.model_copy(update={"name": "no-such-cluster"}))
    with pytest.raises(SubmissionFailed, match=r"no compute 'no-such-cluster'.*Nothing is running"):
        ensure_job(toys, request=request)
    assert not exists(toys, request, 1)


def test_a_job_of_somebody_else_under_our_name_is_not_taken_for_ours(
    toys: Workspace, tmp_path: Path, emulator: Connection
) -> None:
    request = make_request(toys, tmp_path)
    job: Any = get_job(toys, ensure_job(toys, request=request).name)
    job.tags = {**job.tags, "phi/fingerprint": "f" * 64}
    toys.ml.jobs.create_or_update(job)
    with Requests(emulator) as requests, pytest.raises(JobConflict, match="another fine-tune"):
        ensure_job(toys, request=request)
    assert not requests.writes


def test_cancelling_what_has_ended_or_never_was(toys: Workspace, tmp_path: Path) -> None:
    done = ensure_job(toys, request=make_request(toys, tmp_path))
    assert cancel_job(toys, done.name) is JobStatus.COMPLETED
    with pytest.raises(JobNotFound, match="no-such-job"):
        cancel_job(toys, "no-such-job")


def test_a_deleted_attempt_does_not_hide_the_later_one(
    toys: Workspace, tmp_path: Path, gate: Path, background: ThreadPoolExecutor
) -> None:
    request = make_request(toys, tmp_path, gate=str(gate))
    gate.write_text("fail")
    with pytest.raises(JobFailed):
        ensure_job(toys, request=request)
    gate.unlink()
    submissions, lines = Submissions(), Lines()
    background.submit(ensure_job, toys, request=request, on_submitted=submissions)
    assert submissions.first().attempt == 2
    delete_job(toys, request.job_name(1))
    again = background.submit(ensure_job, toys, request=request, log=lines)
    lines.expect("Action: attached")
    gate.touch()
    assert again.result(60).attempt == 2
    assert not exists(toys, request, 1)


def delete_job(ws: Workspace, name: str) -> None:
    """The SDK has no method for it."""
    url = f"{ws.resource_manager}{ws.path}/jobs/{name}?api-version=2025-12-01"
    ws.http.delete(url, headers={"Authorization": f"Bearer {ws.bearer()}"}).raise_for_status()
