"""The threads that work when no client waits for them, also where the machine has no more threads to give."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from phi_assets.emulator.store.state import Store

logger = logging.getLogger(__name__)


class Workers:
    """Starts threads that wait for room in `store` until `stop` is set.

    One thread is there from the beginning. It does, one after the other, what no other thread could be had for: what
    has been accepted is done, however late.
    """

    def __init__(self, store: Store, stop: threading.Event):
        self._store = store
        self._stop = stop
        self._spare = ThreadPoolExecutor(1, thread_name_prefix="spare")
        self._spare.submit(lambda: None).result()

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Runs `work`, which raises nothing, in a thread of this name."""

        def run() -> None:
            with self._store.patient(self._stop):
                work()

        try:
            threading.Thread(target=run, name=name, daemon=True).start()
        except RuntimeError as error:
            logger.warning("%s has to wait for a thread: %s", name, error)
            self._spare.submit(run)

    def close(self) -> None:
        """What has not begun is left to the next start of the emulator."""
        self._spare.shutdown(wait=False, cancel_futures=True)
