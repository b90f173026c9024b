"""The body of a scoring request, and the answers in either shape that chat models of the registry give."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from phi_assets.azureml.connection.errors import ScoringFailed

Conversation = Sequence[Mapping[str, str]]


def request_body(conversations: Sequence[Conversation], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a chat model of the registry expects."""
    return {
        "input_data": {
            "input_string": [[dict(turn) for turn in conversation] for conversation in conversations],
            "parameters": dict(parameters),
        },
        "params": {},
    }


def texts_of(response: httpx.Response) -> tuple[str, ...]:
    """The answers in `[{"0": text}, ...]` or `{"output": text}`.

    Raises:
        ScoringFailed: it is neither.
    """
    try:
        content = response.json()
    except ValueError as error:
        raise ScoringFailed(f"{response.url} did not answer JSON: {response.text[:200]!r}") from error
    if isinstance(content, dict):
        content = content.get("output", content.get("predictions"))
    items = content if isinstance(content, list) else [content]
    texts = [_text(item) for item in items]
    if not texts or any(text is None for text in texts):
        raise ScoringFailed(f"{response.url} answered something without answers in it: {response.text[:200]!r}")
    return tuple(text for text in texts if text is not None)


def _text(item: Any) -> str | None:
    if isinstance(item, dict):
        item = item.get("output", item.get("0", next(iter(item.values()), None) if len(item) == 1 else None))
    return item if isinstance(item, str) else None
