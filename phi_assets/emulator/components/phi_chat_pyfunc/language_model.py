"""The model behind the chat: Hugging Face weights, an adapter where there is one, and the tokenizer."""

import os
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from .attention import ROLLING
from .requests import Conversation


class LanguageModel:
    """A causal language model with its chat template."""

    def __init__(self, data_path: str) -> None:
        transformers_logging.disable_progress_bar()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # Half-precision kernels of a CPU without matrix units are slower than float32.
        dtype = "auto" if self.device.type == "cuda" else torch.float32
        self.tokenizer: Any = AutoTokenizer.from_pretrained(
            os.path.join(data_path, "tokenizer"), padding_side="left", local_files_only=True
        )
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            os.path.join(data_path, "model"), dtype=dtype, local_files_only=True, attn_implementation=ROLLING
        )
        adapter = os.path.join(data_path, "adapter")
        if os.path.isdir(adapter):
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(self.model, adapter)
        self.model.to(self.device).eval()
        self.stop_ids = self._stop_ids()
        self.context = int(getattr(self.model.config, "max_position_embeddings", 2**31))
        self.window = getattr(self.model.config, "sliding_window", None) or self.context

    def _stop_ids(self) -> list[int]:
        configured = self.model.generation_config.eos_token_id
        ids = list(configured) if isinstance(configured, list) else [configured]
        ids += [self.tokenizer.eos_token_id, self.tokenizer.get_vocab().get("<|end|>")]
        return sorted({token for token in ids if token is not None})

    def prompt(self, conversation: Conversation) -> str:
        """What the model reads of a conversation."""
        return self.tokenizer.apply_chat_template(list(conversation), tokenize=False, add_generation_prompt=True)
