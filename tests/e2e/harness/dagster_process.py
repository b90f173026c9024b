"""Dagster as it is deployed: webserver, daemon and code server as processes of their own, driven through GraphQL."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import dagster as dg
import yaml

from phi_assets.config.settings import PROJECT_ROOT
from tests.e2e.harness import template
from tests.e2e.harness.code_server import SENSOR_SECONDS_VARIABLE
from tests.e2e.harness.graphql import GraphQL
from tests.e2e.harness.processes import Program, end, end_group, free_port, is_listening, until
from tests.e2e.harness.run_records import FINISHED, RunRecords
from tests.toy_graph import NAME, key_of

__all__ = ["FAST_POLLS", "FINISHED", "LOCATION", "DagsterProcess", "Pace"]

LOCATION = "phi_assets"

FAST_POLLS: dict[str, dict[str, Any]] = {
    "run_monitoring": {"poll_interval_seconds": 1, "free_slots_after_run_end_seconds": 1},
}
"""How often the daemon looks, over the committed instance file; what it then does stays as committed."""

_FAST_ENVIRONMENT = {"DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1"}

Pace = Literal["own", "quick"]
"""`own` is Dagster's: its code server and its daemon as they are. For `quick` see `code_server` and `daemon`."""

_MODULES: dict[Pace, tuple[str, str]] = {
    "own": ("dagster", "dagster._daemon"),
    "quick": ("tests.e2e.harness.code_server", "tests.e2e.harness.daemon"),
}

_STATEMENT_MILLISECONDS = 15_000

_READY_SECONDS = 120
_RETRY_SECONDS = 120
_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}

_ERROR = "__typename ... on PythonError { message } ... on Error { message }"
_LAUNCH = f"""mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {_ERROR}
  ... on LaunchRunSuccess {{ run {{ runId }} }} }} }}"""
# What the buttons of the UI send.
_REEXECUTE = f"""mutation($p: ReexecutionParams!) {{ launchRunReexecution(reexecutionParams: $p) {{ {_ERROR}
  ... on LaunchRunSuccess {{ run {{ runId }} }} }} }}"""
_TERMINATE = f"""mutation($ids: [String!]!, $policy: TerminateRunPolicy) {{
  terminateRuns(runIds: $ids, terminatePolicy: $policy) {{ {_ERROR}
  ... on TerminateRunsResult {{ terminateRunResults {{ {_ERROR} }} }} }} }}"""
_START_SENSOR = f"mutation($s: SensorSelector!) {{ startSensor(sensorSelector: $s) {{ {_ERROR} }} }}"
_STOP_SENSOR = f"mutation($id: String) {{ stopSensor(id: $id) {{ {_ERROR} }} }}"
_ASSETS = "query($p: PipelineSelector) { assetNodes(pipeline: $p) { assetKey { path } } }"
_SENSOR = f"query($s: SensorSelector!) {{ sensorOrError(sensorSelector: $s) {{ {_ERROR} ... on Sensor {{ id }} }} }}"


class DagsterProcess(RunRecords):
    """A Dagster deployment over a DAGSTER_HOME in `directory`, with the committed instance file and faster polls.

    With `sensor_seconds` sensors tick so often, whatever they say themselves. What is `quick` shares its memory with
    what it has been forked of, unless nothing `forks`.

    As a context manager: inside, the code location is loaded; afterwards no process of it is left, run workers
    included. What it is told to do goes through GraphQL; what happened is read from its records.
    """

    def __init__(
        self,
        directory: Path,
        env: Mapping[str, str],
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        pace: Pace = "quick",
        sensor_seconds: int | None = None,
        forks: bool = True,
    ) -> None:
        super().__init__()
        assert sensor_seconds is None or pace == "quick", "Sensors tick as often as they say at their own pace"
        self._code_server, self._daemon_module = _MODULES[pace]
        self._forks = _MODULES[pace] if pace == "quick" and forks else ()
        self.directory = directory
        self.home = directory / "dagster-home"
        self.env = {**os.environ, **_FAST_ENVIRONMENT, **env, "DAGSTER_HOME": str(self.home)}
        if sensor_seconds is not None:
            self.env[SENSOR_SECONDS_VARIABLE] = str(sensor_seconds)
        self._overrides = FAST_POLLS if overrides is None else overrides
        self._port, self.code_port = free_port(), free_port()
        self._servers: dict[str, Program] = {}
        self.graphql = GraphQL(f"http://127.0.0.1:{self._port}")

    @property
    def url(self) -> str:
        """Of the UI."""
        return self.graphql.url

    @property
    def pids(self) -> dict[str, int]:
        """Processes of code server, webserver and daemon, of those that run."""
        return {name: server.pid for name, server in self._servers.items() if server.poll() is None}

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True)
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(_instance_config(self._overrides)))
        server = {"host": "127.0.0.1", "port": self.code_port, "location_name": LOCATION}
        (self.directory / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        # Reads the same files as the processes do; made before them, it also makes their tables.
        self.instance = dg.DagsterInstance.from_config(str(self.home))
        # As the webserver does: otherwise each look at a run would open a connection of its own to a database.
        self.instance.optimize_for_webserver(_STATEMENT_MILLISECONDS, pool_recycle=-1, max_overflow=20)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        end_group(self._leader)
        self.instance.dispose()

    def start(self) -> None:
        """All processes run, and the code location is loaded."""
        self._leader = self._process(
            "code-server",
            *(self._code_server, "api", "grpc", "-m", "phi_assets.definitions", "--location-name", LOCATION),
            *("-h", "127.0.0.1", "-p", str(self.code_port)),
            group=0,
        )
        try:
            # Who asks it too early takes the code location for broken.
            until(self._code_server_listens, _READY_SECONDS, f"No code server, see {self.directory}/code-server.log,")
            self._start_servers()
        except BaseException:
            end_group(self._leader)
            raise

    def _start_servers(self) -> None:
        """What acts on runs is there."""
        self.start_webserver()
        self.start_daemon()
        until(self._ready, _READY_SECONDS, f"Dagster is not ready, see the logs in {self.directory},")

    def lose_power(self) -> None:
        """Every process has gone at once, run workers included; `start` brings Dagster back."""
        end_group(self._leader, signal.SIGKILL)

    def lose_servers(self) -> None:
        """Webserver, daemon and code server have gone at once; run workers go on. `start` brings the others back."""
        for process in (self._leader, self._webserver, self._daemon):
            process.kill()
            process.wait()

    def launch(
        self,
        job: str,
        run_config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        assets: Sequence[str] | None = None,
        recipe: str = NAME,
    ) -> str:
        """Id of a new run of the toy recipe's job, or of some of its assets (`sampled_train_sft`) with their checks."""
        selector: dict[str, Any] = {**_REPOSITORY, "pipelineName": f"{recipe}__{job}"}
        if assets is not None:
            selector["assetSelection"] = [{"path": list(key_of(asset).path)} for asset in assets]
        params = {
            "selector": selector,
            "runConfigData": run_config or {},
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
        }
        return self.graphql.mutate(_LAUNCH, "LaunchRunSuccess", p=params)["run"]["runId"]

    def assets_of(self, job: str) -> set[str]:
        """The last parts of the keys of all assets that the toy recipe's job makes."""
        selector = {**_REPOSITORY, "pipelineName": f"{NAME}__{job}"}
        nodes: Any = self.graphql.query(_ASSETS, p=selector)["assetNodes"]
        return {node["assetKey"]["path"][-1] for node in nodes}

    def reexecute(self, run_id: str) -> str:
        """Id of a new run of what has not succeeded in this one, as after *Re-execute from failure* in the UI."""
        params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
        return self.graphql.mutate(_REEXECUTE, "LaunchRunSuccess", p=params)["run"]["runId"]

    def retry_of(self, run_id: str) -> str:
        """Id of the run that follows one that has crashed: Dagster starts it, and where it has overlooked the crash,
        it is done by hand, as the README says.

        Raises:
            TimeoutError: there is none after two minutes.
        """

        def found() -> str | None:
            return self.retry(run_id) or (self.reexecute(run_id) if self.is_overlooked(run_id) else None)

        return self.until(found, _RETRY_SECONDS, f"Dagster does not retry run {run_id}")

    def terminate(self, run_id: str, *, force: bool = False) -> None:
        """Dagster has accepted the termination of the run, as after a press of the UI's button.

        With `force` the run counts as cancelled at once, whatever its worker still does.
        """
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if force else "SAFE_TERMINATE"
        result = self.graphql.mutate(_TERMINATE, "TerminateRunsResult", ids=[run_id], policy=policy)
        refused = [r for r in result["terminateRunResults"] if r["__typename"] != "TerminateRunSuccess"]
        assert refused == [], refused

    def start_sensor(self, name: str) -> None:
        """The sensor is switched on."""
        self.graphql.mutate(_START_SENSOR, "Sensor", s={**_REPOSITORY, "sensorName": name})

    def stop_sensor(self, name: str) -> None:
        """The sensor is switched off."""
        sensor = self.graphql.query(_SENSOR, s={**_REPOSITORY, "sensorName": name})["sensorOrError"]
        self.graphql.mutate(_STOP_SENSOR, "StopSensorMutationResult", id=sensor["id"])

    @contextmanager
    def real_daemon(self) -> Iterator[None]:
        """Inside, a daemon is there."""
        yield

    @contextmanager
    def real_webserver(self) -> Iterator[None]:
        """Inside, the UI is there, at `url`."""
        yield

    def start_webserver(self) -> None:
        """A webserver runs, which may not answer yet."""
        arguments = ("-h", "127.0.0.1", "-p", str(self._port), *self._workspace)
        self._webserver = self._process("webserver", "dagster_webserver", *arguments)

    def stop_webserver(self) -> None:
        """The webserver has ended."""
        end(self._webserver)

    def stop_daemon(self) -> None:
        """The daemon has ended; `start_daemon` brings one back."""
        end(self._daemon)

    def kill_daemon(self) -> None:
        """The daemon has gone without a word; `start_daemon` brings one back."""
        self._daemon.kill()
        self._daemon.wait()

    def start_daemon(self) -> None:
        """A daemon runs."""
        self._daemon = self._process("daemon", self._daemon_module, "run", *self._workspace)

    def restart_daemon(self) -> None:
        """The daemon has ended, and another one runs."""
        self.stop_daemon()
        self.start_daemon()

    @property
    def _workspace(self) -> tuple[str, ...]:
        return "-w", str(self.directory / "workspace.yaml")

    def _process(self, name: str, module: str, *arguments: str, group: int | None = None) -> Program:
        log = self.directory / f"{name}.log"
        group = self._leader.pid if group is None else group
        self._servers[name] = (
            template.fork(module, arguments, self.env, log, group)
            if module in self._forks
            else _started(module, arguments, self.env, log, group)
        )
        return self._servers[name]

    def _code_server_listens(self) -> bool | None:
        assert self._leader.poll() is None, f"The code server has ended, see {self.directory}/code-server.log"
        return is_listening(self.code_port) or None

    def _ready(self) -> bool | None:
        for process in (self._leader, self._webserver, self._daemon):
            assert process.poll() is None, f"Process {process.pid} has ended, see the logs in {self.directory}"
        return True if self.graphql.is_loaded() else None


def _started(
    module: str, arguments: Sequence[str], env: Mapping[str, str], log: Path, group: int
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT_ROOT,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=group,
        )


def _instance_config(overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    config = yaml.safe_load((PROJECT_ROOT / ".dagster" / "dagster.yaml").read_text(encoding="utf-8"))
    for section, values in overrides.items():
        config[section] = {**config.get(section, {}), **values}
    return config
