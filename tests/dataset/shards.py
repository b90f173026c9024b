"""Small data sets in the hub's layout, seeded."""

import random
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("messages", pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
    ]
)

_WORDS = ("river", "lamp", "über", "日本", "\u2028", "a|b", "tab\there", 'say "so"', "new\nline", "😀", "stone", "")


def make_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations of one to three turns, with characters that trip careless readers and writers."""
    choice = random.Random(seed)
    rows = []
    for number in range(count):
        turns = choice.randint(1, 3)
        texts = [" ".join(choice.choices(_WORDS, k=choice.randint(1, 12))) for _ in range(2 * turns)]
        messages = [{"content": text, "role": ("user", "assistant")[n % 2]} for n, text in enumerate(texts)]
        rows.append(
            {"prompt": texts[0], "prompt_id": sha256(f"{seed}/{number}".encode()).hexdigest(), "messages": messages}
        )
    return rows


def write_shards(
    folder: Path, split: str, rows: Sequence[dict[str, Any]], shards: int = 1, group: int = 1000
) -> list[Path]:
    """The rows as `folder/data/<split>-<n>-of-<shards>.parquet`."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(shards):
        part = rows[number * len(rows) // shards : (number + 1) * len(rows) // shards]
        paths.append(folder / "data" / f"{split}-{number:05d}-of-{shards:05d}.parquet")
        pq.write_table(pa.Table.from_pylist(list(part), schema=SCHEMA), paths[-1], row_group_size=group)
    return paths
