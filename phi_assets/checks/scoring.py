"""Are the answers of the live model any good?"""

from pathlib import Path

import dagster as dg

from phi_assets.assets.scoring import scoring_result
from phi_assets.dataset.jsonl import read_jsonl
from phi_assets.refs import ScoringRef


@dg.asset_check(asset=scoring_result)
def answers_are_not_empty(scoring_result: ScoringRef) -> dg.AssetCheckResult:
    """The live model answered every prompt with some text."""
    empty = [row["prompt"] for row in read_jsonl(Path(scoring_result.jsonl)) if not row["answer"].strip()]
    return dg.AssetCheckResult(
        passed=not empty,
        metadata={"answers": scoring_result.rows, "empty": len(empty), "prompts": dg.MetadataValue.json(empty)},
    )
