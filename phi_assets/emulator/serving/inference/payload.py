"""The scoring request and answer of a chat model, as Azure ML's MLflow models of this family speak them.

Request: `{"input_data": {"input_string": [conversation, ...], "parameters": {...}}}`, where a conversation is a list of
`{"role": ..., "content": ...}`; a single conversation may stand for a list of one, and MLflow's own `params` may stand
beside `input_data`. Answer of the server for MLflow models (`flavours.py` has the other one): one object per
conversation, `[{"0": "first answer"}, {"0": "second answer"}]`, because the service serialises answers as the records
of a data frame with one unnamed column
(https://github.com/mlflow/mlflow/blob/master/mlflow/pyfunc/scoring_server/__init__.py).

All fields of a message reach the chat template, `tool_calls` too, and nothing else of `input_data` does: the package
llm-optimized-inference (0.2.58) gives the template the messages alone (`managed_inference.py`), and its route in
OpenAI's form refuses `tools` (`request_adapter.py`). So `tools` beside the conversations are no error, and reach
nobody.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from phi_assets.emulator.serving.inference.behaviour import Behaviour

Message = dict[str, Any]
Conversation = list[Message]

ROLES = ("system", "user", "assistant", "tool")
_READ = {"input_string", "parameters"}
EXAMPLE = (
    '{"input_data": {"input_string": [[{"role": "user", "content": "Hello"}]], "parameters": {"max_new_tokens": 50}}}'
)


class PayloadError(ValueError):
    """The request is not what the model expects; the message names the place, what was found and what is expected."""


class NotJson(PayloadError):
    """The body of the request is not even JSON."""


@dataclass(frozen=True)
class ScoringRequest:
    """One checked request: at least one conversation, each with at least one message."""

    conversations: list[Conversation]
    parameters: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    """Names of what else `input_data` had."""
    behaviour: Behaviour | None = None
    """What shall go wrong with it."""

    @property
    def batch_key(self) -> str:
        """Requests with equal keys may share one call of the model."""
        behaviour = self.behaviour.header() if self.behaviour else None
        return json.dumps([self.parameters, self.params, behaviour], sort_keys=True)

    @property
    def alone(self) -> bool:
        """True where company in a batch would change the answer: sampling with a seed draws for the whole batch."""
        return "seed" in self.parameters and self.parameters.get("do_sample", True) is not False


def parse_request(body: bytes) -> ScoringRequest:
    """Reads the body of a scoring request.

    Raises:
        PayloadError: if the body is not JSON or not of the documented form.
    """
    document = _object(_decode(body), "the request body")
    if "input_data" not in document:
        raise PayloadError(f"The request body has no 'input_data' (it has {_names(document)}). Expected: {EXAMPLE}")
    input_data = _object(document["input_data"], "input_data")
    if "input_string" not in input_data:
        raise PayloadError(f"'input_data' has no 'input_string' (it has {_names(input_data)}). Expected: {EXAMPLE}")
    return ScoringRequest(
        conversations=_conversations(input_data["input_string"]),
        parameters=_object(input_data.get("parameters") or {}, "input_data.parameters"),
        params=_object(document.get("params") or {}, "params"),
        ignored=tuple(sorted(input_data.keys() - _READ)),
    )


def render_answers(answers: list[Any]) -> list[dict[str, Any]]:
    """The answer document for `answers`, one per conversation."""
    return [{"0": answer} for answer in answers]


def _decode(body: bytes) -> Any:
    if not body.strip():
        raise NotJson(f"The request body is empty. Expected: {EXAMPLE}")
    try:
        return json.loads(body, parse_constant=_no_constant)
    except ValueError as error:
        raise NotJson(f"The request body is not valid JSON: {error}") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _conversations(value: Any) -> list[Conversation]:
    where = "input_data.input_string"
    if not isinstance(value, list):
        raise PayloadError(f"'{where}' must be a list of conversations, not {_kind(value)}. Expected: {EXAMPLE}")
    if not value:
        raise PayloadError(f"'{where}' is empty. Expected at least one conversation: {EXAMPLE}")
    if isinstance(value[0], dict):
        return [_conversation(value, where)]
    return [_conversation(conversation, f"{where}[{index}]") for index, conversation in enumerate(value)]


def _conversation(value: Any, where: str) -> Conversation:
    if not isinstance(value, list):
        raise PayloadError(f"'{where}' must be a conversation, that is a list of messages, not {_kind(value)}")
    if not value:
        raise PayloadError(f"'{where}' is a conversation without messages")
    return [_message(message, f"{where}[{index}]") for index, message in enumerate(value)]


def _message(value: Any, where: str) -> Message:
    message = _object(value, where)
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise PayloadError(f"'{where}.role' must be one of {', '.join(ROLES)}, not {_kind(role)}")
    is_parts = isinstance(content, list) and all(isinstance(part, dict) for part in content)
    if not (isinstance(content, str) or is_parts or (content is None and message.get("tool_calls"))):
        raise PayloadError(f"'{where}.content' must be a text, not {_kind(content)}")
    return message


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PayloadError(f"'{where}' must be a JSON object, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null or missing"
    if isinstance(value, str):
        return f"the text {json.dumps(value[:40], ensure_ascii=False)}"
    if isinstance(value, bool | int | float):
        return f"the value {json.dumps(value)}"
    return "a list" if isinstance(value, list) else "an object"


def _names(document: dict[str, Any]) -> str:
    return ", ".join(repr(name) for name in list(document)[:8]) or "nothing"
