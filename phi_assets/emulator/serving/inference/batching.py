"""Micro-batching: requests that wait at the same time and ask for the same parameters share one call of the model.

Where the model has rolling batches, they share those instead, and none waits for a batch to end.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from phi_assets.emulator.serving.inference.payload import ScoringRequest
from phi_assets.emulator.serving.inference.rolling import OpenBatch, RollingServer, Scored

__all__ = ["MicroBatcher", "Scored"]

Predict = Callable[[ScoringRequest], list[Any]]

MAX_BATCH = 32
"""Conversations in one call of the model."""

WINDOW = 0.010
"""Seconds without another request after which a batch waits for company no longer."""

WINDOWS = 5
"""How many times in a row a batch waits for company that is still arriving."""


@dataclass(frozen=True)
class _Waiting:
    request: ScoringRequest
    future: "asyncio.Future[Scored]"

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.done()


class MicroBatcher:
    """Collects requests and runs `predict` on them in one thread, one batch at a time, oldest request first.

    `predict` gets a request with the conversations of the whole batch and returns one answer per conversation.
    `open_batch` gives a model's rolling batch for requests with these parameters. Must be used inside one event loop.
    """

    def __init__(
        self,
        predict: Predict,
        *,
        open_batch: OpenBatch | None = None,
        max_batch: int = MAX_BATCH,
        window: float = WINDOW,
    ):
        self._predict = predict
        self._open_batch = open_batch
        self._max_batch = max_batch
        self._window = window
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._model_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._expected = 1

    async def submit(self, request: ScoringRequest) -> Scored:
        """Waits for the answers; cancelling the call takes the request out of the queue.

        Raises:
            Exception: what `predict` raised for this request; requests of the same batch are not affected.
        """
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        return await waiting.future

    async def run(self) -> None:
        """Serves the queue until cancelled."""
        rolling = self._rolling()
        while True:
            await self._arrived.wait()
            if rolling and self._waiting and rolling.takes(self._waiting[0].request):
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._model_thread, rolling.serve, self._waiting)
            else:
                await self._serve_batch()
            # Requests arrive in this thread only, so none has come since this look.
            if not self._waiting:
                self._arrived.clear()

    def _rolling(self) -> RollingServer | None:
        if self._open_batch is None:
            return None
        loop = asyncio.get_running_loop()

        def deliver(waiting: _Waiting, outcome: "Scored | Exception") -> None:
            loop.call_soon_threadsafe(_settle, waiting, outcome)

        return RollingServer(self._open_batch, self._predict, deliver, self._max_batch)

    async def _serve_batch(self) -> None:
        await self._gather()
        batch = self._take()
        if batch:
            await self._score(batch)
            # Callers that have just got their answers are likely to come again.
            self._expected = len(batch) + len(self._waiting)

    async def _gather(self) -> None:
        """Waits for as many requests as there were at the last time, for as long as they keep coming."""
        for _ in range(WINDOWS):
            there = len(self._waiting)
            # A lone caller gains nothing from waiting.
            if there >= self._expected or self._size() >= self._max_batch:
                return
            await asyncio.sleep(self._window)
            if len(self._waiting) == there:
                return

    def _size(self) -> int:
        return sum(len(waiting.request.conversations) for waiting in self._waiting)

    def _take(self) -> list[_Waiting]:
        """Removes the oldest request and those that fit to it; one that is too long for a batch goes by itself."""
        batch: list[_Waiting] = []
        passed_over: deque[_Waiting] = deque()
        size = 0
        while self._waiting:
            waiting = self._waiting.popleft()
            count = len(waiting.request.conversations)
            if waiting.future.done():  # the caller has gone
                continue
            if not batch or (_compatible(batch[0].request, waiting.request) and size + count <= self._max_batch):
                batch.append(waiting)
                size += count
            else:
                passed_over.append(waiting)
        self._waiting = passed_over
        return batch

    async def _score(self, batch: list[_Waiting]) -> None:
        try:
            answers = await self._call(_joined(batch))
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0], error)
                return
            # One bad request must not fail its neighbours.
            for waiting in batch:
                await self._score([waiting])
            return
        size = len(answers)
        for waiting in batch:
            count = len(waiting.request.conversations)
            _settle(waiting, Scored(answers[:count], size))
            answers = answers[count:]

    async def _call(self, request: ScoringRequest) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._model_thread, self._predict, request)


def _compatible(first: ScoringRequest, other: ScoringRequest) -> bool:
    return not first.alone and not other.alone and first.batch_key == other.batch_key


def _joined(batch: list[_Waiting]) -> ScoringRequest:
    first = batch[0].request
    conversations = [conversation for waiting in batch for conversation in waiting.request.conversations]
    return replace(first, conversations=conversations)


def _settle(waiting: _Waiting, outcome: "Scored | Exception") -> None:
    if waiting.future.done():
        return
    if isinstance(outcome, Exception):
        waiting.future.set_exception(outcome)
    else:
        waiting.future.set_result(outcome)
