"""What becomes of a source's rows: prompt, prompt_id, messages, or the reason why a row cannot be a conversation."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from phi_assets.dataset.sources.fields import Fields
from phi_assets.dataset.sources.formats import FORMATS, SourceFormat
from phi_assets.dataset.sources.messages import (
    MessageReader,
    Spoken,
    UnmappableError,
    as_json,
    in_words,
    kind,
    parsed,
    sha256,
    text,
    tools_of,
)

PROBLEM_CHARACTERS = 2000
"""As much of a row that cannot be a conversation is kept, as JSON text."""


class Row(NamedTuple):
    """A row of the canonical schema, with the reason where it is none."""

    prompt: str
    prompt_id: str
    messages: list[tuple[str | None, str | None]] | None
    """Content and role of each message; None where there is a problem."""
    problem: str | None
    json_line: str | None = None
    """The row as JSON Lines hold it, where it is more than that: tools, and calls of them."""


class RowMapping:
    """Makes rows of one source into rows of the canonical schema; what they do not carry it tells `fields`.

    `roles` is what the source's own names of roles mean; `messages.ROLES` are known besides. With `tools_as_text`,
    tools and calls of them become text of the messages.
    """

    def __init__(
        self, source: SourceFormat, roles: Mapping[str, str], fields: Fields, *, tools_as_text: bool = False
    ) -> None:
        self.format = source
        self.fields = fields
        self._reader = MessageReader(roles, fields)
        self._tools_as_text = tools_as_text
        self._columns = frozenset(source.names.values())

    def map(self, row: Any, *, json_cells: bool = False) -> Row:
        """The row as a conversation, or as a row with a `problem` and, in `prompt`, what it holds as JSON text.

        The prompt is the first message of the user, empty where nobody asks anything, and the prompt_id the SHA-256 of
        the whole conversation, unless the source has its own. With `json_cells`, an empty text is nothing.
        """
        self.fields.next_row()
        try:
            return self._mapped(row, json_cells=json_cells)
        except UnmappableError as error:
            return _unmapped(row, str(error))

    def _mapped(self, row: Any, *, json_cells: bool) -> Row:
        if not isinstance(row, dict):
            raise UnmappableError(f"the row is {kind(row)}, not an object")
        for name in row.keys() - self._columns:
            if not (json_cells and row[name] == ""):
                self.fields.not_carried(name, row[name])
        values = {own: self._value(row, own, name) for own, name in self.format.names.items()}
        for own, column in FORMATS[self.format.name].items():
            if column.required and values[own] is None:
                raise UnmappableError(f"{self.format.names[own]} is missing")
        messages = self._with_system(_BUILDERS[self.format.name](self, values), values)
        tools = [] if values["tools"] is None else tools_of(values["tools"], self.format.names["tools"])
        if self._tools_as_text:
            messages, tools = in_words(messages, tools), []
        asked = next((spoken.content for spoken in messages if spoken.role == "user"), None) or ""
        prompt = asked
        if self.format.name == "messages":
            prompt = self._optional_text(values, "prompt") or asked
        pairs = [(spoken.content, spoken.role) for spoken in messages]
        prompt_id = _identifier(values["prompt_id"]) or sha256(as_json([pairs, tools] if tools else pairs))
        if not tools and not any(spoken.whole for spoken in messages):
            return Row(prompt, prompt_id, pairs, None)
        wholes = [spoken.whole or {"content": spoken.content, "role": spoken.role} for spoken in messages]
        line = {"prompt": prompt, "prompt_id": prompt_id, "messages": wholes} | ({"tools": tools} if tools else {})
        return Row(prompt, prompt_id, pairs, None, _as_line(line))

    def _value(self, row: Mapping[str, Any], own: str, name: str) -> Any:
        value = row.get(name)
        if self.fields.is_dropped(name) and not FORMATS[self.format.name][own].required:
            self.fields.not_carried(name, value)
            return None
        return value

    def _with_system(self, messages: list[Spoken], values: dict[str, Any]) -> list[Spoken]:
        system = self._optional_text(values, "system")
        if not system:
            return messages
        if not messages or messages[0].role != "system":
            return [Spoken(system, "system"), *messages]
        if messages[0].content != system:
            raise UnmappableError(f"{self.format.names['system']} says something else than the system message")
        return messages

    def _from_messages(self, values: dict[str, Any]) -> list[Spoken]:
        return self._reader.conversation(values["messages"], self.format.names["messages"])

    def _from_sharegpt(self, values: dict[str, Any]) -> list[Spoken]:
        return self._reader.conversation(values["conversations"], self.format.names["conversations"])

    def _from_prompt_completion(self, values: dict[str, Any]) -> list[Spoken]:
        messages = []
        for own, role in (("prompt", "user"), ("completion", "assistant")):
            value, name = values[own], self.format.names[own]
            if not isinstance(value, str | bytes | list):
                raise UnmappableError(f"{name} is {kind(value)}, neither text nor an array of messages")
            is_text = isinstance(value, str | bytes)
            messages += [Spoken(text(value, name), role)] if is_text else self._reader.conversation(value, name)
        return messages

    def _from_alpaca(self, values: dict[str, Any]) -> list[Spoken]:
        instruction = text(values["instruction"], self.format.names["instruction"])
        parts = (instruction, self._optional_text(values, "input"))
        return [
            *self._history(values["history"]),
            Spoken("\n\n".join(part for part in parts if part), "user"),
            Spoken(text(values["output"], self.format.names["output"]), "assistant"),
        ]

    def _history(self, value: Any) -> list[Spoken]:
        name = self.format.names["history"]
        if isinstance(value, str | bytes):
            value = parsed(value, name) if value.strip() else []
        messages = []
        for number, pair in enumerate(value or ()):
            if not isinstance(pair, list) or len(pair) != 2:
                raise UnmappableError(f"{name}[{number}] is {kind(pair)}, not a question with its answer")
            for said, role in zip(pair, ("user", "assistant"), strict=True):
                messages.append(Spoken(text(said, f"{name}[{number}]"), role))
        return messages

    def _optional_text(self, values: dict[str, Any], own: str) -> str | None:
        value = values[own]
        return None if value is None else text(value, self.format.names[own])


_BUILDERS: dict[str, Callable[[RowMapping, dict[str, Any]], list[Spoken]]] = {
    "messages": RowMapping._from_messages,
    "prompt_completion": RowMapping._from_prompt_completion,
    "sharegpt": RowMapping._from_sharegpt,
    "alpaca": RowMapping._from_alpaca,
}


def _identifier(value: Any) -> str | None:
    """An id of whatever type as text; None where it says nothing."""
    if isinstance(value, str) or value is None:
        return text(value, "prompt_id") if value else None
    if isinstance(value, float) and (math.isnan(value) or value.is_integer()):
        # A column of integers that has gaps becomes one of floating-point numbers in pandas.
        return None if math.isnan(value) else str(int(value))
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return as_json(value) if isinstance(value, dict | list | bool | int | float) else str(value)


def _as_line(row: Mapping[str, Any]) -> str:
    try:
        return text(json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")), "a tool")
    except ValueError as error:
        raise UnmappableError("a tool, or a call of one, holds a number that JSON does not have") from error


def _unmapped(row: Any, problem: str) -> Row:
    written = as_json(row)
    return Row(written[:PROBLEM_CHARACTERS], sha256(written), None, problem)
