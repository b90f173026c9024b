"""Small samples with their reports, written without the engine that writes real ones."""

import json
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from phi_assets.config.dataset import ContractSection, Policies
from phi_assets.dataset.contract.rules import applicable_rules
from phi_assets.dataset.reports.report import (
    Conversation,
    Lengths,
    Profile,
    RoleProfile,
    SplitReport,
    TokenHistogram,
    Violation,
)
from phi_assets.dataset.sources.schema import POLARS_SCHEMA
from phi_assets.refs import DataFile, Message, SampleRef

CONTEXT_TOKENS = 64

USUAL_RULES = applicable_rules("train_sft", ContractSection(), against=True)
"""What is asked of data to train on, unless the recipe asks for more."""


def chat_rows(count: int, name: str = "chat", turns: int = 2) -> list[dict[str, Any]]:
    """Conversations that keep the contract and that no other name has."""
    rows = []
    for number in range(count):
        texts = [f"Question {turn} of {name} {number}?" for turn in range(turns)]
        messages = [
            {"content": content, "role": role}
            for text in texts
            for role, content in (("user", text), ("assistant", f"The answer to: {text}"))
        ]
        rows.append({"prompt": texts[0], "prompt_id": sha256(texts[0].encode()).hexdigest(), "messages": messages})
    return rows


def write_sample(
    folder: Path, split: str, rows: Sequence[dict[str, Any]], *, quarantined: int = 0, not_sampled: int = 100
) -> SampleRef:
    """The rows as both files of a sample, with a report that says so many others were left out."""
    folder.mkdir(parents=True, exist_ok=True)
    raw_split = "train_sft" if split == "validation_sft" else split
    frame = pl.DataFrame(rows, schema=POLARS_SCHEMA)
    frame.write_parquet(folder / f"{split}.parquet", row_group_size=1000)
    lines = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    (folder / f"{split}.jsonl").write_bytes(lines)
    profile = make_profile(rows)
    report = SplitReport(
        split=raw_split,
        rows_total=len(rows) + quarantined + not_sampled,
        rows_not_sampled=not_sampled,
        rows_quarantined=quarantined,
        violations=make_violations(raw_split, {"roles": quarantined}, rows),
        samples={split: profile},
    )
    (folder / f"{split}.report.json").write_text(report.model_dump_json(), encoding="utf-8")
    return SampleRef(
        split=split,
        jsonl=DataFile.at(folder / f"{split}.jsonl"),
        parquet=DataFile.at(folder / f"{split}.parquet"),
        rows=len(rows),
        rows_total=report.rows_total,
        size_bytes=len(lines),
        sha256=sha256(lines).hexdigest(),
        rows_quarantined=quarantined,
        violations={violation.rule: violation.rows for violation in report.violations},
        truncated_share=profile.truncated_share,
        report=DataFile.at(folder / f"{split}.report.json"),
    )


def make_violations(split: str, rows: dict[str, int], examples: Sequence[dict[str, Any]] = ()) -> tuple[Violation, ...]:
    """Every rule that applies to the split; each that some row breaks with the first three examples."""
    return tuple(
        Violation(
            rule=rule,
            policy=Policies().of(rule),
            rows=rows.get(rule, 0),
            examples=tuple(map(make_conversation, range(3), examples)) if rows.get(rule) else (),
        )
        for rule in applicable_rules(split, ContractSection(), against=split.startswith("train"))
    )


def make_conversation(number: int, row: dict[str, Any]) -> Conversation:
    """The row as reports hold it."""
    return Conversation(
        row=number, prompt_id=row["prompt_id"], messages=tuple(Message(**message) for message in row["messages"] or ())
    )


def make_profile(rows: Sequence[dict[str, Any]], context_tokens: int = CONTEXT_TOKENS) -> Profile:
    """A portrait of the rows, counting words for tokens."""
    messages = [message for row in rows for message in row["messages"] or ()]
    texts = {role: [m["content"] or "" for m in messages if m["role"] == role] for role in ("user", "assistant")}
    tokens = [sum(len((m["content"] or "").split()) for m in row["messages"] or ()) for row in rows]
    width = max([*tokens, 1]) / 20
    counts = Counter(min(int(length / width), 19) for length in tokens)
    return Profile(
        rows=len(rows),
        bytes=sum(len((message["content"] or "").encode()) for message in messages),
        messages=len(messages),
        turns=len(texts["user"]),
        tokens=sum(tokens),
        token_counter="words",
        context_tokens=context_tokens,
        truncated_rows=sum(length > context_tokens for length in tokens),
        histogram=TokenHistogram(
            edges=tuple(width * bin_ for bin_ in range(21)), counts=tuple(counts[bin_] for bin_ in range(20))
        ),
        lengths=(
            make_lengths("tokens", tokens),
            make_lengths("messages", [len(row["messages"] or ()) for row in rows]),
        ),
        roles=tuple(
            RoleProfile(
                role=role,
                messages=len(contents),
                bytes=sum(len(content.encode()) for content in contents),
                characters=make_lengths("characters", list(map(len, contents))),
            )
            for role, contents in texts.items()
        ),
        examples=tuple(make_conversation(number, row) for number, row in enumerate(rows[:5])),
    )


def make_lengths(what: Any, values: Sequence[int]) -> Lengths:
    """How the values are distributed."""
    ordered = sorted(values) or [0]

    def quantile(share: float) -> float:
        return float(ordered[min(int(share * len(ordered)), len(ordered) - 1)])

    return Lengths(
        what=what,
        mean=sum(ordered) / len(ordered),
        p50=quantile(0.5),
        p95=quantile(0.95),
        p99=quantile(0.99),
        max=ordered[-1],
    )
