"""Conversations to try a model on: everything up to the last answer is asked, the last answer is kept back."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_assets.dataset.files.jsonl import read_jsonl
from phi_assets.refs import SampleRef


@dataclass(frozen=True)
class HeldOutConversation:
    """A conversation that waits for the assistant's next turn."""

    conversation: tuple[dict[str, str], ...]
    """Messages from the first to the last one of the user."""
    reference: str
    """What the data set answers; empty where it says nothing."""

    @property
    def question(self) -> str:
        """The last message of the user."""
        return self.conversation[-1]["content"]


def held_out_conversations(sample: SampleRef, count: int, seed: int) -> list[HeldOutConversation]:
    """At most `count` conversations of the sample, chosen by `seed`, in the sample's order.

    Splits for generation end with a question, which is left out then: the answer before it is the reference. Those in
    which the assistant says nothing are chosen only where there are not enough others.
    """
    rows = [[dict(message) for message in row["messages"]] for row in read_jsonl(Path(sample.jsonl))]
    answered = [number for number, messages in enumerate(rows) if _last_answer(messages) is not None]
    others = sorted(set(range(len(rows))) - set(answered))
    rng = random.Random(seed)  # noqa: S311
    chosen = rng.sample(answered, min(count, len(answered)))
    chosen += rng.sample(others, min(count - len(chosen), len(others)))
    return [_hold_out(rows[number]) for number in sorted(chosen)]


def _hold_out(messages: list[dict[str, str]]) -> HeldOutConversation:
    place = _last_answer(messages)
    if place is None:
        return HeldOutConversation(tuple(messages), "")
    return HeldOutConversation(tuple(messages[:place]), messages[place]["content"])


def _last_answer(messages: list[dict[str, Any]]) -> int | None:
    """Where the last message of the assistant is that a question comes before; None where there is none."""
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant" and place > 0]
    return places[-1] if places else None
