"""How jobs can end on the real service, made to happen: watched through the SDK and the run history."""

import re
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import psutil
import pytest

from phi_assets.azureml.connection.status import service_text
from phi_assets.emulator.control import Control, ControlError
from tests.emulator.http import token
from tests.emulator.jobs import FILE, Jobs, until
from tests.emulator.testing_registry import COPY, WAIT, data, literal, pipeline

EXECUTION_LOG = "logs/azureml/executionlogs.txt"


@pytest.fixture
def ml(workspace: Any) -> Any:
    return workspace.ml


@pytest.fixture
def name() -> str:
    return f"scene-{uuid.uuid4().hex[:8]}"


def two_steps(**more: Any) -> dict[str, Any]:
    """A job that copies a file twice, well within a second; `answer` is what the second step writes."""
    first = {"componentId": COPY, "inputs": {"source": data(FILE)}}
    second = {
        "componentId": COPY,
        "inputs": {"source": literal("${{parent.jobs.first.outputs.target}}"), "suffix": literal("!")},
        "outputs": {"target": {"type": "literal", "value": "${{parent.outputs.answer}}"}},
    }
    return pipeline(first=first, second=second) | {"outputs": {"answer": {"jobOutputType": "uri_folder"}}} | more


def waiting(seconds: float, *, stubborn: bool = False) -> dict[str, Any]:
    inputs = {"seconds": literal(str(seconds)), "stubborn": literal(str(stubborn).lower())}
    return pipeline(wait={"componentId": WAIT, "inputs": inputs})


def token_with(jobs: Jobs, **claims: str) -> str:
    """A management token of the emulator with other claims."""
    own = jwt.decode(token(jobs.emulator), options={"verify_signature": False})
    return jwt.encode(own | claims, (jobs.emulator.directory / "signing.key").read_bytes(), algorithm="HS256")


def files(jobs: Jobs, name: str) -> list[str]:
    """Names of the files in the job's output."""
    (made_by,) = [child["runId"] for child in jobs.children(name) if child["displayName"] == "second"]
    folder = jobs.emulator.directory / "blobs" / "azureml-blobstore" / "azureml" / made_by / "target"
    assert folder.is_dir()
    return [path.name for path in folder.iterdir()]


def passages(jobs: Jobs, name: str) -> list[str]:
    """The statuses that the job itself went through, from its execution log."""
    return re.findall(r"\] Pipeline: \w+ -> (\w+)", jobs.log(name, EXECUTION_LOG))


def children(jobs: Jobs, name: str) -> dict[str, str]:
    return {child["displayName"]: child["status"] for child in jobs.children(name)}


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def seen(read: Callable[[], str], wanted: str) -> None:
    until(lambda: read() == wanted, f"status {wanted}")


class TestQueued:
    def test_a_job_is_stuck_until_the_scenario_is_cleared(self, jobs: Jobs, ml, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="stuck_queued", match=name)
        jobs.submitted(name, two_steps())
        seen(lambda: ml.jobs.get(name).status, "Queued")
        assert jobs.run(name)["startTimeUtc"] is None
        assert jobs.children(name) == []
        control.clear_scenarios()
        assert jobs.ended(name) == "Completed"
        assert passages(jobs, name) == ["Preparing", "Queued", "Running", "Finalizing", "Completed"]

    def test_a_stuck_step_of_a_running_job_can_be_canceled(self, jobs: Jobs, ml, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="stuck_queued", match=name, step=2)
        jobs.submitted(name, two_steps())
        until(lambda: children(jobs, name) == {"first": "Completed", "second": "Queued"}, "the second step to queue")
        assert ml.jobs.get(name).status == "Running"
        ml.jobs.begin_cancel(name).result()
        assert ml.jobs.get(name).status == "Canceled"
        assert children(jobs, name) == {"first": "Completed", "second": "Canceled"}

    def test_the_time_in_the_queue_can_be_limited(self, jobs: Jobs, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="stuck_queued", match=name, seconds=0.3, exact=True)
        jobs.submitted(name, two_steps())
        assert jobs.ended(name) == "Completed"
        assert "Queued" in passages(jobs, name)


class TestFailure:
    def test_a_preemption_ends_the_process_and_fails_the_job(self, jobs: Jobs, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="preempted", match=name, step="wait", seconds=2, exact=True)
        jobs.submitted(name, waiting(60))
        step = jobs.running_step(name)
        pids = [int(pid) for pid in re.findall(r"\d+", jobs.log(step["runId"]).split("pids", 1)[1])[:2]]
        assert jobs.ended(name) == "Failed"
        assert not any(alive(pid) for pid in pids)
        for run in (name, step["runId"]):
            error = jobs.run(run)["error"]["error"]
            assert error["code"] == "UserError"
            assert "AzureMLCompute job failed. PreemptionError:" in error["message"]

    def test_a_preemption_at_the_second_step_leaves_the_first(self, jobs: Jobs, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="preempted", match=name, step=2)
        jobs.submitted(name, two_steps())
        assert jobs.ended(name) == "Failed"
        assert children(jobs, name) == {"first": "Completed", "second": "Failed"}

    def test_a_step_that_ends_before_its_preemption_leaves_the_scenario(
        self, jobs: Jobs, control: Control, name: str
    ) -> None:
        control.add_scenario("job", scenario="preempted", match=f"{name}*", step=1, seconds=60, exact=True)
        jobs.submitted(name, two_steps())
        assert jobs.ended(name) == "Completed"
        control.clear_scenarios()
        control.add_scenario("job", scenario="preempted", match=f"{name}*", step=1)
        jobs.submitted(f"{name}-2", two_steps())
        jobs.submitted(f"{name}-3", two_steps())
        assert sorted([jobs.ended(f"{name}-2"), jobs.ended(f"{name}-3")]) == ["Completed", "Failed"]

    def test_the_service_fails_a_job_while_it_is_preparing(self, jobs: Jobs, ml, control: Control, name: str) -> None:
        from azure.ai.ml.exceptions import JobException

        control.add_scenario("job", scenario="failed", match=name, code="SystemError", message="no image today")
        control.set_time_scale(1)  # so that it is streamed before it ends
        jobs.submitted(name, two_steps())
        with pytest.raises(JobException, match=r'(?s)"SystemError".*no image today'):
            ml.jobs.stream(name)
        assert jobs.children(name) == []
        assert passages(jobs, name) == ["Preparing", "Failed"]

    def test_the_service_fails_a_step(self, jobs: Jobs, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="failed", match=name, step="copy_file", message="lost the node")
        jobs.submitted(name, two_steps())
        assert jobs.ended(name) == "Failed"
        error = jobs.run(name)["error"]["error"]
        assert (error["code"], "first: lost the node" in error["message"]) == ("ServiceError", True)

    def test_a_completed_job_has_written_nothing(self, jobs: Jobs, ml, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="completed_without_output", match=f"{name}*")
        jobs.submitted(name, two_steps())
        assert jobs.ended(name) == "Completed"
        assert files(jobs, name) == []
        jobs.submitted(f"{name}-2", two_steps())
        assert jobs.ended(f"{name}-2") == "Completed"
        assert files(jobs, f"{name}-2") == ["copied.txt"]


class TestCancellation:
    def test_somebody_else_cancels_a_running_job(self, jobs: Jobs, ml, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="canceled", match=name, by="anna@example.com", reason="too expensive")
        jobs.submitted(name, waiting(60))
        assert jobs.ended(name) == "Canceled"
        run = jobs.run(name)
        assert run["lastModifiedBy"]["userName"] == "anna@example.com"
        assert run["createdBy"]["userName"] != "anna@example.com"
        assert run["cancelationReason"] == "too expensive"
        assert run["startTimeUtc"] < run["endTimeUtc"]
        assert run["error"] is None
        assert passages(jobs, name)[-2:] == ["CancelRequested", "Canceled"]

    def test_a_job_that_would_end_before_is_canceled_all_the_same(
        self, jobs: Jobs, control: Control, name: str
    ) -> None:
        control.add_scenario("job", scenario="canceled", match=name, seconds=8, exact=True)
        jobs.submitted(name, two_steps())
        assert jobs.ended(name) == "Canceled"
        assert children(jobs, name) == {"first": "Completed", "second": "Completed"}

    def test_a_cancellation_that_is_cleared_does_not_happen(self, jobs: Jobs, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="canceled", match=name, seconds=600, exact=True)
        jobs.submitted(name, two_steps())
        until(lambda: children(jobs, name) == {"first": "Completed", "second": "Completed"}, "both steps to end")
        control.clear_scenarios()
        assert jobs.ended(name) == "Completed"

    def test_a_cancel_request_says_who_asked(self, jobs: Jobs, name: str) -> None:
        jobs.submitted(name, waiting(60, stubborn=True))
        jobs.running_step(name)
        berta = {"Authorization": f"Bearer {token_with(jobs, name='Berta Beispiel', oid='berta')}"}
        answers = [jobs.client.post(f"/jobs/{name}/cancel", headers=berta) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert jobs.ended(name) == "Canceled"
        run = jobs.run(name)
        assert (run["lastModifiedBy"]["userName"], run["lastModifiedBy"]["userObjectId"]) == ("Berta Beispiel", "berta")
        assert run["createdBy"]["userName"] == "emulator"
        assert run["cancelationReason"] == "Canceled by user request"
        for answer in answers:
            until(lambda answer=answer: jobs.client.get(answer.headers["Location"]).status_code == 200, "both to end")


class TestStatus:
    def test_a_job_that_does_not_respond_comes_back(self, jobs: Jobs, ml, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="not_responding", match=name, seconds=600, exact=True)
        jobs.submitted(name, two_steps())
        seen(lambda: service_text(ml.jobs.get(name).status), "NotResponding")
        control.clear_scenarios()
        assert jobs.ended(name) == "Completed"
        assert passages(jobs, name) == ["Preparing", "Running", "NotResponding", "Running", "Finalizing", "Completed"]
        assert files(jobs, name) == ["copied.txt"]

    def test_an_unknown_status_is_shown_for_a_while(self, jobs: Jobs, ml, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="unknown_status", match=name, status="Thawing", seconds=600, exact=True)
        jobs.submitted(name, two_steps())
        seen(lambda: ml.jobs.get(name).status, "Thawing")
        control.clear_scenarios()
        assert jobs.ended(name) == "Completed"
        assert passages(jobs, name)[1:4] == ["Running", "Thawing", "Running"]

    def test_a_job_can_be_canceled_while_it_does_not_respond(self, jobs: Jobs, ml, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="not_responding", match=name, seconds=600, exact=True)
        jobs.submitted(name, waiting(60))
        seen(lambda: jobs.status(name), "NotResponding")
        ml.jobs.begin_cancel(name).result()
        assert jobs.status(name) == "Canceled"

    def test_several_things_happen_to_one_job_in_turn(self, jobs: Jobs, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="stuck_queued", match=name, seconds=0.5)
        control.add_scenario("job", scenario="not_responding", match=name, seconds=1)
        control.add_scenario("job", scenario="canceled", match=name)
        jobs.submitted(name, waiting(60))
        assert jobs.ended(name) == "Canceled"
        assert passages(jobs, name)[1:5] == ["Queued", "Running", "NotResponding", "Running"]


class TestControl:
    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"kind": "job", "scenario": "preempted", "step": 0}, "step"),
            ({"kind": "job", "scenario": "preempted", "minutes": 3}, "minutes"),
            ({"kind": "job", "scenario": "exploded"}, "exploded"),
            ({"kind": "job", "scenario": "unknown_status", "status": "Completed"}, "does not go on from Completed"),
            ({"kind": "job", "scenario": "stuck_queued", "seconds": -1}, "seconds"),
            ({"kind": "job", "scenario": "stuck_queued", "count": 0}, "count"),
            ({"kind": "compute", "scenario": "refused", "tier": "Spot"}, "tier"),
            ({"kind": "planet", "scenario": "refused"}, "planet"),
            ({"kind": "deployment"}, "scenario"),
        ],
    )
    def test_what_is_no_scenario_is_refused(self, control: Control, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(ControlError, match=re.escape(words)):
            control.add_scenario(**fields)

    def test_a_management_token_opens_nothing_here(self, jobs: Jobs) -> None:
        url = f"{jobs.emulator.base_url}/_control/scenarios"
        assert jobs.client.get(url).status_code == 401
        assert jobs.client.post(url, json={"kind": "job", "scenario": "canceled"}).status_code == 401
        assert jobs.client.delete(url).status_code == 401

    def test_only_matching_jobs_are_concerned(self, jobs: Jobs, control: Control, name: str) -> None:
        control.add_scenario("job", scenario="failed", match="other-*", count=None)
        jobs.submitted(name, two_steps())
        assert jobs.ended(name) == "Completed"
        for number in range(2):
            jobs.submitted(f"Other-{name}-{number}", two_steps())
            assert jobs.ended(f"Other-{name}-{number}") == "Failed"
