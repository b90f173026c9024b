"""Turns conversations into token ids and marks the tokens that the assistant says."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phi_assets.emulator.components.common import ComponentError

ROLES = ("system", "user", "assistant", "tool")
GENERATION_BLOCK = re.compile(r"\{%-?\s*generation\s*-?%\}")
# A label that the loss function of every Hugging Face language model skips.
IGNORED = -100

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Encoded:
    """One conversation: token ids and, for each, itself as label or ``IGNORED``."""

    input_ids: list[int]
    labels: list[int]


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
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return "with a message that has no text content"
        if message.get("role") not in ROLES:
            return f"with the unknown role {message.get('role')!r}"
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        return "without an assistant answer"
    return None


class ChatEncoder:
    """Applies a tokenizer's chat template; finds the answers by its generation markers or, without them, by prefix."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise ComponentError(
                "the base model's tokenizer has no chat template; use a chat model or give a finetune_config with "
                "'chat_template'"
            )
        self.tokenizer = tokenizer
        self.marked = bool(GENERATION_BLOCK.search(tokenizer.chat_template))

    def encode(self, conversations: list[Messages]) -> list[Encoded]:
        """One result per conversation, in order, not truncated."""
        if not self.marked:
            return [self._encode_by_prefix(messages) for messages in conversations]
        batch = self.tokenizer.apply_chat_template(
            conversations, tokenize=True, return_dict=True, return_assistant_tokens_mask=True, truncation=False
        )
        return [
            Encoded(ids, [token if spoken else IGNORED for token, spoken in zip(ids, mask, strict=True)])
            for ids, mask in zip(batch["input_ids"], batch["assistant_masks"], strict=True)
        ]

    def _render(self, messages: Messages, *, prompt: bool = False) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)

    def _encode_by_prefix(self, messages: Messages) -> Encoded:
        """An answer is what the template adds between "now the assistant speaks" and the next message."""
        text = self._render(messages)
        spans = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._render(messages[:index], prompt=True)
            after = self._render(messages[: index + 1])
            # Some templates end the whole text with a marker of their own, so only the last may differ there.
            if not (text.startswith(before) and after.startswith(before)):
                raise ComponentError(
                    "the chat template rewrites earlier messages, so the assistant's tokens cannot be told apart; "
                    "put {% generation %} around the answers in the template"
                )
            spans.append((len(before), len(before) + len(after[len(before) :].rstrip())))
        tokens = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False)
        ids = list(tokens["input_ids"])
        labels = [
            token if any(start < end and low <= start < high for low, high in spans) else IGNORED
            for token, (start, end) in zip(ids, tokens["offset_mapping"], strict=True)
        ]
        return Encoded(ids, labels)
