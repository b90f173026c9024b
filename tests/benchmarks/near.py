"""Planted near duplicates: how many the rule finds, and what it takes for one: `python -m tests.benchmarks.near`.

Conversations get copies some words of which are others. How similar a copy is to its original is counted exactly; what
the rule finds of them, and at what cost, is measured for some thresholds.
"""

import random
import re
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pyarrow.parquet as pq

_SIGNATURE_SIZE = 256
_WORDS_OF_A_SEQUENCE = 5
_VOCABULARY = 8000


@dataclass(frozen=True)
class Planted:
    """Conversations, some of which are copies of earlier ones with changes."""

    rows: list[dict[str, Any]]
    original: Mapping[int, int]
    """Of each copy, by the numbers of rows."""
    similarity: Mapping[int, float]
    """Of each copy to its original."""


@dataclass(frozen=True)
class Measured:
    """What the rule has found of what was planted."""

    recall: float
    """Of the copies that are similar enough, the share that was found."""
    precision: float
    """Of the copies that were found, the share that is similar enough."""
    clear_recall: float
    """The recall of copies that are more similar than asked for by four standard errors of the rule's estimate."""
    clearly_wrong: int
    """Copies that were found though they are less similar than asked for by as much."""
    unrelated: int
    """Rows that were found though they are no copies."""


def share_in_common(one: str, other: str) -> float:
    """The sequences of five words that both texts have, as a share of those that either has; counted one by one."""
    sets = []
    for text in (one, other):
        words = re.findall(r"[a-z0-9]+", text.lower())
        sets.append({tuple(words[n : n + _WORDS_OF_A_SEQUENCE]) for n in range(len(words) - _WORDS_OF_A_SEQUENCE + 1)})
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


def planted(rows: int, pairs: int, seed: int) -> Planted:
    """So many conversations of 20 to 400 words; each copy follows an original of its own, near or far.

    Words are changed one by one, or a piece is left out, or one is put in; similarities are from 0.4 to 1.
    """
    choice = random.Random(seed)
    vocabulary = [f"{choice.choice('bdfgklmnprstvz')}{choice.choice('aeiou')}{n}" for n in range(_VOCABULARY)]
    places = sorted(choice.sample(range(rows // 3, rows), pairs))
    free: list[int] = []
    texts: list[list[str]] = []
    original: dict[int, int] = {}
    for number in range(rows):
        if len(original) < pairs and number == places[len(original)]:
            of = original[number] = free.pop(choice.randrange(len(free)))
            texts.append(_varied(choice, texts[of], vocabulary))
        else:
            texts.append(choice.choices(vocabulary, k=choice.randint(20, 400)))
            free.append(number)
    similarity = {copy: share_in_common(" ".join(texts[copy]), " ".join(texts[of])) for copy, of in original.items()}
    return Planted([_row(number, text) for number, text in enumerate(texts)], original, similarity)


def measure(plan: Planted, threshold: float, found: Mapping[int, Any]) -> Measured:
    """What the rule has found of a plan: by number, the rows in quarantine."""
    error = 4 * (threshold * (1 - threshold) / _SIGNATURE_SIZE) ** 0.5
    similar = [copy for copy, share in plan.similarity.items() if share >= threshold]
    clear = [copy for copy in similar if plan.similarity[copy] >= threshold + error]
    copies = [row for row in found if row in plan.original]
    return Measured(
        recall=_share([copy in found for copy in similar]),
        precision=_share([plan.similarity[copy] >= threshold for copy in copies]),
        clear_recall=_share([copy in found for copy in clear]),
        clearly_wrong=sum(plan.similarity[copy] < threshold - error for copy in copies),
        unrelated=len(found) - len(copies),
    )


def _share(flags: Sequence[bool]) -> float:
    return statistics.fmean(flags) if flags else 1.0


def _varied(choice: random.Random, words: list[str], vocabulary: list[str]) -> list[str]:
    words = list(words)
    share = choice.uniform(0, 0.5)
    kind = choice.randrange(3)
    if kind == 0:
        # Each change spoils as many sequences as have its word.
        for place in choice.sample(range(len(words)), max(1, round(len(words) * share / 8))):
            words[place] = choice.choice(vocabulary)
    elif kind == 1:
        start, size = choice.randrange(len(words) // 2), max(1, round(len(words) * share))
        del words[start : start + size]
    else:
        start = choice.randrange(len(words))
        words[start:start] = choice.choices(vocabulary, k=max(1, round(len(words) * share)))
    return words


def _row(number: int, words: list[str]) -> dict[str, Any]:
    cut = len(words) // 4
    question, answer = " ".join(words[:cut]) or "So?", " ".join(words[cut:])
    messages = [{"content": question, "role": "user"}, {"content": answer, "role": "assistant"}]
    return {"prompt": question, "prompt_id": str(number), "messages": messages}


@click.command()
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(100))
@click.option("--pairs", default=20_000, show_default=True, type=click.IntRange(10))
@click.option("--seed", default=42, show_default=True)
@click.argument("thresholds", nargs=-1, type=float)
def main(rows: int, pairs: int, seed: int, thresholds: Sequence[float]) -> None:
    """Plant near duplicates and measure what is found at each of the THRESHOLDS: 0.6, 0.75 and 0.9 unless given."""
    from phi_assets.config.dataset import ContractSection, SampleSection
    from phi_assets.dataset.samples.prepare import prepare_split
    from tests.dataset.shards import raw_split

    plan = planted(rows, pairs, seed)
    with TemporaryDirectory() as folder:
        ref = raw_split(Path(folder), plan.rows)
        for threshold in thresholds or (0.6, 0.75, 0.9):
            contract = ContractSection(near_duplicate_threshold=threshold)
            begun = time.perf_counter()
            (sample,) = prepare_split(
                ref, SampleSection(percent=100), contract, Path(folder) / str(threshold), lambda _: None
            )
            seconds = time.perf_counter() - begun
            table = pq.read_table(sample.quarantine, columns=["row"]) if sample.quarantine else None
            found = measure(plan, threshold, dict.fromkeys(table["row"].to_pylist() if table else []))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
            click.echo(
                f"threshold {threshold:g}: recall {found.recall:.4f}, precision {found.precision:.4f}; of copies that "
                f"are clearly similar {found.clear_recall:.4f} found, {found.clearly_wrong} clearly wrong, "
                f"{found.unrelated} unrelated; {seconds:.1f} s, {peak:,.0f} MB"
            )


if __name__ == "__main__":
    main()
