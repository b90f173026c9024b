"""A failed run is told about once, with its reason and its page in Studio."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.serving.endpoints import delete_endpoint
from phi_assets.emulator.process import Connection
from phi_assets.graph.operations.webhook import WEBHOOK_VARIABLE, message
from phi_assets.graph.training.assets import JOB_TAG, STUDIO_TAG
from tests.graph.ticks import Ticker
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import write_toy_recipe


class Webhook:
    """A chat service: what it was sent, and how it answers."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.status = 200
        self.url = ""

    async def take(self, request: Request) -> Response:
        body: dict[str, Any] = await request.json()
        assert set(body) == {"text"}
        self.texts.append(body["text"])
        return Response(status_code=self.status)


@contextmanager
def listening(webhook: Webhook) -> Iterator[None]:
    listener = socket.create_server(("127.0.0.1", 0))
    webhook.url = f"http://127.0.0.1:{listener.getsockname()[1]}/secret-path"
    app = Starlette(routes=[Route("/secret-path", webhook.take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    webhook = Webhook()
    with listening(webhook):
        monkeypatch.setenv(WEBHOOK_VARIABLE, webhook.url)
        yield webhook


@pytest.fixture
def failing_graph(emulator: Connection, toy_registry: Path, tmp_path: Path) -> Iterator[Graph]:
    """A graph whose fine-tuning job always fails."""
    parameters = {"outcome": "fail", "prefix": str(tmp_path)}
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", {"parameters": parameters, "compute": {"name": "alerts"}})
    with dg.DagsterInstance.ephemeral() as instance:
        yield Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance)


def test_a_failed_run_is_told_about_once(webhook: Webhook, failing_graph: Graph) -> None:
    sensor = Ticker(failing_graph, "run_failure_alert")
    sensor.tick()
    result = failing_graph.run("finetune")
    assert not result.success
    run = failing_graph.instance.get_run_by_id(result.run_id)
    assert run is not None
    sensor.tick()
    sensor.tick()
    (text,) = webhook.texts
    failed = f"Run {run.run_id} of toy__finetune failed.\ntoy/finetune_job: Job {run.tags[JOB_TAG]} failed"
    assert text.startswith(failed)
    assert "the toy step was told to fail" in text
    assert text.count(f"Studio: {run.tags[STUDIO_TAG]}") == 1


def test_without_a_webhook_the_text_is_in_the_sensors_log(
    failing_graph: Graph, capfd: pytest.CaptureFixture[str]
) -> None:
    sensor = Ticker(failing_graph, "run_failure_alert")
    sensor.tick()
    run = failing_graph.instance.create_run_for_job(
        job_def=failing_graph.job("finetune"),
        status=dg.DagsterRunStatus.STARTING,
        tags={STUDIO_TAG: "https://studio.example/run"},
    )
    failing_graph.instance.report_run_failed(run, "The worker is gone")
    sensor.tick()
    said = capfd.readouterr().err
    assert f"Run {run.run_id} of toy__finetune failed." in said
    assert "The worker is gone" in said
    assert "Studio: https://studio.example/run" in said


def test_a_webhook_that_refuses_is_named_without_its_address(webhook: Webhook, failing_graph: Graph) -> None:
    webhook.status = 403
    sensor = Ticker(failing_graph, "run_failure_alert")
    sensor.tick()
    run = failing_graph.instance.create_run_for_job(
        job_def=failing_graph.job("finetune"), status=dg.DagsterRunStatus.STARTING
    )
    failing_graph.instance.report_run_failed(run)
    tick = sensor.tick()
    assert len(webhook.texts) == 1
    assert "The webhook at 127.0.0.1 answered 403." in tick.errors[0]
    assert "secret-path" not in tick.errors[0]


def test_the_address_is_not_part_of_the_definitions(webhook: Webhook, failing_graph: Graph) -> None:
    alerts: Any = (failing_graph.definitions.resources or {})["alert_webhook"]
    assert "secret-path" not in str(alerts)


def test_teams_gets_a_card_and_everybody_else_a_text() -> None:
    for host in ("hooks.slack.com", "chat.example", "logic.azure.com.example"):
        assert message(f"https://{host}/services/x", "One.\nTwo.") == {"text": "One.\nTwo."}
    for host in ("prod-1.westeurope.logic.azure.com:443", "x.env.api.powerplatform.com", "corp.webhook.office.com"):
        sent = message(f"https://{host}/workflows/x", "One.\n\nTwo.")
        (card,) = sent["attachments"]
        assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
        assert [block["text"] for block in card["content"]["body"]] == ["One.", "Two."]


def test_what_a_run_has_made_is_told_once_and_what_it_has_found_is_not(
    webhook: Webhook, emulator: Connection, toys: Workspace, tmp_path: Path
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "serving": {"endpoint": "alerts", "lease_hours": 0.5},
        "compute": {"name": "alerts"},
        "parameters": {"prefix": "told "},
        "budget": {"cost": 1e-9},
        "preflight": {"accept": ["over_budget"]},
        "scoring": {"compare_with_base": False},
    }
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", changes)
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance)
        runs, leases = Ticker(graph, "run_success_alert"), Ticker(graph, "lease_alert")
        runs.tick()
        first = graph.run()
        assert first.success, failure_message(first)
        assert graph.run().success
        runs.tick()
        (text,) = webhook.texts
        said = text.splitlines()
        assert said[0] == f"Run {first.run_id} of toy__finetune_and_deploy succeeded."
        assert "toy/finetune_job: submitted. No job for these inputs exists." in said
        assert any(line.startswith("Over budget: the job has cost ") for line in said)
        assert any(line.startswith("New champion: toy-model-ultrachat-200k:") for line in said)

        webhook.texts.clear()
        assert str(leases.tick().skip) == "Told of alerts."
        assert [text.startswith("The lease of endpoint alerts ends at ") for text in webhook.texts] == [True]
        leases.tick()
        assert len(webhook.texts) == 1
    delete_endpoint(toys, "alerts")
