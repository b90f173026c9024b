"""An interrupt gets through wherever a step may be, and what was on the wire then is found and ended."""

import threading
import time
from pathlib import Path

import pytest

from phi_assets.azureml.compute.clusters import ensure_compute
from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import JobCanceled, JobFailed
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.training import cancelling
from phi_assets.azureml.training.cancelling import cancel_if_submitted
from phi_assets.azureml.training.data import ensure_data_asset
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.azureml.training.lookup import get_job
from phi_assets.config.recipe import ComputeSection
from phi_assets.emulator.control import Control
from tests.azureml import toys as toy
from tests.azureml.training.interrupts import interrupted
from tests.azureml.training.waiting_room import Lines, exists


def test_while_a_job_is_waited_for(toys: Workspace, tmp_path: Path, gate: Path) -> None:
    request, lines, names = toy.make_request(toys, tmp_path, gate=str(gate)), Lines(), []
    with interrupted(lambda: lines.expect("Running")):
        ensure_job(toys, request=request, log=lines, on_name=names.append)
    assert names == [request.job_name(1)]
    assert get_job(toys, names[0]).status == "Running"
    assert cancel_if_submitted(toys, names[0]) is JobStatus.CANCELED


def test_while_an_operation_runs(toys: Workspace, control: Control) -> None:
    section = ComputeSection(name="interrupted", size=toy.SIZE)
    model, lines = get_foundation_model(toys, toy.MODEL), Lines()
    held = control.add_fault(route="*operationsstatus/*", action="hold", when="before")
    with interrupted(lambda: control.wait_until_held(held)):
        ensure_compute(toys, section, model, lines)
    control.release(held)
    assert ensure_compute(toys, section, model).action == "reused"
    toys.ml.compute.begin_delete(section.name).wait()


def test_while_an_outage_is_sat_out(toys: Workspace, tmp_path: Path, control: Control) -> None:
    lines = Lines()

    def pauses() -> None:
        lines.expect("trying again")
        # After that line the failed answer is thrown away: Python drops what a signal handler raises in a destructor.
        time.sleep(0.5)

    control.add_fault(route="/data/*", action="status", status=503)
    with interrupted(pauses):
        ensure_data_asset(toys, "interrupted", toy.make_sample(tmp_path, "train_sft", str(tmp_path)), lines)


def test_a_submission_on_the_wire_is_ended_when_it_arrives(toys: Workspace, tmp_path: Path, control: Control) -> None:
    request, names = toy.make_request(toys, tmp_path), []
    held = control.add_fault(method="PUT", route="/jobs/{name}", count=1, action="hold", when="before")
    with interrupted(lambda: control.wait_until_held(held)):
        ensure_job(toys, request=request, on_name=names.append)
    assert not exists(toys, request, 1)
    late = threading.Timer(1, control.release, [held])
    late.start()
    assert cancel_if_submitted(toys, names[0]) in (JobStatus.CANCELED, JobStatus.COMPLETED)
    late.join()


@pytest.mark.slow
def test_a_submission_that_never_arrives_leaves_nothing(
    toys: Workspace, tmp_path: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "ARRIVAL_SECONDS", 3.0)
    request, names, lines = toy.make_request(toys, tmp_path), [], Lines()
    held = control.add_fault(method="PUT", route="/jobs/{name}", count=1, action="hold", when="before")
    with interrupted(lambda: control.wait_until_held(held)):
        ensure_job(toys, request=request, on_name=names.append)
    control.release(held, discard=True)
    assert cancel_if_submitted(toys, names[0], lines) is None
    assert any("was not submitted" in line for line in lines)
    assert not exists(toys, request, 1)


def test_a_cancellation_says_who_when_and_why(toys: Workspace, tmp_path: Path, gate: Path, control: Control) -> None:
    request = toy.make_request(toys, tmp_path, gate=str(gate))
    control.add_scenario(
        "job", scenario="canceled", match=request.job_name(1), by="ada@example.com", reason="Too expensive"
    )
    with pytest.raises(
        JobCanceled, match=r"was cancelled by ada@example.com at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(Too expensive\)"
    ):
        ensure_job(toys, request=request)


def test_run_history_out_of_reach_does_not_fail_a_job(toys: Workspace, tmp_path: Path, control: Control) -> None:
    lines = Lines()
    control.add_fault(plane="history", action="status", status=403)
    job = ensure_job(toys, request=toy.make_request(toys, tmp_path), log=lines)
    assert job.action == "submitted"
    assert any("cannot be read (403" in line for line in lines)
    failing = toy.make_request(toys, tmp_path, outcome="fail")
    with pytest.raises(JobFailed, match="run history cannot be read: 403"):
        ensure_job(toys, request=failing, log=lines)


def test_an_address_with_a_signature_is_never_logged(toys: Workspace, tmp_path: Path, control: Control) -> None:
    lines = Lines()
    fault = control.add_fault(path="std_log", count=1, action="status", status=503)
    ensure_job(toys, request=toy.make_request(toys, tmp_path), log=lines)
    assert control.fault(fault).applied == 1
    assert any("503" in line and "std_log.txt" in line for line in lines)
    assert not any("sig=" in line for line in lines)
