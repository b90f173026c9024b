"""Attention over rows of any length in one piece: what each layer has seen of every row, without padding."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

ROLLING = "rolling"
"""Its name to transformers."""
ROWS, ROOM = 32, 64
"""Rows and further tokens that memory is kept for, so that it is not copied for every token."""


class Memory:
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
class Step:
    """One way through the model: a token of each row that writes, then the prompts of those that come, in one piece.

    Nothing is padded. Its attention looks at what the layers have in memory, and puts what is new there.
    """

    memories: dict[int, Memory]
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
        memory = self.memories.setdefault(layer, Memory(keys))
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
    step: Step,
    scaling: float | None = None,
    **__: Any,
) -> tuple[Tensor, None]:
    return step.attend(module.layer_idx, query[0], key[0], value[0], scaling).transpose(0, 1)[None], None


AttentionInterface.register(ROLLING, _attend)
