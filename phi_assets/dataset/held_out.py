"""Conversations to try a model on: everything up to the last answer is asked, the last answer is kept back."""

import random
from dataclasses import dataclass
from pathlib import Path

from phi_assets.dataset.jsonl import read_jsonl
from phi_assets.refs import SampleRef


@dataclass(frozen=True)
class HeldOutConversation:
    """A conversation that waits for the assistant's next turn."""

    conversation: tuple[dict[str, str], ...]
    """Messages from the first to the last one of the user."""
    reference: str
    """What the data set answers; empty where it ends with a question."""

    @property
    def question(self) -> str:
        """The last message of the user."""
        return self.conversation[-1]["content"]


def held_out_conversations(sample: SampleRef, count: int, seed: int) -> list[HeldOutConversation]:
    """At most `count` conversations of the sample, chosen by `seed`, in the sample's order."""
    chosen = set(random.Random(seed).sample(range(sample.rows), min(count, sample.rows)))  # noqa: S311
    rows = (row for index, row in enumerate(read_jsonl(Path(sample.jsonl))) if index in chosen)
    return [_hold_out([dict(message) for message in row["messages"]]) for row in rows]


def _hold_out(messages: list[dict[str, str]]) -> HeldOutConversation:
    reference = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
    return HeldOutConversation(tuple(messages), reference)
