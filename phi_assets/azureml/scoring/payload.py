"""The body of a scoring request, and the answers in the shapes of both containers that serve chat models.

Azure ML serves them with MLflow's scoring server, or with its container for foundation models, which answers only the
first conversation of a request and hides what goes wrong behind status 200: `score` and `send_request` in
`api_server.py` of the package llm-optimized-inference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from phi_assets.azureml.connection.errors import ModelFailed

Conversation = Sequence[Mapping[str, str]]

_REFUSED = (
    'answered {"output": "None"}: the container for foundation models says so where its engine refuses the prompt, '
    "most likely because it is longer than the model's context. `contract.context_tokens` has to be that context, and "
    "`max_new_tokens` has to leave room for the prompt; the container's log has the engine's reason."
)
_RAISED = (
    "answered {}: the container for foundation models says so where an exception ended the request. Its log has the "
    "traceback; where memory is too small, take a larger `serving.instance_type`, or a lower `max_new_tokens`."
)


@dataclass(frozen=True)
class Texts:
    """What the model said."""

    texts: tuple[str, ...]
    of_first_only: bool
    """The container has answered the first conversation and ignored all others."""


def request_body(conversations: Sequence[Conversation], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a chat model of the registry expects.

    MLflow's own `params` is left out: where it is there, even empty, models of the flavor `transformers` ignore the
    parameters.
    """
    return {
        "input_data": {
            "input_string": [[dict(turn) for turn in conversation] for conversation in conversations],
            "parameters": dict(parameters),
        },
    }


def texts_of(response: httpx.Response) -> Texts:
    """The answers in `[{"0": text}, ...]` or `{"output": text}`.

    A model that says "None" in the first shape has said that. In the second it is what the container makes of no
    answer; nobody can tell a model from that which really said it.

    Raises:
        ModelFailed: it is neither, or says that there is no answer.
    """
    try:
        content = response.json()
    except ValueError as error:
        raise ModelFailed(f"{response.url} did not answer JSON: {response.text[:200]!r}") from error
    if content == {}:
        raise ModelFailed(f"{response.url} {_RAISED}")
    if content == {"output": "None"}:
        raise ModelFailed(f"{response.url} {_REFUSED}")
    of_first_only = isinstance(content, dict) and isinstance(content.get("output"), str)
    if isinstance(content, dict):
        content = content.get("output", content.get("predictions"))
    items = content if isinstance(content, list) else [content]
    texts = [_text(item) for item in items]
    if not texts or any(text is None for text in texts):
        raise ModelFailed(f"{response.url} answered something without answers in it: {response.text[:200]!r}")
    return Texts(tuple(text for text in texts if text is not None), of_first_only)


def _text(item: Any) -> str | None:
    if isinstance(item, dict):
        item = item.get("output", item.get("0", next(iter(item.values()), None) if len(item) == 1 else None))
    return item if isinstance(item, str) else None
