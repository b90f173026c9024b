"""The training loop's own parts: data order, padding, evaluation by token, metrics."""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import IntervalStrategy

from phi_assets.emulator.components.chat_tokens import IGNORED
from phi_assets.emulator.components.common import say
from phi_assets.emulator.components.token_store import TokenRows

Batch = dict[str, torch.Tensor]


class ChatDataset(Dataset):
    """Tokenised rows as a torch dataset."""

    def __init__(self, path: Path) -> None:
        self.rows = TokenRows(path)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.rows[index]


class PaddingCollator:
    """Pads a batch on the right to its longest row, or to ``width`` tokens where one is given."""

    def __init__(self, pad_token_id: int, *, multiple: int = 1, width: int | None = None) -> None:
        self.pad_token_id = pad_token_id
        self.multiple = multiple
        self.width = width

    def __call__(self, rows: Sequence[Mapping[str, np.ndarray]]) -> Batch:
        longest = self.width or max(len(row["input_ids"]) for row in rows)
        shape = (len(rows), math.ceil(longest / self.multiple) * self.multiple)
        ids = np.full(shape, self.pad_token_id, dtype=np.int64)
        labels = np.full(shape, IGNORED, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for position, row in enumerate(rows):
            length = len(row["input_ids"])
            ids[position, :length] = row["input_ids"]
            labels[position, :length] = row["labels"]
            mask[position, :length] = 1
        arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


class LengthGroupedOrder(Sampler[int]):
    """Rows of like length side by side, the batches themselves in random order.

    Little padding is computed, yet length says nothing about when in the epoch a row comes. The order depends on the
    seed and the epoch alone.
    """

    # Batches' worth of rows that are shuffled together before they are sorted by length.
    POOL = 50

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng([self.seed, self.epoch])
        order = generator.permutation(len(self.lengths))
        size = self.batch_size * self.POOL
        pools = [order[start : start + size] for start in range(0, len(order), size)]
        grouped = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        whole = len(grouped) // self.batch_size * self.batch_size
        batches = generator.permutation(grouped[:whole].reshape(-1, self.batch_size))
        # A batch that is not full comes last: anywhere else it would shift all after it.
        yield from batches.ravel().tolist()
        yield from generator.permutation(grouped[whole:]).tolist()


class ChatTrainer(Trainer):
    """Trainer that orders rows by length and weighs evaluation by tokens.

    As the published component's, it goes on where a loss is no number.
    """

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        assert isinstance(dataset, ChatDataset)
        return LengthGroupedOrder(dataset.rows.lengths, self.args.train_batch_size, self.args.seed)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Mean loss per answer token over all rows, the same for every batch size, and how long it took to find out."""
        began = time.monotonic()
        dataset = eval_dataset if eval_dataset is not None else self.eval_dataset
        assert isinstance(dataset, ChatDataset)
        shortest_first = np.argsort(dataset.rows.lengths, kind="stable").tolist()
        loader = DataLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=self.args.eval_batch_size,
            sampler=shortest_first,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
        )
        assert isinstance(self.model, torch.nn.Module)
        self.model.eval()
        total, tokens = torch.zeros((), dtype=torch.float64), 0
        with torch.inference_mode():
            for batch in loader:
                answered = int((batch["labels"][:, 1:] != IGNORED).sum())
                with self.compute_loss_context_manager():
                    loss = self.model(**self._prepare_inputs(batch)).loss
                total += loss.double().cpu() * answered
                tokens += answered
        mean = (total / tokens).item()
        seconds = time.monotonic() - began
        metrics = {
            f"{metric_key_prefix}_loss": mean,
            f"{metric_key_prefix}_runtime": round(seconds, 4),
            f"{metric_key_prefix}_samples_per_second": round(len(dataset) / seconds, 3),
            f"{metric_key_prefix}_steps_per_second": round(len(loader) / seconds, 3),
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)  # type: ignore[arg-type]
        return metrics


class StepLog(TrainerCallback):
    """Prints what Trainer logs, and appends it to the file that PHI_METRICS_FILE names.

    As in the published component, a value that is no number is printed and not recorded, and a metric is recorded once
    a step, or without a step where logging is by epochs: `FinetuneCallback.on_log` of the package
    azureml-acft-accelerator.
    """

    def __init__(self) -> None:
        self.evaluations: list[tuple[int, float]] = []
        self._recorded: set[tuple[int, str]] = set()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Called by Trainer with the figures since the last call."""
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        step = state.global_step if args.logging_strategy == IntervalStrategy.STEPS else None
        found = {name: value for name, value in numbers.items() if not math.isnan(value)}
        if step is not None:
            found = {name: value for name, value in found.items() if (step, name) not in self._recorded}
            self._recorded |= {(step, name) for name in found}
        record_metrics(found, step)
        say(str({name: float(f"{value:.4g}") for name, value in numbers.items() if name != "total_flos"}))
        if "eval_loss" in numbers:
            self.evaluations.append((state.global_step, numbers["eval_loss"]))


def record_metrics(metrics: Mapping[str, float], step: int | None) -> None:
    """Append metrics to PHI_METRICS_FILE, one JSON object a line with a timestamp in milliseconds since 1970."""
    file = os.environ.get("PHI_METRICS_FILE")
    if not file:
        return
    timestamp = time.time_ns() // 1_000_000
    lines = [
        json.dumps({"name": name, "value": value, "step": step, "timestamp": timestamp}) + "\n"
        for name, value in metrics.items()
    ]
    with Path(file).open("a", encoding="utf-8") as stream:
        stream.write("".join(lines))
