"""Tokenises chat rows with the base model's chat template and marks the tokens that the loss is computed on."""

import argparse
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# transformers advises once a process that it found no torch loaded; nothing here needs it.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from phi_assets.emulator.components import layout
from phi_assets.emulator.components.chat_tokens import (
    IGNORED,
    Chat,
    ChatEncoder,
    Encoded,
    context_length,
    find_markers,
    load_tokenizer,
    problem,
)
from phi_assets.emulator.components.common import Arguments, ComponentError, flag, read_json, run, say, write_json
from phi_assets.emulator.components.rows import messages_of, read_rows, tools_of
from phi_assets.emulator.components.token_store import TokenWriter

HELD_OUT_EVERY = 10

# By file to write: what the rows are called in the log, and the rows with their places.
Files = dict[str, tuple[str, Iterator[tuple[str, Chat]]]]


def arguments() -> Arguments:
    """The options of the command component ``chat_completion_datapreprocess``."""
    parser = Arguments(__doc__)
    parser.add_argument("--task_name", default="ChatCompletion")
    parser.add_argument("--batch_size", type=int, default=1000)
    parser.add_argument("--pad_to_max_length", type=flag, default=False)
    parser.add_argument("--max_seq_length", type=int, default=-1)
    for split in ("train", "validation", "test"):
        parser.add_argument(f"--{split}_file_path", type=Path)
        parser.add_argument(f"--{split}_mltable_path", type=Path)
    parser.add_argument("--model_selector_output", type=Path, required=True)
    parser.add_argument("--trust_remote_code", type=flag, default=False)
    parser.add_argument("--output_dir", type=Path, required=True)
    return parser


@dataclass
class Tally:
    """What became of one file's rows."""

    rows: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    truncated: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: str = ""

    def drop(self, reason: str, place: str) -> None:
        """Count a row that is left out."""
        self.first_dropped = self.first_dropped or place
        self.dropped[reason] += 1

    def summary(self, name: str, limit: int) -> str:
        """One line for the log."""
        text = f"{name}: {self.rows:,} rows, {self.tokens:,} tokens, {self.answer_tokens:,} of them in answers"
        if self.truncated:
            text += f"; {self.truncated:,} rows truncated to {limit:,} tokens"
        if self.dropped:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common())
            text += f"; left out: {reasons} (first: {self.first_dropped})"
        return text


def main() -> None:
    """Write ``train.parquet``, ``evaluation.parquet`` where there is evaluation data, the tokenizer and the figures.

    Raises:
        ComponentError: no training data, an unreadable file, a missing column, or no usable row in a file.
    """
    options = arguments().parse_args()
    if options.batch_size < 1:
        raise ComponentError(f"batch_size is {options.batch_size}; it must be at least 1")
    if options.trust_remote_code:
        say("trust_remote_code: not needed; no code from the model's folder is run here.")
    train, evaluation, origin = _sources(options)
    source = options.model_selector_output
    tokenizer = load_tokenizer(source / "tokenizer")
    markers = _apply_finetune_config(tokenizer, source / layout.FINETUNE_CONFIG)
    encoder = ChatEncoder(tokenizer, find_markers(tokenizer, markers) if markers else None)
    say(f"Trained is what follows {encoder.markers.assistant!r}, up to the next {encoder.markers.user!r}.")
    limit = _limit(options.max_seq_length, context_length(tokenizer, source / "model"))
    options.output_dir.mkdir(parents=True, exist_ok=True)
    files = _hold_out(train) if evaluation is None else _given(train, evaluation, origin)
    metadata: dict[str, Any] = {"max_seq_length": limit, "pad_to_max_length": options.pad_to_max_length, "rows": {}}
    for file, (name, rows) in files.items():
        tally = _encode_file(encoder, rows, limit, options.batch_size, options.output_dir / file)
        say(tally.summary(name, limit))
        if tally.rows < 1 and name != "held out":
            raise ComponentError(f"the {name} data has no usable row; {tally.summary(name, limit)}")
        metadata["rows"][file] = tally.rows
    metadata["evaluation"] = origin
    write_json(options.output_dir / layout.PREPROCESS_SUMMARY, metadata)
    tokenizer.save_pretrained(options.output_dir / "tokenizer", save_jinja_files=False)


def _sources(options: argparse.Namespace) -> tuple[Path, Path | None, str]:
    """Train data, evaluation data and what the latter is; a table wins over a file of the same split."""
    train, validation, test = (
        getattr(options, f"{split}_mltable_path") or getattr(options, f"{split}_file_path")
        for split in ("train", "validation", "test")
    )
    if train is None:
        raise ComponentError("no training data: give train_file_path or train_mltable_path")
    if validation is not None:
        say("The validation data is used for evaluation during training.")
        return train, validation, "validation"
    if test is not None:
        say("No validation data was given: the test data is used for evaluation during training.")
        return train, test, "test"
    say("Neither validation nor test data was given: every tenth training row is held out for evaluation.")
    return train, None, "held out"


def _apply_finetune_config(tokenizer: Any, file: Path) -> dict[str, Any] | None:
    """Sets the chat template of the config; what it says of the markers."""
    if not file.is_file():
        return None
    config = read_json(file)
    template = config.pop("chat_template", None)
    if template is not None:
        tokenizer.chat_template = template
        say("The chat template of the finetune config is used.")
    markers = config.pop("chat_special_tokens", None)
    if config:
        say(f"The finetune config's {', '.join(sorted(config))} have no effect here.")
    return markers


def _limit(wanted: int, context: int) -> int:
    if wanted == -1:
        return context
    if wanted < 1:
        raise ComponentError(f"max_seq_length is {wanted}; give -1 (the model's length) or at least 1")
    if wanted > context:
        say(f"max_seq_length {wanted:,} is more than the model's {context:,} tokens; {context:,} is used.")
    return min(wanted, context)


def _conversations(source: Path) -> Iterator[tuple[str, Chat]]:
    for place, row in read_rows(source):
        yield place, Chat(messages_of(row, place), tools_of(row, place))


def _given(train: Path, evaluation: Path, origin: str) -> Files:
    return {
        layout.TRAIN_ROWS: ("train", _conversations(train)),
        layout.EVALUATION_ROWS: (origin, _conversations(evaluation)),
    }


def _hold_out(train: Path) -> Files:
    def part(held_out: bool) -> Iterator[tuple[str, Chat]]:
        for index, row in enumerate(_conversations(train)):
            if ((index + 1) % HELD_OUT_EVERY == 0) is held_out:
                yield row

    return {layout.TRAIN_ROWS: ("train", part(False)), layout.EVALUATION_ROWS: ("held out", part(True))}


def _encode_file(
    encoder: ChatEncoder, rows: Iterator[tuple[str, Chat]], limit: int, batch_size: int, target: Path
) -> Tally:
    tally = Tally()
    writer = TokenWriter(target)
    while batch := list(itertools.islice(rows, batch_size)):
        usable: list[tuple[str, Chat]] = []
        for place, chat in batch:
            reason = problem(chat.messages)
            if reason is None:
                usable.append((place, chat))
            else:
                tally.drop(reason, place)
        if usable:
            encoded = encoder.encode([chat for _, chat in usable], limit)
            writer.write(_kept(encoded, [place for place, _ in usable], limit, tally))
    writer.close()
    return tally


def _kept(encoded: list[tuple[Encoded, bool]], places: list[str], limit: int, tally: Tally) -> list[Encoded]:
    kept = []
    for (row, is_cut), place in zip(encoded, places, strict=True):
        # The first token has nothing before it to be predicted from.
        answer_tokens = sum(label != IGNORED for label in row.labels[1:])
        if not answer_tokens:
            reason = f"whose answers begin after {limit:,} tokens" if is_cut else "in which no answer can be told"
            tally.drop(reason, place)
            continue
        tally.rows += 1
        tally.tokens += len(row.input_ids)
        tally.answer_tokens += answer_tokens
        tally.truncated += is_cut
        kept.append(row)
    return kept


if __name__ == "__main__":
    run(main)
