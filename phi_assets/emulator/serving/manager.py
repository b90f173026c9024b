"""The processes of all deployments: started, replaced, ended, and brought back after a restart of the emulator."""

import os
import random
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from phi_assets.emulator.serving import deployments
from phi_assets.emulator.serving.disturbances import DeploymentDisturbances
from phi_assets.emulator.serving.documents import DEPLOYMENT, deployment_key, require_deployment
from phi_assets.emulator.serving.front.gate import Gate
from phi_assets.emulator.serving.front.tally import Tally
from phi_assets.emulator.serving.front.target import Target
from phi_assets.emulator.serving.logs import DeploymentLogs, Stage
from phi_assets.emulator.serving.models import fetch_model, flavour_of_model, require_registered_files, scoring_script
from phi_assets.emulator.serving.processes.forking import Template
from phi_assets.emulator.serving.processes.launch import Launch
from phi_assets.emulator.serving.processes.launcher import Launcher
from phi_assets.emulator.serving.processes.model_process import Stopped
from phi_assets.emulator.serving.processes.sockets import SocketFolder
from phi_assets.emulator.serving.recovery import Recovery
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.operations import Interrupted

SEED_VARIABLE = "PHI_EMULATOR_SEED"
DELETION_SECONDS = 0.5


class DeploymentManager:
    """Runs the processes of each deployment of `emulator`: one, or as many as its variable `WORKER_COUNT` says.

    The instance count of a deployment widens its gate but starts no further processes: instances are virtual machines
    on Azure, and here there is one machine for all of them.

    They are copies of `template`, which is left to whoever has made it. `generator` draws the deployment of each
    request; seeded by the environment variable `PHI_EMULATOR_SEED`. `tally` counts the requests.
    """

    def __init__(self, emulator: Emulator, template: Template):
        self._emulator = emulator
        self._targets: dict[str, Target] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._cancellations: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self._stopping = threading.Event()
        self._sockets = SocketFolder(emulator.store, is_copy=emulator.home.is_copy)
        self._launcher = Launcher(emulator.clock, self._sockets, template)
        self._recovery = Recovery(emulator, self.create, self.delete, self.serve_again)
        self._disturbances = DeploymentDisturbances(emulator, self._break_down, self._stopping)
        self.tally = Tally()
        # Routing needs fairness and repeatable tests, not secrecy.
        self.generator = random.Random(os.environ.get(SEED_VARIABLE))  # noqa: S311

    def target(self, endpoint: str, deployment: str) -> Target | None:
        """Who answers for the deployment now; None while it has no process."""
        return self._targets.get(deployment_key(endpoint, deployment))

    def underway(self, endpoint: str) -> dict[str, int]:
        """How many requests each of the endpoint's deployments has let in and not answered yet."""
        prefix = deployment_key(endpoint, "")
        return {
            target.deployment: target.gate.pending
            for key, target in list(self._targets.items())
            if key.startswith(prefix)
        }

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
            logs = self._logs(endpoint, deployment)
            if key not in self._targets:
                logs.begin()
            try:
                self._disturbances.during_operation(document, canceled, logs)
                self._bring_up(document, canceled, logs)
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
        """The deployment, its process and its logs are gone; one that is still starting is stopped.

        Requests that are underway are answered before; new ones find no deployment.
        """
        key = deployment_key(endpoint, deployment)
        self._cancellations[key].set()
        with self._locks[key]:
            target = self._targets.pop(key, None)
            if target is not None:
                target.drain(self._stopping)
                target.workers.stop()
            self._emulator.clock.wait(DELETION_SECONDS, self._stopping)
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
        self._move()
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
                list(pool.map(lambda target: target.workers.stop(), targets))
        self._sockets.delete()

    def _disturb_live(self, key: str) -> None:
        target, document = self._targets.get(key), self._emulator.store.get(DEPLOYMENT, key)
        if target is not None and document is not None and not target.workers.is_stopped:
            self._disturbances.while_live(document, target.ailments)

    def _bring_up(self, document: Document, canceled: threading.Event, logs: DeploymentLogs) -> None:
        endpoint, name = document["endpoint"], document["name"]
        settings = deployments.settings_of(document)
        old = self.target(endpoint, name)
        has_script = bool(document["properties"].get("codeConfiguration"))
        folder = fetch_model(self._emulator, document["properties"]["model"], logs, has_script=has_script)
        launch = self._launch(document, folder, old, logs)
        if old is not None and old.workers.launch == launch and not old.workers.is_stopped:
            old.workers.configure(settings)
            if not self._put_into_service(document, Target(name, old.workers, settings, Gate(settings), old.ailments)):
                raise Stopped
            old.drain(self._stopping)
            return
        workers = self._launcher.start(launch, settings, logs, canceled, self._disturbances.at_load(document))
        ailments = self._disturbances.ailments(document)
        if not self._put_into_service(document, Target(name, workers, settings, Gate(settings), ailments)):
            workers.stop()
            raise Stopped
        if old is not None:
            old.drain(self._stopping)
            old.workers.stop()

    def _launch(self, document: Document, folder: Path, old: Target | None, logs: DeploymentLogs) -> Launch:
        properties = document["properties"]
        if properties.get("codeConfiguration"):
            code, script = scoring_script(self._emulator, properties)
            logs.event("Serving", f"Scoring requests are answered by the scoring script {script}")
            # The script looks for the model by its own name in AZUREML_MODEL_DIR.
            return Launch(str(folder.parent), properties["environmentVariables"], code=str(code), script=script)
        kept = old.workers.launch.flavour if old is not None and old.workers.launch.folder == str(folder) else None
        model = properties["model"]
        flavour = self._disturbances.flavour(document) or kept or flavour_of_model(self._emulator, model, folder)
        logs.event("Serving", f"Scoring requests are answered as {flavour} answers them")
        return Launch(str(folder), properties["environmentVariables"], flavour)

    def _put_into_service(self, document: Document, target: Target) -> bool:
        """False, and nothing has changed, if the deployment is being deleted."""
        key = deployment_key(document["endpoint"], document["name"])

        def change(current: Document) -> Document | None:
            if current["state"] == "Deleting":
                return None
            # In the transaction: whoever finds the deployment Succeeded finds it answering too.
            self._targets[key] = target
            return current | {"state": "Succeeded", "error": None, "serving": target.workers.launch.document()}

        return self._emulator.store.update(DEPLOYMENT, key, change) is not None

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
                launch = Launch.from_document(current["serving"])
                require_registered_files(self._emulator, current["properties"]["model"], Path(launch.folder))
                workers = self._launcher.start(launch, settings, logs, canceled)
            except Stopped:
                return
            except ServiceError as error:
                deployments.fail(self._emulator, current["endpoint"], current["name"], error)
                return
            ailments = self._disturbances.ailments(current)
            self._targets[key] = Target(current["name"], workers, settings, Gate(settings), ailments)

    def _move(self) -> None:
        """The models of what was serving are looked for where the emulator's folder is now."""
        home = self._emulator.home
        for key, document in self._emulator.store.items(DEPLOYMENT):
            serving = document["serving"]
            if serving is not None and home.here(serving["folder"]) != serving["folder"]:
                places = {key: serving[key] for key in ("folder", "code") if serving.get(key)}
                moved = serving | {key: home.here(place) for key, place in places.items()}
                self._emulator.store.update(DEPLOYMENT, key, lambda current, moved=moved: current | {"serving": moved})

    def _logs(self, endpoint: str, deployment: str) -> DeploymentLogs:
        return DeploymentLogs(self._emulator.directory / "deployments" / endpoint.lower() / deployment.lower())

    def _break_down(self, document: Document, state: str) -> None:
        """The deployment's process has ended for good; scoring finds nobody behind its address."""
        endpoint, name = document["endpoint"], document["name"]
        with self._locks[deployment_key(endpoint, name)]:
            target = self.target(endpoint, name)
            if target is None:
                return
            target.workers.stop()
            logs = self._logs(endpoint, name)
            logs.progress(Stage.CONTAINER, "InProgress")
            logs.event("BackOff", "Back-off restarting failed container inference-server", "Warning")
            logs.server("The model server was killed: out of memory (exit status 137). It does not come back.")
            if state == "Failed":
                error = ServiceError(400, "ResourceNotReady", "User container has crashed or terminated.")
                deployments.fail(self._emulator, endpoint, name, error, serving=False)


def _canceled(endpoint: str, deployment: str) -> ServiceError:
    return ServiceError(
        409,
        "OperationCanceled",
        f"The operation on deployment '{endpoint}/{deployment}' was canceled: the deployment is being deleted.",
    )
