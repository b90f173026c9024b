"""How a model misbehaves: said by the emulator with a request, done by the inference server around the model's answer.

The model is called all the same, so that what goes wrong takes the time and the place that it would take.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

HEADER = "x-emulator-behaviour"
"""Of requests to the inference server. It has a socket to itself, so only the emulator can send it."""

_JUNK = ("zrk", "vlop", "quxt", "##", "ñandu", "0x7f", "blib", "...", "emt", "ofof", "}}", "saz")
_JUNK_WORDS = 3
_JUNK_REPEATS = 20

log = logging.getLogger("inference-server")


class Misbehaved(Exception):
    """The model fails for this request; `status` is what its server answers."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Behaviour:
    """What goes wrong with one request: it takes `factor` times its time and `seconds` more, and then ends badly."""

    factor: float = 1
    seconds: float = 0
    answers: Literal["garbage", "empty"] | None = None
    error_status: int | None = None
    error_message: str = ""
    refusal: str = ""
    """Why the model does not take the request; empty where it does."""

    def header(self) -> str:
        """As it travels; ASCII, whatever the message."""
        return json.dumps(asdict(self))

    @classmethod
    def from_header(cls, value: str) -> "Behaviour | None":
        """What `header` wrote; None of an empty text."""
        return cls(**json.loads(value)) if value else None


def misbehave(behaviour: Behaviour | None, conversations: list[Any], predict: Callable[[], list[Any]]) -> list[Any]:
    """The answers of `predict`, or what the behaviour makes of them.

    Raises:
        Misbehaved: the model fails.
        ValueError: the model refuses the request.
    """
    if behaviour is None:
        return predict()
    if behaviour.refusal:
        raise ValueError(behaviour.refusal)
    began = time.monotonic()
    answers = predict()
    time.sleep((time.monotonic() - began) * (behaviour.factor - 1) + behaviour.seconds)
    if behaviour.error_status is not None:
        try:
            raise Misbehaved(behaviour.error_status, behaviour.error_message)
        except Misbehaved:
            log.exception("The model failed")
            raise
    if behaviour.answers == "empty":
        return [""] * len(answers)
    if behaviour.answers == "garbage":
        return [junk(conversation) for conversation in conversations]
    return answers


def junk(conversation: Any) -> str:
    """A few signs without sense over and over, as of a model whose weights are broken; the same for the same input."""
    digest = hashlib.sha256(json.dumps(conversation, sort_keys=True).encode()).digest()
    words = [_JUNK[byte % len(_JUNK)] for byte in digest[:_JUNK_WORDS]]
    return " ".join(words * _JUNK_REPEATS)
