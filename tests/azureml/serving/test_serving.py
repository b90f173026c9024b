"""From a job to an answer: registration, endpoint, deployment, traffic, scoring, deletion."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import (
    ComputeNotAllowed,
    DeploymentFailed,
    EndpointFailed,
    RegistrationFailed,
    ScoringFailed,
    TrafficFailed,
)
from phi_assets.azureml.connection.retry import get_or_none
from phi_assets.azureml.models.registered import ensure_registered_model, model_versions
from phi_assets.azureml.scoring.auth import EndpointCredential, Secret
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.azureml.serving.deployments import delete_deployment, deployment_name, ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.config.recipe import ServingSection
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import DeploymentRef, EndpointRef, JobRef, RegisteredModelRef, TrafficRef
from tests.azureml import toys as toy
from tests.emulator_requests import Requests

SERVING = ServingSection(
    endpoint="toy-endpoint", instance_type=toy.SIZE, liveness_initial_delay_seconds=10, request_timeout_seconds=30
)
QUESTION = [{"role": "user", "content": "are you there?"}]


def make_job(toys: Workspace, folder: Path, prefix: str) -> JobRef:
    folder.mkdir(exist_ok=True)
    return ensure_job(toys, request=toy.make_request(toys, folder, prefix=prefix))


def register(toys: Workspace, job: JobRef, name: str = "toy") -> RegisteredModelRef:
    return ensure_registered_model(toys, job=job, name=name, description="A toy")


@dataclass
class Served:
    """A live endpoint with one deployment."""

    endpoint: EndpointRef
    model: RegisteredModelRef
    deployment: DeploymentRef
    traffic: TrafficRef


@pytest.fixture(scope="module")
def job(toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> JobRef:
    return make_job(toys, tmp_path_factory.mktemp("job"), "first: ")


@pytest.fixture(scope="module")
def served(toys: Workspace, job: JobRef) -> Iterator[Served]:
    model = register(toys, job)
    endpoint = ensure_endpoint(toys, SERVING, owner=toys.owner("toy"))
    deployment = ensure_deployment(toys, endpoint, model, SERVING, [toy.SIZE])
    traffic = ensure_traffic(toys, endpoint, deployment)
    yield Served(endpoint, model, deployment, traffic)
    delete_endpoint(toys, str(SERVING.endpoint))


def ask(toys: Workspace, served: Served, conversations: list[Any], **options: Any) -> tuple[str, ...]:
    endpoint = served.endpoint
    with open_scoring(toys, endpoint.name, endpoint.scoring_uri, timeout_seconds=30) as client:
        return client.ask(conversations, {"max_new_tokens": 5}, **options).texts


def test_a_model_version_follows_from_its_job_and_is_made_once(
    toys: Workspace, job: JobRef, emulator: Connection
) -> None:
    first = register(toys, job, "registered-once")
    assert first.action == "created"
    assert first.version == model_versions(job)[0]
    with Requests(emulator) as again:
        second = register(toys, job, "registered-once")
    assert second == first.model_copy(update={"action": "reused", "reason": second.reason})
    assert not again.writes


def test_a_newer_job_has_a_higher_version_and_jobs_of_one_second_have_one_each(
    toys: Workspace, job: JobRef, tmp_path: Path
) -> None:
    other = make_job(toys, tmp_path, "other: ")
    assert int(model_versions(other)[0]) >= int(model_versions(job)[0])
    first = register(toys, job, "contested")
    later = other.model_copy(update={"created_at": job.created_at})
    second = register(toys, later, "contested")
    assert int(second.version) == int(first.version) + 1
    assert (second.action, register(toys, later, "contested").action) == ("created", "reused")
    assert register(toys, job, "contested").version == first.version


def test_a_version_that_an_earlier_release_registered_is_used(
    toys: Workspace, job: JobRef, emulator: Connection
) -> None:
    of_before = register(toys, job.model_copy(update={"created_at": ""}), "earlier")
    assert of_before.version not in model_versions(job)
    with Requests(emulator) as requests:
        now = register(toys, job, "earlier")
    assert (now.action, now.version) == ("reused", of_before.version)
    assert not requests.writes


def test_a_version_of_another_origin_is_not_taken_for_ours(toys: Workspace, job: JobRef, tmp_path: Path) -> None:
    """The numbers of earlier releases have one chance each."""
    before = job.model_copy(update={"created_at": ""})
    register(toys, before, "taken")
    other = make_job(toys, tmp_path, "another: ").model_copy(update={"fingerprint": job.fingerprint, "created_at": ""})
    with pytest.raises(RegistrationFailed, match=rf"Model taken has versions .* none of them from job {other.name}"):
        register(toys, other, "taken")


def test_a_job_without_a_model_registers_nothing(toys: Workspace, job: JobRef) -> None:
    missing = job.model_copy(update={"name": "no-such-job", "fingerprint": "9" * 64})
    with pytest.raises(RegistrationFailed, match="no-such-job"):
        register(toys, missing, "never")
    assert get_or_none(lambda: list(toys.ml.models.list("never"))) in (None, [])


def test_a_question_is_answered_by_the_registered_model(toys: Workspace, served: Served) -> None:
    assert (served.endpoint.action, served.deployment.action, served.traffic.action) == (
        "created",
        "created",
        "updated",
    )
    assert served.traffic.traffic == {served.deployment.name: 100}
    assert ask(toys, served, [QUESTION]) == ("first: are you there?",)
    several = [[{"role": "user", "content": text}] for text in ("a", "b", "c")]
    assert ask(toys, served, several) == ("first: a", "first: b", "first: c")
    assert ask(toys, served, [QUESTION], deployment=served.deployment.name) == ("first: are you there?",)


def test_everything_is_reused_without_a_write(toys: Workspace, served: Served, emulator: Connection) -> None:
    with Requests(emulator) as requests:
        endpoint = ensure_endpoint(toys, SERVING, owner=toys.owner("toy"))
        deployment = ensure_deployment(toys, endpoint, served.model, SERVING, [toy.SIZE.upper()])
        traffic = ensure_traffic(toys, endpoint, deployment)
    assert (endpoint.action, deployment.action, traffic.action) == ("reused", "reused", "reused")
    assert endpoint.expires_at == served.endpoint.expires_at
    assert not requests.writes


def test_the_lease_is_renewed_when_half_of_it_is_over(toys: Workspace, served: Served) -> None:
    left = datetime.fromisoformat(served.endpoint.expires_at) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)
    longer = SERVING.model_copy(update={"lease_hours": 100})
    renewed = ensure_endpoint(toys, longer, owner=toys.owner("toy"))
    assert renewed.action == "updated"
    assert datetime.fromisoformat(renewed.expires_at) - datetime.now(UTC) > timedelta(hours=99)
    # The update must not have touched the traffic.
    assert toys.ml.online_endpoints.get(str(SERVING.endpoint)).traffic == {served.deployment.name: 100}
    assert ask(toys, served, [QUESTION])


def test_changed_settings_update_the_deployment(toys: Workspace, served: Served) -> None:
    patient = SERVING.model_copy(update={"request_timeout_seconds": 60, "max_concurrent_requests": 2})
    lines: list[str] = []
    updated = ensure_deployment(toys, served.endpoint, served.model, patient, None, lines.append)
    assert updated.action == "updated"
    assert any("request timeout 30000 -> 60000" in line for line in lines)
    assert ensure_deployment(toys, served.endpoint, served.model, patient).action == "reused"


def test_the_way_out_of_a_deployment_cannot_be_changed(toys: Workspace, served: Served) -> None:
    as_it_is = SERVING.model_copy(update={"egress_public_network_access": "enabled"})
    assert ensure_deployment(toys, served.endpoint, served.model, as_it_is).model_id
    closed = SERVING.model_copy(update={"egress_public_network_access": "disabled"})
    with pytest.raises(DeploymentFailed, match=r"public egress enabled, which cannot be changed\. Delete it"):
        ensure_deployment(toys, served.endpoint, served.model, closed)


def test_a_machine_can_have_several_workers(toys: Workspace, served: Served) -> None:
    several = SERVING.model_copy(update={"worker_count": 2})
    updated = ensure_deployment(toys, served.endpoint, served.model, several)
    assert "workers 1 -> 2" in updated.reason
    found = toys.ml.online_deployments.get(served.deployment.name, served.endpoint.name)
    assert found.environment_variables == {"WORKER_COUNT": "2"}
    assert ensure_deployment(toys, served.endpoint, served.model, several).action == "reused"
    back = ensure_deployment(toys, served.endpoint, served.model, SERVING)
    assert "workers 2 -> 1" in back.reason
    assert ask(toys, served, [QUESTION])


def test_an_unknown_deployment_or_a_bad_request_is_explained(
    toys: Workspace, served: Served, emulator: Connection
) -> None:
    with pytest.raises(ScoringFailed, match=r"404|400"):
        ask(toys, served, [QUESTION], deployment="nobody")
    with Requests(emulator) as requests, pytest.raises(ScoringFailed, match=r"424 .*model status 400"):
        ask(toys, served, [])
    # The model has said no: asking again would not help.
    assert len([line for line in requests.lines if line.endswith("/score")]) == 1


def test_a_wrong_key_is_explained(toys: Workspace, served: Served) -> None:
    with open_scoring(toys, str(SERVING.endpoint), served.endpoint.scoring_uri, timeout_seconds=30) as client:
        client.credential = EndpointCredential(lambda: Secret("wrong"))
        with pytest.raises(ScoringFailed, match=r"401.*run again"):
            client.ask([QUESTION], {})
        assert "wrong" not in repr(client)


def test_an_instance_type_that_may_not_serve_the_model_deploys_nothing(
    toys: Workspace, served: Served, emulator: Connection
) -> None:
    with Requests(emulator) as requests, pytest.raises(ComputeNotAllowed, match=r"may not serve.*Nothing was deployed"):
        ensure_deployment(toys, served.endpoint, served.model, SERVING, [toy.OTHER_SIZE])
    assert not requests.lines


@pytest.mark.slow
def test_a_new_model_takes_over_and_the_old_deployment_goes(toys: Workspace, served: Served, tmp_path: Path) -> None:
    model = register(toys, make_job(toys, tmp_path, "second: "))
    deployment = ensure_deployment(toys, served.endpoint, model, SERVING)
    assert deployment.name == deployment_name(model) != served.deployment.name
    assert ask(toys, served, [QUESTION]) == ("first: are you there?",)

    traffic = ensure_traffic(toys, served.endpoint, deployment)
    assert (traffic.action, traffic.traffic, traffic.retired) == (
        "updated",
        {deployment.name: 100},
        (served.deployment.name,),
    )
    assert ask(toys, served, [QUESTION]) == ("second: are you there?",)
    left = [found.name for found in toys.ml.online_deployments.list(endpoint_name=str(SERVING.endpoint))]
    assert left == [deployment.name]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_fails_with_the_containers_words_and_is_replaced(
    toys: Workspace, served: Served, tmp_path: Path, emulator: Connection
) -> None:
    broken_job = make_job(toys, tmp_path, "broken: ")
    code = next(emulator.directory.rglob(f"{broken_job.name}/trained_model/code/echo_model.py"))
    # A registered model's files stay as they are, so what it needs to load lies elsewhere.
    cure = tmp_path / "cure"
    needed = f"import os\nif not os.path.exists({str(cure)!r}):\n    raise RuntimeError('this model is broken')\n"
    code.write_text(needed + code.read_text())
    model = register(toys, broken_job)
    with pytest.raises(DeploymentFailed, match="this model is broken"):
        ensure_deployment(toys, served.endpoint, model, SERVING)
    cure.touch()
    lines: list[str] = []
    assert ensure_deployment(toys, served.endpoint, model, SERVING, None, lines.append).action == "created"
    assert any("is Failed; replacing it" in line for line in lines)


@pytest.mark.slow
def test_an_operation_that_another_one_displaced_is_done_again(
    toys: Workspace, served: Served, tmp_path: Path, control: Control
) -> None:
    model = register(toys, make_job(toys, tmp_path, "displaced: "))
    control.add_scenario("deployment", scenario="OperationCanceled", match=deployment_name(model))
    deployment = ensure_deployment(toys, served.endpoint, model, SERVING)
    assert deployment.action == "created"
    delete_deployment(toys, str(SERVING.endpoint), deployment.name)


@pytest.mark.slow
def test_a_deployment_without_quota_says_what_to_do(
    toys: Workspace, served: Served, tmp_path: Path, control: Control
) -> None:
    model = register(toys, make_job(toys, tmp_path, "no quota: "))
    control.add_scenario("deployment", scenario="OutOfQuota", match=deployment_name(model))
    with pytest.raises(DeploymentFailed, match=r"OutOfQuota.*Ask for quota.*serving.instance_type"):
        ensure_deployment(toys, served.endpoint, model, SERVING)
    again = ensure_deployment(toys, served.endpoint, model, SERVING)
    assert again.reason == f"Deployment {again.name} was Failed and has been replaced."
    delete_deployment(toys, str(SERVING.endpoint), again.name)


def test_deletion_is_complete_and_can_be_repeated(toys: Workspace, job: JobRef) -> None:
    section = SERVING.model_copy(update={"endpoint": "short-lived"})
    endpoint = ensure_endpoint(toys, section)
    assert delete_endpoint(toys, "short-lived") is True
    assert delete_endpoint(toys, "short-lived") is False
    deployment = DeploymentRef(
        endpoint="short-lived", name="d", model_id="m", instance_type="i", instance_count=1, action="reused"
    )
    with pytest.raises(TrafficFailed, match="short-lived is gone"):
        ensure_traffic(toys, endpoint, deployment)
    assert ensure_endpoint(toys, section).action == "created"
    delete_endpoint(toys, "short-lived")


@pytest.mark.parametrize("name", ["a--b", "1abc", "a_b", "ab-", "x" * 33])
def test_a_name_that_the_service_would_refuse_is_refused_here(toys: Workspace, name: str) -> None:
    with pytest.raises(EndpointFailed, match="3 to 32 letters, digits and single dashes"):
        ensure_endpoint(toys, SERVING.model_copy(update={"endpoint": name}))
