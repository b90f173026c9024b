"""Written samples looked at again for what they must not hold, and compared with what they must be unlike."""

import os
from pathlib import Path

import polars as pl

from phi_assets.config.dataset import ContractSection
from phi_assets.dataset.contract.rules import Contract, applicable_rules, unseen_rows
from phi_assets.dataset.contract.tokens import TokenCounter
from phi_assets.dataset.samples.benchmarks import read_benchmarks
from phi_assets.refs import SampleRef

LIKENESS_RULES = ("leaked_near_duplicate", "contaminated", "personal_data")
"""Rules that a row of the file breaks or not, whatever the others are."""

_ROWS_AT_ONCE = 1000


def likeness(sample: SampleRef, contract: ContractSection, test: SampleRef | None) -> dict[str, list[int]]:
    """Rows of the sample, by their number in the file, that break one of `LIKENESS_RULES`; only rules that apply.

    Raises:
        DatasetError: a file to decontaminate against cannot be read.
    """
    applicable = applicable_rules(sample.split, contract, against=test is not None)
    broken: dict[str, list[int]] = {rule: [] for rule in LIKENESS_RULES if rule in applicable}
    if not broken:
        return broken
    unseen = unseen_rows(os.fspath(test.parquet), contract.near_duplicate_threshold) if test else None
    judge = Contract(
        sample.split,
        contract,
        TokenCounter(None),
        (lambda: unseen) if unseen else None,
        benchmarks=read_benchmarks(contract, lambda _: None),
    )
    rows = pl.scan_parquet(Path(sample.parquet), glob=False).select("prompt", "prompt_id", "messages")
    for first in range(0, sample.rows, _ROWS_AT_ONCE):
        batch = rows.slice(first, _ROWS_AT_ONCE).collect().with_row_index("row", offset=first)
        judged = judge.compare(judge.judge(batch.with_columns(pl.col("row").cast(pl.Int64))))
        for rule in broken:
            broken[rule] += judged.filter(Contract.flag(rule))["row"].to_list()
    return broken
