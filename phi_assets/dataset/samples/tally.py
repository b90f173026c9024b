"""Counts of sampled rows: how many there are, which rules they break, and which source they are of."""

from collections import Counter, defaultdict
from collections.abc import Mapping

import polars as pl

from phi_assets.config.dataset import Policies
from phi_assets.dataset.contract.rules import LEFT_OUT, SOURCE, Contract
from phi_assets.dataset.reports.profile import conversations
from phi_assets.dataset.reports.report import Conversation, SourceReport, Violation
from phi_assets.dataset.samples.mixture import Drawn

_VIOLATION_EXAMPLES = 3


class Tally:
    """How many sampled rows there were, and how many of them break which rule."""

    def __init__(self, rules: tuple[str, ...]) -> None:
        self.sampled = self.left_out = 0
        self._by_source: dict[str | None, Counter[str]] = defaultdict(Counter)
        self._broken = dict.fromkeys(rules, 0)
        self._examples: dict[str, list[Conversation]] = {rule: [] for rule in rules}

    def add(self, rows: pl.DataFrame) -> None:
        """Count judged rows."""
        numbers = pl.col(LEFT_OUT, *map(Contract.flag, self._broken)).sum()
        for source in rows.group_by(SOURCE).agg(numbers).iter_rows(named=True):
            self._by_source[source.pop(SOURCE)].update(source)
        counts = rows.select(pl.col(LEFT_OUT, *map(Contract.flag, self._broken)).sum()).row(0, named=True)
        self.left_out += counts[LEFT_OUT]
        for rule in self._broken:
            count = counts[Contract.flag(rule)]
            self._broken[rule] += count
            room = _VIOLATION_EXAMPLES - len(self._examples[rule])
            if count and room:
                self._examples[rule] += conversations(rows.filter(Contract.flag(rule)).head(room))
        self.sampled += rows.height

    def sources(
        self, drawn: Mapping[str, Drawn], samples: Mapping[str, Mapping[str | None, int]]
    ) -> tuple[SourceReport, ...]:
        """What became of each source's rows; `samples` says how many of them are in each, by its name."""
        return tuple(self._source(name, each, samples) for name, each in drawn.items())

    def _source(self, name: str, drawn: Drawn, samples: Mapping[str, Mapping[str | None, int]]) -> SourceReport:
        counts = self._by_source[name]
        lost = {rule: counts[Contract.flag(rule)] for rule in self._broken}
        rows = {sample: kept[name] for sample, kept in samples.items()}
        asked = sum(rows.values()) + counts[LEFT_OUT] if drawn.asked is None else drawn.asked
        return SourceReport(
            name=name,
            rows_total=drawn.ref.rows,
            rows_asked=asked,
            rows_quarantined=counts[LEFT_OUT],
            lost={rule: broken for rule, broken in lost.items() if broken},
            rows=rows,
        )

    def violations(self, policies: Policies) -> tuple[Violation, ...]:
        """One for each rule, broken or not."""
        return tuple(
            Violation(rule=rule, policy=policies.of(rule), rows=rows, examples=tuple(self._examples[rule]))
            for rule, rows in self._broken.items()
        )
