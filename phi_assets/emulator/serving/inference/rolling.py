"""Rolling batches, for models that have them: requests join and leave the model's batch between two tokens."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from phi_assets.emulator.serving.inference.flavours import ModelFailure
from phi_assets.emulator.serving.inference.payload import Conversation, ScoringRequest


class Batch(Protocol):
    """What a model with rolling batches gives for one set of parameters."""

    def __len__(self) -> int:
        """Conversations that have no complete answer yet."""
        ...

    def add(self, conversations: Sequence[Conversation]) -> list[int]:
        """They take part from the next step on; the keys of their answers. ValueError refuses them."""
        ...

    def step(self) -> dict[int, str]:
        """Goes on by a token; the answers that are complete now, by key."""
        ...


@dataclass(frozen=True)
class Scored:
    """Answers to one request, and how many conversations the model had at a time."""

    answers: list[Any]
    batch_size: int


class Waiting(Protocol):
    """A request, and the way to its caller."""

    @property
    def request(self) -> ScoringRequest: ...
    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more."""
        ...


OpenBatch = Callable[[ScoringRequest], Batch]
Deliver = Callable[[Any, "Scored | Exception"], None]


@dataclass
class _Underway:
    waiting: Waiting
    keys: list[int]
    company: int
    answers: dict[int, str] = field(default_factory=dict)


class RollingServer:
    """Serves requests with the same parameters, as they come, until there are none; for use in the model's thread.

    `deliver` takes the outcome of a request. Requests whose batch breaks get what `predict` says to each of them alone.
    """

    def __init__(
        self, open_batch: OpenBatch, predict: Callable[[ScoringRequest], list[Any]], deliver: Deliver, max_batch: int
    ) -> None:
        self._open_batch = open_batch
        self._predict = predict
        self._deliver = deliver
        self._max_batch = max_batch

    def takes(self, request: ScoringRequest) -> bool:
        """Whether the request can be in a rolling batch: it behaves, and company changes nothing for it."""
        return not request.alone and request.behaviour is None

    def serve(self, waiting: deque[Any]) -> None:
        """Nothing is underway any more, and nothing is waiting that could have joined."""
        first = next((entry for entry in list(waiting) if not entry.is_gone), None)
        if first is None:
            waiting.clear()
            return
        key = first.request.batch_key
        try:
            batch = self._open_batch(first.request)
        except Exception:
            self._alone(waiting.popleft())
            return
        underway: list[_Underway] = []
        while True:
            self._let_in(waiting, batch, key, underway)
            if not underway:
                return
            try:
                answers = batch.step()
            except Exception:
                for entry in underway:
                    self._alone(entry.waiting)
                return
            underway = self._deliver_complete(underway, answers)

    def _let_in(self, waiting: deque[Any], batch: Batch, key: str, underway: list[_Underway]) -> None:
        """The oldest first, as far as there is room. One with other parameters holds up all that came after it."""
        while waiting:
            entry = waiting[0]
            request = entry.request
            if not entry.is_gone:
                if not self.takes(request) or request.batch_key != key:
                    return
                if underway and len(batch) + len(request.conversations) > self._max_batch:
                    return
            waiting.popleft()
            if entry.is_gone:
                continue
            try:
                keys = batch.add(request.conversations)
            except ValueError as refusal:
                self._deliver(entry, refusal)
            except Exception as error:
                # A chat template that cannot write such a message.
                self._deliver(entry, ModelFailure(f"The model failed with {type(error).__name__}: {error}"))
            else:
                underway.append(_Underway(entry, keys, len(batch)))

    def _deliver_complete(self, underway: list[_Underway], answers: dict[int, str]) -> list[_Underway]:
        """Those that are not complete yet."""
        if not answers:
            return underway
        left = []
        for entry in underway:
            entry.answers |= {key: answers[key] for key in entry.keys if key in answers}
            if len(entry.answers) < len(entry.keys):
                left.append(entry)
            else:
                self._deliver(entry.waiting, Scored([entry.answers[key] for key in entry.keys], entry.company))
        return left

    def _alone(self, waiting: Waiting) -> None:
        try:
            answers = self._predict(waiting.request)
        except Exception as error:
            self._deliver(waiting, error)
        else:
            self._deliver(waiting, Scored(answers, len(answers)))
