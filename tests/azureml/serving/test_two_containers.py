"""Both containers that serve chat models, through every gate and every question that is asked of a deployment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.connection.errors import ScoringFailed
from phi_assets.azureml.scoring.asking import ask_model
from phi_assets.azureml.scoring.client import open_scoring
from phi_assets.azureml.serving.deployments import ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.gates import smoke_test
from phi_assets.azureml.serving.rollout import ensure_rollout
from phi_assets.azureml.serving.smoke import ensure_smoke
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.config.recipe import RolloutSection, ServingSection
from phi_assets.emulator.control import Control
from phi_assets.evaluation.answers import Answer, Failure, Questions
from phi_assets.refs import DeploymentRef, EndpointRef, RegisteredModelRef, TrafficRef
from tests.azureml import toys as toy
from tests.emulator.serving.echo import write_echo_model

pytestmark = pytest.mark.slow

ENDPOINT = "two-containers"
FLAVOURS = ("mlflow", "foundation-model-inference")
SERVING = ServingSection(
    endpoint=ENDPOINT, instance_type=toy.SIZE, liveness_initial_delay_seconds=10, request_timeout_seconds=30
)
GATE = RolloutSection(prompts=["sun", "moon"], observations=2, mirror_percent=0, steps=[50, 100])


@pytest.fixture(scope="module")
def models(toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> list[RegisteredModelRef]:
    """Versions of a model that says what it was asked, or does what it is told."""
    found = []
    for version in ("1", "2"):
        folder = write_echo_model(tmp_path_factory.mktemp("echo") / "model", f"echo {version}")
        made = toys.ml.models.create_or_update(
            sdk().entities.Model(name="two-containers", version=version, path=folder, type="mlflow_model")
        )
        found.append(
            RegisteredModelRef(
                id=str(made.id), name="two-containers", version=version, job_name="phi3-ft-toy", action="created"
            )
        )
    return found


@pytest.fixture(scope="module")
def endpoint(toys: Workspace) -> Iterator[EndpointRef]:
    yield ensure_endpoint(toys, SERVING, owner=toys.owner("toy"))
    delete_endpoint(toys, ENDPOINT)


@pytest.fixture(params=FLAVOURS)
def flavour(request: pytest.FixtureRequest, control: Control) -> str:
    """How deployments answer that are made in this test."""
    if request.param != "mlflow":
        control.add_scenario("deployment", scenario=request.param, match=f"{ENDPOINT}/*", count=None)
    return request.param


@pytest.fixture
def live(toys: Workspace, endpoint: EndpointRef, models: list[RegisteredModelRef], flavour: str) -> DeploymentRef:
    """The first version, deployed anew in the flavour, with all of the traffic."""
    name = f"live-{flavour[:3]}"
    deployment = ensure_deployment(toys, endpoint, models[0], SERVING, name=name)
    ensure_traffic(toys, endpoint, deployment, retire="delete")
    return deployment


@pytest.fixture
def traffic(live: DeploymentRef, endpoint: EndpointRef) -> TrafficRef:
    return TrafficRef(
        endpoint=endpoint.name,
        scoring_uri=endpoint.scoring_uri,
        traffic={live.name: 100},
        model_id=live.model_id,
        action="reused",
    )


def questions(*texts: str) -> Questions:
    return Questions([[{"role": "user", "content": text}] for text in texts], {"max_new_tokens": 5})


def test_gates_and_rollout_pass(
    toys: Workspace,
    endpoint: EndpointRef,
    models: list[RegisteredModelRef],
    live: DeploymentRef,
    control: Control,
    flavour: str,
) -> None:
    new = ensure_deployment(toys, endpoint, models[1], SERVING, name=f"new-{flavour[:3]}")
    report = ensure_smoke(toys, endpoint, new, GATE, timeout_seconds=30)
    assert report.passed, report.summary
    assert [reply.text for reply in report.replies[1:]] == [f"echo 2|{reply.prompt}|1" for reply in report.replies[1:]]
    done = ensure_rollout(toys, endpoint, new, GATE, timeout_seconds=30)
    assert done.traffic is not None, done.failure
    assert done.traffic.traffic == {new.name: 100}
    assert sum(step.comparison is not None for step in done.steps) == 3


def test_a_gate_that_gets_no_answer_names_the_cause_and_shows_the_log(
    toys: Workspace,
    endpoint: EndpointRef,
    models: list[RegisteredModelRef],
    live: DeploymentRef,
    control: Control,
    flavour: str,
) -> None:
    names = {"refuses": f"dumb-{flavour[:3]}", "model_error": f"broken-{flavour[:3]}"}
    causes = {
        ("refuses", "mlflow"): "longer than the model's context",
        ("refuses", "foundation-model-inference"): "longer than the model's context",
        ("model_error", "mlflow"): "model status 500",
        ("model_error", "foundation-model-inference"): "answered {}: the container for foundation models",
    }
    for scenario, name in names.items():
        control.add_scenario("deployment", scenario=scenario, match=f"{ENDPOINT}/{name}")
        new = ensure_deployment(toys, endpoint, models[1], SERVING, name=name)
        report = ensure_smoke(toys, endpoint, new, GATE, timeout_seconds=30)
        assert not report.passed
        assert causes[scenario, flavour] in report.summary
        assert "Last lines of the inference server:" in report.summary
        assert "POST /score" in report.summary


def test_a_rollout_that_gets_no_answer_goes_back_and_shows_the_log(
    toys: Workspace,
    endpoint: EndpointRef,
    models: list[RegisteredModelRef],
    live: DeploymentRef,
    control: Control,
    flavour: str,
) -> None:
    new = ensure_deployment(toys, endpoint, models[1], SERVING, name=f"worse-{flavour[:3]}")
    control.add_scenario("deployment", scenario="model_error", match=f"{ENDPOINT}/{new.name}")
    done = ensure_rollout(toys, endpoint, new, GATE, timeout_seconds=30)
    assert done.traffic is None
    assert f"{live.name} 100 %" in done.failure
    assert "Last lines of the inference server:" in done.failure
    assert "Misbehaved" in done.failure


def test_one_failed_prompt_ends_nothing(toys: Workspace, traffic: TrafficRef, flavour: str) -> None:
    asked = questions("one", "refuse:5000 tokens are too many", "three", "fail:no luck", "None")
    given = ask_model(toys, traffic, "the-model", asked, SERVING)
    texts = [answer.text if isinstance(answer, Answer) else None for answer in given.answers]
    assert texts == ["echo 1|one|1", None, "echo 1|three|1", None, "echo 1|None|1"]
    too_long, broken = given.failures
    assert too_long.is_models
    assert broken.is_models
    if flavour == "mlflow":
        assert "5000 tokens are too many (model status 400)" in too_long.reason
        assert "no luck (model status 500)" in broken.reason
    else:
        assert "longer than the model's context" in too_long.reason
        assert "answered {}" in broken.reason
        # What the container hides from the caller stands in its log.
        assert "5000 tokens are too many" in given.container_log
    assert "RuntimeError: no luck" in given.container_log


def test_every_fifth_request_is_lost_and_nothing_else(
    toys: Workspace, traffic: TrafficRef, live: DeploymentRef, control: Control, flavour: str
) -> None:
    control.add_scenario("deployment", scenario="model_error", match=f"{ENDPOINT}/{live.name}", every=5)
    asked = [str(number) for number in range(1, 21)]
    given = ask_model(toys, traffic, "the-model", questions(*asked), SERVING)
    lost = [number for number, answer in enumerate(given.answers, 1) if isinstance(answer, Failure)]
    # MLflow's server says that it failed, so the request is sent again.
    assert lost == ([] if flavour == "mlflow" else [5, 10, 15, 20])
    assert list(given.by_question.values()) == [f"echo 1|{n}|1" for n in asked if int(n) not in lost]


def test_where_nothing_is_answered_the_cause_is_named(toys: Workspace, traffic: TrafficRef, flavour: str) -> None:
    asked = questions(*[f"refuse:{number} tokens are too many" for number in range(5000, 5020)])
    lines: list[str] = []
    with pytest.raises(ScoringFailed, match=r"answers no question\. .*(tokens are too many|longer than)") as failed:
        ask_model(toys, traffic, "the-model", asked, SERVING, log=lines.append)
    assert "Last lines of the inference server:" in str(failed.value)
    # It is not asked all of them in vain.
    assert "5007 tokens are too many" in str(failed.value)
    assert "5010 tokens are too many" not in str(failed.value)


def test_several_conversations_in_one_request_are_all_answered(
    toys: Workspace, endpoint: EndpointRef, live: DeploymentRef, tmp_path: Path
) -> None:
    with open_scoring(toys, endpoint.name, endpoint.scoring_uri, timeout_seconds=30) as client:
        answers = client.ask(questions("a", "b", "c").conversations, {}, deployment=live.name)
        assert [text.split("|")[1] for text in answers.texts] == ["a", "b", "c"]
        assert smoke_test(client, live.name, GATE).passed
