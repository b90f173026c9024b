"""Writes the bundled data set: `python -m phi_assets.quickstart.build_dataset`.

The four splits have the schema of https://huggingface.co/datasets/HuggingFaceH4/ultrachat_200k. A conversation of an
`_sft` split ends with the assistant, one of a `_gen` split with the user, who waits for an answer.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.quickstart.conversation import Conversation, compose

DESTINATION = Path(__file__).parents[1] / "dataset" / "bundled"
SEED = 20_261_122

SCHEMA = pa.schema(
    {
        "prompt": pa.string(),
        "prompt_id": pa.string(),
        "messages": pa.list_(pa.struct({"content": pa.string(), "role": pa.string()})),
    }
)


@dataclass(frozen=True)
class Split:
    """One split of the bundled data set."""

    name: str
    rows: int
    held_out: bool
    """Whether the first questions are those that no training shows."""
    answered: bool
    """Whether the last message is the assistant's."""


SPLITS = (
    Split("train_sft", 1500, held_out=False, answered=True),
    Split("test_sft", 200, held_out=True, answered=True),
    Split("train_gen", 1500, held_out=False, answered=False),
    Split("test_gen", 200, held_out=True, answered=False),
)


def conversations(split: Split) -> list[Conversation]:
    """The split's conversations: no prompt twice, in random order, so that any first rows are representative."""
    rng = random.Random(f"{SEED} {split.name}")
    chosen: dict[str, Conversation] = {}
    # A prompt that comes again is drawn again; the two test splits share nothing, so neither gives the other away.
    for conversation in _drawn(rng, split):
        chosen.setdefault(conversation.prompt, conversation)
        if len(chosen) == split.rows:
            break
    rows = list(chosen.values())
    rng.shuffle(rows)
    return rows


def row(conversation: Conversation, *, answered: bool) -> dict[str, Any]:
    """The conversation in the schema of the data set."""
    messages = conversation.messages()
    return {
        "prompt": conversation.prompt,
        "prompt_id": hashlib.sha256(conversation.prompt.encode()).hexdigest(),
        "messages": messages if answered else messages[:-1],
    }


def split_table(split: Split) -> pa.Table:
    """The split as a table with `SCHEMA`."""
    rows = [row(conversation, answered=split.answered) for conversation in conversations(split)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def parquet_path(folder: Path, split: Split) -> Path:
    """Where a split lies in a folder with the hub's layout."""
    return folder / "data" / f"{split.name}-00000-of-00001.parquet"


def write(folder: Path) -> None:
    """Write the four splits as Parquet files; the same pyarrow version writes the same bytes."""
    for split in SPLITS:
        path = parquet_path(folder, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(split_table(split), path, compression="zstd")


def _drawn(rng: random.Random, split: Split) -> Iterator[Conversation]:
    return iter(partial(compose, rng, held_out=split.held_out), None)


@click.command(help="Write the bundled data set: four splits of self-written conversations.")
@click.option("--folder", type=click.Path(path_type=Path), default=DESTINATION, help="Where `data/` is written.")
def main(folder: Path) -> None:
    """Command line of this module."""
    write(folder)
    for split in SPLITS:
        click.echo(f"{parquet_path(folder, split)}: {split.rows} rows")


if __name__ == "__main__":
    main()
