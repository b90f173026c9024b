"""What rows say as a whole, for the rules that the recipe asks for beyond the usual ones."""

import numpy as np
import polars as pl

from phi_assets.config.dataset import ContractSection
from phi_assets.dataset.contract.contamination import Benchmarks
from phi_assets.dataset.contract.near import SIGNATURE, SIGNATURE_SIZE, said, signatures
from phi_assets.dataset.contract.personal import PersonalData
from phi_assets.dataset.contract.words import words_of

FOUND = "found"
"""Name of the column that says in words what a row is like or what it holds; null where there is nothing to say."""


class Content:
    """Looks at all that is said in a conversation.

    Raises:
        DatasetError: a library is missing that the contract asks for.
    """

    def __init__(self, section: ContractSection, benchmarks: Benchmarks | None) -> None:
        self._is_signed = section.near_duplicate_threshold is not None
        self._benchmarks = benchmarks
        self._personal = PersonalData(section.personal_data) if section.personal_data else None

    def columns(self, rows: pl.DataFrame) -> dict[str, pl.Series]:
        """By name: `FOUND`; `SIGNATURE`, where conversations are compared; and whether rows break the rules
        `contaminated` and `personal_data`, where these are asked.
        """
        columns: dict[str, pl.Series] = {}
        signed: list[np.ndarray] = [np.empty((0, SIGNATURE_SIZE), dtype=np.uint16)]
        held: list[str | None] = []
        for words in words_of(said(rows["messages"])) if self._is_signed or self._benchmarks else ():
            if self._is_signed:
                signed.append(signatures(words))
            if self._benchmarks:
                held += self._benchmarks.held_by(words)
        notes = [pl.Series([None], dtype=pl.String).new_from_index(0, rows.height)]
        if self._is_signed:
            columns[SIGNATURE] = pl.Series(np.concatenate(signed))
        if self._benchmarks:
            asked = rows["question"].is_in(self._benchmarks.questions.implode())
            begins = pl.when(asked).then(pl.lit("begins with a short question of the files"))
            notes.append(pl.select(pl.coalesce(pl.Series(held, dtype=pl.String), begins)).to_series())
            columns["contaminated"] = notes[-1].is_not_null()
        if self._personal:
            contents = rows.select(pl.col("messages").list.eval(pl.element().struct.field("content")).list.join("\n"))
            notes.append(pl.Series(self._personal.held_by(contents.to_series()), dtype=pl.String))
            columns["personal_data"] = notes[-1].is_not_null()
        together = pl.concat_str(notes, separator="; ", ignore_nulls=True)
        columns[FOUND] = pl.select(pl.when(together != "").then(together)).to_series()
        return columns
