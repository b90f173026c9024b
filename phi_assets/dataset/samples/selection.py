"""Which rows of a raw split a sample holds."""

import polars as pl
import xxhash

from phi_assets.config.dataset import Part, SampleSection
from phi_assets.dataset.contract.openings import openings

_KEYS = 1 << 64


def rows_to_read(rows: int, sample: SampleSection) -> int:
    """How many of a split's rows have to be read, from the first, to take the sample."""
    return head_rows(rows, sample.percent) if sample.mode == "head" else rows


def take_sample(batch: pl.DataFrame, sample: SampleSection, part: Part = "all") -> pl.DataFrame:
    """The rows of a batch that are in the sample, if no more rows are read than have to be.

    `head` takes the first rows, as many as `datasets` takes for `split[0%:p%]`. `hash` takes each row whose
    `prompt_id`, hashed with the seed, falls into the first p percent of all hashes: which rows depends neither on their
    order nor on the shards, and 5 % are among 20 %. Where a source has one split to train on and to test with, `part`
    says which of these rows are meant: those to test with are chosen by how they begin, so that nothing of the kind is
    among the others.
    """
    if sample.mode == "hash":
        batch = batch.filter(chosen(batch["prompt_id"], sample.percent, sample.seed))
    if part == "all":
        return batch
    is_test = chosen_by_opening(batch, openings(batch["messages"]), "test:", sample.test_percent, sample.seed)
    return batch.filter(is_test if part == "test" else ~is_test)


def chosen_by_opening(rows: pl.DataFrame, opening: pl.Series, purpose: str, percent: float, seed: int) -> pl.Series:
    """Which rows are kept for a purpose: all that begin alike, or none of them."""
    texts = rows.select(pl.lit(purpose) + pl.coalesce(opening, "prompt_id", pl.lit(""))).to_series()
    return chosen(texts, percent, seed)


def head_rows(rows: int, percent: float) -> int:
    """Rows of `split[0%:<percent>%]`, rounded as `datasets` does: to the nearest, exact halves to even.

    <https://huggingface.co/docs/datasets/loading#percent-slicing-and-rounding>
    """
    return round(percent * rows / 100.0)


def hash_keys(texts: pl.Series, seed: int) -> pl.Series:
    """64 uniform bits for each text, the same on every machine and in every version; null is hashed as the empty text.

    polars' own hash is faster, but changes between its versions. <https://xxhash.com/doc/v0.8.3/group___x_x_h3__family.html>
    """
    digest = xxhash.xxh3_64_intdigest
    keys = [digest(text, seed % _KEYS) for text in texts.fill_null("").cast(pl.Binary).to_list()]
    return pl.Series(texts.name, keys, dtype=pl.UInt64)


def chosen(texts: pl.Series, percent: float, seed: int) -> pl.Series:
    """Whether a text's key falls into the first `percent` of all keys: what 5 % choose, 20 % choose too."""
    below = round(percent * _KEYS / 100)
    if below >= _KEYS:
        return pl.Series(texts.name, [True], dtype=pl.Boolean).new_from_index(0, len(texts))
    return hash_keys(texts, seed) < below
