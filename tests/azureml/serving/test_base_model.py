"""The foundation model is asked once, and whatever happens meanwhile, no deployment of it is left."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import ComputeNotAllowed, DeploymentFailed, ScoringFailed
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.serving.base_model import base_deployment_name, ensure_base_answers, no_base_answers
from phi_assets.azureml.serving.deployments import ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.config.recipe import ServingSection
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.evaluation.answers import Answer, AnswerSet, Questions, kept_answers
from phi_assets.refs import AnswersRef, EndpointRef, ModelRef, RegisteredModelRef, TrafficRef
from tests.azureml import toys as toy
from tests.azureml.training.interrupts import interrupted
from tests.azureml.training.waiting_room import Lines
from tests.emulator_requests import Requests

SERVING = ServingSection(
    endpoint="base-model", instance_type=toy.SIZE, liveness_initial_delay_seconds=10, request_timeout_seconds=30
)
QUESTIONS = Questions([[{"role": "user", "content": text}] for text in ("a", "b", "c")], {"max_new_tokens": 5})
SCORE = "/endpoints/{endpoint}/score"


@pytest.fixture(scope="module")
def model(toys: Workspace) -> ModelRef:
    return get_foundation_model(toys, toy.MODEL)


@pytest.fixture(scope="module")
def endpoint(toys: Workspace) -> Iterator[EndpointRef]:
    yield ensure_endpoint(toys, SERVING, owner=toys.owner("toy"))
    delete_endpoint(toys, str(SERVING.endpoint))


@pytest.fixture(scope="module")
def traffic(toys: Workspace, endpoint: EndpointRef, model: ModelRef) -> TrafficRef:
    """All of it goes to a deployment of another model."""
    live = RegisteredModelRef(
        id="azureml://registries/toys/models/free/versions/1", name="free", version="1", job_name="", action="reused"
    )
    return ensure_traffic(toys, endpoint, ensure_deployment(toys, endpoint, live, SERVING))


def ask(ws: Workspace, traffic: TrafficRef, model: ModelRef, folder: Path, **options: Any) -> AnswersRef:
    section = options.pop("section", SERVING)
    return ensure_base_answers(ws, traffic, model, QUESTIONS, section, storage=DataStorage.local(folder), **options)


def deployments(ws: Workspace) -> list[str]:
    return sorted(str(found.name) for found in ws.ml.online_deployments.list(endpoint_name=str(SERVING.endpoint)))


def said(ref: AnswersRef) -> AnswerSet:
    given = kept_answers(Path(ref.path))
    assert given is not None
    return given


def leave_deployment(ws: Workspace, endpoint: EndpointRef, model: ModelRef) -> str:
    """As a run leaves it that was killed while it asked."""
    version = RegisteredModelRef(id=model.id, name=model.name, version=model.version, job_name="", action="reused")
    name = base_deployment_name(model)
    ensure_deployment(ws, endpoint, version, SERVING, name=name)
    assert name in deployments(ws)
    return name


def test_it_is_asked_once_and_its_deployment_is_gone(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path, emulator: Connection
) -> None:
    before = deployments(toys)
    first = ask(toys, traffic, model, tmp_path)
    assert (first.action, first.rows, first.model_id) == ("scored", 3, model.id)
    assert list(said(first).by_question.values()) == ["toy-model: a", "toy-model: b", "toy-model: c"]
    assert {answer.deployment for answer in said(first).answers if isinstance(answer, Answer)} == {
        base_deployment_name(model)
    }
    assert deployments(toys) == before
    assert dict(toys.ml.online_endpoints.get(str(SERVING.endpoint)).traffic) == traffic.traffic
    with Requests(emulator) as requests:
        second = ask(toys, traffic, model, tmp_path)
    assert second == first.model_copy(update={"action": "reused", "reason": second.reason})
    assert requests.writes == []


def test_another_model_is_asked_another_time(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path
) -> None:
    first = ask(toys, traffic, model, tmp_path)
    edited = ask(toys, traffic, model.model_copy(update={"content_hash": "edited in place"}), tmp_path)
    forced = ask(toys, traffic, model, tmp_path, force=True)
    assert [ref.action for ref in (first, edited, forced)] == ["scored"] * 3
    assert edited.fingerprint != first.fingerprint == forced.fingerprint
    assert forced.reason == "Forced."


def test_a_model_that_answers_nothing_leaves_neither_deployment_nor_file(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path, control: Control
) -> None:
    before = deployments(toys)
    control.add_fault(route=SCORE, action="status", status=400)
    with pytest.raises(ScoringFailed, match=rf"{base_deployment_name(model)} .* answers no question"):
        ask(toys, traffic, model, tmp_path)
    assert deployments(toys) == before
    assert list(tmp_path.iterdir()) == []


def test_a_question_that_it_fails_at_is_kept_with_its_reason_and_not_asked_again(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path, control: Control, emulator: Connection
) -> None:
    before = deployments(toys)
    control.add_scenario("deployment", scenario="foundation-model-inference", match=base_deployment_name(model))
    control.add_scenario("deployment", scenario="model_error", match=base_deployment_name(model), every=2, count=None)
    first = ask(toys, traffic, model, tmp_path)
    assert (first.action, first.rows, first.failed) == ("scored", 3, 1)
    assert len(said(first).by_question) == 2
    assert "answered {}" in said(first).failures[0].reason
    assert "Last lines of the inference server:" in said(first).container_log
    assert deployments(toys) == before
    with Requests(emulator) as requests:
        again = ask(toys, traffic, model, tmp_path)
    assert (again.action, again.failed) == ("reused", 1)
    assert requests.writes == []


def test_a_question_that_the_endpoint_lost_is_asked_again_the_next_time(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path, control: Control
) -> None:
    control.add_fault(route=SCORE, skip=1, count=1, action="status", status=404)
    first = ask(toys, traffic, model, tmp_path)
    assert (first.failed, said(first).is_final) == (1, False)
    again = ask(toys, traffic, model, tmp_path)
    assert (again.action, again.failed, said(again).is_final) == ("scored", 0, True)


def test_an_interrupt_leaves_no_deployment(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path, control: Control
) -> None:
    before = deployments(toys)
    held = control.add_fault(route=SCORE, action="hold", when="before")
    with interrupted(lambda: control.wait_until_held(held)):
        ask(toys, traffic, model, tmp_path)
    control.release(held, discard=True)
    assert deployments(toys) == before
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_used_and_then_deleted(
    toys: Workspace, endpoint: EndpointRef, traffic: TrafficRef, model: ModelRef, tmp_path: Path, control: Control
) -> None:
    name = leave_deployment(toys, endpoint, model)
    before = control.last_entry()
    assert ask(toys, traffic, model, tmp_path).action == "scored"
    assert not [route for route in control.counts(since=before) if route.startswith("PUT")]
    assert name not in deployments(toys)
    # Killed between the last answer and the end of the deletion.
    leave_deployment(toys, endpoint, model)
    before = control.last_entry()
    assert ask(toys, traffic, model, tmp_path).action == "reused"
    assert not [route for route in control.counts(since=before) if route.endswith(SCORE)]
    assert name not in deployments(toys)


def test_a_deployment_that_stays_unhealthy_is_deleted_and_says_how_to_do_without(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path, control: Control
) -> None:
    before = deployments(toys)
    control.add_scenario("deployment", scenario="OutOfQuota", match=base_deployment_name(model))
    with pytest.raises(
        DeploymentFailed, match=r"base model cannot be asked\. `scoring.compare_with_base: false` .*OutOfQuota"
    ) as failed:
        ask(toys, traffic, model, tmp_path)
    assert model.id in str(failed.value)
    assert deployments(toys) == before


def test_a_size_that_may_not_serve_it_deploys_nothing(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path, emulator: Connection
) -> None:
    section = SERVING.model_copy(update={"instance_type": toy.OTHER_SIZE})
    with Requests(emulator) as requests, pytest.raises(ComputeNotAllowed, match="compare_with_base: false"):
        ask(toys, traffic, model, tmp_path, section=section)
    assert requests.writes == []


def test_answers_that_cannot_be_read_are_asked_for_again(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path
) -> None:
    first, lines = ask(toys, traffic, model, tmp_path), Lines()
    Path(first.path).write_text("{}", encoding="utf-8")
    assert ask(toys, traffic, model, tmp_path, log=lines).action == "scored"
    assert any("cannot be read" in line for line in lines)
    assert len(said(first).answers) == 3


def test_one_instance_is_enough_and_gets_as_much_as_it_takes(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path
) -> None:
    section = SERVING.model_copy(update={"instance_count": 3, "max_concurrent_requests": 2})
    assert said(ask(toys, traffic, model, tmp_path, section=section)).concurrency == 2


def test_who_is_not_asked_has_said_nothing(model: ModelRef) -> None:
    ref = no_base_answers(model)
    assert (ref.rows, str(ref.path), ref.action) == (0, "", "skipped")


def test_answers_are_kept_where_the_deployment_cannot_be_deleted(
    toys: Workspace, traffic: TrafficRef, model: ModelRef, tmp_path: Path, control: Control
) -> None:
    fault = control.add_fault(
        method="DELETE", route="*/deployments/{deployment}", action="status", status=403, code="AuthorizationFailed"
    )
    with pytest.raises(DeploymentFailed, match="could not be deleted and is billing"):
        ask(toys, traffic, model, tmp_path)
    assert base_deployment_name(model) in deployments(toys)
    control.release(fault)
    control.clear_faults()
    assert ask(toys, traffic, model, tmp_path).action == "reused"
    assert base_deployment_name(model) not in deployments(toys)
