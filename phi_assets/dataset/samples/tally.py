"""Counts of sampled rows, and portraits of those that are kept: what a report is made of, and can be added up."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from phi_assets.config.dataset import ContractSection, Policies
from phi_assets.dataset.contract.rules import LEFT_OUT, SOURCE, Contract
from phi_assets.dataset.reports.profile import ProfileBuilder, conversations
from phi_assets.dataset.reports.report import Conversation, SourceReport, SplitReport, Violation
from phi_assets.dataset.samples.mixture import Mixture, Raw, ref_of, refs_of

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

    def facts(self) -> dict[str, Any]:
        """Everything that was counted, as JSON, for `add_facts`."""
        examples = {rule: [each.model_dump(mode="json") for each in found] for rule, found in self._examples.items()}
        by_source = [[source, dict(counts)] for source, counts in self._by_source.items()]
        counts = {"sampled": self.sampled, "left_out": self.left_out, "broken": self._broken}
        return {**counts, "by_source": by_source, "examples": examples}

    def add_facts(self, facts: Mapping[str, Any]) -> None:
        """Count what another tally has counted of later rows."""
        self.sampled += facts["sampled"]
        self.left_out += facts["left_out"]
        for source, counts in facts["by_source"]:
            self._by_source[source].update(counts)
        for rule, found in facts["examples"].items():
            self._broken[rule] += facts["broken"][rule]
            room = _VIOLATION_EXAMPLES - len(self._examples[rule])
            self._examples[rule] += map(Conversation.model_validate, found[:room])

    def sources(
        self,
        rows: Mapping[str, int],
        asked: Mapping[str, int | None],
        samples: Mapping[str, Mapping[str | None, int]],
    ) -> tuple[SourceReport, ...]:
        """What became of each source's `rows`; `samples` says how many of them are in each, by its name."""
        return tuple(self._source(name, total, asked[name], samples) for name, total in rows.items())

    def _source(
        self, name: str, total: int, wanted: int | None, samples: Mapping[str, Mapping[str | None, int]]
    ) -> SourceReport:
        counts = self._by_source[name]
        lost = {rule: counts[Contract.flag(rule)] for rule in self._broken}
        rows = {sample: kept[name] for sample, kept in samples.items()}
        asked = sum(rows.values()) + counts[LEFT_OUT] if wanted is None else wanted
        return SourceReport(
            name=name,
            rows_total=total,
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


class Account:
    """What is known of the sampled rows of a split, once they have been written."""

    def __init__(self, rules: tuple[str, ...], names: Sequence[str], seed: int) -> None:
        """`names` are those of the samples."""
        self.tally = Tally(rules)
        self._profiles = {name: ProfileBuilder(seed) for name in names}
        self._by_source: dict[str, Counter[str | None]] = {name: Counter() for name in names}

    def add(self, name: str, rows: pl.DataFrame) -> None:
        """Take in rows of a sample, each as often as it is there."""
        self._profiles[name].add(rows)
        self._by_source[name].update(dict(rows[SOURCE].value_counts().iter_rows()))

    def report(
        self, raw: Raw, section: ContractSection, token_counter: str, asked: Mapping[str, int | None]
    ) -> SplitReport:
        """Where every row of the raw split went, and portraits of those that were kept."""
        ref, tally = ref_of(raw), self.tally
        rows = {name: each.rows for name, each in refs_of(raw).items()}
        return SplitReport(
            split=ref.split,
            rows_total=ref.rows,
            rows_not_sampled=ref.rows - tally.sampled,
            rows_quarantined=tally.left_out,
            not_carried=ref.not_carried,
            violations=tally.violations(section.policies),
            samples={
                name: profile.build(context_tokens=section.context_tokens, token_counter=token_counter)
                for name, profile in self._profiles.items()
            },
            rows_repeated=sum(each.rows for each in self._profiles.values()) + tally.left_out - tally.sampled,
            sources=tally.sources(rows, asked, self._by_source) if isinstance(raw, Mixture) else (),
        )

    def save(self, path: Path) -> None:
        """The file holds everything that was added: some numbers of each row and message, never their text."""
        arrays: dict[str, np.ndarray] = {}
        samples: dict[str, Any] = {}
        for name, profile in self._profiles.items():
            facts, numbers = profile.facts()
            samples[name] = {"profile": facts, "by_source": list(self._by_source[name].items())}
            arrays |= {f"{name}/{key}": values for key, values in numbers.items()}
        text = json.dumps({"tally": self.tally.facts(), "samples": samples})
        np.savez(path, allow_pickle=False, facts=np.frombuffer(text.encode(), dtype=np.uint8), **arrays)

    def add_saved(self, path: Path) -> None:
        """Take in what another account has saved, which is about later rows."""
        with np.load(path, allow_pickle=False) as saved:
            facts = json.loads(saved["facts"].tobytes())
            self.tally.add_facts(facts["tally"])
            for name, sample in facts["samples"].items():
                start = f"{name}/"
                numbers = {key[len(start) :]: saved[key] for key in saved.files if key.startswith(start)}
                self._profiles[name].add_facts(sample["profile"], numbers)
                self._by_source[name].update(dict(sample["by_source"]))
