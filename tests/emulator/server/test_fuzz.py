"""No request, with or without a credential, is answered with 500, or leaves behind what cannot be read."""

import asyncio
import json
import random
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.security.auth import STORAGE_AUDIENCE
from phi_assets.emulator.server.serve import create_app
from phi_assets.emulator.studio.listener import create_studio
from phi_assets.emulator.wire.route_table import RouteTable
from tests.emulator import testing_registry
from tests.emulator.server.hostile import Attempt, attempt
from tests.emulator.testing_registry import COPY, data, pipeline

SEED, REQUESTS = 20261129, 1500
FILE = "azureml://datastores/workspaceblobstore/paths/inputs/file.txt"
# What they ask for is that requests are answered with errors, or that everything is forgotten.
LEFT_OUT = ("/_control/faults", "/_control/reset", "/_control/throttling", "/_control/clock")

CLUSTER = {
    "location": "emulator",
    "tags": {"a": "b"},
    "identity": {"type": "SystemAssigned"},
    "properties": {
        "computeType": "AmlCompute",
        "description": "d",
        "properties": {
            "vmSize": "Standard_NC6s_v3",
            "vmPriority": "Dedicated",
            "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT2M"},
            "subnet": None,
            "enableNodePublicIp": True,
        },
    },
}
ENDPOINT = {
    "location": "emulator",
    "tags": {"a": "b"},
    "identity": {"type": "SystemAssigned"},
    "properties": {"authMode": "Key", "description": "d", "properties": {"p": "q"}, "traffic": {}, "mirrorTraffic": {}},
}
DEPLOYMENT = {
    "location": "emulator",
    "tags": {"a": "b"},
    "sku": {"name": "Default", "capacity": 1},
    "properties": {
        "endpointComputeType": "Managed",
        "scaleSettings": {"scaleType": "Default"},
        "instanceType": "Standard_DS3_v2",
        "model": "azureml:known:1",
        "properties": {},
        "environmentVariables": {"WORKER_COUNT": "1"},
        "requestSettings": {"requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1},
        "livenessProbe": {"initialDelay": "PT1S", "period": "PT1S", "timeout": "PT1S", "failureThreshold": 1},
        "readinessProbe": {"initialDelay": "PT1S", "period": "PT1S", "timeout": "PT1S", "failureThreshold": 1},
    },
}
JOB = {
    "properties": pipeline(copy={"componentId": COPY, "inputs": {"source": data(FILE)}})
    | {
        "displayName": "d",
        "description": "d",
        "tags": {"a": "b"},
        "properties": {"p": "q"},
        "settings": {"default_compute": "known", "continue_on_step_failure": False},
        "inputs": {"x": {"jobInputType": "literal", "value": "1"}},
    }
}


def version(**fields: Any) -> dict[str, Any]:
    return {"properties": {"description": "d", "tags": {"a": "b"}, "properties": {"p": "q"}, **fields}}


MODEL = version(modelUri="azureml://datastores/workspaceblobstore/paths/inputs/", modelType="custom_model", flavors={})
BODIES: dict[str, Any] = {
    "/data/{name}/versions/{version}": version(dataUri=FILE, dataType="uri_file"),
    "/models/{name}/versions/{version}": MODEL,
    "/environments/{name}/versions/{version}": version(image="x", condaFile="name: x\ndependencies: [python]"),
    "/codes/{name}/versions/{version}": version(codeUri="https://127.0.0.1/x"),
    "/computes/{name}": CLUSTER,
    "/onlineendpoints/{endpoint}": ENDPOINT,
    "/deployments/{deployment}": DEPLOYMENT,
    "/jobs/{name}": JOB,
    "/runs/search": {"experiment_ids": ["x"], "filter": "tags.a = 'b'", "max_results": 10, "page_token": "0"},
    "/batchgetresolveduris": {"values": ["azureml:x/data/azureml_known_output_data_a/versions/1"]},
    "/rundata": {"runId": "known"},
    "/runs/{run}": {"displayName": "d", "tags": {"a": "b"}, "hidden": False},
    "/regeneratekeys": {"keyType": "Primary", "keyValue": "x"},
    "/getlogs": {"containerType": "InferenceServer", "tail": 5},
    "/listsecrets": {"expireAfterHours": 1},
}


class World:
    """An emulator without a server, in which everything exists once, asked without a network."""

    def __init__(self, directory: Path):
        self.parts = testing_registry.without_server(directory, scale=1000)
        file = self.parts.emulator.blobs.root / "azureml-blobstore" / "inputs" / "file.txt"
        file.parent.mkdir()
        file.write_text("hello")
        with socket.socket() as unused:
            self.app = create_app(self.parts, unused)
        self.studio = create_studio(self.parts)
        emulator = self.parts.emulator
        self.known = {
            "subscription": [emulator.subscription_id],
            "group": [emulator.resource_group],
            "workspace": [emulator.workspace_name],
            "location": [emulator.location],
            "account": ["phistorage"],
            "suffix": ["local.emu"],
            "container": ["azureml-blobstore", "azureml"],
            "registry": ["testing", "azureml"],
            "kind": ["models", "components", "environments"],
            "name": ["known", "known", "inputs/file.txt", "new", "newer", "workspaceblobstore", "tiny"],
            "version": ["1", "2"],
            "endpoint": ["known", "newer"],
            "deployment": ["known", "newer"],
            "run": ["known"],
            "experiment": ["tests"],
        }

    @property
    def routes(self) -> list[Route]:
        """Those that write several times, so that they come up more often."""
        every = [route for table in self.app.routes if isinstance(table, RouteTable) for route in table.routes]
        writes = [route for route in every if (route.methods or set()) & {"PUT", "PATCH", "POST"}]
        return [route for route in [*every, *writes, *writes] if not route.path.startswith(LEFT_OUT)]

    def credential(self, path: str) -> dict[str, str]:
        auth = self.parts.emulator.auth
        management = auth.issue(auth.base_url)
        if path.startswith("/_control"):
            return {"authorization": f"Bearer {auth.control_token}"}
        if ".blob." in path:
            return {"authorization": f"Bearer {auth.issue(STORAGE_AUDIENCE)}"}
        return {"authorization": f"Bearer {management}", "x-azureml-token": management}

    async def answers(self, attempts: list[Attempt], *, app: Starlette | None = None) -> list[httpx.Response]:
        transport = httpx.ASGITransport(app or self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [
                await client.request(one.method, one.url, headers=one.raw_headers, content=one.body) for one in attempts
            ]

    def with_credential(self, one: Attempt) -> Attempt:
        return Attempt(one.method, one.url, self.credential(one.url) | one.headers, one.body)

    def arm(self, method: str, path: str, body: Any = None) -> Attempt:
        url = self.parts.emulator.workspace_path + path
        return self.with_credential(Attempt(method, url, {}, b"" if body is None else json.dumps(body).encode()))

    def reads(self) -> list[Attempt]:
        """Everything that lists, and everything that shows what exists."""
        every = [route for route in self.routes if "GET" in (route.methods or ())]
        found = []
        for route in every:
            for name in ("known", "new"):
                path = route.path
                for parameter, values in self.known.items():
                    value = name if parameter in {"name", "endpoint", "deployment", "run"} else values[0]
                    path = path.replace("{" + parameter + "}", value).replace("{" + parameter + ":path}", value)
                if "{" not in path:
                    found.append(self.with_credential(Attempt("GET", path)))
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("fuzzed"))
    made = asyncio.run(
        world.answers(
            [
                world.arm("PUT", "/data/known/versions/1", BODIES["/data/{name}/versions/{version}"]),
                world.arm("PUT", "/models/known/versions/1", MODEL),
                world.arm("PUT", "/computes/known", CLUSTER),
                world.arm("PUT", "/onlineEndpoints/known", ENDPOINT),
                world.arm("PUT", "/jobs/known", JOB),
            ]
        )
    )
    assert [answer.status_code for answer in made] == [201] * 5, [answer.text for answer in made]
    yield world
    stop(world.parts)


def stop(parts: Parts) -> None:
    parts.emulator.stopping.set()
    parts.runner.shutdown()
    parts.deployments.shutdown()
    parts.template.stop()


def defects(attempts: list[Attempt], answers: list[httpx.Response]) -> list[str]:
    return [
        f"{one.method} {one.url[-200:]} {one.headers} {one.body[:300]!r}: {answer.text[:200]}"
        for one, answer in zip(attempts, answers, strict=True)
        if answer.status_code == 500 or not is_whole(answer)
    ]


def is_whole(answer: httpx.Response) -> bool:
    if answer.request.method == "HEAD" or not answer.headers.get("content-type", "").startswith("application/json"):
        return True
    try:
        json.loads(answer.content, parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return False
    return True


def test_no_request_is_a_defect_and_all_can_be_read_afterwards(world: World, caplog: pytest.LogCaptureFixture) -> None:
    draw = random.Random(SEED)
    routes = world.routes
    attempts = [world.with_credential(attempt(draw, draw.choice(routes), world.known, BODIES)) for _ in range(REQUESTS)]
    answers = asyncio.run(world.answers(attempts))
    statuses = Counter(answer.status_code for answer in answers)
    assert defects(attempts, answers) == []
    # They got far enough to mean something.
    assert statuses[400] > REQUESTS / 10, statuses
    assert statuses[200] + statuses[201] + statuses[202] + statuses[204] > REQUESTS / 10, statuses
    reads = world.reads()
    assert defects(reads, asyncio.run(world.answers(reads))) == []
    pages = [Attempt("GET", path) for path in ("/", "/jobs", "/models", "/endpoints", "/runs/known", "/runs/new")]
    shown = asyncio.run(world.answers(pages, app=world.studio))
    assert [answer.status_code for answer in shown[:4]] == [200, 200, 200, 200] or shown[0].status_code == 307
    assert defects(pages, shown) == []
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_without_a_credential_nothing_is_a_defect_and_nothing_is_let_in(world: World) -> None:
    draw = random.Random(SEED + 1)
    attempts = [attempt(draw, draw.choice(world.routes), world.known, BODIES) for _ in range(REQUESTS // 2)]
    before = len(world.parts.emulator.store.list("job")), len(world.parts.emulator.store.list("compute"))
    answers = asyncio.run(world.answers(attempts))
    assert defects(attempts, answers) == []
    let_in = {
        one.url.partition("?")[0] for one, answer in zip(attempts, answers, strict=True) if answer.status_code < 300
    }
    assert let_in <= {"/healthz", "/metadata/endpoints", "/discovery"}
    assert before == (len(world.parts.emulator.store.list("job")), len(world.parts.emulator.store.list("compute")))
