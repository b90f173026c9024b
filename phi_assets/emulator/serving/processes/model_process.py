"""The process of a deployment: started, probed, watched, started again when it dies, ended."""

import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from phi_assets.emulator.chaos.clock import Clock
from phi_assets.emulator.serving.processes.forking import ForkedProcess, Template, TemplateError
from phi_assets.emulator.serving.processes.launch import Launch
from phi_assets.emulator.serving.rules import DeploymentSettings, Probe

logger = logging.getLogger(__name__)
# One line per probe and per scoring request would drown the emulator's own log, which has the requests already.
logging.getLogger("httpx").setLevel(logging.WARNING)

START_POLL_SECONDS = 0.1
STOP_GRACE_SECONDS = 10.0
MAX_RESTART_DELAY_SECONDS = 30.0
"""Upper end of the pauses (0, 1, 3, 7, ...) before a process that keeps dying is started again."""

_Process = subprocess.Popen[bytes] | ForkedProcess


class NotReady(Exception):
    """The process ended, or its probes failed for longer than the deployment's settings allow."""


class Stopped(Exception):
    """Somebody asked for the process to end while it was starting."""


@dataclass(frozen=True)
class Crash:
    """How loading the model shall fail."""

    message: str
    seconds: float


class ModelServer:
    """One inference server (`worker` or `script_server` of `serving.inference`) behind `socket`.

    Its output is appended to `log`. With `crash` it does not get as far as that. With a `template` it is a copy of that
    where it can be, which spares it the imports.
    """

    def __init__(
        self,
        launch: Launch,
        settings: DeploymentSettings,
        clock: Clock,
        socket: Path,
        log: Path,
        crash: Crash | None = None,
        template: Template | None = None,
    ):
        self.launch = launch
        self.socket = socket
        self._settings = settings
        self._clock = clock
        self._log = log
        self._crash = crash
        self._template = template
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._stopped = threading.Event()
        self._attention = threading.Event()

    @property
    def pid(self) -> int | None:
        """Process id, also of a process that has ended; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def is_stopped(self) -> bool:
        """Whether it was ended for good."""
        return self._stopped.is_set()

    def start(self) -> None:
        """Starts the process; it is not ready yet.

        Raises:
            Stopped: if `stop` was called before.
        """
        with self._lock:
            if self._stopped.is_set():
                raise Stopped
            self.socket.unlink(missing_ok=True)
            with self._log.open("ab") as log:
                self._process = self._spawn(log)

    def wait_until_ready(self, canceled: threading.Event) -> None:
        """Returns as soon as readiness and liveness are confirmed.

        The settings say how long to wait at most. That time is not scaled by the emulator's clock: loading a model is
        real work, which a test cannot make shorter.

        Raises:
            NotReady: the process ended, or time is up.
            Stopped: `canceled` was set, or `stop` was called.
        """
        readiness, liveness = self._settings.readiness, self._settings.liveness
        patience = max(readiness.patience, liveness.patience)
        deadline = time.monotonic() + patience
        successes = 0
        while successes < readiness.success_threshold:
            status = self._exit_status()
            if status is not None and not self._stopped.is_set():
                raise NotReady(f"The model server exited with status {status} before it was ready.")
            if time.monotonic() > deadline:
                raise NotReady(
                    f"The readiness probe did not succeed within {patience:g} seconds "
                    "(initial delay + period * failure threshold)."
                )
            ready = self.probe("/ready", readiness) and self.probe("/", liveness)
            successes = successes + 1 if ready else 0
            if canceled.wait(START_POLL_SECONDS if not ready else 0) or self._stopped.is_set():
                raise Stopped

    def probe(self, path: str, probe: Probe) -> bool:
        """Whether `path` answers 200 in time."""
        if not self.socket.exists():
            return False
        # There is no TLS on the socket, and loading the authorities would cost a hundred times what the probe costs.
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False, trust_env=False)
        try:
            with httpx.Client(transport=transport, timeout=probe.timeout, trust_env=False) as client:
                return client.get(f"http://worker{path}").status_code == 200
        except httpx.TransportError:
            return False

    def configure(self, settings: DeploymentSettings) -> None:
        """Watches with other probe settings from now on."""
        self._settings = settings

    def supervise(self) -> None:
        """From now on the process is started again whenever it dies or its liveness probe fails for too long."""
        threading.Thread(target=self._supervise, name=f"supervise-{self.socket.stem}", daemon=True).start()

    def has_ended(self, within: float) -> bool:
        """Whether the process ends within so many seconds; its socket and its connections are closed then."""
        with self._lock:
            process = self._process
        try:
            return process is None or process.wait(within) is not None
        except subprocess.TimeoutExpired:
            return False

    def suspect(self) -> None:
        """Has the supervisor look at once: somebody could not reach the process."""
        self._attention.set()

    def stop(self) -> None:
        """Ends the process for good: asks, waits for requests that are underway, then kills."""
        self._stopped.set()
        self._attention.set()
        with self._lock:
            process = self._process
        if process is not None:
            _end(process)
        self.socket.unlink(missing_ok=True)

    def _spawn(self, log: IO[bytes]) -> _Process:
        arguments = ["--socket", str(self.socket)]
        server = "script_server" if self.launch.script else "worker"
        if self.launch.script and self.launch.code:
            arguments += ["--script", str(Path(self.launch.code) / self.launch.script)]
        else:
            arguments += ["--model", self.launch.folder, "--flavour", self.launch.flavour]
        if self._crash is not None:
            arguments += ["--crash", self._crash.message, "--crash-after", str(self._crash.seconds)]
        if self._template is not None and self.launch.script is None:
            try:
                return self._template.start(arguments, self.launch, log.fileno(), self._log.parent)
            except TemplateError as error:
                logger.info("%s is started from scratch: %s", self.launch.folder, error)
        return subprocess.Popen(
            [sys.executable, "-m", f"phi_assets.emulator.serving.inference.{server}", *arguments],
            # The worker ends at the end of its input, so it cannot outlive us, whatever kills us.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self._log.parent,
            env=self.launch.process_environment(os.environ),
            start_new_session=True,  # Ctrl-C in the emulator's terminal is for the emulator to handle
        )

    def _exit_status(self) -> int | None:
        with self._lock:
            return self._process.poll() if self._process else None

    def _supervise(self) -> None:
        failures = deaths = 0
        while not self._stopped.is_set():
            woken = self._clock.wait(self._settings.liveness.period, self._attention)
            self._attention.clear()
            if self._stopped.is_set():
                return
            status = self._exit_status()
            if status is None:
                failures = 0 if self.probe("/", self._settings.liveness) else failures + (not woken)
                if failures < self._settings.liveness.failure_threshold:
                    deaths = deaths if failures else 0
                    continue
                self._note(f"The liveness probe failed {failures} times: the server is restarted.")
            else:
                self._note(f"The model server exited with status {status}: it is restarted.")
            failures = 0
            self._stopped.wait(min(2.0**deaths - 1, MAX_RESTART_DELAY_SECONDS))
            deaths += 1
            self._restart()

    def _restart(self) -> None:
        process = self._process
        if process is not None:
            _end(process)
        try:
            self.start()
            self.wait_until_ready(self._stopped)
        except NotReady as error:
            self._note(str(error))
        except Stopped:
            return

    def _note(self, message: str) -> None:
        logger.warning("%s: %s", self.launch.folder, message)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{message}\n")


def _end(process: _Process) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
