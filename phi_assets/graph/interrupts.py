"""How a step ends before its time: terminated by a person, or killed with its worker."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import dagster as dg

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.ownership import Owner
from phi_assets.azureml.training.cancelling import cancel_if_submitted

_TERMINATED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def is_terminated(context: dg.AssetExecutionContext) -> bool:
    """Whether a person has terminated the run; an interrupt without that comes from a worker that is killed.

    Only a termination by a person makes the run CANCELING first, or CANCELED at once where it is forced.
    """
    run = context.instance.get_run_by_id(context.run.run_id)
    return run is not None and run.status in _TERMINATED


@contextmanager
def undone_unless_killed(context: dg.AssetExecutionContext, undo: Callable[[bool], object]) -> Iterator[None]:
    """`undo` is called where the block fails, or where a person terminates the run; what ended the block goes on.

    It is told whether a request of the block may still be on the wire. Where the worker is killed, everything stays as
    it is: the run is started again, and goes on from there.
    """

    def try_to_undo(*, interrupted: bool) -> None:
        try:
            undo(interrupted)
        except Exception as error:
            # Nothing may take the place of what ended the block.
            context.log.error(f"Not everything could be undone, and something may be billing: {error}")

    try:
        yield
    except dg.DagsterExecutionInterruptedError:
        if is_terminated(context):
            try_to_undo(interrupted=True)
        raise
    except Exception:
        try_to_undo(interrupted=False)
        raise


@contextmanager
def interrupts_kept() -> Iterator[Callable[[], None]]:
    """Yields a function that raises the interrupt that has come in the block and has not got through.

    Dagster's signal handler raises. Where it happens to run inside a destructor or the callback of a weak reference,
    Python prints the exception and drops it (https://docs.python.org/3/reference/datamodel.html#object.__del__), and a
    step that waits for hours would go on waiting.
    """
    if threading.current_thread() is not threading.main_thread():
        # Interrupts do not come here.
        yield lambda: None
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def keep(number: int, frame: FrameType | None) -> None:
        received.append(number)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    def raise_kept() -> None:
        if received:
            raise dg.DagsterExecutionInterruptedError

    try:
        for number in before:
            signal.signal(number, keep)
        yield raise_kept
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def cancelled_with_the_run(
    context: dg.AssetExecutionContext, ws: Workspace, owner: Owner
) -> Iterator[Callable[[str], None]]:
    """Cancel the watched Azure ML job when a person terminates the run; leave it alone when the worker is killed.

    One that another recipe has submitted, and that this run only waits for, is left alone in any case.
    Both interrupt the step in the same way. A job that is left running is found again by its name when the run is
    started again. The interrupt always goes on.
    """
    watched: list[str] = []
    try:
        yield watched.append
    except dg.DagsterExecutionInterruptedError:
        if watched and is_terminated(context):
            try:
                cancel_if_submitted(ws, watched[-1], context.log.info, owner=owner)
            except Exception as error:
                # Nothing may take the interrupt's place: the run would go on with its other steps.
                context.log.error(f"Job {watched[-1]} could not be cancelled, and may be billing: {error}")
        raise
