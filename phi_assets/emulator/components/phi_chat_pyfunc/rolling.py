"""Batches that conversations join and leave between two tokens."""

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from .attention import Memory, Step
from .language_model import LanguageModel
from .requests import Conversation, GenerationSettings, read_conversations

READ_AT_ONCE = 512
"""Tokens of prompts that are read in one step."""


@dataclass
class _Row:
    """A conversation on its way through the model."""

    key: int
    prompt: str
    ids: list[int]
    limit: int
    answer: list[int] = field(default_factory=list)


class RollingBatch:
    """Conversations that the model goes on with together: between two tokens some join and some leave."""

    def __init__(self, model: LanguageModel, settings: GenerationSettings) -> None:
        self._model = model
        self._settings = settings
        self._choose = _choice(settings)
        self._keys = itertools.count()
        self._arrived: deque[_Row] = deque()
        self._rows: list[_Row] = []
        self._memories: dict[int, Memory] = {}
        self._lengths = torch.zeros(0, dtype=torch.long, device=model.device)
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
            prompt = self._model.prompt(conversation)
            ids = self._model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            room = self._model.context - len(ids)
            if room <= 0:
                raise ValueError(
                    f"a conversation has {len(ids)} tokens and the model's context is {self._model.context}; shorten it"
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
        logits = self._model.model(
            input_ids=torch.cat([self._tokens, self._tokens.new_tensor(ids)])[None],
            position_ids=torch.cat(positions)[None],
            use_cache=False,
            # Only the last token of each row is asked what comes behind it.
            logits_to_keep=torch.cat([self._tokens.new_ones(len(self._rows)), read]).cumsum(0) - 1,
            step=Step(self._memories, self._lengths, prompts, self._model.window),
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
            if token not in self._model.stop_ids:
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
        text = _cut(self._model.tokenizer.decode(row.answer, skip_special_tokens=True), self._settings.stop)
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
