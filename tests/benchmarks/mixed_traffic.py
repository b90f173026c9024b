"""What mixed traffic leaves behind: `python -m tests.benchmarks.mixed_traffic MINUTES`.

An emulator in a temporary folder gets jobs, blobs, scoring, lists, pages and wrong requests from several clients at the
same time, which also hang up in the middle. Its memory, descriptors, threads and processes are looked at when it has
had a little of everything, and again when it has had MINUTES of it and is idle.
"""

import os
import random
import socket
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
import httpx
import psutil
from rich.console import Console
from rich.table import Table

from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from tests.emulator.http import raw_client, token, workspace_path
from tests.emulator.jobs import ENDED
from tests.emulator.serving.echo import ask, write_echo_model

MODEL = "azureml://registries/mine/models/echo/versions/1"
ENVIRONMENT = "azureml:mixed:1"
CLIENTS = 4
_QUIET_SECONDS = 12.0
"""Idle threads of the server end after ten seconds."""


@dataclass(frozen=True)
class Footprint:
    """What a server has of its machine, with the processes below it counted, their memory not."""

    resident_mib: float
    descriptors: int
    threads: int
    processes: int

    @classmethod
    def of(cls, pid: int) -> "Footprint":
        """Of the process that has this number."""
        server = psutil.Process(pid)
        with server.oneshot():
            resident = server.memory_info().rss / 2**20
            return cls(resident, server.num_fds(), server.num_threads(), len(server.children(recursive=True)))


@dataclass
class Traffic:
    """Requests of all kinds from a seed, and how many of each have been answered how."""

    emulator: process.Connection
    seed: int
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, seconds: float) -> None:
        """The clients have asked for so long, and nothing of theirs runs any more."""
        deadline = time.monotonic() + seconds
        clients = [threading.Thread(target=self._client, args=(number, deadline)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self._settle()

    def _client(self, number: int, deadline: float) -> None:
        draw = random.Random(f"{self.seed}/{number}")
        names = sorted(ACTS)
        while time.monotonic() < deadline:
            with self.session() as session:
                for _ in range(20):
                    name = draw.choice(names)
                    status = ACTS[name](session, draw)
                    with self._lock:
                        self.answers[name, status] += 1

    @contextmanager
    def session(self) -> Iterator["Session"]:
        """A new connection, with tokens of its own."""
        with raw_client(self.emulator) as client:
            client.timeout = httpx.Timeout(60)
            tokens = [token(self.emulator), token(self.emulator, "https://storage.azure.com")]
            yield Session(self.emulator, client, *({"Authorization": f"Bearer {each}"} for each in tokens))

    def _settle(self) -> None:
        deadline = time.monotonic() + 120
        with self.session() as session:
            while any(each["properties"]["status"] not in ENDED for each in session.jobs()):
                assert time.monotonic() < deadline, "jobs do not end"
                time.sleep(0.2)


@dataclass(frozen=True)
class Session:
    """One client's connection, with headers that carry its tokens."""

    emulator: process.Connection
    client: httpx.Client
    management: dict[str, str]
    storage: dict[str, str]

    def arm(self, method: str, path: str, body: object = None) -> httpx.Response:
        """A request to the workspace."""
        return self.client.request(method, workspace_path(self.emulator) + path, json=body, headers=self.management)

    def jobs(self) -> list[dict]:
        """All that the workspace lists on its first page."""
        return self.arm("GET", "/jobs").raise_for_status().json()["value"]

    def blob(self, method: str, name: str, content: bytes = b"") -> httpx.Response:
        """A request to the default datastore, or to its container."""
        url = f"/phistorage.blob.local.emu/azureml-blobstore{name}"
        headers = self.storage | {"x-ms-blob-type": "BlockBlob"}
        return self.client.request(method, url, content=content, headers=headers)


Act = Callable[[Session, random.Random], int]


def _job(session: Session, draw: random.Random) -> int:
    body = {"jobType": "Command", "command": "echo $RANDOM", "environmentId": ENVIRONMENT, "experimentName": "mixed"}
    name = f"mixed-{draw.getrandbits(48):x}"
    status = session.arm("PUT", f"/jobs/{name}", {"properties": body}).status_code
    if draw.random() < 0.3:
        session.arm("POST", f"/jobs/{name}/cancel")
    return status


def _forget_job(session: Session, draw: random.Random) -> int:
    ended = [each["name"] for each in session.jobs() if each["properties"]["status"] in ENDED]
    return session.arm("DELETE", f"/jobs/{draw.choice(ended or ['nothing'])}").status_code


def _look_at_job(session: Session, draw: random.Random) -> int:
    name = draw.choice([each["name"] for each in session.jobs()] or ["nothing"])
    path = f"/history/v1.0{workspace_path(session.emulator)}/runs/{name}/details"
    places = [session.emulator.studio_url + f"/runs/{name}", session.emulator.base_url + path]
    return session.client.get(draw.choice(places), headers=session.management).status_code


def _score(session: Session, draw: random.Random) -> int:
    key = session.arm("POST", "/onlineEndpoints/mixed/listKeys").json().get("primaryKey", "")
    text = draw.choice(["a question", "refuse:no", "x" * 5000])
    headers = {"Authorization": f"Bearer {key}"}
    return session.client.post("/endpoints/mixed/score", json=ask(text), headers=headers).status_code


def _write_blob(session: Session, draw: random.Random) -> int:
    return session.blob("PUT", f"/mixed/{draw.randrange(20)}", b"x" * draw.choice([10, 1000, 300_000])).status_code


def _cut_off(session: Session, draw: random.Random) -> int:
    """Hangs up in the middle of a request."""
    trust = ssl.create_default_context(cafile=str(session.emulator.ca_bundle))
    with suppress(OSError), socket.create_connection(("127.0.0.1", session.emulator.port), timeout=5) as plain:
        if draw.random() < 0.3:
            plain.sendall(b"no handshake")
        else:
            with trust.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
    return 0


def _wrong(session: Session, draw: random.Random) -> int:
    path = workspace_path(session.emulator)
    wrong: list[Callable[[], httpx.Response]] = [
        lambda: session.client.get(f"{path}/jobs", headers={"Authorization": f"Bearer {draw.getrandbits(64):x}"}),
        lambda: session.client.put(f"{path}/jobs/x", content=b"{" * draw.randrange(3000), headers=session.management),
        lambda: session.arm("GET", f"/nothing-{draw.getrandbits(32):x}"),
        lambda: session.arm("PUT", "/jobs/nonsense", {"properties": {"jobType": "Command", "command": ""}}),
        lambda: session.arm("GET", f"/models/none-{draw.getrandbits(32):x}/versions/1"),
        lambda: session.arm("PATCH", "/computes/nothing", {"properties": draw.getrandbits(8)}),
    ]
    return draw.choice(wrong)().status_code


ACTS: dict[str, Act] = {
    "job": _job,
    "job forgotten": _forget_job,
    "job looked at": _look_at_job,
    "jobs listed": lambda session, _: session.arm("GET", "/jobs").status_code,
    "blob written": _write_blob,
    "blob read": lambda session, draw: session.blob("GET", f"/mixed/{draw.randrange(20)}").status_code,
    "blob deleted": lambda session, draw: session.blob("DELETE", f"/mixed/{draw.randrange(20)}").status_code,
    "blobs listed": lambda session, _: session.blob("GET", "?restype=container&comp=list&prefix=mixed/").status_code,
    "scored": _score,
    "page": lambda session, draw: (
        httpx.get(
            session.emulator.studio_url + draw.choice(["/jobs", "/models", "/endpoints", "/nothing"]), trust_env=False
        ).status_code
    ),
    "cut off": _cut_off,
    "wrong": _wrong,
}


@dataclass(frozen=True)
class Result:
    """What the server had before and after, and what the clients were answered."""

    before: Footprint
    after: Footprint
    answers: Counter[tuple[str, int]]

    @property
    def defects(self) -> dict[str, int]:
        """Answers that no request can be the reason of."""
        return {f"{name} {status}": count for (name, status), count in self.answers.items() if status == 500}


def measure(home: Path, *, seconds: float, seed: int, warm_up: float = 3.0) -> Result:
    """Traffic of so many seconds at an emulator in `home`, which is stopped afterwards."""
    registry = home / "registry" / "mine" / "models" / "echo"
    write_echo_model(registry / "files", "echo")
    (registry / "1.yaml").write_text("name: echo\nversion: 1\ntype: mlflow_model\npath: files\n")
    emulator = process.ensure_running(home)
    try:
        traffic = Traffic(emulator, seed)
        with Control(emulator) as control, traffic.session() as session:
            control.set_time_scale(50)
            _prepare(session)
        traffic.run(warm_up)
        time.sleep(min(seconds, _QUIET_SECONDS) / 4)
        before = Footprint.of(emulator.pid)
        traffic = Traffic(emulator, seed + 1)
        traffic.run(seconds)
        time.sleep(min(seconds, _QUIET_SECONDS) / 4)
        return Result(before, Footprint.of(emulator.pid), traffic.answers)
    finally:
        process.stop(home)


def _prepare(session: Session) -> None:
    session.arm("PUT", "/environments/mixed/versions/1", {"properties": {"image": "x/y:1"}}).raise_for_status()
    settings = {"location": "emulator", "properties": {"authMode": "Key"}}
    session.arm("PUT", "/onlineEndpoints/mixed", settings).raise_for_status()
    _wait(session, "/onlineEndpoints/mixed")
    deployment = {"location": "emulator", "properties": {"model": MODEL}}
    session.arm("PUT", "/onlineEndpoints/mixed/deployments/blue", deployment).raise_for_status()
    _wait(session, "/onlineEndpoints/mixed/deployments/blue")
    settings["properties"]["traffic"] = {"blue": 100}
    session.arm("PUT", "/onlineEndpoints/mixed", settings).raise_for_status()
    _wait(session, "/onlineEndpoints/mixed")


def _wait(session: Session, path: str) -> None:
    deadline = time.monotonic() + 60
    while session.arm("GET", path).json()["properties"]["provisioningState"] != "Succeeded":
        assert time.monotonic() < deadline, f"{path} does not succeed"
        time.sleep(0.05)


@click.command(help=__doc__)
@click.argument("minutes", type=float)
@click.option("--seed", default=0, show_default=True)
def main(minutes: float, seed: int) -> None:
    """Prints a table; exit code 1 if anything was answered with 500."""
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder) / "emulator", seconds=minutes * 60, seed=seed)
    console = Console(width=100)
    table = Table("", "before", "after", title=f"{sum(result.answers.values()):,} requests in {minutes:g} min")
    for name, value in asdict(result.before).items():
        table.add_row(name, f"{value:,.0f}", f"{asdict(result.after)[name]:,.0f}")
    console.print(table)
    for (name, status), count in sorted(result.answers.items()):
        console.print(f"{name:16} {status or 'hung up'!s:8} {count:8,}")
    raise SystemExit(bool(result.defects))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
