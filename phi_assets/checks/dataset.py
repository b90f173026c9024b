"""Is the sample fit to train on?"""

import dagster as dg

from phi_assets.recipe import SPLITS
from phi_assets.refs import SampleRef


def _has_rows(split: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["sampled", split],
        name="has_rows",
        blocking=True,
        description="The sample holds at least one conversation.",
    )
    def has_rows(sample: SampleRef) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=sample.rows > 0, metadata={"rows": sample.rows, "rows_total": sample.rows_total}
        )

    return has_rows


has_rows_checks = [_has_rows(split) for split in SPLITS]
