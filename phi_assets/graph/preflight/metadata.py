"""What preflight has found, for people."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from phi_assets.azureml.preflight.findings import Finding
from phi_assets.azureml.preflight.run import Preflight
from phi_assets.dataset.reports.preview import conversations_markdown
from phi_assets.dataset.reports.profile import EXAMPLES
from phi_assets.dataset.samples.first_look import DataLook
from phi_assets.graph.rendering import table

PREFLIGHT_NUMBERS = ("errors", "warnings", "estimated_hours", "estimated_cost")
"""What a person asks of a look ahead."""


def preflight_metadata(found: Preflight) -> dict[str, Any]:
    """Numbers and facts under stable keys, and a table of the findings."""
    metadata: dict[str, Any] = {
        "errors": len(found.errors),
        "warnings": len(found.warnings),
        "preflight_seconds": found.seconds,
        **found.facts,
    }
    if found.findings:
        metadata["findings"] = findings_table(found.findings)
    return metadata


def first_rows(look: DataLook) -> dict[str, Any]:
    """Some of the first rows to train on, to read; nothing where there are none."""
    profiles = [each.profile for each in look.splits if each.split == "train_sft" and each.profile]
    # Some of each source, where several are mixed.
    examples = [example for profile in profiles for example in profile.examples[: max(1, EXAMPLES // len(profiles))]]
    return {"first_rows": dg.MetadataValue.md(conversations_markdown(examples))} if profiles else {}


def findings_table(findings: Sequence[Finding]) -> dg.TableMetadataValue:
    """One row a finding, errors first."""
    return table(
        [
            {
                "level": finding.level,
                "code": finding.code,
                "subject": finding.subject,
                "cause": finding.cause,
                "next step": finding.next_step,
            }
            for finding in sorted(findings, key=lambda finding: finding.level)
        ]
    )
