"""The inference server as a process of its own, asked over its socket."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from phi_assets.emulator.chaos.clock import Clock
from phi_assets.emulator.serving.processes.forking import Template
from phi_assets.emulator.serving.processes.launch import Launch
from phi_assets.emulator.serving.processes.model_process import ModelServer, NotReady, Stopped
from phi_assets.emulator.serving.rules import DeploymentSettings, with_defaults
from tests.emulator.serving.echo import ask, write_echo_model

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")

QUICK = {"initialDelay": "PT0.5S", "period": "PT0.5S", "failureThreshold": 1}


def settings(**properties: object) -> DeploymentSettings:
    return DeploymentSettings.of({"capacity": 1}, with_defaults(properties))


def new_server(
    folder: Path,
    sockets: Path,
    chosen: DeploymentSettings | None = None,
    *,
    template: Template | None = None,
    **variables: str,
) -> ModelServer:
    socket = sockets / f"{uuid.uuid4().hex[:8]}.sock"
    launch, log = Launch(str(folder), variables), folder / "log.txt"
    return ModelServer(launch, chosen or settings(), Clock(50), socket, log, template=template)


def client(server: ModelServer) -> httpx.Client:
    return httpx.Client(
        transport=httpx.HTTPTransport(uds=str(server.socket)), base_url="http://worker", timeout=30, trust_env=False
    )


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="phi-test-")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    template = Template()
    yield template
    template.stop()


@pytest.fixture(scope="module", params=["from scratch", pytest.param("forked", marks=LINUX)])
def way(request: pytest.FixtureRequest, template: Template) -> Template | None:
    """How a process comes to be; it is the same process either way."""
    return template if request.param == "forked" else None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sockets: Path, way: Template | None) -> Iterator[ModelServer]:
    folder = write_echo_model(tmp_path_factory.mktemp("model") / "echo", "echo")
    server = new_server(folder, sockets, template=way, GREETING="hello")
    server.start()
    server.wait_until_ready(threading.Event())
    yield server
    server.stop()


def test_it_answers_each_conversation(server: ModelServer) -> None:
    with client(server) as http:
        assert http.get("/").status_code == 200
        assert http.get("/ready").json() == {"status": "ready"}
        answer = http.post("/score", json=ask("one", "two", max_new_tokens=5))
    assert answer.status_code == 200
    assert answer.json() == [{"0": "echo|one|2"}, {"0": "echo|two|2"}]


def test_requests_that_come_together_are_scored_together(server: ModelServer) -> None:
    with client(server) as http, ThreadPoolExecutor(9) as pool:
        slow = pool.submit(http.post, "/score", json=ask("sleep:0.5"))
        time.sleep(0.1)  # while the model is busy with it, the others gather
        others = [pool.submit(http.post, "/score", json=ask(str(number))) for number in range(8)]
        assert slow.result().json() == [{"0": "echo|sleep:0.5|1"}]
        answers = [other.result().json()[0]["0"].split("|") for other in others]
    assert [text for _, text, _ in answers] == [str(number) for number in range(8)]
    assert max(int(company) for _, _, company in answers) > 1


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"{}", 400, "no 'input_data'"),
        (json.dumps(ask("refuse:too hot")).encode(), 400, "The model refused the request: too hot"),
        (json.dumps(ask("fail:no luck")).encode(), 500, "The model failed with RuntimeError: no luck"),
    ],
)
def test_what_cannot_be_scored_says_why(server: ModelServer, content: bytes, status: int, reason: str) -> None:
    with client(server) as http:
        answer = http.post("/score", content=content)
    assert answer.status_code == status
    assert reason in answer.json()["error"]["message"]


def test_its_environment_is_that_of_a_container(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"GREETING": "hello", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    expected["AZUREML_MODEL_DIR"] = server.launch.folder
    with client(server) as http:
        answers = {name: http.post("/score", json=ask(f"environment:{name}")).json()[0]["0"] for name in expected}
    assert answers == expected
    monkeypatch.setenv("IDENTITY_HEADER", "secret")
    inherited = {"AZUREML_CURRENT_CLOUD": "x", "IDENTITY_HEADER": "x", "PHI_HOME": "x", "PATH": "kept"}
    environment = server.launch.process_environment(inherited)
    assert environment["PATH"] == "kept"
    assert not {"AZUREML_CURRENT_CLOUD", "IDENTITY_HEADER", "PHI_HOME"} & environment.keys()


def test_it_listens_on_its_socket_only(server: ModelServer) -> None:
    import psutil

    assert server.pid is not None
    listening = [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening == []


def test_it_is_started_again_when_it_dies(server: ModelServer) -> None:
    first = server.pid
    server.supervise()
    with client(server) as http, pytest.raises(httpx.TransportError):
        http.post("/score", json=ask("die:7"))
    server.suspect()
    deadline = time.monotonic() + 60
    while server.pid == first or not server.probe("/ready", settings().readiness):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with client(server) as http:
        assert http.post("/score", json=ask("back")).json() == [{"0": "echo|back|1"}]
    assert "exited with status 7: it is restarted" in (Path(server.launch.folder) / "log.txt").read_text()


def test_a_process_that_ends_is_waited_for(tmp_path: Path, sockets: Path, way: Template | None) -> None:
    server = new_server(write_echo_model(tmp_path / "echo", "x"), sockets, template=way)
    assert server.has_ended(within=0)
    server.start()
    try:
        server.wait_until_ready(threading.Event())
        assert not server.has_ended(within=0.1)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert server.has_ended(within=30)
        with client(server) as http, pytest.raises(httpx.ConnectError):
            http.get("/")
    finally:
        server.stop()


def test_it_ends_when_its_parent_is_killed(tmp_path: Path, sockets: Path, way: Template | None) -> None:
    folder = write_echo_model(tmp_path / "echo", "orphan")
    program = (
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from tests.emulator.serving.inference.test_worker import new_server\n"
        "from phi_assets.emulator.serving.processes.forking import Template\n"
        f"template = {'Template()' if way else None}\n"
        f"server = new_server(Path({str(folder)!r}), Path({str(sockets)!r}), template=template)\n"
        "server.start()\n"
        "print(server.pid, flush=True)\n"
        "server.wait_until_ready(threading.Event())\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    import psutil

    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        assert parent.stdout.readline() == "ready\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        assert worker in family
        parent.kill()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_a_model_that_crashes_while_loading_is_not_ready(tmp_path: Path, sockets: Path, way: Template | None) -> None:
    folder = write_echo_model(tmp_path / "echo", "x", crash="the weights are not finite")
    server = new_server(folder, sockets, template=way)
    server.start()
    with pytest.raises(NotReady, match="exited with status 1"):
        server.wait_until_ready(threading.Event())
    assert "RuntimeError: the weights are not finite" in (folder / "log.txt").read_text()


def test_patience_ends_and_waiting_can_be_called_off(tmp_path: Path, sockets: Path, template: Template) -> None:
    folder = write_echo_model(tmp_path / "echo", "x", load_seconds=600)
    server = new_server(folder, sockets, settings(livenessProbe=QUICK, readinessProbe=QUICK), template=template)
    server.start()
    try:
        with pytest.raises(NotReady, match="did not succeed within 1 seconds"):
            server.wait_until_ready(threading.Event())
        canceled = threading.Event()
        canceled.set()
        server.configure(settings())
        with pytest.raises(Stopped):
            server.wait_until_ready(canceled)
    finally:
        server.stop()
    with pytest.raises(Stopped):
        server.start()
