"""MLflow loader of a chat model folder: Hugging Face weights and tokenizer in, one answer per conversation out.

This file travels inside every model folder as ``code/phi_chat_pyfunc.py``, where nothing else of this project is
importable, so it depends on torch and transformers only.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.utils import logging as transformers_logging

Conversation = Sequence[Mapping[str, str]]

DEFAULT_MAX_NEW_TOKENS = 200
READ_AT_ONCE = 512
"""Tokens of prompts that are read in one step."""
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
            os.path.join(data_path, "model"), dtype=dtype, local_files_only=True, attn_implementation="rolling"
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


class _Memory:
    """What one layer keeps of every row: keys and values, from the left, in tensors that grow rarely."""

    def __init__(self, like: Tensor) -> None:
        self.keys = self.values = like.new_zeros(0, like.shape[0], 0, like.shape[2])

    def write(self, rows: Tensor, columns: Tensor, keys: Tensor, values: Tensor) -> None:
        """One more token of the first rows."""
        self._make_room(len(rows), int(columns.max()) + 1)
        self.keys[rows, :, columns] = keys.transpose(0, 1)
        self.values[rows, :, columns] = values.transpose(0, 1)

    def place(self, row: int, keys: Tensor, values: Tensor) -> None:
        """All tokens of a row; what was in its place is gone."""
        self._make_room(row + 1, keys.shape[1])
        self.keys[row, :, : keys.shape[1]] = keys
        self.values[row, :, : keys.shape[1]] = values

    def move(self, source: int, target: int) -> None:
        """The row is in another place."""
        self.keys[target], self.values[target] = self.keys[source], self.values[source]

    def _make_room(self, rows: int, width: int) -> None:
        has_rows, heads, has_width, size = self.keys.shape
        if rows <= has_rows and width <= has_width:
            return
        shape = (max(rows, min(2 * rows, ROWS), has_rows), heads, max(width + ROOM, has_width), size)
        old_keys, old_values = self.keys, self.values
        self.keys, self.values = old_keys.new_zeros(shape), old_values.new_zeros(shape)
        self.keys[:has_rows, :, :has_width], self.values[:has_rows, :, :has_width] = old_keys, old_values


@dataclass(frozen=True)
class _Step:
    """One way through the model: a token of each row that writes, then the prompts of those that come, in one piece.

    Nothing is padded. Its attention looks at what the layers have in memory, and puts what is new there.
    """

    memories: dict[int, _Memory]
    lengths: Tensor
    """Tokens of the rows that write."""
    prompts: list[int]
    """Tokens of each prompt."""
    window: int

    @cached_property
    def seen(self) -> Tensor:
        """Which tokens in memory each row that writes may look at."""
        places = torch.arange(int(self.lengths.max()) + 1, device=self.lengths.device)
        distances = self.lengths[:, None] - places
        return ((distances >= 0) & (distances < self.window))[:, None, None]

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scaling: float | None) -> Tensor:
        """What each token takes from those that it may look at; all tensors are heads by tokens by size."""
        memory = self.memories.setdefault(layer, _Memory(keys))
        shares = queries.shape[0] != keys.shape[0]
        writing = len(self.lengths)
        taken = []
        if writing:
            rows = torch.arange(writing, device=queries.device)
            memory.write(rows, self.lengths, keys[:, :writing], values[:, :writing])
            width = self.seen.shape[-1]
            found = scaled_dot_product_attention(
                queries[:, :writing].transpose(0, 1)[:, :, None],
                memory.keys[:writing, :, :width],
                memory.values[:writing, :, :width],
                attn_mask=self.seen,
                scale=scaling,
                enable_gqa=shares,
            )
            taken.append(found[:, :, 0].transpose(0, 1))
        end = writing
        for row, length in enumerate(self.prompts, start=writing):
            piece = slice(end, end := end + length)
            memory.place(row, keys[:, piece], values[:, piece])
            taken.append(
                scaled_dot_product_attention(
                    queries[None, :, piece],
                    keys[None, :, piece],
                    values[None, :, piece],
                    attn_mask=None if length <= self.window else _within(length, self.window, queries.device),
                    is_causal=length <= self.window,
                    scale=scaling,
                    enable_gqa=shares,
                )[0]
            )
        return torch.cat(taken, dim=1)


def _within(length: int, window: int, device: torch.device) -> Tensor:
    places = torch.arange(length, device=device)
    distances = places[:, None] - places
    return (distances >= 0) & (distances < window)


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _: Any,
    *,
    step: _Step,
    scaling: float | None = None,
    **__: Any,
) -> tuple[Tensor, None]:
    return step.attend(module.layer_idx, query[0], key[0], value[0], scaling).transpose(0, 1)[None], None


AttentionInterface.register("rolling", _attend)


class RollingBatch:
    """Conversations that the model goes on with together: between two tokens some join and some leave."""

    def __init__(self, chat: ChatModel, settings: GenerationSettings) -> None:
        self._chat = chat
        self._settings = settings
        self._choose = _choice(settings)
        self._keys = itertools.count()
        self._arrived: deque[_Row] = deque()
        self._rows: list[_Row] = []
        self._memories: dict[int, _Memory] = {}
        self._lengths = torch.zeros(0, dtype=torch.long, device=chat.device)
        self._tokens = self._lengths

    def __len__(self) -> int:
        return len(self._arrived) + len(self._rows)

    def add(self, conversations: Sequence[Conversation]) -> list[int]:
        """The conversations take part from the next steps on; the keys of their answers, in order.

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
        joining = self._joining()
        ids = [token for row in joining for token in row.ids]
        prompts = [len(row.ids) for row in joining]
        read = torch.tensor(prompts, dtype=torch.long, device=self._lengths.device)
        positions = [self._lengths, *(torch.arange(length, device=read.device) for length in prompts)]
        logits = self._chat.model(
            input_ids=torch.cat([self._tokens, self._tokens.new_tensor(ids)])[None],
            position_ids=torch.cat(positions)[None],
            use_cache=False,
            # Only the last token of each row is asked what comes behind it.
            logits_to_keep=torch.cat([self._tokens.new_ones(len(self._rows)), read]).cumsum(0) - 1,
            step=_Step(self._memories, self._lengths, prompts, self._chat.window),
        ).logits
        self._rows += joining
        self._tokens = self._choose(logits[0].float())
        self._lengths = torch.cat([self._lengths + 1, read])
        return self._ended()

    def _joining(self) -> list[_Row]:
        """Those who have come, the first ones first, as far as the others can wait for them to be read."""
        joining: list[_Row] = []
        tokens = 0
        while self._arrived and (not joining or tokens + len(self._arrived[0].ids) <= READ_AT_ONCE):
            joining.append(self._arrived.popleft())
            tokens += len(joining[-1].ids)
        return joining

    def _ended(self) -> dict[int, str]:
        """The rows have got their last token; those that this completes are gone."""
        ended = {}
        tokens = self._tokens.tolist()
        # From the end: what is moved into the place of another has been looked at.
        for place in reversed(range(len(self._rows))):
            row, token = self._rows[place], tokens[place]
            if token not in self._chat.stop_ids:
                row.answer.append(token)
                if len(row.answer) < row.limit:
                    continue
            ended[row.key] = self._text(row)
            self._remove(place)
        return ended

    def _remove(self, place: int) -> None:
        """The row is gone, and the last one has its place."""
        last = len(self._rows) - 1
        if place != last:
            for memory in self._memories.values():
                memory.move(last, place)
            self._rows[place] = self._rows[last]
            self._tokens[place], self._lengths[place] = self._tokens[last], self._lengths[last]
        del self._rows[last]
        self._tokens, self._lengths = self._tokens[:last], self._lengths[:last]

    def _text(self, row: _Row) -> str:
        text = _cut(self._chat.tokenizer.decode(row.answer, skip_special_tokens=True), self._settings.stop)
        return row.prompt + text if self._settings.return_full_text else text


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
