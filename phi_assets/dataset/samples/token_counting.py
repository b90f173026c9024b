"""How the tokens of a split's sample are counted: every row, or by what a tokenizer makes of some of them."""

from random import Random

import polars as pl

from phi_assets.config.dataset import ContractSection, SampleSection
from phi_assets.dataset.contract.tokenizers import ModelTokenizer
from phi_assets.dataset.contract.tokens import COUNTED_BYTES, Calibration, TokenCounter, calibration
from phi_assets.dataset.samples.batches import plan_parts, read_part
from phi_assets.dataset.samples.selection import rows_to_read
from phi_assets.refs import SplitRef

_PARTS = 8
"""Places of the split from which rows are taken."""
_ROWS = 500
"""Most rows that are taken from one of them,"""
_CALIBRATED_BYTES = 1 << 20
"""and the text of all that are taken."""


def token_counter(
    ref: SplitRef, sample: SampleSection, contract: ContractSection, model: ModelTokenizer | None
) -> TokenCounter:
    """Counts with `contract.tokenizer` where the recipe names one, else by the model's own tokenizer.

    That counts every row of a sample that is small. Of another one it counts some rows, a megabyte from places that the
    sample's seed chooses, and those near `contract.context_tokens`; by the former the others are estimated.

    Raises:
        DatasetError: a shard cannot be read, or the tokenizer cannot.
    """
    if contract.tokenizer is not None or model is None:
        return TokenCounter(contract.tokenizer)
    found = model_calibration(ref, sample, model)
    return TokenCounter(model.path, calibrated=found, limit=contract.context_tokens, source=model.source)


def model_calibration(ref: SplitRef, sample: SampleSection, model: ModelTokenizer) -> Calibration | None:
    """By what the sample's tokens are estimated; None where it is so small that all of them are counted.

    Raises:
        DatasetError: a shard cannot be read, or the tokenizer cannot.
    """
    parts = list(plan_parts(ref, rows_to_read(ref.rows, sample)))
    share = 1 if sample.mode == "head" else sample.percent / 100
    if sum(part.size for part in parts) * share <= COUNTED_BYTES:
        return None
    exact = TokenCounter(model.path, source=model.source)
    tokens: list[int] = []
    sizes: list[int] = []
    choice = Random(sample.seed)  # noqa: S311
    for part in choice.sample(parts, min(_PARTS, len(parts))):
        rows = next(read_part(ref, part))
        texts = rows.select(
            rows["messages"].list.eval(pl.element().struct.field("content").fill_null("")).list.join("").fill_null("")
        ).to_series()
        texts = texts.gather(choice.sample(range(len(texts)), min(len(texts), _ROWS)))
        lengths = texts.str.len_bytes()
        few = texts.filter((lengths.cum_sum() <= _CALIBRATED_BYTES // _PARTS) | (lengths.cum_count() == 1))
        tokens += exact.count_texts(few.to_list())
        sizes += few.str.len_bytes().to_list()
    return calibration(tokens, sizes) if sum(sizes) else None
