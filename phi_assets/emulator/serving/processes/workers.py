"""The inference servers of one deployment, which share its requests."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from phi_assets.emulator.serving.processes.launch import Launch
from phi_assets.emulator.serving.processes.model_process import ModelServer
from phi_assets.emulator.serving.rules import DeploymentSettings


class WorkerPool:
    """Processes that are alike, each with the model in its own memory; they live and end together.

    One that dies is started again while the others go on, as the workers of Azure ML's inference server are.
    """

    def __init__(self, servers: Sequence[ModelServer]) -> None:
        self._servers = tuple(servers)
        self._underway = dict.fromkeys(self._servers, 0)

    @property
    def launch(self) -> Launch:
        """What each of the processes is made of."""
        return self._servers[0].launch

    @property
    def is_stopped(self) -> bool:
        """Whether they were ended for good."""
        return self._servers[0].is_stopped

    def by_load(self) -> list[ModelServer]:
        """The processes, those with the fewest requests first."""
        return sorted(self._servers, key=self._underway.__getitem__)

    @contextmanager
    def request(self, server: ModelServer) -> Iterator[None]:
        """Counts a request that the process works on; for use in one event loop."""
        self._underway[server] += 1
        try:
            yield
        finally:
            self._underway[server] -= 1

    def start(self) -> None:
        """All processes are started; see `ModelServer.start`."""
        for server in self._servers:
            server.start()

    def wait_until_ready(self, canceled: threading.Event) -> None:
        """Returns as soon as all are ready; see `ModelServer.wait_until_ready`."""
        for server in self._servers:
            server.wait_until_ready(canceled)

    def configure(self, settings: DeploymentSettings) -> None:
        """Watches them with other probe settings from now on."""
        for server in self._servers:
            server.configure(settings)

    def supervise(self) -> None:
        """From now on each is started again whenever it dies; see `ModelServer.supervise`."""
        for server in self._servers:
            server.supervise()

    def stop(self) -> None:
        """Ends all of them for good, at the same time."""
        with ThreadPoolExecutor(len(self._servers)) as pool:
            list(pool.map(ModelServer.stop, self._servers))
