"""What a request asks for: its conversations, and how their answers are generated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Conversation = Sequence[Mapping[str, Any]]

DEFAULT_MAX_NEW_TOKENS = 200
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class GenerationSettings:
    """How one batch is generated; ``temperature`` None means greedy."""

    temperature: float | None
    top_p: float
    top_k: int
    max_new_tokens: int
    stop: tuple[str, ...]
    return_full_text: bool
    seed: int | None


def _number(parameters: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = parameters.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"parameter {name!r} is {value!r}; it must be a number from {low:g} to {high:g}")
    return float(value)


def _whole(parameters: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = _number(parameters, name, default, low, high)
    if not float(value).is_integer():
        raise ValueError(f"parameter {name!r} is {value!r}; it must be a whole number")
    return int(value)


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ValueError(f"parameter {name!r} is {value!r}; it must be true or false")
    return value


def read_settings(parameters: Mapping[str, Any]) -> GenerationSettings:
    """Checked settings from a request's ``parameters``.

    Sampling is on when ``do_sample`` says so or, where it is not given, when a positive temperature is; temperature 0
    is greedy in any case. Names that mean nothing to generation are ignored.

    Raises:
        ValueError: a value has the wrong type or is out of range; the message names it.
    """
    temperature = _number(parameters, "temperature", 1.0, 0.0, 100.0)
    sampled = _flag(parameters, "do_sample", default=parameters.get("temperature") is not None)
    stop = parameters.get("stop") or ()
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(isinstance(text, str) for text in stop):
        raise ValueError(f"parameter 'stop' is {stop!r}; it must be a string or a list of strings")
    top_p = _number(parameters, "top_p", 1.0, 0.0, 1.0)
    if top_p == 0.0:
        raise ValueError("parameter 'top_p' is 0; it must be above 0 and at most 1")
    return GenerationSettings(
        temperature=temperature if sampled and temperature > 0 else None,
        top_p=top_p,
        top_k=_whole(parameters, "top_k", 0, 0, 1_000_000),
        max_new_tokens=_whole(parameters, "max_new_tokens", DEFAULT_MAX_NEW_TOKENS, 1, 1_000_000),
        stop=tuple(text for text in stop if text),
        return_full_text=_flag(parameters, "return_full_text", default=False),
        seed=None if parameters.get("seed") is None else _whole(parameters, "seed", 0, 0, 2**63 - 1),
    )


def read_conversations(value: Any) -> list[Conversation]:
    """The conversations of ``input_string``: a list of them, or a single one.

    Raises:
        ValueError: something is not a conversation; the message says what is expected.
    """
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("'input_string' must be a list of messages, or a non-empty list of such lists")
    for index, conversation in enumerate(value):
        if not isinstance(conversation, list | tuple) or not conversation:
            raise ValueError(f"conversation {index} of 'input_string' must be a non-empty list of messages")
        for message in conversation:
            if not isinstance(message, Mapping) or not _says_something(message):
                raise ValueError(f"conversation {index}: a message must be an object with texts 'role' and 'content'")
            if message.get("role") not in ROLES:
                raise ValueError(f"conversation {index}: role {message.get('role')!r} is none of {', '.join(ROLES)}")
    return list(value)


def _says_something(message: Mapping[str, Any]) -> bool:
    """Whether the message has a text, parts of one, or calls of tools; the chat template gets it as it is."""
    return isinstance(message.get("content"), str | list | tuple) or bool(message.get("tool_calls"))
