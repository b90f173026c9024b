"""What steps wait for: nodes of their cluster, then a processor of this machine; and the end of a scenario."""

import threading
import time
from collections.abc import Callable

from phi_assets.emulator.chaos.kinds import StuckQueued
from phi_assets.emulator.chaos.scenarios import Armed
from phi_assets.emulator.runner.failures import USER_ERROR
from phi_assets.emulator.runner.pipeline.graph import SERVERLESS, Step
from phi_assets.emulator.workspace.context import Emulator

# https://github.com/Azure/MachineLearningNotebooks/issues/906 and 1043.
_CLUSTER_GONE = "AzureMLCompute cluster {} does not exist"
_CLUSTER_FAILED = "AzureMLCompute cluster {} is in failed state and thus not ready for runs"


def cluster_gone(name: str) -> dict[str, str]:
    """The error of a step whose cluster was deleted."""
    return {"code": USER_ERROR, "message": _CLUSTER_GONE.format(name)}


def has_cluster(emulator: Emulator, step: Step) -> bool:
    """Whether the step's cluster exists; serverless compute always does."""
    return step.compute == SERVERLESS or emulator.store.get("compute", step.compute.lower()) is not None


class Node:
    """The nodes of a step. Serverless compute has as many as anybody wants.

    A step waits on a cluster that is being made, whose nodes are at work for others or may not be more, for which there
    is no quota, or that gets none by a scenario.
    """

    def __init__(self, emulator: Emulator, step: Step, run_id: str, is_lost: Callable[[], bool]):
        """`is_lost` says whether the cluster was deleted meanwhile, also if there is another one of its name by now."""
        self._emulator = emulator
        self._step = step
        self._is_lost = is_lost
        self._is_held = False
        self.line = f"nodes of {run_id if step.compute == SERVERLESS else step.compute.lower()}"
        self.error: dict[str, str] | None = None
        """Why there will never be a node."""

    def take(self) -> bool:
        """Whether the step has its nodes, or never will have."""
        step, emulator = self._step, self._emulator
        if self._is_lost() or not has_cluster(emulator, step):
            self.error = cluster_gone(step.compute)
            return True
        compute = emulator.store.get("compute", step.compute.lower())
        if compute is not None and compute["properties"]["provisioningState"] == "Failed":
            self.error = {"code": USER_ERROR, "message": _CLUSTER_FAILED.format(step.compute)}
            return True
        tier = compute["properties"]["properties"]["vmPriority"] if compute else None
        if emulator.scenarios.hold(step.compute, tier, emulator.clock) is not None:
            return False
        if compute is None:
            return True
        if compute["properties"]["provisioningState"] in {"Creating", "Deleting"}:
            return False
        self._is_held = emulator.nodes.take(compute, step.nodes)
        return self._is_held

    def free(self) -> None:
        """The nodes are idle."""
        if self._is_held:
            self._is_held = False
            self._emulator.nodes.free(self._step.compute, self._step.nodes)
        self._emulator.nodes.forget(self._step.compute)


class Processor:
    """A place for a running step, of which there are as many as processors."""

    line = "processors"

    def __init__(self, places: threading.Semaphore):
        self._places = places
        self._is_held = False

    def take(self) -> bool:
        """Whether there was a place left."""
        self._is_held = self._places.acquire(blocking=False)
        return self._is_held

    def free(self) -> None:
        """The place is left for others."""
        if self._is_held:
            self._is_held = False
            self._places.release()


class Release:
    """The end of a scenario that keeps a job, or a step, in the queue, although there are nodes."""

    def __init__(self, armed: Armed[StuckQueued], emulator: Emulator):
        seconds = armed.scenario.seconds
        self._armed = armed
        self._end = None if seconds is None else time.monotonic() + armed.scenario.real(seconds, emulator.clock)
        self.line = f"scenario {id(self)}"

    def take(self) -> bool:
        """Whether the time is over or the scenario cleared."""
        return self._armed.cleared.is_set() or (self._end is not None and time.monotonic() >= self._end)

    def free(self) -> None:
        """Nothing is held."""
