"""An interrupt that Python drops is not lost on a step that waits for a job."""

import signal
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import raise_execution_interrupts

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.azureml.training.cancelling import cancel_if_submitted
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.graph.interrupts import interrupts_kept
from tests.azureml import toys as toy


class Finalized:
    """Gets the process a signal while it is finalized, where Python drops what the handler raises."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def lose_an_interrupt() -> None:
    Finalized()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_ends_the_wait_for_a_job(toys: Workspace, tmp_path: Path) -> None:
    request = toy.make_request(toys, tmp_path, gate=str(tmp_path / "never opened"))
    with raise_execution_interrupts(), interrupts_kept() as raise_interrupts:
        raise_interrupts()
        with pytest.raises(dg.DagsterExecutionInterruptedError):
            ensure_job(toys, request=request, on_submitted=lambda _: lose_an_interrupt(), on_poll=raise_interrupts)
    assert cancel_if_submitted(toys, request.job_name(1)) is JobStatus.CANCELED


def test_one_that_gets_through_is_raised_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with raise_execution_interrupts(), interrupts_kept(), pytest.raises(dg.DagsterExecutionInterruptedError):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
