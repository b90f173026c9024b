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

from phi_assets.emulator.process import Connection
from phi_assets.graph.operations.alerts import WEBHOOK_VARIABLE
from phi_assets.graph.training.assets import JOB_TAG, STUDIO_TAG
from tests.graph.ticks import Ticker
from tests.graph_runs import Graph
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
