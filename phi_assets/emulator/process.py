"""The emulator's process as others see it: find it, start it, stop it, point a program at it.

Imported by whoever needs a running emulator, so it imports nothing of the server.
"""

import contextlib
import errno
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx
import psutil
from filelock import FileLock, Timeout

from phi_assets.config.certificates import bundle_with
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator.folder import folder_id, is_served, make_private, require_room
from phi_assets.emulator.small_files import CONTROL_KEY_FILE, STATE_FILE, damages, read_state
from phi_assets.processes import ProcessId, inherited, pid_namespace

__all__ = ["CONTROL_KEY_FILE", "STATE_FILE"]

STORAGE_SUFFIX = "local.emu"
"""Last part of the storage host name that the SDK makes out of the datastores' account name."""

try:
    VERSION = version("phi-assets")
except PackageNotFoundError:  # run from a source tree that is not installed
    VERSION = "0+source"

_START_LOCK = "start.lock"
_OUTPUT_FILE = "serve.out"
_HEALTH_SECONDS = 5.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
_OWN_VARIABLES = ("PHI_EMULATOR_TIME_SCALE", "PHI_EMULATOR_SEED", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Those that the server reads; none of them is a secret."""
_LOOPBACK = "127.0.0.1,localhost"


class EmulatorError(RuntimeError):
    """The emulator cannot be started or reached; the message says why and what to do."""


@dataclass(frozen=True)
class Connection:
    """A running emulator and all that a client needs to use it."""

    base_url: str
    studio_url: str
    """Where people look at jobs, models and endpoints."""
    port: int
    pid: int
    directory: Path
    ca_bundle: Path
    """The authority that signed the server's certificate, alone."""
    identity_endpoint: str
    identity_header: str
    """A secret: whoever has it gets tokens."""
    subscription_id: str
    resource_group: str
    workspace_name: str

    def __repr__(self) -> str:
        return f"Connection({self.base_url}, pid {self.pid}, {self.directory})"

    @property
    def cloud_name(self) -> str:
        """Name for `MLClient(cloud=...)`; it has the port, as the SDK keeps the first cloud of a name for ever."""
        return f"PhiEmulator-{self.port}"

    @property
    def cloud_metadata(self) -> dict[str, str]:
        """The value for `MLClient(cloud_metadata=...)`."""
        return {
            "azure_portal": self.base_url,
            "resource_manager": self.base_url + "/",
            "active_directory": self.base_url + "/aad",
            "aml_resource_id": self.base_url,
            "storage_endpoint": STORAGE_SUFFIX,
            "registry_discovery_endpoint": self.base_url + "/",
        }

    def environment(self, existing: Mapping[str, str]) -> dict[str, str]:
        """Variables, to be set over `existing`, that point any program using azure-ai-ml at this emulator.

        Certificate bundles of `existing` are extended by our authority, not replaced; the merged files lie in the
        emulator's directory.
        """
        trust = self.directory / "tls"
        requests_bundle = existing.get("REQUESTS_CA_BUNDLE") or existing.get("CURL_CA_BUNDLE")
        openssl_bundle = existing.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        variables = {
            "AZURE_SUBSCRIPTION_ID": self.subscription_id,
            "AZURE_RESOURCE_GROUP": self.resource_group,
            "AZURE_ML_WORKSPACE": self.workspace_name,
            "ARM_CLOUD_METADATA_URL": f"{self.base_url}/metadata/endpoints?api-version=2019-05-01",
            "REGISTRY_DISCOVERY_ENDPOINT_URL": self.base_url + "/",
            "REQUESTS_CA_BUNDLE": str(bundle_with(self.ca_bundle, requests_bundle, trust)),
            "SSL_CERT_FILE": str(bundle_with(self.ca_bundle, openssl_bundle, trust)),
            "IDENTITY_ENDPOINT": self.identity_endpoint,
            "IDENTITY_HEADER": self.identity_header,
            "AZUREML_RUN_POLLING_INTERVAL_MIN": "1",
            "AZUREML_RUN_POLLING_INTERVAL_MAX": "2",
        }
        # requests reads the lower-case name first.
        for name in ("NO_PROXY", "no_proxy"):
            if name == "NO_PROXY" or name in existing:
                variables[name] = _with_loopback(existing.get(name, ""))
        # The SDK leaves this behind in processes that used another emulator or cloud, and believes it above all else.
        if "AZUREML_CURRENT_CLOUD" in existing:
            variables["AZUREML_CURRENT_CLOUD"] = self.cloud_name
        return variables


def ensure_running(directory: Path, timeout: float = 60) -> Connection:
    """The emulator of `directory`, started if none runs; it outlives this process.

    Safe to call from several processes at once: one starts it, the others find it.

    Raises:
        EmulatorError: if it cannot be started, or does not answer, within `timeout` seconds.
    """
    directory = directory.resolve()  # the server is started with another working directory
    running = status(directory)
    if running is not None:
        return running
    deadline = time.monotonic() + timeout
    try:
        make_private(directory)
        with FileLock(directory / _START_LOCK, timeout=timeout, mode=0o600):
            # Somebody else may have started it while we waited for the lock, and it may not answer yet.
            if _live_state(directory) is not None:
                return _wait(directory, deadline, lambda: None)
            _require_whole(directory)
            require_room(directory)
            child = _spawn(directory)
            return _wait(directory, deadline, child.poll)
    except Timeout as error:
        raise EmulatorError(
            f"Another process has been starting the emulator of {directory} for {timeout:.0f} s; "
            f"see {_OUTPUT_FILE} there."
        ) from error
    except OSError as error:
        raise EmulatorError(_in_words(directory, error)) from error


def status(directory: Path) -> Connection | None:
    """The emulator of `directory` if it runs and answers, else None.

    Raises:
        EmulatorError: it runs, and a file that it is found or trusted by is damaged.
    """
    directory = directory.resolve()
    state = _live_state(directory)
    if state is None:
        return None
    connection = _connect(directory, state)
    if _answers(connection, state["id"]):
        return connection
    _require_whole(directory)  # such as the authority, without which nobody trusts its answer
    return None


def stop(directory: Path) -> bool:
    """Stops the emulator of `directory` and every process it started; False if none ran.

    It gets SIGTERM and 20 seconds, then SIGKILL.

    Raises:
        EmulatorError: it runs in another container, or the file that it is found by is damaged.
    """
    directory = directory.resolve()
    state = _live_state(directory)
    if state is None:
        return False
    if _is_elsewhere(state):
        raise EmulatorError(f"The emulator of {directory} runs in another container. Stop it there.")
    server = _process(state)
    family = [server, *_descendants(server)]
    _signal([server], signal.SIGTERM)
    _wait_for_end([server])
    _signal(family, signal.SIGKILL)
    _wait_for_end(family)
    # Where this very process had started it, nobody else takes its exit code.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server.pid, os.WNOHANG)
    (directory / STATE_FILE).unlink(missing_ok=True)
    return True


def _require_whole(directory: Path) -> None:
    found = damages(directory)
    if found:
        raise EmulatorError("\n".join(found))


def _in_words(directory: Path, error: OSError) -> str:
    advice = "Make room there." if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Mend that, and try again."
    return f"The emulator of {directory} cannot be started: {error.strerror or error}. {advice}"


def _live_state(directory: Path) -> dict | None:
    """What the server wrote about itself, if that very process (not another one with its pid) is alive."""
    try:
        state = read_state(directory)
    except ValueError as error:
        if is_served(directory):
            _require_whole(directory)
            raise EmulatorError(f"{directory / STATE_FILE} cannot be read: {error}.") from error
        return None  # of a server that is gone
    if state is None:
        return None
    # A copy of the folder brings the state of the original's server along.
    is_ours = state.get("folder", folder_id(directory)) == folder_id(directory)
    is_alive = is_served(directory) if _is_elsewhere(state) else _process(state).is_alive()
    return state if is_ours and is_alive else None


def _is_elsewhere(state: dict) -> bool:
    """Whether it is in another container, or on the machine outside, so that its number says nothing here."""
    return state.get("pid_namespace") != pid_namespace()


def _process(state: dict) -> ProcessId:
    # Servers of earlier versions wrote no start.
    return ProcessId(state["pid"], state["process_created"], state.get("process_start"))


def _connect(directory: Path, state: dict) -> Connection:
    return Connection(
        base_url=state["base_url"],
        # An emulator that was started by an earlier version has no Studio.
        studio_url=state.get("studio_url", state["base_url"]),
        port=int(httpx.URL(state["base_url"]).port or 0),
        pid=state["pid"],
        directory=directory,
        ca_bundle=directory / "tls" / "ca.pem",
        identity_endpoint=state["base_url"] + "/msi/token",
        identity_header=state["identity_header"],
        subscription_id=state["subscription_id"],
        resource_group=state["resource_group"],
        workspace_name=state["workspace_name"],
    )


def _answers(connection: Connection, identifier: str) -> bool:
    try:
        trust = ssl.create_default_context(cafile=str(connection.ca_bundle))
        with httpx.Client(verify=trust, trust_env=False, timeout=_HEALTH_SECONDS) as client:
            answer = client.get(connection.base_url + "/healthz")
    except (httpx.TransportError, OSError):
        return False
    return answer.status_code == 200 and answer.json().get("id") == identifier


def environment_of_server() -> dict[str, str]:
    """The variables of an emulator that this process starts."""
    own = {name: os.environ[name] for name in _OWN_VARIABLES if name in os.environ}
    environment = inherited(os.environ) | own
    # The package may be run from its source folder without being installed.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT_ROOT), environment.get("PYTHONPATH")]))
    return environment


def _spawn(directory: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "phi_assets.emulator", "serve", "--directory", str(directory)]
    output = os.open(directory / _OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment_of_server(),
            start_new_session=True,
        )
    finally:
        os.close(output)


def _wait(directory: Path, deadline: float, ended: Callable[[], int | None]) -> Connection:
    while time.monotonic() < deadline:
        connection = status(directory)
        if connection is not None:
            return connection
        code = ended()
        if code is not None:
            raise EmulatorError(f"The emulator ended with code {code} while it started:\n{_output(directory)}")
        time.sleep(_POLL_SECONDS)
    state = _live_state(directory)
    advice = f"end process {state['pid']} and try again" if state else "try again with more time"
    raise EmulatorError(f"The emulator of {directory} does not answer; {advice}.\n{_output(directory)}")


def _output(directory: Path) -> str:
    path = directory / _OUTPUT_FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return "\n".join(text.strip().splitlines()[-15:]) or f"It wrote nothing into {path}."


def _descendants(process: ProcessId) -> list[ProcessId]:
    found: list[ProcessId] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(ProcessId.of(child.pid))
    return found


def _signal(processes: Iterable[ProcessId], number: signal.Signals) -> None:
    for process in processes:
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _wait_for_end(processes: Iterable[ProcessId]) -> None:
    """Returns when none of them is alive, at the latest after `_STOP_SECONDS`."""
    deadline = time.monotonic() + _STOP_SECONDS
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _with_loopback(hosts: str) -> str:
    if hosts.strip() == "*":
        return hosts
    present = [host.strip() for host in hosts.split(",") if host.strip()]
    return ",".join(present + [host for host in _LOOPBACK.split(",") if host not in present])
