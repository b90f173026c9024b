"""The box in which a person tries a prompt: what the form sends, and what the deployment says to it."""

import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from phi_assets.emulator.serving.dispatch import Front
from phi_assets.emulator.serving.inference.payload import PayloadError, parse_request
from phi_assets.emulator.wire.errors import ServiceError

DEFAULT_NEW_TOKENS = 100


class PromptError(ValueError):
    """There is no answer; the message says why."""


@dataclass(frozen=True)
class Turn:
    """A message of the conversation; `note` says who answered and how long it took."""

    role: str
    content: str
    note: str = ""


@dataclass(frozen=True)
class Prompt:
    """The form as it was sent, or as it is at first."""

    turns: tuple[Turn, ...] = ()
    message: str = ""
    deployment: str = ""
    """Empty: whoever the traffic rules choose."""
    new_tokens: str = str(DEFAULT_NEW_TOKENS)
    temperature: str = ""
    problem: str = field(default="", kw_only=True)

    @property
    def history(self) -> str:
        """The turns, as the form carries them along."""
        return json.dumps([turn.__dict__ for turn in self.turns])


def read_form(body: bytes) -> Prompt:
    """What was sent.

    Raises:
        PromptError: it is not what the page's own form sends.
    """
    try:
        given = {key: values[0] for key, values in parse_qs(body.decode(), strict_parsing=True).items()}
        turns = tuple(Turn(**turn) for turn in json.loads(given.get("history") or "[]"))
    except (ValueError, TypeError) as error:
        raise PromptError(f"The form cannot be read: {error}") from error
    fields = {name: given.get(name, "").strip() for name in ("message", "deployment", "new_tokens", "temperature")}
    return Prompt(turns, **fields)


async def ask(front: Front, endpoint: str, prompt: Prompt) -> Prompt:
    """The form with the answer added, ready for the next message.

    Raises:
        PromptError: the prompt is empty or not valid, or the deployment refuses or fails.
    """
    if not prompt.message:
        raise PromptError("Write something first.")
    turns = (*prompt.turns, Turn("user", prompt.message))
    body = json.dumps(
        {
            "input_data": {
                "input_string": [[{"role": turn.role, "content": turn.content} for turn in turns]],
                "parameters": _parameters(prompt),
            },
        }
    ).encode()
    began = time.perf_counter()
    try:
        parse_request(body)
        scored = await front.score(endpoint, prompt.deployment or None, body)
        content = json.loads(scored.content)
        answer = content["output"] if isinstance(content, dict) else content[0]["0"]
    except PayloadError as error:
        raise PromptError(str(error)) from error
    except ServiceError as error:
        raise PromptError(f"{error.status} {error.code}: {error.message}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise PromptError("The model's answer is not that of a chat model.") from error
    note = f"{scored.deployment}, {time.perf_counter() - began:.2f} s"
    return Prompt(
        (*turns, Turn("assistant", str(answer), note)),
        deployment=prompt.deployment,
        new_tokens=prompt.new_tokens,
        temperature=prompt.temperature,
    )


def _parameters(prompt: Prompt) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    try:
        if prompt.new_tokens:
            parameters["max_new_tokens"] = int(prompt.new_tokens)
        if prompt.temperature:
            parameters |= {"temperature": float(prompt.temperature), "do_sample": float(prompt.temperature) > 0}
    except ValueError as error:
        raise PromptError("New tokens must be a whole number, and temperature a number.") from error
    return parameters
