"""The data set, its raw splits and its samples, for people."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from phi_assets.dataset.files.manifest import PATHS
from phi_assets.dataset.reports.preview import became, conversations_markdown, shown, violations_markdown
from phi_assets.dataset.reports.report import (
    Lengths,
    Profile,
    RoleProfile,
    SourceReport,
    SplitReport,
    read_report,
)
from phi_assets.graph.dataset.pictures import token_histogram
from phi_assets.graph.rendering import table
from phi_assets.refs import DatasetRef, SampleRef, SplitRef

CHAT_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("prompt", "string", description="The first user message"),
        dg.TableColumn("prompt_id", "string", description="Identifies the prompt; in ultrachat its SHA-256"),
        dg.TableColumn("messages", "list<struct<content: string, role: string>>", description="The conversation"),
    ]
)

MIXED_SCHEMA = dg.TableSchema(
    columns=[*CHAT_SCHEMA.columns, dg.TableColumn("source", "string", description="Which source the row is of")]
)
"""Of a sample of several sources, as Parquet; what is trained on has no such column."""

ASKS = {
    "schema": "prompt, prompt_id, messages, and the role and content of each message are there",
    "no_messages": "there is at least one message",
    "roles": "an optional system message, then user and assistant in turn, beginning with the user; tools after a call",
    "ending": "the assistant has the last word",
    "empty_content": "no message is empty or blank",
    "markup": "no message holds the model's own markup, which would turn around what is trained",
    "personal_data": "no message holds personal data of the kinds that the recipe names",
    "prompt_mismatch": "the prompt is the first message of the user",
    "duplicate_id": "no earlier row of the sample has the same prompt_id",
    "duplicate_conversation": "no earlier row of the sample has the same messages",
    "leaked_id": "no row of the test sample has the same prompt_id",
    "leaked_text": "no row of the test sample asks the same at its beginning, however it is written",
    "leaked_near_duplicate": "no row of the test sample says nearly the same",
    "contaminated": "no question of the files to decontaminate against is in it",
    "near_duplicate": "no earlier row of the sample says nearly the same",
    "too_long": "the conversation fits into the model's context",
}
"""What each rule of the contract asks of a row."""

FOLDER = "folder"
"""Metadata of `source`: where the files lie that another asset has handed over."""

ROWS = "dagster/row_count"

SAMPLE_NUMBERS = (ROWS, "rows_quarantined", "tokens_mean", "truncated_share")
"""What a person asks of a sample."""

_FIELDS = 100
"""Rows of the table of fields that are not carried: the report has them all."""

_ROLES = 10
"""Rows of the table of roles: there are as many roles as a data set likes to have."""


def dataset_metadata(ref: DatasetRef) -> dict[str, Any]:
    """Where the data set comes from; a link for a hub repository."""
    metadata: dict[str, Any] = {"source": ref.source, "name": ref.name, "revision": ref.revision}
    if ref.source == "hub":
        metadata["dagster/uri"] = dg.MetadataValue.url(
            f"https://huggingface.co/datasets/{ref.name}/tree/{ref.revision}"
        )
    if ref.folder:
        metadata[FOLDER] = dg.MetadataValue.path(ref.folder)
    return metadata


def split_metadata(ref: SplitRef) -> dict[str, Any]:
    """Size and schema of a raw split."""
    return {
        ROWS: ref.rows,
        "dagster/column_schema": CHAT_SCHEMA,
        "size_bytes": ref.size_bytes,
        "shards": len(ref.files),
        "source": ref.source,
        "sha256": ref.sha256,
        **_not_carried(ref.not_carried),
    }


def _not_carried(rows: Mapping[str, int]) -> dict[str, Any]:
    """What of the source is in no conversation; nothing where everything is."""
    listed = [{"rows": f"{count:,}", "field": shown(field, 60)} for field, count in rows.items()]
    return {"not_carried": table(listed[:_FIELDS])} if listed else {}


def sample_metadata(ref: SampleRef, *raw: dg.AssetKey) -> dict[str, Any]:
    """Where every row of the raw split went, a portrait of those in this sample, and some of them to read.

    Numbers: `rows_total`, `rows_not_sampled`, `rows_quarantined`, `size_bytes` (of the JSON Lines), `bytes` (UTF-8 of
    all messages), `messages`, `turns_mean`, `tokens`, `tokens_mean`, `tokens_p95`, `truncated_share` (0 to 1), and
    `violations/<rule>` (rows that break it, whether they were left out or not). All of it takes less than 150 kB.

    Raises:
        OSError: the report has gone that was written beside the sample.
    """
    report = read_report(Path(ref.report))
    profile = report.samples[ref.split]
    return {
        ROWS: ref.rows,
        "dagster/column_schema": MIXED_SCHEMA if report.sources else CHAT_SCHEMA,
        "dagster/column_lineage": column_lineage(*raw),
        "conversations": dg.MetadataValue.md(conversations_markdown(profile.examples)),
        "violations": dg.MetadataValue.md(violations_markdown(report.violations)),
        "token_histogram": dg.MetadataValue.md(token_histogram(profile)),
        "where_rows_went": table(list(_whereabouts(report))),
        **({"sources": table(list(map(_source_row, report.sources)))} if report.sources else {}),
        **_not_carried(report.not_carried),
        "contract": table(_contract_rows(report)),
        "lengths": table([_length_row({"of a conversation": each.what}, each) for each in profile.lengths]),
        "roles": table([_role_row(each) for each in profile.roles[:_ROLES]]),
        **_numbers(ref, report, profile),
        "token_counter": profile.token_counter,
        "sha256": ref.sha256,
        **{name: dg.MetadataValue.path(str(file)) for name in PATHS if (file := getattr(ref, name))},
    }


def column_lineage(*raw: dg.AssetKey) -> dg.TableColumnLineage:
    """Each column of a sample is made from the same column of the raw splits."""
    names = [column.name for column in CHAT_SCHEMA.columns]
    return dg.TableColumnLineage(
        {name: [dg.TableColumnDep(asset_key=key, column_name=name) for key in raw] for name in names}
    )


def _numbers(ref: SampleRef, report: SplitReport, profile: Profile) -> dict[str, int | float]:
    tokens = next((each for each in profile.lengths if each.what == "tokens"), None)
    rows = max(profile.rows, 1)
    return {
        "rows_total": ref.rows_total,
        "rows_not_sampled": report.rows_not_sampled,
        "rows_quarantined": ref.rows_quarantined,
        "size_bytes": ref.size_bytes,
        "bytes": profile.bytes,
        "messages": profile.messages,
        "turns_mean": profile.turns / rows,
        "tokens": profile.tokens,
        "tokens_mean": profile.tokens / rows,
        "tokens_p95": tokens.p95 if tokens else 0.0,
        "truncated_share": profile.truncated_share,
        **{f"violations/{violation.rule}": violation.rows for violation in report.violations},
    }


def _whereabouts(report: SplitReport) -> Iterator[dict[str, str]]:
    places = {
        f"raw_{report.split}": report.rows_total,
        "not sampled": report.rows_not_sampled,
        "in quarantine": report.rows_quarantined,
        **{f"sampled_{name}": profile.rows for name, profile in report.samples.items()},
    }
    if report.rows_repeated:
        places["of these, repeated"] = report.rows_repeated
    for place, rows in places.items():
        yield {"rows": f"{rows:,}", "where": place}


def _source_row(source: SourceReport) -> dict[str, str]:
    lost = ", ".join(f"{rule} {rows:,}" for rule, rows in source.lost.items())
    return {
        "source": source.name,
        "rows": f"{source.rows_total:,}",
        "asked": f"{source.rows_asked:,}",
        **{f"in sampled_{name}": f"{rows:,}" for name, rows in source.rows.items()},
        "in quarantine": f"{source.rows_quarantined:,}",
        "rules broken": lost or "-",
    }


def _length_row(first: dict[str, str], lengths: Lengths) -> dict[str, str]:
    return {
        **first,
        "mean": f"{lengths.mean:,.1f}",
        "median": f"{lengths.p50:,.0f}",
        "95 %": f"{lengths.p95:,.0f}",
        "99 %": f"{lengths.p99:,.0f}",
        "longest": f"{lengths.max:,}",
    }


def _role_row(profile: RoleProfile) -> dict[str, str]:
    first = {"role": shown(profile.role, 40), "messages": f"{profile.messages:,}", "bytes": f"{profile.bytes:,}"}
    return {
        (f"characters, {name}" if name not in first else name): value
        for name, value in _length_row(first, profile.characters).items()
    }


def _contract_rows(report: SplitReport) -> list[dict[str, str]]:
    return [
        {
            "rows": f"{violation.rows:,}",
            "rule": violation.rule,
            "policy": violation.policy,
            "they are": became(violation),
            "it asks that": ASKS[violation.rule],
        }
        for violation in report.violations
    ]
