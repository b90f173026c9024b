"""Requests join a model's rolling batch while it goes on, and leave it as soon as they are answered."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from phi_assets.emulator.serving.inference.batching import MicroBatcher, Scored
from phi_assets.emulator.serving.inference.behaviour import Behaviour
from phi_assets.emulator.serving.inference.flavours import ModelFailure
from phi_assets.emulator.serving.inference.payload import Conversation, ScoringRequest


class Model:
    """Takes as many steps for a text as the text has letters; `gate` lets it go on from its first step."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.stepping = threading.Event()
        self.opened: list[dict[str, Any]] = []
        self.largest = 0
        self.alone: list[list[str]] = []

    def open(self, request: ScoringRequest) -> "Steps":
        if request.parameters.get("wrong"):
            raise ValueError("a wrong parameter")
        self.opened.append(request.parameters)
        return Steps(self)

    def predict(self, request: ScoringRequest) -> list[str]:
        texts = [conversation[0]["content"] for conversation in request.conversations]
        self.alone.append(texts)
        if request.parameters.get("wrong"):
            raise ValueError("a wrong parameter")
        if "breaks" in texts:
            raise RuntimeError("broken")
        return [f"alone {text}" for text in texts]


class Steps:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.left: dict[int, tuple[str, int]] = {}
        self.keys = 0

    def __len__(self) -> int:
        return len(self.left)

    def add(self, conversations: Sequence[Conversation]) -> list[int]:
        texts = [conversation[0]["content"] for conversation in conversations]
        if "refused" in texts:
            raise ValueError("refused text")
        if "unwritable" in texts:
            raise TypeError("can only concatenate str")
        first, self.keys = self.keys, self.keys + len(texts)
        self.left |= {first + index: (text, len(text)) for index, text in enumerate(texts)}
        self.model.largest = max(self.model.largest, len(self.left))
        return list(range(first, self.keys))

    def step(self) -> dict[int, str]:
        self.model.stepping.set()
        assert self.model.gate.wait(20)
        if any(text == "breaks" for text, _ in self.left.values()):
            raise RuntimeError("broken")
        self.left = {key: (text, left - 1) for key, (text, left) in self.left.items()}
        done = {key: text for key, (text, left) in self.left.items() if left == 0}
        self.left = {key: rest for key, rest in self.left.items() if key not in done}
        return done


def request(*texts: str, **parameters: object) -> ScoringRequest:
    return ScoringRequest([[{"role": "user", "content": text}] for text in texts], parameters)


def play(scene: Callable[[MicroBatcher, Model], Awaitable[None]], **options: Any) -> Model:
    model = Model(threading.Event())

    async def run() -> None:
        batcher = MicroBatcher(model.predict, open_batch=model.open, **options)
        serving = asyncio.create_task(batcher.run())
        async with asyncio.timeout(20):
            await scene(batcher, model)
        serving.cancel()

    try:
        asyncio.run(run())
    finally:
        model.gate.set()
    return model


async def behind(batcher: MicroBatcher, model: Model, first: ScoringRequest, *others: ScoringRequest) -> list[Any]:
    """The others arrive while the model is at work on the first; the outcomes of all."""
    tasks = [asyncio.create_task(batcher.submit(first))]
    await asyncio.to_thread(model.stepping.wait)
    tasks += [asyncio.create_task(batcher.submit(other)) for other in others]
    await asyncio.sleep(0)
    model.gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_who_comes_later_joins_and_who_is_answered_leaves() -> None:
    order: list[str] = []

    async def ask(batcher: MicroBatcher, text: str) -> None:
        assert (await batcher.submit(request(text))).answers == [text]
        order.append(text)

    async def scene(batcher: MicroBatcher, model: Model) -> None:
        long = asyncio.create_task(ask(batcher, "x" * 50))
        await asyncio.to_thread(model.stepping.wait)
        short = asyncio.create_task(ask(batcher, "short"))
        await asyncio.sleep(0)
        model.gate.set()
        await asyncio.gather(long, short)

    model = play(scene)
    assert order == ["short", "x" * 50]
    assert (len(model.opened), model.largest, model.alone) == (1, 2, [])


def test_a_request_gets_all_its_answers_in_order_and_learns_its_company() -> None:
    async def scene(batcher: MicroBatcher, model: Model) -> None:
        outcomes = await behind(batcher, model, request("long text"), request("bbb", "a", "cc"))
        assert outcomes == [Scored(["long text"], 1), Scored(["bbb", "a", "cc"], 4)]

    play(scene)


def test_a_batch_has_no_more_than_its_limit_unless_one_request_has() -> None:
    async def scene(batcher: MicroBatcher, model: Model) -> None:
        texts = [str(number) for number in range(10)]
        outcomes = await behind(batcher, model, request("first"), *[request(text) for text in texts])
        assert [outcome.answers for outcome in outcomes[1:]] == [[text] for text in texts]
        assert model.largest == 4
        assert (await batcher.submit(request(*"abcdef"))).answers == list("abcdef")

    assert play(scene, max_batch=4).largest == 6


def test_other_parameters_get_a_batch_of_their_own_and_nobody_is_overtaken_for_ever() -> None:
    async def scene(batcher: MicroBatcher, model: Model) -> None:
        outcomes = await behind(
            batcher, model, request("a", t=1), request("b", t=2), request("c", t=1), request("d", t=2)
        )
        assert [outcome.answers for outcome in outcomes] == [["a"], ["b"], ["c"], ["d"]]

    assert play(scene).opened == [{"t": 1}, {"t": 2}, {"t": 1}, {"t": 2}]


def test_what_company_would_change_is_asked_alone() -> None:
    async def scene(batcher: MicroBatcher, model: Model) -> None:
        misbehaving = ScoringRequest(request("slow").conversations, behaviour=Behaviour(factor=2))
        outcomes = await behind(batcher, model, request("first"), request("seeded", seed=1), misbehaving, request("z"))
        assert [outcome.answers for outcome in outcomes] == [["first"], ["alone seeded"], ["alone slow"], ["z"]]

    assert play(scene).alone == [["seeded"], ["slow"]]


def test_a_refused_request_fails_alone() -> None:
    async def scene(batcher: MicroBatcher, model: Model) -> None:
        first, refused, wrong, good = await behind(
            batcher, model, request("first"), request("refused"), request("x", wrong=True), request("good")
        )
        assert (first.answers, good.answers) == (["first"], ["good"])
        assert (str(refused), str(wrong)) == ("refused text", "a wrong parameter")

    play(scene)


def test_a_message_that_the_chat_template_cannot_write_fails_alone() -> None:
    async def scene(batcher: MicroBatcher, model: Model) -> None:
        first, unwritable, good = await behind(batcher, model, request("first"), request("unwritable"), request("good"))
        assert (first.answers, good.answers) == (["first"], ["good"])
        assert isinstance(unwritable, ModelFailure)
        assert str(unwritable) == "The model failed with TypeError: can only concatenate str"

    play(scene)


def test_a_batch_that_breaks_is_asked_again_one_by_one() -> None:
    async def scene(batcher: MicroBatcher, model: Model) -> None:
        first, breaks, other = await behind(batcher, model, request("first"), request("breaks"), request("other"))
        assert (first.answers, other.answers) == (["alone first"], ["alone other"])
        assert isinstance(breaks, RuntimeError)
        assert (await batcher.submit(request("next"))).answers == ["next"]

    play(scene)


def test_a_caller_that_gives_up_while_waiting_is_not_let_in() -> None:
    async def scene(batcher: MicroBatcher, model: Model) -> None:
        first = asyncio.create_task(batcher.submit(request("first")))
        await asyncio.to_thread(model.stepping.wait)
        gone = asyncio.create_task(batcher.submit(request("breaks")))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        assert (await first).answers == ["first"]
        with pytest.raises(asyncio.CancelledError):
            await gone

    assert play(scene).largest == 1
