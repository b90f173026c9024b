"""MLflow loader of a chat model folder: Hugging Face weights and tokenizer in, one answer per conversation out.

This package travels inside every model folder as ``code/phi_chat_pyfunc``, where nothing else of this project is
importable: it depends on torch and transformers only, and its modules name each other relatively.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch

from .language_model import LanguageModel
from .requests import Conversation, GenerationSettings, read_conversations, read_settings
from .rolling import RollingBatch


class ChatModel(LanguageModel):
    """A language model that is asked; ``predict`` is what MLflow calls."""

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> list[str]:
        """One answer per conversation of ``model_input["input_string"]``, in order.

        Raises:
            ValueError: the request is malformed or a conversation does not fit the model's context.
        """
        if hasattr(model_input, "to_dict"):
            model_input = model_input.to_dict(orient="list")
        if not isinstance(model_input, Mapping) or "input_string" not in model_input:
            raise ValueError("the request has no 'input_string'; send {'input_string': [...], 'parameters': {...}}")
        settings = read_settings({**(model_input.get("parameters") or {}), **(params or {})})
        conversations = read_conversations(model_input["input_string"])
        if settings.seed is None:
            return self._answers(conversations, settings)
        # Alone, a conversation draws the same numbers whatever else the batch would have held.
        answers = []
        for conversation in conversations:
            with torch.random.fork_rng():
                torch.manual_seed(settings.seed)
                answers += self._answers([conversation], settings)
        return answers

    def get_raw_model(self) -> "ChatModel":
        """This object, for servers that want more than MLflow's `predict`."""
        return self

    def open_batch(self, parameters: Mapping[str, Any], params: Mapping[str, Any]) -> RollingBatch:
        """An empty batch for conversations with these parameters.

        Raises:
            ValueError: a parameter is wrong; the message names it.
        """
        return RollingBatch(self, read_settings({**parameters, **params}))

    def _answers(self, conversations: Sequence[Conversation], settings: GenerationSettings) -> list[str]:
        batch = RollingBatch(self, settings)
        keys = batch.add(conversations)
        answers: dict[int, str] = {}
        while len(batch):
            answers |= batch.step()
        return [answers[key] for key in keys]


def _load_pyfunc(data_path: str) -> ChatModel:
    return ChatModel(data_path)
