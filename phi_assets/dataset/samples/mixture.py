"""Which rows of one source, or of several that are mixed, a sample is made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from phi_assets.config.dataset import ContractSection, DatasetSection, Part, SampleSection
from phi_assets.dataset.contract.rules import SOURCE
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.errors import DatasetError
from phi_assets.dataset.files.manifest import preparation_identity
from phi_assets.dataset.samples.batches import read_batches
from phi_assets.dataset.samples.selection import hash_keys, rows_to_read, take_sample
from phi_assets.fingerprint import fingerprint
from phi_assets.refs import SampleRef, SplitRef

TIMES = "times"
"""Name of the column that says how often a row is trained on."""

MIXED_SPLIT = "train_sft"
"""What weights and numbers of rows are about: everything else is measured with, and has all rows of every source."""


@dataclass(frozen=True)
class Mixture:
    """The same raw split of several sources."""

    section: DatasetSection
    refs: Mapping[str, SplitRef]
    """By the names of the sources, in the recipe's order."""

    @cached_property
    def ref(self) -> SplitRef:
        """All of it as if it were one split."""
        refs = self.refs.values()
        parts: list[Part] = [ref.part for ref in refs if ref.part != "all"]
        return SplitRef(
            split=next(iter(refs)).split,
            files=tuple(file for ref in refs for file in ref.files),
            rows=sum(ref.rows for ref in refs),
            size_bytes=sum(ref.size_bytes for ref in refs),
            sha256=fingerprint([[name, ref.sha256] for name, ref in self.refs.items()]),
            source=", ".join(f"{name} ({ref.source})" for name, ref in self.refs.items()),
            not_carried={
                f"{name}: {field}": n for name, ref in self.refs.items() for field, n in ref.not_carried.items()
            },
            part=parts[0] if parts else "all",
        )


Raw = SplitRef | Mixture
"""What a sample is taken of."""


def ref_of(raw: Raw) -> SplitRef:
    """The raw split, or all those that are mixed as if they were one."""
    return raw.ref if isinstance(raw, Mixture) else raw


def refs_of(raw: Raw) -> dict[str, SplitRef]:
    """The raw split of each source by its name, which a source that is alone does not need."""
    return dict(raw.refs) if isinstance(raw, Mixture) else {"": raw}


def mixed_in_words(section: DatasetSection) -> str:
    """How much of each source is wanted: `chats weight 3, docs weight 1, 2000 rows in total`."""
    said = [
        f"{name} weight {member.weight:g}" if member.weight else f"{name} {member.rows or 'all'} rows"
        for name, member in section.mixture.items()
    ]
    said += [f"{section.total_rows} rows in total"] if section.total_rows else []
    return ", ".join([*said, *(["rows repeated"] if section.oversample else [])])


def identity_of(
    raw: Raw,
    sample: SampleSection,
    contract: ContractSection,
    *,
    validation: bool,
    against: SampleRef | None,
    tokenizer: ModelTokenizer | None = None,
) -> dict[str, Any]:
    """Everything that decides the bytes of the files that are prepared of it; `tokenizer` is the model's own.

    Raises:
        DatasetError: a file to decontaminate against cannot be read.
    """
    mixture: dict[str, Any] = {}
    if isinstance(raw, Mixture) and raw.ref.split == MIXED_SPLIT:
        wanted = [[name, member.weight, member.rows] for name, member in raw.section.mixture.items()]
        mixture = {"mixture": wanted, "total_rows": raw.section.total_rows, "oversample": raw.section.oversample}
    ref = ref_of(raw)
    own = tokenizer.path if tokenizer else None
    return preparation_identity(
        ref, sample, contract, validation=validation, against=against, mixture=mixture, tokenizer=own
    )


@dataclass(frozen=True)
class Drawn:
    """What is taken of one source."""

    ref: SplitRef
    rows: int
    """How many have to be read, from the first."""
    asked: int | None = None
    """How many are wanted, repetitions included; None where the sample says it."""
    times: np.ndarray | None = None
    """How often each of the rows that are read is wanted."""


InOrder = Callable[[str, SampleSection], np.ndarray]
"""The rows of a source that a sample may take, by their numbers, those first that are taken first."""


def takes_numbers(raw: Raw) -> bool:
    """Whether weights or numbers decide which rows are taken, so that all that may be have to be known before."""
    return isinstance(raw, Mixture) and raw.ref.split == MIXED_SPLIT and _asks(raw.section)


def may_take(raw: Raw, name: str, sample: SampleSection) -> SampleSection:
    """Which rows of a source may be taken: all where their number is given, else those of the sample."""
    if not isinstance(raw, Mixture) or not takes_numbers(raw):
        return sample
    is_counted = raw.section.mixture[name].rows or raw.section.total_rows
    return sample.model_copy(update={"percent": 100}) if is_counted else sample


def draw(raw: Raw, sample: SampleSection, in_order: InOrder | None = None) -> dict[str, Drawn]:
    """What is taken of each source, by its name.

    Where a number of rows is wanted they are the first ones, or with `sample.mode: hash` a uniform, nested choice by
    the seed. `in_order` says which these are; unless given, the shards are read.

    Raises:
        DatasetError: a source has too few rows, or its shards cannot be read.
    """
    refs = refs_of(raw)
    if not isinstance(raw, Mixture) or not takes_numbers(raw):
        return {name: Drawn(ref, rows_to_read(ref.rows, sample)) for name, ref in refs.items()}
    found = in_order or (lambda name, section: _in_order(refs[name], section))
    order = {name: found(name, may_take(raw, name, sample)) for name in refs}
    there = {name: len(rows) for name, rows in order.items()}
    wanted = mixed_rows(raw.section, there)
    return {name: _drawn(refs[name], rows, wanted[name]) for name, rows in order.items()}


def drawn_batches(drawn: Mapping[str, Drawn], sample: SampleSection) -> Iterator[tuple[int, pl.DataFrame]]:
    """How many rows were read, and those of them that are taken, with the columns `SOURCE` and `TIMES`."""
    for name, each in drawn.items():
        source = pl.lit(name or None, dtype=pl.String).alias(SOURCE)
        for batch in read_batches(each.ref, each.rows):
            if each.times is None:
                rows = take_sample(batch, sample, each.ref.part).with_columns(source, pl.lit(1).alias(TIMES))
            else:
                times = pl.Series(TIMES, each.times[batch["row"].to_numpy()])
                rows = batch.with_columns(source, times).filter(pl.col(TIMES) > 0)
            height = batch.height
            del batch
            yield height, rows
            # Whoever is given rows shall be the last to hold them, else they lie in memory until there are the next.
            del rows


def _asks(section: DatasetSection) -> bool:
    return any(member.weight is not None or member.rows for member in section.mixture.values())


def _in_order(ref: SplitRef, sample: SampleSection) -> np.ndarray:
    """The rows that may be taken, by their numbers, those first that are taken first."""
    to_read = rows_to_read(ref.rows, sample)
    if sample.mode == "head" and ref.part == "all":
        return np.arange(to_read)
    rows, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for batch in read_batches(ref, to_read):
        taken = take_sample(batch, sample, ref.part)
        rows.append(taken["row"].to_numpy())
        keys.append(hash_keys(taken["prompt_id"], sample.seed).to_numpy())
    return in_order_of(np.concatenate(rows), np.concatenate(keys), sample)


def in_order_of(rows: np.ndarray, keys: np.ndarray, sample: SampleSection) -> np.ndarray:
    """The rows, which come in the raw split's order, in that in which they are taken; `keys` are their `hash_keys`."""
    return rows[np.argsort(keys, kind="stable")] if sample.mode == "hash" else rows


def _drawn(ref: SplitRef, order: np.ndarray, wanted: int) -> Drawn:
    times = np.zeros(ref.rows, dtype=np.int64)
    every, more = divmod(wanted, len(order))
    times[order] = every
    times[order[:more]] += 1
    rows = int(np.flatnonzero(times)[-1]) + 1
    return Drawn(ref, rows, wanted, times[:rows])


def mixed_rows(dataset: DatasetSection, there: Mapping[str, int]) -> dict[str, int]:
    """How often rows of each source are in a mixture, all told: more often than there are, if they are repeated.

    Weights without `total_rows` give as many rows as there are in these proportions without repeating one, or with
    `oversample` as many as it takes for none to be left out: as `stopping_strategy` of `interleave_datasets` does with
    `first_exhausted` and `all_exhausted`. <https://huggingface.co/docs/datasets/process#interleave>

    Args:
        there: rows of each source that can be taken.

    Raises:
        DatasetError: a source has no rows, or too few, and they must not be repeated.
    """
    if none := [name for name, rows in there.items() if not rows]:
        raise DatasetError(f"{', '.join(none)} would add no row to train on: raise sample.percent, or bring more rows")
    weights = {name: member.weight for name, member in dataset.mixture.items() if member.weight is not None}
    if not weights:
        wanted = {name: member.rows or there[name] for name, member in dataset.mixture.items()}
    elif dataset.total_rows:
        wanted = _shared_out(dataset.total_rows, weights)
    else:
        measure = max if dataset.oversample else min
        scale = measure(there[name] / weight for name, weight in weights.items())
        # Rounded down: no source may have one too few.
        wanted = {name: int(scale * weight + 1e-9) for name, weight in weights.items()}
    if not dataset.oversample:
        _prove_enough(wanted, there)
    if empty := [name for name, rows in wanted.items() if not rows]:
        raise DatasetError(
            f"No row of {', '.join(empty)} would be in the mixture: bring more rows, "
            "raise sample.percent, or change the weights of dataset.mixture"
        )
    return wanted


def _shared_out(total: int, weights: Mapping[str, float]) -> dict[str, int]:
    """So many rows by weights; what is left after rounding down goes to those that have lost most by it."""
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    rows = {name: int(share) for name, share in exact.items()}
    losers = sorted(exact, key=lambda name: rows[name] - exact[name])
    for name in losers[: total - sum(rows.values())]:
        rows[name] += 1
    return rows


def _prove_enough(wanted: Mapping[str, int], there: Mapping[str, int]) -> None:
    lacking = [
        f"{name} has {there[name]:,} rows to train on, {rows:,} are wanted"
        for name, rows in wanted.items()
        if rows > there[name]
    ]
    if lacking:
        raise DatasetError(
            f"{'; '.join(lacking)}: ask for fewer in dataset.mixture, or set dataset.oversample to true to repeat rows"
        )
