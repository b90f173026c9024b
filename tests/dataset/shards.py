"""Small data sets in the hub's layout, seeded."""

import random
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phi_assets.config.dataset import DatasetSection
from phi_assets.dataset.sources.raw_splits import fetch_split
from phi_assets.refs import SplitRef

Row = dict[str, Any]

SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("messages", pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
    ]
)

_WORDS = ("river", "lamp", "über", "日本", "\u2028", "a|b", "tab\there", 'say "so"', "new\nline", "😀", "stone", "")


def quiet(_: str) -> None:
    """Says nothing."""


def make_rows(count: int, seed: int = 0, words: int = 12) -> list[Row]:
    """Conversations of one to three turns that keep the contract and that no other seed has.

    Their texts have at most so many words, with characters that trip careless readers and writers.
    """
    choice = random.Random(seed)
    rows = []
    for number in range(count):
        turns = choice.randint(1, 3)
        texts = [f"{seed}/{number}: {_text(choice, words)}" for _ in range(2 * turns)]
        messages = [{"content": text, "role": ("user", "assistant")[n % 2]} for n, text in enumerate(texts)]
        rows.append(
            {"prompt": texts[0], "prompt_id": sha256(f"{seed}/{number}".encode()).hexdigest(), "messages": messages}
        )
    return rows


def long_rows(count: int) -> list[Row]:
    """Rows of some kilobytes, which are not made small by packing them."""
    rows, text = make_rows(count, seed=count), random.Random(count)
    for row in rows:
        row["messages"][-1]["content"] += text.randbytes(2000).hex()
    return rows


def make_odd_rows(count: int, seed: int = 0, words: int = 12) -> list[Row]:
    """Rows like those of `make_rows`, except that each seventh breaks the contract, one way after another."""
    rows = make_rows(count, seed, words)
    for number, place in enumerate(range(3, count, 7)):
        _SPOIL[number % len(_SPOIL)](rows, place)
    return rows


def write_shards(
    folder: Path, split: str, rows: Sequence[Row], shards: int = 1, group: int = 1000, schema: pa.Schema = SCHEMA
) -> list[Path]:
    """The rows as `folder/data/<split>-<n>-of-<shards>.parquet`."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(shards):
        part = rows[number * len(rows) // shards : (number + 1) * len(rows) // shards]
        paths.append(folder / "data" / f"{split}-{number:05d}-of-{shards:05d}.parquet")
        pq.write_table(pa.Table.from_pylist(list(part), schema=schema), paths[-1], row_group_size=group)
    return paths


def raw_split(
    folder: Path,
    rows: Sequence[Row],
    shards: int = 1,
    group: int = 1000,
    schema: pa.Schema = SCHEMA,
    split: str = "train_sft",
) -> SplitRef:
    """The rows as a raw split, whose shards lie in `folder`."""
    write_shards(folder, split, rows, shards, group, schema)
    return fetch_split(DatasetSection(source="local", path=folder), split, folder, quiet)


def _text(choice: random.Random, words: int) -> str:
    return " ".join(choice.choices(_WORDS, k=choice.randint(1, words)))


def _no_message(rows: list[Row], place: int) -> None:
    rows[place]["messages"][1] = None


def _no_content(rows: list[Row], place: int) -> None:
    rows[place]["messages"][-1]["content"] = None


def _no_role(rows: list[Row], place: int) -> None:
    rows[place]["messages"][0]["role"] = None


def _no_prompt(rows: list[Row], place: int) -> None:
    rows[place]["prompt"] = None


def _no_id(rows: list[Row], place: int) -> None:
    rows[place]["prompt_id"] = None


def _no_list(rows: list[Row], place: int) -> None:
    rows[place]["messages"] = None


def _empty_list(rows: list[Row], place: int) -> None:
    rows[place]["messages"] = []


def _blank(rows: list[Row], place: int) -> None:
    rows[place]["messages"][1]["content"] = " \n"


def _ends_with_user(rows: list[Row], place: int) -> None:
    rows[place]["messages"].pop()


def _same_id(rows: list[Row], place: int) -> None:
    rows[place]["prompt_id"] = rows[place - 2]["prompt_id"]


def _same_messages(rows: list[Row], place: int) -> None:
    rows[place] |= {name: rows[place - 2][name] for name in ("prompt", "messages")}


_SPOIL: tuple[Callable[[list[Row], int], None], ...] = (
    _no_message,
    _no_content,
    _no_role,
    _no_prompt,
    _no_id,
    _no_list,
    _empty_list,
    _blank,
    _ends_with_user,
    _same_id,
    _same_messages,
)
