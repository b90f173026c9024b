"""The processes of all deployments: started, replaced, ended, and brought back after a restart of the emulator."""

import os
import random
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from phi_assets.emulator.context import Emulator
from phi_assets.emulator.errors import ServiceError
from phi_assets.emulator.operations import Interrupted
from phi_assets.emulator.serving import deployments
from phi_assets.emulator.serving.ailments import Ailments
from phi_assets.emulator.serving.disturbances import DeploymentDisturbances
from phi_assets.emulator.serving.documents import DEPLOYMENT, deployment_key, require_deployment
from phi_assets.emulator.serving.gate import Gate
from phi_assets.emulator.serving.logs import INFERENCE_SERVER, DeploymentLogs
from phi_assets.emulator.serving.models import fetch_model
from phi_assets.emulator.serving.process import Crash, Launch, ModelServer, NotReady, Stopped
from phi_assets.emulator.serving.recovery import Recovery
from phi_assets.emulator.serving.rules import DeploymentSettings
from phi_assets.emulator.serving.sockets import SocketFolder
from phi_assets.emulator.state import Document

SEED_VARIABLE = "PHI_EMULATOR_SEED"
ERROR_LOG_LINES = 20
DRAIN_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Target:
    """A deployment that can answer: its process, what that suffers from, and the gate before it."""

    deployment: str
    server: ModelServer
    settings: DeploymentSettings
    gate: Gate
    ailments: Ailments


class DeploymentManager:
    """Runs one process per deployment of `emulator`.

    The instance count of a deployment widens its gate but starts no further processes: instances are virtual machines
    on Azure, and several copies of a model would only get into each other's way on one machine.

    `generator` draws the deployment of each request; seeded by the environment variable `PHI_EMULATOR_SEED`.
    """

    def __init__(self, emulator: Emulator):
        self._emulator = emulator
        self._targets: dict[str, Target] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._cancellations: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._stopping = threading.Event()
        self._sockets = SocketFolder(emulator.store)
        self._recovery = Recovery(emulator)
        self._disturbances = DeploymentDisturbances(emulator, self._break_down, self._stopping)
        # Routing needs fairness and repeatable tests, not secrecy.
        self.generator = random.Random(os.environ.get(SEED_VARIABLE))  # noqa: S311

    def target(self, endpoint: str, deployment: str) -> Target | None:
        """Who answers for the deployment now; None while it has no process."""
        return self._targets.get(deployment_key(endpoint, deployment))

    def create(self, endpoint: str, deployment: str) -> None:
        """The recorded deployment is up, passes its probes, and is Succeeded.

        Raises:
            ServiceError: `BadArgument` (no usable model), `ResourceNotReady` (the process ended or never got ready;
                the message has the tail of its log) or `OperationCanceled`. The deployment is Failed then, unless it
                was deleted.
            Interrupted: the emulator is stopping; its next start goes on with this.
        """
        key = deployment_key(endpoint, deployment)
        with self._locks[key]:
            canceled = self._cancellations[key] = threading.Event()
            if self._stopping.is_set():
                raise Interrupted
            document = self._emulator.store.get(DEPLOYMENT, key)
            if document is None or document["state"] == "Deleting":
                raise _canceled(endpoint, deployment)
            try:
                self._disturbances.during_operation(document, canceled)
                self._bring_up(document, canceled)
            except Stopped as error:
                raise (Interrupted if self._stopping.is_set() else _canceled(endpoint, deployment)) from error
            except ServiceError as error:
                deployments.fail(self._emulator, document["endpoint"], document["name"], error)
                raise
        self._disturb_live(key)

    def update(self, endpoint: str, deployment: str) -> None:
        """As `create`; the process in service answers until the new one is ready, and goes on if that fails."""
        self.create(endpoint, deployment)

    def delete(self, endpoint: str, deployment: str) -> None:
        """The deployment, its process and its logs are gone; one that is still starting is stopped."""
        key = deployment_key(endpoint, deployment)
        self._cancellations[key].set()
        with self._locks[key]:
            target = self._targets.pop(key, None)
            if target is not None:
                target.server.stop()
            self._logs(endpoint, deployment).delete()
            deployments.forget(self._emulator, endpoint, deployment)

    def logs(self, endpoint: str, deployment: str, container: str, tail: int) -> str:
        """The last `tail` lines that the deployment's container wrote.

        Raises:
            ServiceError: 404 for an unknown deployment, 400 for an unknown container.
        """
        require_deployment(self._emulator.store, endpoint, deployment)
        return self._logs(endpoint, deployment).tail(container, tail)

    def recover(self) -> None:
        """Takes up, in the background, what the emulator left behind when it ended.

        What was serving gets its process again, what was being created or updated is tried again, deletions are
        completed.
        """
        self._recovery.begin()

    def disturb(self) -> None:
        """Lets scenarios that have just been added happen to the deployments that are live."""
        for key in list(self._targets):
            self._disturb_live(key)

    def shutdown(self) -> None:
        """All processes have ended; what they served is started again by the next `recover`."""
        self._stopping.set()
        for canceled in list(self._cancellations.values()):
            canceled.set()
        self._recovery.stop()
        targets = list(self._targets.values())
        self._targets.clear()
        if targets:
            with ThreadPoolExecutor(len(targets)) as pool:
                list(pool.map(lambda target: target.server.stop(), targets))
        self._sockets.delete()

    def _disturb_live(self, key: str) -> None:
        target, document = self._targets.get(key), self._emulator.store.get(DEPLOYMENT, key)
        if target is not None and document is not None and not target.server.is_stopped:
            self._disturbances.while_live(document, target.ailments)

    def _bring_up(self, document: Document, canceled: threading.Event) -> None:
        endpoint, name = document["endpoint"], document["name"]
        settings = deployments.settings_of(document)
        old = self.target(endpoint, name)
        logs = self._logs(endpoint, name)
        if old is None:
            logs.begin()
        folder = fetch_model(self._emulator, document["properties"]["model"], logs.initializer)
        launch = Launch(str(folder), document["properties"]["environmentVariables"])
        if old is not None and old.server.launch == launch and not old.server.is_stopped:
            old.server.configure(settings)
            self._put_into_service(document, Target(name, old.server, settings, Gate(settings), old.ailments))
            return
        server = self._start(launch, settings, logs, canceled, self._disturbances.at_load(document))
        ailments = self._disturbances.ailments(document)
        self._put_into_service(document, Target(name, server, settings, Gate(settings), ailments))
        if old is not None:
            _drain(old)

    def _start(
        self,
        launch: Launch,
        settings: DeploymentSettings,
        logs: DeploymentLogs,
        canceled: threading.Event,
        crash: Crash | None = None,
    ) -> ModelServer:
        """A server that is ready, or none at all."""
        server = ModelServer(launch, settings, self._emulator.clock, self._sockets.new(), logs.inference_server, crash)
        try:
            server.start()
            server.wait_until_ready(canceled)
        except NotReady as error:
            server.stop()
            raise ServiceError(
                400,
                "ResourceNotReady",
                f"User container has crashed or terminated, or is not ready: {error} The end of its log:\n"
                f"{logs.tail(INFERENCE_SERVER, ERROR_LOG_LINES)}",
            ) from error
        except BaseException:
            server.stop()
            raise
        server.supervise()
        return server

    def _put_into_service(self, document: Document, target: Target) -> None:
        key = deployment_key(document["endpoint"], document["name"])

        def change(current: Document) -> Document | None:
            if current["state"] == "Deleting":
                return None
            return current | {"state": "Succeeded", "error": None, "serving": target.server.launch.document()}

        if self._emulator.store.update(DEPLOYMENT, key, change) is None:
            target.server.stop()
            raise Stopped
        self._targets[key] = target

    def serve_again(self, document: Document) -> None:
        """The process that an earlier emulator had in service runs again, or the deployment is Failed.

        Nothing happens if the deployment is being deleted by now, or has got a process already.
        """
        key = deployment_key(document["endpoint"], document["name"])
        with self._locks[key]:
            # Clients may have changed the deployment since `document` was read.
            current = self._emulator.store.get(DEPLOYMENT, key)
            if self._stopping.is_set() or key in self._targets:
                return
            if current is None or current["state"] == "Deleting" or current["serving"] is None:
                return
            settings = deployments.settings_of(current)
            logs = self._logs(current["endpoint"], current["name"])
            logs.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            canceled = self._cancellations[key]
            try:
                server = self._start(Launch.from_document(current["serving"]), settings, logs, canceled)
            except Stopped:
                return
            except ServiceError as error:
                deployments.fail(self._emulator, current["endpoint"], current["name"], error)
                return
            ailments = self._disturbances.ailments(current)
            self._targets[key] = Target(current["name"], server, settings, Gate(settings), ailments)

    def _logs(self, endpoint: str, deployment: str) -> DeploymentLogs:
        return DeploymentLogs(self._emulator.directory / "deployments" / endpoint.lower() / deployment.lower())

    def _break_down(self, document: Document, state: str) -> None:
        """The deployment's process has ended for good; scoring finds nobody behind its address."""
        endpoint, name = document["endpoint"], document["name"]
        with self._locks[deployment_key(endpoint, name)]:
            target = self.target(endpoint, name)
            if target is None:
                return
            target.server.stop()
            if state == "Failed":
                error = ServiceError(400, "ResourceNotReady", "User container has crashed or terminated.")
                deployments.fail(self._emulator, endpoint, name, error, serving=False)


def _drain(old: Target) -> None:
    """Ends a process that has been replaced, when its last request is answered."""
    deadline = time.monotonic() + old.settings.request_timeout
    while old.gate.pending and time.monotonic() < deadline:
        time.sleep(DRAIN_POLL_SECONDS)
    old.server.stop()


def _canceled(endpoint: str, deployment: str) -> ServiceError:
    return ServiceError(
        409,
        "OperationCanceled",
        f"The operation on deployment '{endpoint}/{deployment}' was canceled: the deployment is being deleted.",
    )
