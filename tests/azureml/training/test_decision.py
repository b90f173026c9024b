"""The decision table: every state of the service, every state of the output, forced or not, attempts left or not."""

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import AttemptsExhausted
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.models.folders import ModelFolder
from phi_assets.azureml.training import decision
from phi_assets.azureml.training.decision import Attempt
from phi_assets.azureml.training.identity import JobRequest
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.azureml.training.outputs import OutputReport
from phi_assets.emulator.process import Connection
from tests.azureml.toys import make_request
from tests.azureml.training.waiting_room import exists, set_state
from tests.emulator_requests import Requests

ACTIVE = (
    "NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Running", "Finalizing",
    "CancelRequested", "NotResponding", "Paused", "Unknown", "SomethingNew",
)  # fmt: skip
STATES = (*ACTIVE, "Completed", "Failed", "Canceled")
OUTPUTS = ("complete", "empty", "MLmodel is missing", "MLmodel is empty", "all files are empty")
IN_WORDS = {
    "complete": "is Completed and its model is complete (3 files",
    "empty": "trained_model/ is empty",
    "MLmodel is missing": "but no MLmodel",
    "MLmodel is empty": "but an empty MLmodel",
    "all files are empty": "but an empty MLmodel",
}


def expected(state: str, output: str, force: bool, attempts_left: bool) -> str:
    """The table of the design, read from top to bottom."""
    if state in ACTIVE:
        return "attached"
    if state == "Completed" and output == "complete" and not force:
        return "reused"
    if force or attempts_left:
        return "resubmitted"
    return "exhausted"


class Decided(Exception):
    """Ends `ensure_job` right after it has decided."""


def decide(ws: Workspace, request: JobRequest, force: bool) -> tuple[str, str]:
    """Action and reason of `ensure_job`, which gets no further."""

    def log(line: str) -> None:
        reason, said, action = line.partition(" Action: ")
        if said:
            raise Decided(action.rstrip("."), reason)

    try:
        ensure_job(ws, request=request, force=force, log=log)
    except Decided as decided:
        return decided.args[0], decided.args[1]
    except AttemptsExhausted as exhausted:
        return "exhausted", str(exhausted)
    raise AssertionError("nothing was decided")


@pytest.fixture(scope="module")
def jobs(toys: Workspace, tmp_path_factory: pytest.TempPathFactory, emulator: Connection) -> dict[str, JobRequest]:
    """One ended job for each state of an output."""
    requests = {}
    for output in OUTPUTS:
        request = make_request(toys, tmp_path_factory.mktemp("job"), prefix=output)
        job = ensure_job(toys, request=request)
        folder = next(emulator.directory.rglob(f"phi/{job.name}/trained_model"))
        if output == "empty":
            shutil.rmtree(folder)
        elif output == "MLmodel is missing":
            (folder / "MLmodel").unlink()
        elif output == "MLmodel is empty":
            (folder / "MLmodel").write_bytes(b"")
        elif output == "all files are empty":
            for file in folder.rglob("*.*"):
                file.write_bytes(b"")
            (folder / "MLmodel").write_bytes(b"")
        requests[output] = request
    return requests


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("output", OUTPUTS)
def test_the_latest_attempt_decides(
    toys: Workspace, jobs: dict[str, JobRequest], emulator: Connection, state: str, output: str
) -> None:
    request = jobs[output]
    set_state(emulator, request.job_name(1), state)
    with Requests(emulator) as requests:
        for force, attempts in product((False, True), (1, 2)):
            asked = replace(request, finetune=request.finetune.model_copy(update={"attempts": attempts}))
            action, reason = decide(toys, asked, force)
            assert action == expected(state, output, force, attempts_left=attempts > 1)
            if state == "Completed":
                assert IN_WORDS[output] in reason
            else:
                assert f"Job {request.job_name(1)} is {state}" in reason
            if action == "exhausted":
                assert "attempt 1 of 1" in reason
    assert not requests.writes


def test_without_an_attempt_the_first_is_submitted(toys: Workspace, tmp_path: Path) -> None:
    request = make_request(toys, tmp_path)
    for force in (False, True):
        assert decide(toys, request, force) == ("submitted", "No job for these inputs exists.")
    assert not exists(toys, request, 1)


def test_what_the_same_caller_has_forced_is_not_forced_again(toys: Workspace, tmp_path: Path) -> None:
    request = make_request(toys, tmp_path)
    ensure_job(toys, request=request)
    forced = ensure_job(toys, request=request, force=True, forced_by="run 1")
    assert (forced.action, forced.attempt) == ("resubmitted", 2)
    again = ensure_job(toys, request=request, force=True, forced_by="run 1")
    assert (again.action, again.name) == ("reused", forced.name)
    other = ensure_job(toys, request=request, force=True, forced_by="run 2")
    assert (other.action, other.attempt) == ("resubmitted", 3)


def test_a_model_that_is_not_where_nobody_says_it_is_costs_no_second_job() -> None:
    nowhere = OutputReport(ModelFolder("azureml://datastores/d/paths/p/", 0, 0, None), is_named=False)
    attempt = Attempt(1, "job-r1", JobStatus.COMPLETED, "Completed", "https://studio", nowhere)
    doubtful = decision.decide(attempt, force=False, attempts=3)
    assert doubtful.action == "reused"
    assert "may not be the place" in doubtful.reason
    assert decision.decide(attempt, force=True, attempts=3).action == "resubmitted"
    named = replace(attempt, output=replace(nowhere, is_named=True))
    assert decision.decide(named, force=False, attempts=3).action == "resubmitted"
