"""Everything that users have made, or all that was done to it, is taken out of a running emulator."""

import logging
import shutil
import threading
import time

from starlette.concurrency import run_in_threadpool

from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.runner import steps
from phi_assets.emulator.workspace.context import REGISTERED, Emulator, TokenLife
from phi_assets.processes import ProcessId

# What was let in before may still read the answer of a model that takes its time.
_PATIENCE_SECONDS = 2.0
_JOIN_SECONDS = 10.0
_OPERATION_THREADS = "operation "
"""What the names of the threads that work on long-running operations begin with."""

logger = logging.getLogger(__name__)


async def reset(parts: Parts) -> None:
    """The emulator is as one that has just been started in an empty directory.

    Gone are jobs and runs with their processes, data, models, computes, endpoints, deployments with theirs, blobs,
    operations, faults, scenarios, limits and the journal; time scale, life of tokens and storage keys are those of the
    start. What is left are the workspace with its two datastores, keys and tokens, the registries, those that somebody
    dropped in too, and the process that those of deployments are copies of. Requests that a fault holds are dropped;
    those that arrive meanwhile are processed afterwards.
    """
    emulator = parts.emulator
    emulator.faults.clear(discard=True)
    async with emulator.occupancy.alone(_PATIENCE_SECONDS):
        await run_in_threadpool(_empty, parts)
        restore(emulator, discard=True)
        emulator.journal.clear()


def restore(emulator: Emulator, *, discard: bool = False) -> None:
    """No fault, scenario, limit or other circumstance is left; what users have made stays.

    Requests that a fault holds go on, or are dropped with `discard`.
    """
    emulator.faults.clear(discard=discard)
    emulator.scenarios.clear()
    emulator.throttling.switch(None)
    emulator.quotas.set({})
    emulator.provider_state = REGISTERED
    emulator.locks, emulator.workspace_kind = {}, "Default"
    emulator.token_life = TokenLife()
    emulator.storage_auth = "keys"
    emulator.network_isolation = "Disabled"
    emulator.clock.reset()


def _empty(parts: Parts) -> None:
    emulator = parts.emulator
    # A server that begins to stop meanwhile waits for this, so that nobody clears its mark.
    with emulator.changing:
        emulator.stopping.set()
        try:
            _end_work(parts)
            emulator.scenarios.clear()
            emulator.store.clear()
            emulator.home.keep(emulator.store)
            emulator.blobs.clear()
            for folder in ("runs", "deployments"):
                shutil.rmtree(emulator.directory / folder, ignore_errors=True)
        finally:
            # After a reset that fails the emulator must be able to work, if only for another reset.
            emulator.clock.reset()
            parts.replace_workers()
            emulator.stopping.clear()


def _end_work(parts: Parts) -> None:
    """No job, deployment or operation runs any more, so that none of them writes a document from now on."""
    for run in parts.emulator.store.list("run"):
        if run["process"]:  # whose exit code nobody asks for, so it need not be polite
            steps.end_group(ProcessId(**run["process"]), grace_seconds=0)
    parts.runner.shutdown()
    parts.deployments.shutdown()
    deadline = time.monotonic() + _JOIN_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith(_OPERATION_THREADS):
            thread.join(max(deadline - time.monotonic(), 0))
            if thread.is_alive():
                logger.warning("%s did not end within %g s", thread.name, _JOIN_SECONDS)
    # Once more for what an operation had brought up just before it noticed.
    parts.deployments.shutdown()
