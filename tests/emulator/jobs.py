"""Jobs over the raw interface."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from phi_assets.emulator.process import Connection
from tests.emulator.http import arm_client, raw_client, token, workspace_path

ENDED = {"Completed", "Failed", "Canceled"}
FILE = "azureml://datastores/workspaceblobstore/paths/inputs/file.txt"


class Jobs:
    """One workspace's jobs and run history."""

    def __init__(self, emulator: Connection, client: httpx.Client):
        self.emulator = emulator
        self.client = client
        self._user_token = token(emulator)

    def put(self, name: str, properties: dict[str, Any], **headers: str) -> httpx.Response:
        """PUT of the job, with the user's token unless `headers` has another one."""
        sent = {"x-azureml-token": self._user_token} | {key.replace("_", "-"): value for key, value in headers.items()}
        return self.client.put(f"/jobs/{name}", json={"properties": properties}, headers=sent)

    def get(self, name: str) -> dict[str, Any]:
        """The job's resource."""
        return self.client.get(f"/jobs/{name}").raise_for_status().json()

    def status(self, name: str) -> str:
        """The job's status."""
        return self.get(name)["properties"]["status"]

    def history(self, path: str, method: str = "GET", **options: Any) -> httpx.Response:
        """A request to the run history."""
        url = f"{self.emulator.base_url}/history/v1.0{workspace_path(self.emulator)}/{path}"
        return self.client.request(method, url, **options)

    def run(self, run_id: str) -> dict[str, Any]:
        """The run's details."""
        return self.history(f"runs/{run_id}/details").raise_for_status().json()

    def children(self, run_id: str) -> list[dict[str, Any]]:
        """The run's children."""
        return self.history(f"runs/{run_id}/children").raise_for_status().json()["value"]

    def log(self, run_id: str, name: str = "user_logs/std_log.txt") -> str:
        """The text of a log; empty if there is none yet."""
        url = self.run(run_id)["logFiles"].get(name)
        if url is None:
            return ""
        with raw_client(self.emulator) as client:
            return client.get(url).raise_for_status().text

    def submitted(self, name: str, properties: dict[str, Any]) -> str:
        """Submits the job and returns its name."""
        self.put(name, properties).raise_for_status()
        return name

    def ended(self, name: str) -> str:
        """Waits for the job's end and returns its status."""
        until(lambda: self.status(name) in ENDED, f"job {name} to end")
        return self.status(name)

    def running_step(self, name: str) -> dict[str, Any]:
        """Waits until a step of the job runs and has written its process ids, and returns it."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [child for child in self.children(name) if "waiting" in self.log(child["runId"])]
            return bool(found)

        until(look, f"a step of {name} to run")
        return found[0]


@contextmanager
def connected(emulator: Connection) -> Iterator[Jobs]:
    """Jobs of the emulator's workspace, with a small file in its default datastore as `FILE`."""
    path = emulator.directory / "blobs" / "azureml-blobstore" / "inputs" / "file.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("hello")
    with arm_client(emulator) as client:
        yield Jobs(emulator, client)


def until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Returns when the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)
