"""Which states end a job."""

import pytest

from phi_assets.azureml.connection.status import JobStatus


@pytest.mark.parametrize(
    "text",
    [
        "NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Running", "Finalizing", "CancelRequested",
        "NotResponding", "Paused", "Unknown", "SomethingNew", "None", "",
    ],
)  # fmt: skip
def test_everything_but_three_states_is_waited_for(text: str) -> None:
    assert JobStatus(text).is_active


@pytest.mark.parametrize("text", ["Completed", "Failed", "Canceled", "canceled", "COMPLETED"])
def test_three_states_are_the_end(text: str) -> None:
    assert JobStatus(text).is_terminal


def test_other_spellings_are_understood_and_new_states_are_unknown() -> None:
    assert JobStatus("not_started") is JobStatus.NOT_STARTED
    assert JobStatus("SomethingNew") is JobStatus.UNKNOWN
