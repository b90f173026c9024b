"""Conversations to try a model on: everything up to the last answer is asked, the last answer is kept back."""

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_assets.config.dataset import ContractSection
from phi_assets.config.recipe import ScoringSection
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.contract.tokens import TOKENS_PER_MESSAGE, TokenCounter
from phi_assets.dataset.errors import DatasetError
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
    which the assistant says nothing are chosen only where there are not enough others. A conversation ends for this
    before the first call of a tool: an endpoint has none to call.
    """
    rows = [_spoken(row["messages"]) for row in read_jsonl(Path(sample.jsonl))]
    answered = [number for number, messages in enumerate(rows) if _last_answer(messages) is not None]
    others = sorted(set(range(len(rows))) - set(answered))
    rng = random.Random(seed)  # noqa: S311
    chosen = rng.sample(answered, min(count, len(answered)))
    chosen += rng.sample(others, min(count - len(chosen), len(others)))
    return [_hold_out(rows[number]) for number in sorted(chosen)]


@dataclass(frozen=True)
class Askable:
    """Held-out conversations that a model has room for."""

    conversations: list[HeldOutConversation]
    left_out: int
    """How many more were chosen, to which the context leaves no room for an answer."""


def askable_conversations(
    sample: SampleRef, scoring: ScoringSection, contract: ContractSection, tokenizer: ModelTokenizer | None = None
) -> Askable:
    """The held-out conversations that the recipe chooses, without those that are too long to be answered.

    Together with `scoring.max_new_tokens` tokens of an answer, a conversation has to fit into
    `contract.context_tokens`. What serves the model refuses one that does not, or cuts its answer.

    Raises:
        DatasetError: none is left.
    """
    chosen = held_out_conversations(sample, scoring.samples, scoring.seed)
    counter = prompt_counter(contract, tokenizer)
    counts = counter.count_conversations([item.conversation for item in chosen])
    # The answer begins with markup of its own.
    room = contract.context_tokens - scoring.max_new_tokens - TOKENS_PER_MESSAGE
    fitting = [item for item, count in zip(chosen, counts, strict=True) if count <= room]
    if chosen and not fitting:
        raise DatasetError(
            f"None of the {len(chosen)} questions leaves room for an answer: the shortest has {min(counts):,} tokens "
            f"({counter.label}), `contract.context_tokens` is {contract.context_tokens:,} and `scoring.max_new_tokens` "
            f"{scoring.max_new_tokens:,}. Lower the latter, or set the former to the model's context."
        )
    return Askable(fitting, len(chosen) - len(fitting))


def prompt_counter(contract: ContractSection, tokenizer: ModelTokenizer | None) -> TokenCounter:
    """Counts the tokens of questions and answers, all of them: by the contract's tokenizer, or by the model's own."""
    if contract.tokenizer is not None or tokenizer is None:
        return TokenCounter(contract.tokenizer)
    return TokenCounter(tokenizer.path, source=tokenizer.source)


def _spoken(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What is said before a tool is called."""
    return list(itertools.takewhile(lambda each: each["role"] != "tool" and "tool_calls" not in each, messages))


def _hold_out(messages: list[dict[str, str]]) -> HeldOutConversation:
    place = _last_answer(messages)
    if place is None:
        return HeldOutConversation(tuple(messages), "")
    return HeldOutConversation(tuple(messages[:place]), messages[place]["content"])


def _last_answer(messages: list[dict[str, Any]]) -> int | None:
    """Where the last message of the assistant is that a question comes before; None where there is none."""
    places = [place for place, message in enumerate(messages) if message["role"] == "assistant" and place > 0]
    return places[-1] if places else None
