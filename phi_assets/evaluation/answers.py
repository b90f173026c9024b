"""Answers of a model to given conversations, kept as a file that a later run finds again."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from phi_assets.dataset.files.storage import DataStorage
from phi_assets.fingerprint import fingerprint

Conversation = Sequence[Mapping[str, str]]

SCORING_FOLDER = "scoring"
"""Folder of the project's data with the answers of fine-tuned models."""


@dataclass(frozen=True)
class Answer:
    """What the model said to one conversation."""

    text: str
    seconds: float
    """From sending the successful request to having read its answer."""
    deployment: str | None
    """Which deployment answered, where the endpoint says so."""


@dataclass(frozen=True)
class Failure:
    """Why there is no answer to one conversation."""

    reason: str
    is_models: bool
    """It was the model that failed at this conversation. Otherwise the endpoint did not pass it on."""


class AnswerSet(BaseModel):
    """What one model said to some conversations, in their order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_id: str
    asked: tuple[str, ...]
    """`question_id` of each conversation."""
    answers: tuple[Answer | Failure, ...]
    seconds: float
    """From the first request to the last answer."""
    concurrency: int
    """Requests that were underway at a time."""
    container_log: str = ""
    """The last lines that the model's container had written, where a conversation was not answered."""

    @property
    def failures(self) -> list[Failure]:
        """Why those conversations were not answered that were not."""
        return [answer for answer in self.answers if isinstance(answer, Failure)]

    @property
    def is_final(self) -> bool:
        """Whether asking again would be no use: every conversation was answered, or the model failed at it."""
        return all(failure.is_models for failure in self.failures)

    @property
    def by_question(self) -> dict[str, str]:
        """What was said to each question that was answered."""
        pairs = zip(self.asked, self.answers, strict=True)
        return {asked: answer.text for asked, answer in pairs if isinstance(answer, Answer)}


@dataclass(frozen=True)
class Questions:
    """Conversations that each wait for an answer, and how the model is to give it."""

    conversations: Sequence[Conversation]
    parameters: Mapping[str, Any]
    left_out: int = 0
    """Conversations that are not among these, since they leave no room for an answer."""

    def key(self, model: str) -> str:
        """Where the answers of this model are kept: a hash over model, conversations and parameters."""
        asked = list(map(question_id, self.conversations))
        return fingerprint({"model": model, "questions": asked, "parameters": dict(self.parameters)})[:16]


def question_id(conversation: Conversation) -> str:
    """What a question is told from others by: a hash of its whole conversation."""
    return fingerprint([[message["role"], message["content"]] for message in conversation])[:16]


def kept_answers(path: Path, log: Callable[[str], None] = lambda _: None) -> AnswerSet | None:
    """The answers in that file; None where there is none, or none that this version can read."""
    if not path.exists():
        return None
    try:
        return AnswerSet.model_validate_json(path.read_bytes())
    except ValidationError as error:
        log(f"The answers in {path} cannot be read ({error.error_count()} problems); asking again.")
        return None


def usable_answers(storage: DataStorage, path: Path, log: Callable[[str], None] = lambda _: None) -> AnswerSet | None:
    """The answers that any machine has kept; None also where some are missing that may be had by asking again."""
    storage.recall(path)
    kept = kept_answers(path, log)
    if kept is None or kept.is_final:
        return kept
    lost = sum(not failure.is_models for failure in kept.failures)
    log(f"Of {len(kept.answers)} questions, {lost} were not asked properly the last time; asking all again.")
    return None


def ensure_answers(
    storage: DataStorage,
    path: Path,
    ask: Callable[[], AnswerSet],
    *,
    force: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[AnswerSet, bool]:
    """The answers that the storage keeps in that file, and whether they were asked for now, as nobody had before.

    Where asking fails, no file is written.
    """
    kept = None if force else usable_answers(storage, path, log)
    if kept is not None:
        return kept, False
    given = ask()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(given.model_dump_json(), encoding="utf-8")
    os.replace(partial, path)
    storage.save(path)
    return given, True
