"""Turns conversations into token ids and marks those that are trained, by the published component's rule."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from phi_assets.emulator.components.common import ComponentError

ROLES = ("system", "user", "assistant", "tool")
# A label that the loss function of every Hugging Face language model skips.
IGNORED = -100

Messages = list[dict[str, Any]]


class Markers(NamedTuple):
    """What a chat template writes where the user, and where the assistant, begins to speak."""

    user: str
    assistant: str


FAMILIES = (
    Markers("<|start_header_id|>user<|end_header_id|>", "<|start_header_id|>assistant<|end_header_id|>"),
    Markers("<|im_start|>user<|im_sep|>", "<|im_start|>assistant<|im_sep|>"),
    Markers("<|im_start|>user", "<|im_start|>assistant"),
    Markers("<start_of_turn>user", "<start_of_turn>model"),
    Markers("<|user|>", "<|assistant|>"),
    Markers("[INST]", "[/INST]"),
)
"""Of Llama 3, Phi-4, ChatML, Gemma, Phi-3, and Llama 2 and Mistral."""

_PROBE = [{"role": ("user", "assistant")[place % 2], "content": f"qzj{place}xkv"} for place in range(4)]


@dataclass(frozen=True)
class Encoded:
    """One conversation: token ids and, for each, itself as label or ``IGNORED``."""

    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Chat:
    """A conversation, and the tools that the assistant may call in it."""

    messages: Messages
    tools: list[Any] | None = None


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer saved in a folder, loaded without torch where it has a ``tokenizer.json``."""
    if (folder / "tokenizer.json").is_file():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def context_length(tokenizer: Any, model_folder: Path) -> int:
    """The most tokens that both the tokenizer and the model take."""
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    return int(min(tokenizer.model_max_length, config.get("max_position_embeddings") or tokenizer.model_max_length))


def problem(messages: Any) -> str | None:
    """Why a row's messages cannot be trained on, in words that fit after "rows that are"; None when they can."""
    if not isinstance(messages, list | tuple) or not messages:
        return "without messages"
    for message in messages:
        if not isinstance(message, dict) or not (_has_text(message.get("content")) or message.get("tool_calls")):
            return "with a message that has no text content"
        if message.get("role") not in ROLES:
            return f"with the unknown role {message.get('role')!r}"
    if not any(message["role"] == "assistant" and _says_something(message) for message in messages):
        return "without an assistant answer"
    return None


def _has_text(content: Any) -> bool:
    return isinstance(content, str) or (isinstance(content, list) and all(isinstance(part, dict) for part in content))


def _says_something(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return bool(message.get("tool_calls") or (content.strip() if isinstance(content, str) else content))


def find_markers(tokenizer: Any, given: Mapping[str, Any] | None = None) -> Markers:
    """The markers that a finetune config gives as `chat_special_tokens`, else those that the chat template writes.

    Raises:
        ComponentError: the template writes none that could be told.
    """
    if given is not None:
        texts = [given.get(name) for name in ("instruction_template", "response_template")]
        user, assistant = (text.get("content") if isinstance(text, dict) else text for text in texts)
        if not isinstance(user, str) or not isinstance(assistant, str):
            raise ComponentError(
                "chat_special_tokens of the finetune config needs instruction_template and response_template"
            )
        return Markers(user, assistant)
    text = render(tokenizer, Chat(_PROBE))
    for family in FAMILIES:
        if family.user in text and family.assistant in text:
            return family
    places = [text.find(message["content"]) for message in _PROBE]
    before = [
        text[place + len(message["content"]) : following]
        for message, place, following in zip(_PROBE, places, places[1:], strict=False)
    ]
    # What ends a message stands before both markers, in lines of its own.
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(*before[:2], strict=False)))
    end = before[0].rfind("\n", 0, alike) + 1
    assistant, user = (each[end:].strip() for each in before[:2])
    if -1 in places or not user or not assistant or user == assistant:
        raise ComponentError(
            "the chat template does not show where the assistant begins to speak; give a finetune_config with "
            "'chat_special_tokens' (instruction_template, response_template)"
        )
    return Markers(user, assistant)


def render(tokenizer: Any, chat: Chat) -> str:
    """The conversation as the chat template writes it.

    Raises:
        ComponentError: the template cannot.
    """
    return _templated(tokenizer, chat, tokenize=False)


def _templated(tokenizer: Any, chat: Chat, **options: Any) -> Any:
    from jinja2 import TemplateError

    # As the published component does it: a field without a value is none.
    messages = [{name: value for name, value in message.items() if value is not None} for message in chat.messages]
    try:
        return tokenizer.apply_chat_template(messages, tools=chat.tools or None, **options)
    except (TemplateError, TypeError, ValueError) as error:
        raise ComponentError(f"failure while applying the chat template to the data: {error}") from error


def trained(ids: Sequence[int], user: Sequence[int], assistant: Sequence[int], pad: int | None) -> list[int]:
    """The labels of a rendered conversation; none where either marker is missing, and the row is left out.

    The rule of `azureml-acft-contrib-hf-nlp`, `CustomCollatorForCompletionOnlyLM`: markers are looked for by their ids,
    wherever they stand. What follows the n-th of the assistant is trained until the (n+1)-th of the user. Text that
    holds a marker shifts all that comes after it.
    """
    starts = [place + len(assistant) for place in _found(ids, assistant)]
    asked = _found(ids, user)
    if not starts or not asked:
        return []
    labels = [IGNORED if token == pad else token for token in ids]
    if asked[0] > starts[0]:
        asked = [0, *asked]
    for number, (begin, end) in enumerate(zip(asked, starts, strict=False)):
        for place in range(begin if number else 0, end):
            labels[place] = IGNORED
    if len(starts) < len(asked):
        labels[asked[-1] :] = [IGNORED] * (len(labels) - asked[-1])
    return labels


def _found(ids: Sequence[int], marker: Sequence[int]) -> list[int]:
    first, whole = marker[0], list(marker)
    return [n for n, token in enumerate(ids) if token == first and list(ids[n : n + len(whole)]) == whole]


class ChatEncoder:
    """Applies a tokenizer's chat template and masks what is not the assistant's."""

    def __init__(self, tokenizer: Any, markers: Markers | None = None) -> None:
        if not tokenizer.chat_template:
            raise ComponentError(
                "the base model's tokenizer has no chat template; use a chat model or give a finetune_config with "
                "'chat_template'"
            )
        self.tokenizer = tokenizer
        self.markers = markers or find_markers(tokenizer)
        self._user, self._assistant = (tokenizer.encode(each, add_special_tokens=False) for each in self.markers)

    def encode(self, chats: Sequence[Chat], limit: int | None = None) -> list[tuple[Encoded, bool]]:
        """One result per conversation, in order, with at most so many tokens, and whether it was truncated."""
        found = []
        for chat in chats:
            ids = _templated(self.tokenizer, chat, tokenize=True, return_dict=True, truncation=False)["input_ids"]
            kept = ids[:limit]
            labels = trained(kept, self._user, self._assistant, self.tokenizer.pad_token_id)
            found.append((Encoded(kept, labels or [IGNORED] * len(kept)), len(kept) < len(ids)))
        return found
