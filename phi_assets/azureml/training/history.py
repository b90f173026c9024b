"""Run history: what the service knows about a run beyond its state (times, error, logs, child runs).

The SDK reads the same data plane inside `jobs.stream`, but offers no public way to it.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
from azure.core.exceptions import AzureError
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import MetricsUnreadable
from phi_assets.azureml.connection.retry import OUTAGE_PATIENCE_SECONDS, Log, one_line, ride_out, silent
from phi_assets.azureml.connection.status import JobStatus
from phi_assets.redaction import without_secrets

_NO_SUCH_RUN = "RESOURCE_DOES_NOT_EXIST"


class _Document(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class User(_Document):
    """Somebody who did something with a run."""

    user_name: str | None = None
    """A person's name, or the application id of a service principal."""
    user_object_id: str | None = None

    @property
    def label(self) -> str | None:
        """What people call them."""
        return self.user_name or self.user_object_id


class Run(_Document):
    """A run: a job, or one step of a pipeline job."""

    run_id: str
    root_run_id: str | None = None
    """The job that the run is, or is a step of."""
    parent_run_id: str | None = None
    experiment_id: str | None = None
    created_utc: datetime | None = None
    display_name: str | None = None
    status: str = ""
    start_time_utc: datetime | None = None
    end_time_utc: datetime | None = None
    error: dict[str, Any] | None = None
    log_files: dict[str, str] | None = Field(default=None, repr=False)
    """Name of each log to an address that carries its own permission; never to be logged."""
    tags: dict[str, str | None] | None = None
    properties: dict[str, str | None] | None = None
    cancelation_reason: str | None = None
    """Spelled like this by the service."""
    last_modified_by: User | None = None
    """Of a run that has been cancelled: who did it."""

    @property
    def job_status(self) -> JobStatus:
        return JobStatus(self.status)

    @property
    def label(self) -> str:
        """What people call it."""
        return self.display_name or self.run_id

    @property
    def error_text(self) -> str | None:
        """`code: message` of the innermost message that the service gives."""
        error = (self.error or {}).get("error", self.error) or {}
        message = error.get("message")
        if not message:
            return None
        code = error.get("code")
        return f"{code}: {message}" if code else str(message)


UNREADABLE = (httpx.HTTPError, AzureError, ValueError)
"""What reading run history may end with: no answer, no token for it, or an answer that is not one."""


class RunHistory:
    """Reads the run history of one workspace; retries with back-off for up to `patience_seconds`."""

    def __init__(
        self, workspace: Workspace, log: Log = silent, patience_seconds: float = OUTAGE_PATIENCE_SECONDS
    ) -> None:
        self._workspace = workspace
        self._log = log
        self._patience_seconds = patience_seconds

    def run(self, run_id: str) -> Run:
        """A run with who changed it last, and why it was cancelled."""
        return Run.model_validate(self._json("GET", f"{self._runs}/{run_id}", f"run {run_id}"))

    def details(self, run_id: str) -> Run:
        """A run with its error and the addresses of its logs."""
        return Run.model_validate(self._json("GET", f"{self._runs}/{run_id}/details", f"details of {run_id}"))

    def children(self, run_id: str) -> list[Run]:
        """The steps of a pipeline job, in the service's order."""
        runs: list[Run] = []
        url: str | None = f"{self._runs}/{run_id}/children"
        while url:
            page = self._json("GET", url, f"steps of {run_id}")
            runs += [Run.model_validate(value) for value in page.get("value", [])]
            url = page.get("nextLink")
        return runs

    def query(self, experiment: str, condition: str) -> Iterator[Run]:
        """The runs of an experiment that an OData condition asks for, for example `RootRunId eq a or RootRunId eq b`.

        Values are not quoted, and azureml-core, from which this is known, never
        asks for more than 50 at once.
        """
        url = f"{self._workspace.api_url}/history/v1.0{self._workspace.path}/experiments/{quote(experiment)}/runs:query"
        wanted = {"filter": condition}
        while True:
            page = self._json("POST", url, f"runs of experiment {experiment}", json=wanted)
            yield from (Run.model_validate(value) for value in page.get("value") or [])
            if not page.get("continuationToken"):
                return
            wanted["continuationToken"] = page["continuationToken"]

    def descendants(self, run_id: str) -> Iterator[Run]:
        """All runs below a job, parents before their children: a pipeline inside a pipeline is a run with steps."""
        for child in self.children(run_id):
            yield child
            yield from self.descendants(child.run_id)

    def leaves(self, run_id: str) -> Iterator[Run]:
        """The runs below a job that have none below themselves: the steps that run on a node."""
        for child in self.children(run_id):
            below = list(self.leaves(child.run_id))
            yield from below or [child]

    def output_uris(self, run_id: str) -> dict[str, str]:
        """Where the run's outputs lie, by name: what run data says, with assets resolved to what they stand for.

        An output that the service has made no asset of, or whose asset it does not resolve, is left out.
        """
        url = f"{self._workspace.api_url}/history/v1.0{self._workspace.path}/rundata"
        wanted = {"runId": run_id, "selectRunMetadata": True}
        data = self._json("POST", url, f"run data of {run_id}", json=wanted)
        outputs = (data.get("runMetadata") or {}).get("outputs") or {}
        assets = {name: asset for name, value in outputs.items() if (asset := (value or {}).get("assetId"))}
        if not assets:
            return {}
        url = f"{self._workspace.api_url}/data/v1.0{self._workspace.path}/dataversion/batchGetResolvedUris"
        answer = self._json("POST", url, f"outputs of {run_id}", json={"values": list(assets.values())})
        resolved = answer.get("values") or {}
        found = {name: (resolved.get(asset) or {}).get("uri") for name, asset in assets.items()}
        return {name: str(uri) for name, uri in found.items() if uri}

    def log_piece(self, url: str, offset: int, limit: int) -> bytes:
        """The bytes of a log from `offset` on, at most `limit` of them; none where nothing new has been written.

        No more than that is kept in memory, whatever the server sends.
        """
        headers = {"x-ms-version": "2021-08-06", "Range": f"bytes={offset}-{offset + limit - 1}"}

        def read() -> bytes:
            with self._workspace.http.stream("GET", url, headers=headers) as response:
                if response.status_code in (404, 416):
                    return b""
                response.raise_for_status()
                # A server may answer a range with the whole.
                skip = 0 if response.status_code == 206 else offset
                return _slice(response.iter_bytes(), skip, limit)

        return self._ride_out(read, "log")

    def mlflow(self, method: str, call: str, **arguments: Any) -> dict[str, Any] | None:
        """One call of the MLflow REST interface, `call` being the part after `/api/2.0/mlflow/`.

        None where MLflow itself says that there is no such run: any other 404 is one of a wrong address.

        Raises:
            MetricsUnreadable: there is no answer, or none of MLflow's; the message has the address.
        """
        address = "the workspace's MLflow interface"
        try:
            address = f"{self._workspace.tracking_url}/api/2.0/mlflow/{call}"
            place = "params" if method == "GET" else "json"
            return self._json(method, address, f"metrics ({call})", **{place: arguments})
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND and _mlflow_code(error.response) == _NO_SUCH_RUN:
                return None
            raise MetricsUnreadable(f"{address} does not give a job's metrics: {_refusal(error.response)}") from error
        except UNREADABLE as error:
            raise MetricsUnreadable(f"{address} does not give a job's metrics: {one_line(error)}") from error

    @property
    def _runs(self) -> str:
        return f"{self._workspace.api_url}/history/v1.0{self._workspace.path}/runs"

    def _json(self, method: str, url: str, what: str, **options: Any) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {self._workspace.bearer()}"}
            response = self._workspace.http.request(method, url, headers=headers, **options)
            response.raise_for_status()
            return response.json()

        return self._ride_out(ask, what)

    def _ride_out(self, call: Callable[[], Any], what: str) -> Any:
        return ride_out(call, what, self._log, self._patience_seconds)


def _slice(chunks: Iterator[bytes], skip: int, limit: int) -> bytes:
    """`limit` bytes after the first `skip`; the rest is not asked for."""
    kept = bytearray()
    for chunk in chunks:
        kept += chunk[skip : skip + limit - len(kept)]
        skip = max(0, skip - len(chunk))
        if len(kept) == limit:
            break
    return bytes(kept)


def _mlflow_code(answer: httpx.Response) -> str | None:
    """MLflow's `error_code`; None where the answer is not one of MLflow's."""
    try:
        return answer.json()["error_code"]
    except (ValueError, LookupError, TypeError):
        return None


def _refusal(answer: httpx.Response) -> str:
    text = without_secrets(" ".join(answer.text[:200].split()))
    return f"it answers {answer.status_code} {answer.reason_phrase} {text!r}"
