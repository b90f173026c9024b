"""One message of a source: its role, its text, and the calls of tools that go with it."""

import ast
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from phi_assets.dataset.sources.fields import IN_MESSAGES, MEDIA, Fields
from phi_assets.dataset.sources.formats import SPEAKERS

_CALL = "function_call"

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "ipython", "tool_response", "function_response"), "tool"),
    **dict.fromkeys(("function_call", "tool_call"), _CALL),
}
"""The usual names of roles, in lower case, and what they mean.

ShareGPT writes a call of a tool as a message of its own from `function_call`, and what it said as `observation`:
<https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md#sharegpt-format>."""

_TEXT_PARTS = ("text", "input_text", "output_text")


class UnmappableError(Exception):
    """Why a row cannot be a conversation."""


class Spoken(NamedTuple):
    """A message."""

    content: str | None
    """Its text and, in JSON, the calls that it makes."""
    role: str | None
    whole: Mapping[str, Any] | None = None
    """The message as JSON Lines hold it, where it is more than role and text."""


class MessageReader:
    """Reads the messages of one source; what it does not carry it tells `fields`."""

    def __init__(self, roles: Mapping[str, str], fields: Fields) -> None:
        self._roles = roles
        self._fields = fields

    def conversation(self, value: Any, name: str) -> list[Spoken]:
        """The messages of a cell.

        Raises:
            UnmappableError: it holds something else; the reason names the message.
        """
        if isinstance(value, str | bytes):
            value = parsed(value, name)
            # Encoded once too often, it says the same.
            if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
                value = parsed(value, name)
        if isinstance(value, dict):
            value = _of_columns(value)
        if not isinstance(value, list):
            raise UnmappableError(f"{name} is {kind(value)}, not an array of messages")
        messages: list[Spoken] = []
        for number, message in enumerate(value):
            try:
                messages.append(self.message(message))
            except UnmappableError as error:
                raise UnmappableError(f"{name}[{number}]{error}") from None
        return _with_ids(messages) if any(message.whole for message in messages) else messages

    def message(self, message: Any) -> Spoken:
        """One message.

        Raises:
            UnmappableError: it is none.
        """
        if not isinstance(message, dict):
            raise UnmappableError(f" is {kind(message)}, not an object")
        # A table has all fields in each row, so the one that is set counts.
        said = next((pair for pair in SPEAKERS if message.get(pair[0]) is not None), None)
        said = said or next((pair for pair in SPEAKERS if pair[1] in message), None)
        if said is None:
            raise UnmappableError(f" has neither role nor from: it has {as_json(list(message))[:100]}")
        speaker, speech = said
        named = message.get(speaker)
        role = None if named is None else self._role(named, speaker)
        content = message.get(speech)
        if len(message) == 2 and isinstance(content, str) and role not in ("tool", _CALL):
            return Spoken(text(content, f".{speech}"), role)
        calls = self._extras(message, speaker, speech, role)
        if role == _CALL:
            return _called(None, _calls(content, f".{speech}"))
        if role == "tool":
            return self._answered(message, content, f".{speech}")
        content = None if content is None else self._content(content, f".{speech}")
        return _called(content, calls) if calls else Spoken(content, role)

    def _role(self, role: Any, speaker: str) -> str:
        known = self._roles.get(role) or ROLES.get(role.strip().lower()) if isinstance(role, str) else None
        if known is None:
            raise UnmappableError(f".{speaker} is {as_json(role)[:100]}: say what that means in dataset.roles")
        return known

    def _extras(self, message: Mapping[str, Any], speaker: str, speech: str, role: str | None) -> list[Any]:
        """The calls of tools; every other field is told to `fields`."""
        calls: list[Any] = []
        for field, value in message.items():
            if field in (speaker, speech) or value is None:
                continue
            if field == "tool_calls" and role == "assistant":
                calls = [] if self._fields.is_dropped(IN_MESSAGES + field) else _calls(value, ".tool_calls")
                if calls:
                    continue
            if role == "tool" and field in ("tool_call_id", "name"):
                continue
            self._fields.not_carried(IN_MESSAGES + field, value)
        return calls

    def _content(self, content: Any, where: str) -> str:
        if not isinstance(content, list):
            return text(content, where)
        texts = []
        for number, part in enumerate(content):
            at = f"{where}[{number}]"
            if not isinstance(part, dict):
                raise UnmappableError(f"{at} is {kind(part)}, not a part of a message")
            # A table has all fields in each part.
            fields = {name: value for name, value in part.items() if value is not None}
            form = fields.pop("type", "text")
            if form not in _TEXT_PARTS or "text" not in fields:
                self._fields.not_carried(f"{IN_MESSAGES}content.{form}", part, MEDIA)
                continue
            texts.append(text(fields.pop("text"), f"{at}.text"))
            for name, value in fields.items():
                self._fields.not_carried(f"{IN_MESSAGES}content.{name}", value)
        return "".join(texts)

    def _answered(self, message: Mapping[str, Any], content: Any, where: str) -> Spoken:
        if content is None:
            return Spoken(None, "tool")
        is_parts = isinstance(content, list) and all(isinstance(part, dict) and "type" in part for part in content)
        said = self._content(content, where) if isinstance(content, str) or is_parts else as_json(content)
        whole = {"content": text(said, where), "role": "tool"}
        whole |= {name: text(str(message[name]), f".{name}") for name in ("tool_call_id", "name") if message.get(name)}
        return Spoken(said, "tool", whole)


def _of_columns(value: dict[str, Any]) -> Any:
    """The messages of an object with a list for each field, as `datasets` writes sequences of objects; else the value.

    <https://huggingface.co/docs/datasets/about_dataset_features>
    """
    lists = list(value.values())
    if not lists or any(not isinstance(each, list) or len(each) != len(lists[0]) for each in lists):
        return value
    return [dict(zip(value, fields, strict=True)) for fields in zip(*lists, strict=True)]


def _called(content: str | None, calls: list[Any]) -> Spoken:
    """A message of the assistant that calls tools."""
    said = "\n".join(part for part in (content, as_json(calls)) if part)
    return Spoken(said, "assistant", {"content": content, "role": "assistant", "tool_calls": calls})


def _calls(value: Any, where: str) -> list[Any]:
    """Calls of tools in OpenAI's form, <https://platform.openai.com/docs/guides/function-calling>."""
    if isinstance(value, str | bytes):
        value = parsed(value, where)
    found = []
    for call in value if isinstance(value, list) else [value]:
        if not isinstance(call, dict):
            raise UnmappableError(f"{where} holds {kind(call)}, not a call of a tool")
        function = call.get("function", call)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UnmappableError(f"{where} holds a call without the name of a function")
        if function is not call:
            found.append(call if "type" in call else {**call, "type": "function"})
            continue
        arguments = function.get("arguments", function.get("parameters", {}))
        named = {"name": function["name"], "arguments": arguments if isinstance(arguments, str) else as_json(arguments)}
        found.append({**({"id": call["id"]} if "id" in call else {}), "type": "function", "function": named})
    return found


def tools_of(value: Any, name: str) -> list[Any]:
    """The tools that the assistant may call, in OpenAI's form.

    Raises:
        UnmappableError: it is something else.
    """
    if isinstance(value, str | bytes):
        value = parsed(value, name) if value.strip() else []
    if not isinstance(value, list):
        raise UnmappableError(f"{name} is {kind(value)}, not an array of tools")
    tools = []
    for number, tool in enumerate(value):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise UnmappableError(f"{name}[{number}] is no tool: it has no function with a name")
        tools.append({"type": "function", "function": _with_parameters(tool)} if function is tool else tool)
    return tools


def _with_parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    """The function with its schema by OpenAI's name; others call it `input_schema`."""
    if "parameters" in function or "input_schema" not in function:
        return dict(function)
    return {("parameters" if name == "input_schema" else name): value for name, value in function.items()}


def in_words(messages: list[Spoken], tools: list[Any]) -> list[Spoken]:
    """The same conversation as text alone: the system message lists the tools, messages of the assistant hold their
    calls, an object a line, and what a tool says is said by the user."""
    said: list[Spoken] = []
    answers = False
    for message in messages:
        is_answer = message.role == "tool"
        if is_answer and answers:
            said[-1] = Spoken(f"{said[-1].content}\n{message.content or ''}", "user")
        elif is_answer:
            said.append(Spoken(message.content, "user"))
        elif calls := (message.whole or {}).get("tool_calls"):
            lines = [as_json(_as_called(call["function"])) for call in calls]
            content = (message.whole or {}).get("content")
            said.append(Spoken("\n".join([*([content] if content else []), *lines]), "assistant"))
        else:
            said.append(Spoken(message.content, message.role))
        answers = is_answer
    if not tools:
        return said
    listed = "\n".join(["Tools:", *(as_json(tool["function"]) for tool in tools)])
    if said and said[0].role == "system":
        return [Spoken(f"{said[0].content}\n\n{listed}", "system"), *said[1:]]
    return [Spoken(listed, "system"), *said]


def _as_called(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        with suppress(orjson.JSONDecodeError):
            arguments = orjson.loads(arguments)
    return {"name": function["name"], "arguments": arguments}


def _with_ids(messages: list[Spoken]) -> list[Spoken]:
    """Each call has an id, and what answers it names it, in the order of the calls where the source says nothing."""
    done, open_calls, number = [], [], 0
    for message in messages:
        whole = dict(message.whole or {})
        if calls := whole.get("tool_calls"):
            whole["tool_calls"] = named = []
            for call in calls:
                named.append({"id": f"call_{number}", **call})
                number += 1
            open_calls = [call["id"] for call in named]
        elif message.role == "tool" and whole and "tool_call_id" not in whole and open_calls:
            whole["tool_call_id"] = open_calls.pop(0)
        done.append(message._replace(whole=whole or None))
    return done


def parsed(cell: str | bytes, name: str) -> Any:
    """What is written in a cell as JSON, or as pandas writes a list.

    Raises:
        UnmappableError: it is neither.
    """
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError as error:
        written = text(cell, name)
        for read in (json.loads, ast.literal_eval):
            try:
                return read(written)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
        raise UnmappableError(f"{name} is not JSON text: {error}") from error


def text(value: Any, where: str) -> str:
    """The value, which is text; bytes are read as UTF-8.

    Raises:
        UnmappableError: it is something else.
    """
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise UnmappableError(f"{where} is not UTF-8 ({error.reason})") from error
    if not isinstance(value, str):
        raise UnmappableError(f"{where} is {kind(value)}, not text")
    if not _is_unicode(value):
        raise UnmappableError(f"{where} has half of a surrogate pair, which is no character")
    return value


def _is_unicode(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_json(value: Any) -> str:
    """The value as JSON text that can be written to a file, whatever it is."""
    try:
        written = json.dumps(value, ensure_ascii=False, default=str)
        return written if _is_unicode(written) else json.dumps(value, default=str)
    except (RecursionError, TypeError, ValueError) as error:
        return f"(cannot be shown: {error})"


def sha256(value: str) -> str:
    """Of its UTF-8, in hexadecimal digits."""
    return hashlib.sha256(value.encode()).hexdigest()


def kind(value: Any) -> str:
    """What a value is, in JSON's words."""
    for each, name in _KINDS.items():
        if isinstance(value, each):
            return name
    return f"a {type(value).__name__}"


_KINDS: dict[type | tuple[type, ...], str] = {
    type(None): "null",
    (str, bytes): "text",
    bool: "true or false",
    (int, float): "a number",
    (list, tuple): "an array",
    dict: "an object",
}
