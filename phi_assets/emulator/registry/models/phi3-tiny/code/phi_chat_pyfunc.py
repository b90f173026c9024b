"""MLflow loader of a chat model folder: Hugging Face weights and tokenizer in, one answer per conversation out.

This file travels inside every model folder as ``code/phi_chat_pyfunc.py``, where nothing else of this project is
importable, so it depends on torch and transformers only.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

Conversation = Sequence[Mapping[str, str]]

DEFAULT_MAX_NEW_TOKENS = 200
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class GenerationSettings:
    """How one batch is generated; ``temperature`` None means greedy."""

    temperature: float | None
    top_p: float
    top_k: int
    max_new_tokens: int
    stop: tuple[str, ...]
    return_full_text: bool
    seed: int | None


def _number(parameters: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = parameters.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"parameter {name!r} is {value!r}; it must be a number from {low:g} to {high:g}")
    return float(value)


def _whole(parameters: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = _number(parameters, name, default, low, high)
    if not float(value).is_integer():
        raise ValueError(f"parameter {name!r} is {value!r}; it must be a whole number")
    return int(value)


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ValueError(f"parameter {name!r} is {value!r}; it must be true or false")
    return value


def read_settings(parameters: Mapping[str, Any]) -> GenerationSettings:
    """Checked settings from a request's ``parameters``.

    Sampling is on when ``do_sample`` says so or, where it is not given, when a positive temperature is; temperature 0
    is greedy in any case. Names that mean nothing to generation are ignored.

    Raises:
        ValueError: a value has the wrong type or is out of range; the message names it.
    """
    temperature = _number(parameters, "temperature", 1.0, 0.0, 100.0)
    sampled = _flag(parameters, "do_sample", default=parameters.get("temperature") is not None)
    stop = parameters.get("stop") or ()
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(isinstance(text, str) for text in stop):
        raise ValueError(f"parameter 'stop' is {stop!r}; it must be a string or a list of strings")
    top_p = _number(parameters, "top_p", 1.0, 0.0, 1.0)
    if top_p == 0.0:
        raise ValueError("parameter 'top_p' is 0; it must be above 0 and at most 1")
    return GenerationSettings(
        temperature=temperature if sampled and temperature > 0 else None,
        top_p=top_p,
        top_k=_whole(parameters, "top_k", 0, 0, 1_000_000),
        max_new_tokens=_whole(parameters, "max_new_tokens", DEFAULT_MAX_NEW_TOKENS, 1, 1_000_000),
        stop=tuple(text for text in stop if text),
        return_full_text=_flag(parameters, "return_full_text", default=False),
        seed=None if parameters.get("seed") is None else _whole(parameters, "seed", 0, 0, 2**63 - 1),
    )


def read_conversations(value: Any) -> list[Conversation]:
    """The conversations of ``input_string``: a list of them, or a single one.

    Raises:
        ValueError: something is not a conversation; the message says what is expected.
    """
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("'input_string' must be a list of messages, or a non-empty list of such lists")
    for index, conversation in enumerate(value):
        if not isinstance(conversation, list | tuple) or not conversation:
            raise ValueError(f"conversation {index} of 'input_string' must be a non-empty list of messages")
        for message in conversation:
            if not isinstance(message, Mapping) or not isinstance(message.get("content"), str):
                raise ValueError(f"conversation {index}: a message must be an object with texts 'role' and 'content'")
            if message.get("role") not in ROLES:
                raise ValueError(f"conversation {index}: role {message.get('role')!r} is none of {', '.join(ROLES)}")
    return list(value)


class ChatModel:
    """A causal language model with its chat template; ``predict`` is what MLflow calls."""

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
            os.path.join(data_path, "model"), dtype=dtype, local_files_only=True, attn_implementation="sdpa"
        )
        adapter = os.path.join(data_path, "adapter")
        if os.path.isdir(adapter):
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(self.model, adapter)
        self.model.to(self.device).eval()
        self.stop_ids = self._stop_ids()
        self.context = int(getattr(self.model.config, "max_position_embeddings", 2**31))

    def _stop_ids(self) -> list[int]:
        configured = self.model.generation_config.eos_token_id
        ids = list(configured) if isinstance(configured, list) else [configured]
        ids += [self.tokenizer.eos_token_id, self.tokenizer.get_vocab().get("<|end|>")]
        return sorted({token for token in ids if token is not None})

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
        prompts = [
            self.tokenizer.apply_chat_template(list(conversation), tokenize=False, add_generation_prompt=True)
            for conversation in read_conversations(model_input["input_string"])
        ]
        if settings.seed is None:
            return self._generate(prompts, settings)
        # Alone, a conversation draws the same numbers whatever else the batch would have held.
        answers = []
        for prompt in prompts:
            with torch.random.fork_rng():
                torch.manual_seed(settings.seed)
                answers += self._generate([prompt], settings)
        return answers

    def _generate(self, prompts: list[str], settings: GenerationSettings) -> list[str]:
        batch = self.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(self.device)
        width = batch["input_ids"].shape[1]
        if width >= self.context:
            raise ValueError(
                f"the longest conversation has {width} tokens and the model's context is {self.context}; shorten it"
            )
        sampling: dict[str, Any] = {"do_sample": False}
        if settings.temperature is not None:
            sampling = {
                "do_sample": True,
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "top_k": settings.top_k,
            }
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=min(settings.max_new_tokens, self.context - width),
                eos_token_id=self.stop_ids,
                pad_token_id=self.tokenizer.pad_token_id,
                **sampling,
            )
        texts = self.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        return [
            (prompt if settings.return_full_text else "") + _cut(text, settings.stop)
            for prompt, text in zip(prompts, texts, strict=True)
        ]


def _cut(text: str, stop: tuple[str, ...]) -> str:
    ends = [index for mark in stop if (index := text.find(mark)) >= 0]
    return text[: min(ends)].strip() if ends else text.strip()


def _load_pyfunc(data_path: str) -> ChatModel:
    return ChatModel(data_path)
