"""From a downloaded model to a process that is ready to answer for it."""

import threading

from phi_assets.emulator.chaos.clock import Clock
from phi_assets.emulator.serving.logs import INFERENCE_SERVER, DeploymentLogs, Stage
from phi_assets.emulator.serving.processes.forking import Template
from phi_assets.emulator.serving.processes.launch import Launch
from phi_assets.emulator.serving.processes.model_process import Crash, ModelServer, NotReady
from phi_assets.emulator.serving.processes.sockets import SocketFolder
from phi_assets.emulator.serving.processes.workers import WorkerPool
from phi_assets.emulator.serving.rules import DeploymentSettings
from phi_assets.emulator.wire.errors import ServiceError

_ERROR_LOG_LINES = 20


class Launcher:
    """Starts the processes of all deployments, each behind a socket of its own, as copies of the template."""

    def __init__(self, clock: Clock, sockets: SocketFolder, template: Template):
        self._clock = clock
        self._sockets = sockets
        self._template = template

    def start(
        self,
        launch: Launch,
        settings: DeploymentSettings,
        logs: DeploymentLogs,
        canceled: threading.Event,
        crash: Crash | None = None,
    ) -> WorkerPool:
        """Servers that are all ready, or none at all; the logs tell how far they got.

        Raises:
            ServiceError: `ResourceNotReady`, with the end of the log.
            Stopped: `canceled` was set.
        """
        logs.progress(Stage.CONTAINER, "InProgress")
        logs.event("Created", "Created container inference-server")
        workers = WorkerPool(
            [
                ModelServer(
                    launch, settings, self._clock, self._sockets.new(), logs.inference_server, crash, self._template
                )
                for _ in range(launch.worker_count)
            ]
        )
        try:
            workers.start()
            logs.event("Started", "Started container inference-server")
            workers.wait_until_ready(canceled)
        except NotReady as error:
            workers.stop()
            logs.event("BackOff", f"Back-off restarting failed container inference-server: {error}", "Warning")
            raise ServiceError(
                400,
                "ResourceNotReady",
                f"User container has crashed or terminated, or is not ready: {error} The end of its log:\n"
                f"{logs.output(INFERENCE_SERVER, _ERROR_LOG_LINES)}",
            ) from error
        except BaseException:
            workers.stop()
            raise
        logs.progress(Stage.CONTAINER, "Succeeded")
        workers.supervise()
        return workers
