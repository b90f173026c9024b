"""MLflow loader of a chat model folder: Hugging Face weights and tokenizer in, one answer per conversation out.

This file travels inside every model folder as ``code/phi_chat_pyfunc.py``, where nothing else of this project is
importable, so it depends on torch and transformers only.
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Cache,
    DynamicCache,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.cache_utils import CacheLayerMixin
from transformers.utils import logging as transformers_logging

Conversation = Sequence[Mapping[str, str]]

DEFAULT_MAX_NEW_TOKENS = 200
PADDING_WORTH_A_CALL = 64
"""Tokens of padding that cost a small model on a CPU about as much as a further call."""
ROWS, ROOM = 32, 64
"""Rows and further tokens that memory is kept for, so that it is not copied for every token."""
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
        self.reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self.context = int(getattr(self.model.config, "max_position_embeddings", 2**31))

    def _stop_ids(self) -> list[int]:
        configured = self.model.generation_config.eos_token_id
        ids = list(configured) if isinstance(configured, list) else [configured]
        ids += [self.tokenizer.eos_token_id, self.tokenizer.get_vocab().get("<|end|>")]
        return sorted({token for token in ids if token is not None})

    def prompt(self, conversation: Conversation) -> str:
        """What the model reads of a conversation."""
        return self.tokenizer.apply_chat_template(list(conversation), tokenize=False, add_generation_prompt=True)

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

    def open_batch(self, parameters: Mapping[str, Any], params: Mapping[str, Any]) -> "RollingBatch":
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


@dataclass
class _Row:
    """A conversation on its way through the model."""

    key: int
    prompt: str
    ids: list[int]
    limit: int
    answer: list[int] = field(default_factory=list)


class _Layer(CacheLayerMixin):
    """Keys and values of one layer: a place for each row, filled from the left, in memory that is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths = torch.zeros(0, dtype=torch.long)
        """Tokens of each row before this step; set by the batch for all of its layers."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is kept yet; what comes decides about type and device."""
        self.keys, self.values = key_states[:0], value_states[:0]
        self.is_initialized = True

    def place(self, row: int, keys: Tensor, values: Tensor) -> None:
        """The row has these; what was in its place is gone."""
        if not self.is_initialized:
            self.lazy_initialization(keys[None], values[None])
        self.keys, self.values = _roomy(self.keys, row + 1, len(keys[0])), _roomy(self.values, row + 1, len(keys[0]))
        self.keys[row, :, : len(keys[0])] = keys
        self.values[row, :, : len(keys[0])] = values

    def move(self, source: int, target: int) -> None:
        """The row is in another place."""
        self.keys[target], self.values[target] = self.keys[source], self.values[source]

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """One more token of every row."""
        rows, width = len(key_states), self.get_seq_length() + 1
        self.keys, self.values = _roomy(self.keys, rows, width), _roomy(self.values, rows, width)
        places = torch.arange(rows, device=key_states.device)
        self.keys[places, :, self.lengths] = key_states[:, :, 0]
        self.values[places, :, self.lengths] = value_states[:, :, 0]
        return self.keys[:rows, :, :width], self.values[:rows, :, :width]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return int(self.lengths.max()) if len(self.lengths) else 0

    def get_max_length(self) -> int:
        return -1


def _roomy(kept: Tensor, rows: int, width: int) -> Tensor:
    """The same, with room for so many rows and tokens, and for more that will come."""
    if rows <= kept.shape[0] and width <= kept.shape[2]:
        return kept
    rows, width = max(rows, kept.shape[0], min(2 * rows, ROWS)), max(kept.shape[2], width + ROOM)
    roomy = kept.new_zeros(rows, kept.shape[1], width, kept.shape[3])
    roomy[: kept.shape[0], :, : kept.shape[2]] = kept
    return roomy


@dataclass
class _Prompts:
    """Prompts that the model has read, padded on the left to the same length."""

    rows: list[_Row]
    cache: DynamicCache
    tokens: Tensor
    """The first one of each answer."""


class RollingBatch:
    """Conversations that the model goes on with together: between two tokens some join and some leave."""

    def __init__(self, chat: ChatModel, settings: GenerationSettings) -> None:
        self._chat = chat
        self._settings = settings
        self._choose = _choice(settings)
        self._keys = itertools.count()
        self._arrived: list[_Row] = []
        self._reading: Future[list[_Prompts]] | None = None
        self._being_read = 0
        self._rows: list[_Row] = []
        self._layers: list[_Layer] = []
        self._lengths = torch.zeros(0, dtype=torch.long, device=chat.device)
        self._tokens = self._lengths

    def __len__(self) -> int:
        return len(self._arrived) + self._being_read + len(self._rows)

    def add(self, conversations: Sequence[Conversation]) -> list[int]:
        """The conversations take part from the next step on; the keys of their answers, in order.

        Raises:
            ValueError: something is not a conversation or does not fit the model's context; none takes part.
        """
        added = []
        for conversation in read_conversations(conversations):
            prompt = self._chat.prompt(conversation)
            ids = self._chat.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            room = self._chat.context - len(ids)
            if room <= 0:
                raise ValueError(
                    f"a conversation has {len(ids)} tokens and the model's context is {self._chat.context}; shorten it"
                )
            added.append(_Row(next(self._keys), prompt, ids, min(self._settings.max_new_tokens, room)))
        self._arrived += added
        return [row.key for row in added]

    @torch.inference_mode()
    def step(self) -> dict[int, str]:
        """Every conversation has one token more; the answers that this completes, by key. They have left the batch."""
        if self._arrived and self._reading is None:
            # Reading takes long and is needed by the readers only: those who write go on meanwhile.
            self._reading = self._chat.reader.submit(self._read, self._arrived)
            self._arrived, self._being_read = [], len(self._arrived)
        if self._rows:
            self._write()
        ended = self._ended(first=0)
        if self._reading is not None and (self._reading.done() or not self._rows):
            first = len(self._rows)
            for prompts in self._reading.result():
                self._take_in(prompts)
            self._reading, self._being_read = None, 0
            ended |= self._ended(first)
        return ended

    def _ended(self, first: int) -> dict[int, str]:
        """The rows from `first` on have got their last token; those that this completes are gone."""
        ended = {}
        for place in reversed(range(first, len(self._rows))):
            row, token = self._rows[place], int(self._tokens[place])
            if token not in self._chat.stop_ids:
                row.answer.append(token)
                if len(row.answer) < row.limit:
                    continue
            ended[row.key] = self._text(row)
            self._remove(place)
        return ended

    def _write(self) -> None:
        """Another token for every row."""
        for layer in self._layers:
            layer.lengths = self._lengths
        places = torch.arange(int(self._lengths.max()) + 1, device=self._lengths.device)
        mask = (places <= self._lengths[:, None]).long()
        self._tokens = self._next(self._tokens[:, None], mask, self._lengths[:, None], Cache(layers=[*self._layers]))
        self._lengths = self._lengths + 1

    @torch.inference_mode()
    def _read(self, arrived: list[_Row]) -> list[_Prompts]:
        """The prompts have been read, those of like length together: padding costs as much as text."""
        device, filler = self._chat.device, self._chat.tokenizer.pad_token_id
        found = []
        for rows in _alike(arrived):
            width = max(len(row.ids) for row in rows)
            ids = torch.tensor([[filler] * (width - len(row.ids)) + row.ids for row in rows], device=device)
            mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows], device=device)
            cache = DynamicCache()
            found.append(_Prompts(rows, cache, self._next(ids, mask, (mask.cumsum(-1) - 1).clamp(min=0), cache)))
        return found

    def _take_in(self, prompts: _Prompts) -> None:
        """The rows go on behind the others."""
        self._layers = self._layers or [_Layer() for _ in prompts.cache.layers]
        for layer, read in zip(self._layers, prompts.cache.layers, strict=True):
            keys: Any = read.keys
            values: Any = read.values
            for place, row in enumerate(prompts.rows):
                first = keys.shape[2] - len(row.ids)
                layer.place(len(self._rows) + place, keys[place, :, first:], values[place, :, first:])
        self._rows += prompts.rows
        self._tokens = torch.cat([self._tokens, prompts.tokens])
        lengths = torch.tensor([len(row.ids) for row in prompts.rows], device=self._lengths.device)
        self._lengths = torch.cat([self._lengths, lengths])

    def _remove(self, place: int) -> None:
        """The row is gone, and the last one has its place."""
        last = len(self._rows) - 1
        if place != last:
            for layer in self._layers:
                layer.move(last, place)
            self._rows[place] = self._rows[last]
            self._tokens[place], self._lengths[place] = self._tokens[last], self._lengths[last]
        del self._rows[last]
        self._tokens, self._lengths = self._tokens[:last], self._lengths[:last]

    def _next(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        """The token that the model chooses after each row."""
        logits = self._chat.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return self._choose(logits[:, -1].float())

    def _text(self, row: _Row) -> str:
        text = _cut(self._chat.tokenizer.decode(row.answer, skip_special_tokens=True), self._settings.stop)
        return row.prompt + text if self._settings.return_full_text else text


def _length(row: _Row) -> int:
    return len(row.ids)


def _alike(rows: Sequence[_Row]) -> list[list[_Row]]:
    """The rows by length, in groups whose padding costs less than another call of the model."""
    groups: list[list[_Row]] = []
    padding = 0
    for row in sorted(rows, key=_length):
        padding += groups[-1] and (len(row.ids) - len(groups[-1][-1].ids)) * len(groups[-1]) if groups else 0
        if not groups or padding > PADDING_WORTH_A_CALL:
            groups.append([])
            padding = 0
        groups[-1].append(row)
    return groups


def _choice(settings: GenerationSettings) -> Callable[[Tensor], Tensor]:
    """How the next token of each row is chosen from its logits."""
    if settings.temperature is None:
        return lambda logits: logits.argmax(-1)
    warpers = LogitsProcessorList([TemperatureLogitsWarper(settings.temperature)])
    if settings.top_k:
        warpers.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        warpers.append(TopPLogitsWarper(settings.top_p))

    def draw(logits: Tensor) -> Tensor:
        none: Any = torch.empty((len(logits), 0), dtype=torch.long, device=logits.device)
        return torch.multinomial(torch.softmax(warpers(none, logits), -1), 1)[:, 0]

    return draw


def _cut(text: str, stop: tuple[str, ...]) -> str:
    ends = [index for mark in stop if (index := text.find(mark)) >= 0]
    return text[: min(ends)].strip() if ends else text.strip()


def _load_pyfunc(data_path: str) -> ChatModel:
    return ChatModel(data_path)
