"""Losing sight of a job is not its end: it is said at once, sat out, and changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import SightLost, SubmissionFailed
from phi_assets.azureml.training.identity import JobRequest
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.azureml.training.lookup import get_job
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.azureml.out_of_sight import EXPIRED, FORBIDDEN, LOSSES, attentive, refuse, with_helper
from tests.azureml.toys import make_request
from tests.azureml.training.waiting_room import Lines
from tests.emulator_requests import Requests

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def keen(toys: Workspace, emulator: Connection) -> Workspace:
    return attentive(emulator)


@pytest.fixture
def one_hour(toys: Workspace, tmp_path: Path, gate: Path) -> JobRequest:
    """A job that waits for the gate, and may neither run nor wait for more than an hour."""
    request = make_request(toys, tmp_path, gate=str(gate))
    limits = {"timeout_hours": 1, "max_queue_hours": 1}
    return replace(request, finetune=request.finetune.model_copy(update=limits))


@pytest.mark.parametrize("state", ["Queued", "Running"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_job_is_waited_for_whatever_is_lost_of_it(
    background: ThreadPoolExecutor,
    keen: Workspace,
    one_hour: JobRequest,
    emulator: Connection,
    control: Control,
    gate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    state: str,
) -> None:
    loss, slow, lines = LOSSES[name], tmp_path / "slow", Lines()
    if loss.helper:
        with_helper(keen, tmp_path, slow, monkeypatch)
    if state == "Queued":
        control.add_scenario("job", scenario="stuck_queued", step="toy_step")
    if name.startswith("clock"):
        # The job's own times are the service's, from its creation on.
        loss.begin(control, slow)
    with Requests(emulator) as requests:
        waiting = background.submit(ensure_job, keen, request=one_hour, log=lines)
        lines.expect("toy_step:", state)
        if not name.startswith("clock"):
            loss.begin(control, slow)
        job = one_hour.job_name(1)
        if loss.is_out_of_sight:
            lines.expect(f"Job {job} cannot be seen")
            first = next(line for line in lines if "cannot be seen" in line)
            for part in (*loss.says, "It runs on and is billing", keen.studio_url(job)):
                assert part in first
            lines.expect(f"Job {job} still cannot be seen")
            assert not waiting.done()
        else:
            for part in loss.says:
                lines.expect(part)
        control.clear_faults()
        slow.unlink(missing_ok=True)
        if loss.is_out_of_sight:
            lines.expect(f"Job {job} can be seen again")
        control.clear_scenarios()
        gate.touch()
        done = waiting.result(60)
    assert (done.action, done.status, done.name) == ("submitted", "Completed", job)
    jobs = [line for line in requests.writes if "/jobs/" in line]
    assert jobs == [line for line in jobs if line.startswith("PUT")]
    assert len(jobs) == 1
    if not loss.is_out_of_sight:
        assert not any("cannot be seen" in line for line in lines)


@pytest.mark.parametrize("name", ["401 for ten minutes", "403", "network gone for ten minutes"])
def test_after_hours_the_run_ends_with_the_same_words_and_the_job_goes_on(
    background: ThreadPoolExecutor,
    toys: Workspace,
    one_hour: JobRequest,
    emulator: Connection,
    control: Control,
    gate: Path,
    tmp_path: Path,
    name: str,
) -> None:
    ws, lines, job = attentive(emulator, limit_seconds=0.5), Lines(), one_hour.job_name(1)
    waiting = background.submit(ensure_job, ws, request=one_hour, log=lines)
    lines.expect("toy_step:", "Running")
    with Requests(emulator) as requests:
        LOSSES[name].begin(control, tmp_path)
        with pytest.raises(SightLost) as lost:
            waiting.result(60)
        control.clear_faults()
    for part in (job, *LOSSES[name].says, "It runs on and is billing", "nothing was done to it", ws.studio_url(job)):
        assert part in str(lost.value)
    assert lost.value.studio_url == ws.studio_url(job)
    assert requests.writes == []
    assert get_job(toys, job).status == "Running"
    gate.touch()
    again = ensure_job(toys, request=one_hour)
    assert (again.attempt, again.status) == (1, "Completed")
    assert again.action in ("attached", "reused")


@pytest.mark.parametrize(("status", "error"), [(401, EXPIRED), (403, FORBIDDEN)])
def test_before_there_is_a_job_a_refusal_is_one(
    keen: Workspace,
    toys: Workspace,
    one_hour: JobRequest,
    emulator: Connection,
    control: Control,
    tmp_path: Path,
    status: int,
    error: dict[str, str],
) -> None:
    refuse(status, error, method="PUT", route="/jobs/{name}")(control, tmp_path)
    with Requests(emulator) as requests, pytest.raises(SubmissionFailed, match=r"Nothing is running") as refused:
        ensure_job(keen, request=one_hour)
    assert error["code"] in str(refused.value)
    # Once more with a new token, where the token may have been the reason.
    assert sum("/jobs/" in line for line in requests.writes) == (2 if status == 401 else 1)
    control.clear_faults()
    assert get_job(toys, one_hour.job_name(1)) is None
