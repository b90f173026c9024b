"""Requests that wait together are scored together, and none is harmed by its neighbours."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from phi_assets.emulator.serving.inference.batching import MicroBatcher, Scored
from phi_assets.emulator.serving.inference.payload import ScoringRequest

Outcomes = list[Scored | Exception]


class Model:
    """Answers each text with itself; the first call waits until `release` is set, so that others gather."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.entered = threading.Event()
        self.release = threading.Event()

    def __call__(self, request: ScoringRequest) -> list[str]:
        texts = [conversation[0]["content"] for conversation in request.conversations]
        self.calls.append(texts)
        self.entered.set()
        if len(self.calls) == 1:
            assert self.release.wait(10)
        if "bad" in texts:
            raise ValueError("bad text")
        return texts


def request(*texts: str, **parameters: object) -> ScoringRequest:
    return ScoringRequest([[{"role": "user", "content": text}] for text in texts], parameters)


def play(model: Model, scene: Callable[[MicroBatcher], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        batcher = MicroBatcher(model, **options)
        serving = asyncio.create_task(batcher.run())
        async with asyncio.timeout(20):
            await scene(batcher)
        serving.cancel()

    asyncio.run(run())


async def gather_behind_first(batcher: MicroBatcher, model: Model, *requests: ScoringRequest) -> Outcomes:
    """Sends a first request, the others while it is being scored, and returns the outcomes of the others."""
    first = asyncio.create_task(batcher.submit(request("first")))
    await asyncio.to_thread(model.entered.wait)
    others = [asyncio.create_task(batcher.submit(other)) for other in requests]
    await asyncio.sleep(0)
    model.release.set()
    await first
    return await asyncio.gather(*others, return_exceptions=True)  # type: ignore[return-value]


def test_waiting_requests_with_equal_parameters_share_calls_of_at_most_the_limit() -> None:
    model = Model()

    async def scene(batcher: MicroBatcher) -> None:
        outcomes = await gather_behind_first(batcher, model, *[request(str(number)) for number in range(6)])
        assert [scored.answers for scored in outcomes if isinstance(scored, Scored)] == [[str(n)] for n in range(6)]

    play(model, scene, max_batch=4)
    assert model.calls == [["first"], ["0", "1", "2", "3"], ["4", "5"]]


def test_a_batch_holds_one_set_of_parameters_and_the_oldest_goes_first() -> None:
    model = Model()

    async def scene(batcher: MicroBatcher) -> None:
        await gather_behind_first(batcher, model, request("a", t=1), request("b", t=2), request("c", t=1))

    play(model, scene)
    assert model.calls == [["first"], ["a", "c"], ["b"]]


def test_a_seeded_draw_is_never_batched() -> None:
    model = Model()

    async def scene(batcher: MicroBatcher) -> None:
        await gather_behind_first(batcher, model, request("a", seed=1), request("b", seed=1))

    play(model, scene)
    assert model.calls == [["first"], ["a"], ["b"]]


def test_callers_that_came_together_are_waited_for_while_they_keep_coming() -> None:
    model = Model()

    async def scene(batcher: MicroBatcher) -> None:
        await gather_behind_first(batcher, model, *[request(text) for text in "abc"])
        again = []
        for text in "def":
            again.append(asyncio.create_task(batcher.submit(request(text))))
            await asyncio.sleep(0.05)
        await asyncio.gather(*again)
        # Nobody comes beside this one, which is noticed after one window.
        await batcher.submit(request("g"))

    play(model, scene, window=1.0)
    assert model.calls == [["first"], ["a", "b", "c"], ["d", "e", "f"], ["g"]]


def test_a_lone_caller_never_waits_for_company() -> None:
    model = Model()
    model.release.set()

    async def scene(batcher: MicroBatcher) -> None:
        for text in "abc":
            await batcher.submit(request(text))

    play(model, scene, window=60.0)  # longer than the scene may take
    assert model.calls == [["a"], ["b"], ["c"]]


def test_a_request_with_many_conversations_gets_all_its_answers_in_order() -> None:
    model = Model()

    async def scene(batcher: MicroBatcher) -> None:
        outcomes = await gather_behind_first(batcher, model, request("x"), request(*"abcdef"))
        assert outcomes == [Scored(["x"], 1), Scored(list("abcdef"), 6)]

    play(model, scene, max_batch=4)


def test_one_bad_request_fails_alone() -> None:
    model = Model()

    async def scene(batcher: MicroBatcher) -> None:
        good, bad, other = await gather_behind_first(batcher, model, request("good"), request("bad"), request("other"))
        assert isinstance(bad, ValueError)
        assert isinstance(good, Scored)
        assert isinstance(other, Scored)
        assert (good.answers, other.answers) == (["good"], ["other"])

    play(model, scene)


def test_a_caller_that_gives_up_is_not_scored() -> None:
    model = Model()

    async def scene(batcher: MicroBatcher) -> None:
        first = asyncio.create_task(batcher.submit(request("first")))
        await asyncio.to_thread(model.entered.wait)
        gone = asyncio.create_task(batcher.submit(request("gone")))
        stays = asyncio.create_task(batcher.submit(request("stays")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.release.set()
        await asyncio.gather(first, stays)
        with pytest.raises(asyncio.CancelledError):
            await gone

    play(model, scene)
    assert model.calls == [["first"], ["stays"]]
