"""What becomes of a source's rows: prompt, prompt_id, messages, or the reason why a row cannot be a conversation."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from phi_assets.dataset.sources.formats import FORMATS, SPEAKERS, SourceFormat

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai"), "assistant"),
}
"""The usual names of roles, in lower case, and what they mean."""

PROBLEM_CHARACTERS = 2000
"""As much of a row that cannot be a conversation is kept, as JSON text."""


class Row(NamedTuple):
    """A row of the canonical schema, with the reason where it is none."""

    prompt: str
    prompt_id: str
    messages: list[tuple[str | None, str | None]] | None
    """Content and role of each message; None where there is a problem."""
    problem: str | None


class _UnmappableError(Exception):
    """Why a row cannot be a conversation."""


@dataclass(frozen=True)
class RowMapping:
    """Makes rows of one source into rows of the canonical schema."""

    format: SourceFormat
    roles: Mapping[str, str]
    """What the source's own names of roles mean; `ROLES` are known besides."""

    def map(self, row: Any, *, json_cells: bool = False) -> Row:
        """The row as a conversation, or as a row with a `problem` and, in `prompt`, what it holds as JSON text.

        The prompt is the first message of the user and the prompt_id the SHA-256 of the prompt, unless the source has
        its own. Where nobody asks anything, the prompt is empty and the id is that of the messages. With `json_cells`,
        conversations are JSON text.
        """
        try:
            return self._mapped(row, json_cells=json_cells)
        except _UnmappableError as error:
            return _unmapped(row, str(error))

    def _mapped(self, row: Any, *, json_cells: bool) -> Row:
        if not isinstance(row, dict):
            raise _UnmappableError(f"the row is {_kind(row)}, not an object")
        values = {own: row.get(name) for own, name in self.format.names.items()}
        for own, column in FORMATS[self.format.name].items():
            if column.required and values[own] is None:
                raise _UnmappableError(f"{self.format.names[own]} is missing")
            if json_cells and column.accepts == "conversation":
                values[own] = _parsed(values[own], self.format.names[own])
        messages = _BUILDERS[self.format.name](self, values)
        asked = next((content for content, role in messages if role == "user"), None) or ""
        prompt = asked
        if self.format.name == "messages":
            prompt = self._optional_text(values, "prompt") or asked
        return Row(prompt, self._id(values) or _sha256(prompt or _as_json(messages)), messages, None)

    def _from_messages(self, values: dict[str, Any]) -> list[tuple[str | None, str | None]]:
        return self._conversation(values["messages"], self.format.names["messages"])

    def _from_sharegpt(self, values: dict[str, Any]) -> list[tuple[str | None, str | None]]:
        messages = self._conversation(values["conversations"], self.format.names["conversations"])
        system = self._optional_text(values, "system")
        has_one = bool(messages) and messages[0][1] == "system"
        return messages if has_one or not system else [(system, "system"), *messages]

    def _from_prompt_completion(self, values: dict[str, Any]) -> list[tuple[str | None, str | None]]:
        messages = []
        for own, role in (("prompt", "user"), ("completion", "assistant")):
            value, name = values[own], self.format.names[own]
            if not isinstance(value, str | list):
                raise _UnmappableError(f"{name} is {_kind(value)}, neither text nor an array of messages")
            messages += [(_text(value, name), role)] if isinstance(value, str) else self._conversation(value, name)
        return messages

    def _from_alpaca(self, values: dict[str, Any]) -> list[tuple[str | None, str | None]]:
        instruction = _text(values["instruction"], self.format.names["instruction"])
        parts = (instruction, self._optional_text(values, "input"))
        system = self._optional_text(values, "system")
        return [
            *([(system, "system")] if system else []),
            ("\n\n".join(part for part in parts if part), "user"),
            (_text(values["output"], self.format.names["output"]), "assistant"),
        ]

    def _conversation(self, value: Any, name: str) -> list[tuple[str | None, str | None]]:
        if not isinstance(value, list):
            raise _UnmappableError(f"{name} is {_kind(value)}, not an array of messages")
        messages = []
        for number, message in enumerate(value):
            try:
                messages.append(self._message(message))
            except _UnmappableError as error:
                raise _UnmappableError(f"{name}[{number}]{error}") from None
        return messages

    def _message(self, message: Any) -> tuple[str | None, str | None]:
        if not isinstance(message, dict):
            raise _UnmappableError(f" is {_kind(message)}, not an object")
        # A table has all fields in each row, so the one that is set counts.
        for speaker, speech in SPEAKERS:
            if (role := message.get(speaker)) is not None:
                content = message.get(speech)
                return None if content is None else _text(content, f".{speech}"), self._role(role, speaker)
        present = next((speech for speaker, speech in SPEAKERS if speaker in message), None)
        if present is None:
            raise _UnmappableError(f" has neither role nor from: it has {_as_json(list(message))[:100]}")
        content = message.get(present)
        return None if content is None else _text(content, f".{present}"), None

    def _role(self, role: Any, speaker: str) -> str:
        known = self.roles.get(role) or ROLES.get(role.strip().lower()) if isinstance(role, str) else None
        if known is None:
            raise _UnmappableError(f".{speaker} is {_as_json(role)[:100]}: say what that means in dataset.roles")
        return known

    def _optional_text(self, values: dict[str, Any], own: str) -> str | None:
        value = values[own]
        return None if value is None else _text(value, self.format.names[own])

    def _id(self, values: dict[str, Any]) -> str | None:
        value = values["prompt_id"]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self._optional_text(values, "prompt_id")


_BUILDERS: dict[str, Callable[[RowMapping, dict[str, Any]], list[tuple[str | None, str | None]]]] = {
    "messages": RowMapping._from_messages,
    "prompt_completion": RowMapping._from_prompt_completion,
    "sharegpt": RowMapping._from_sharegpt,
    "alpaca": RowMapping._from_alpaca,
}


def _unmapped(row: Any, problem: str) -> Row:
    text = _as_json(row)
    return Row(text[:PROBLEM_CHARACTERS], _sha256(text), None, problem)


def _parsed(cell: Any, name: str) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(cell)
        except (json.JSONDecodeError, RecursionError):
            raise _UnmappableError(f"{name} is not JSON text: {error}") from error


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _UnmappableError(f"{where} is {_kind(value)}, not text")
    if not _is_unicode(value):
        raise _UnmappableError(f"{where} has half of a surrogate pair, which is no character")
    return value


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text if _is_unicode(text) else json.dumps(value, default=str)
    except (RecursionError, TypeError, ValueError) as error:
        return f"(cannot be shown: {error})"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _kind(value: Any) -> str:
    for kind, name in _KINDS.items():
        if isinstance(value, kind):
            return name
    return f"a {type(value).__name__}"


_KINDS: dict[type | tuple[type, ...], str] = {
    type(None): "null",
    str: "text",
    bool: "true or false",
    (int, float): "a number",
    (list, tuple): "an array",
    dict: "an object",
}
