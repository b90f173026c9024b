"""A portrait of conversations, drawn while they go by."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast

import numpy as np
import polars as pl

from phi_assets.dataset.contract.content import FOUND
from phi_assets.dataset.contract.personal import PersonalData
from phi_assets.dataset.contract.rules import SOURCE, Contract
from phi_assets.dataset.reports.report import Conversation, Lengths, Profile, RoleProfile, TokenHistogram
from phi_assets.refs import Message

EXAMPLES = 5
LONGEST_TEXT = 4000
"""Characters of a message that an example shows."""

_BINS = 30
_GOLDEN = 0x9E3779B97F4A7C15
_MEASURES = ("tokens", "messages", "turns", "characters")
_Measure = Literal["tokens", "messages", "turns", "characters"]


class ProfileBuilder:
    """Adds up judged rows, batch by batch; keeps some numbers of each row and message, never their text."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._bytes = 0
        self._measures: dict[str, list[np.ndarray]] = {name: [] for name in _MEASURES}
        self._role_bytes: dict[str, int] = defaultdict(int)
        self._role_characters: dict[str, list[np.ndarray]] = defaultdict(list)
        self._examples: list[tuple[int, Conversation]] = []

    @property
    def rows(self) -> int:
        """Rows that have been added."""
        return sum(len(part) for part in self._measures["tokens"])

    def add(self, judged: pl.DataFrame) -> None:
        """Take in rows with the measures that `Contract.judge` adds."""
        if judged.is_empty():
            return
        self._bytes += int(judged["size"].sum())
        counted = judged.select(
            (pl.col(name).list.len() if name == "messages" else pl.col(name)).fill_null(0).cast(pl.Int32)
            for name in _MEASURES
        )
        for name in _MEASURES:
            self._measures[name].append(counted[name].to_numpy())
        message = pl.col("message").struct
        by_role = (
            judged.lazy()
            .select(
                message=pl.col("messages").explode(empty_as_null=False, keep_nulls=False),
                characters=pl.col("message_characters").explode(empty_as_null=False, keep_nulls=False),
            )
            .select(
                role=message.field("role").fill_null("none"),
                bytes=message.field("content").str.len_bytes().fill_null(0),
                characters=pl.col("characters").fill_null(0).cast(pl.Int32),
            )
            .group_by("role", maintain_order=True)
            .agg(pl.col("bytes").sum(), pl.col("characters"))
            .collect()
        )
        for role, size, characters in zip(*by_role.iter_columns(), strict=True):
            self._role_bytes[role] += size
            self._role_characters[role].append(characters.to_numpy())
        self._choose_examples(judged)

    def facts(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Everything that was added, as JSON and as arrays by name, for `add_facts`."""
        roles = list(self._role_characters)
        sizes = [[role, self._role_bytes[role]] for role in roles]
        examples = [[key, example.model_dump(mode="json")] for key, example in self._examples]
        facts = {
            "bytes": self._bytes,
            "roles": sizes,
            "examples": examples,
        }
        arrays = {name: _together(parts) for name, parts in self._measures.items()}
        return facts, arrays | {f"role {n}": _together(self._role_characters[role]) for n, role in enumerate(roles)}

    def add_facts(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Take in what another builder has added of later rows."""
        self._bytes += facts["bytes"]
        for name in _MEASURES:
            self._measures[name].append(arrays[name])
        for number, (role, size) in enumerate(facts["roles"]):
            self._role_bytes[role] += size
            self._role_characters[role].append(arrays[f"role {number}"])
        self._keep_examples((key, Conversation.model_validate(example)) for key, example in facts["examples"])

    def build(self, *, context_tokens: int, token_counter: str) -> Profile:
        """The portrait of all rows that were added."""
        measures = {name: _together(parts) for name, parts in self._measures.items()}
        tokens = measures["tokens"]
        return Profile(
            rows=len(tokens),
            bytes=self._bytes,
            messages=int(measures["messages"].sum(dtype=np.int64)),
            turns=int(measures["turns"].sum(dtype=np.int64)),
            tokens=int(tokens.sum(dtype=np.int64)),
            token_counter=token_counter,
            context_tokens=context_tokens,
            truncated_rows=int((tokens > context_tokens).sum()),
            histogram=_histogram(tokens, context_tokens),
            lengths=tuple(_lengths(cast("_Measure", name), values) for name, values in measures.items()),
            roles=tuple(
                RoleProfile(
                    role=role,
                    messages=sum(len(part) for part in parts),
                    bytes=self._role_bytes[role],
                    characters=_lengths("characters", np.concatenate(parts)),
                )
                for role, parts in sorted(self._role_characters.items())
            ),
            examples=tuple(example for _, example in sorted(self._examples, key=lambda chosen: chosen[1].row)),
        )

    def _choose_examples(self, judged: pl.DataFrame) -> None:
        # Fibonacci hashing: neighbours come to lie far apart. https://en.wikipedia.org/wiki/Hash_function#Fibonacci_hashing
        place = (pl.col("row").cast(pl.UInt64) + self._seed % (1 << 32)) * pl.lit(_GOLDEN, dtype=pl.UInt64)
        personal = pl.selectors.matches(f"^{Contract.flag('personal_data')}$")
        best = judged.lazy().select("row", "prompt_id", "messages", SOURCE, FOUND, personal, key=place)
        if len(self._examples) == EXAMPLES:
            best = best.filter(pl.col("key") < self._examples[-1][0])
        best = best.bottom_k(EXAMPLES, by="key").collect()
        self._keep_examples(zip(best["key"], conversations(best), strict=True))

    def _keep_examples(self, more: Iterable[tuple[int, Conversation]]) -> None:
        self._examples = sorted([*self._examples, *more], key=lambda chosen: chosen[0])[:EXAMPLES]


def _together(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *parts])


def conversations(rows: pl.DataFrame) -> tuple[Conversation, ...]:
    """Rows to be read by people; what is too long is cut, and personal data that a rule has found is not shown."""
    personal = Contract.flag("personal_data")
    names = ["row", "prompt_id", "messages", SOURCE, FOUND, *([personal] if personal in rows.columns else [])]
    hidden = PersonalData().redacted if personal in rows.columns and rows[personal].any() else None
    return tuple(
        Conversation(
            row=row["row"],
            prompt_id=row["prompt_id"] or "",
            messages=tuple(
                Message(
                    role=message["role"],
                    content=_cut(_shown(message["content"], hidden if row.get(personal) else None)),
                )
                for message in row["messages"] or ()
                if message is not None
            ),
            source=row[SOURCE] or "",
            found=row[FOUND] or "",
        )
        for row in rows.select(names).iter_rows(named=True)
    )


def _shown(text: str | None, hidden: Callable[[str], str] | None) -> str | None:
    return hidden(text) if text and hidden else text


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}… ({len(text) - LONGEST_TEXT:,} more characters)"


def _lengths(what: _Measure, values: np.ndarray) -> Lengths:
    if not len(values):
        return Lengths(what=what, mean=0, p50=0, p95=0, p99=0, max=0)
    p50, p95, p99 = (_quantile(values, share) for share in (0.5, 0.95, 0.99))
    return Lengths(what=what, mean=round(float(values.mean()), 1), p50=p50, p95=p95, p99=p99, max=int(values.max()))


def _quantile(values: np.ndarray, share: float) -> float:
    # numpy's own imports its masked arrays first, which takes longer than the whole portrait of some thousand rows.
    return float(pl.Series(values).quantile(share, "linear") or 0.0)


def _histogram(tokens: np.ndarray, context: int) -> TokenHistogram:
    """Equal bins up to the 99th percentile, or to the context where that is near; the last one takes all above."""
    if not len(tokens):
        return TokenHistogram(edges=(0, 1), counts=(0,))
    longest = int(tokens.max())
    top = max(_quantile(tokens, 0.99), float(context) if context <= longest else 0.0, 1.0)
    edges = np.linspace(0, top, _BINS + 1)
    edges[-1] = max(longest, top)
    counts, _ = np.histogram(tokens, edges)
    return TokenHistogram(edges=tuple(round(float(edge), 1) for edge in edges), counts=tuple(int(n) for n in counts))
