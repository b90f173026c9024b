"""Jobs, named for what a person wants; whatever else is wanted, the UI materializes by selection."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from phi_assets.graph.automation.endings import DEPLOY
from phi_assets.graph.automation.pools import patient_in_process_executor
from phi_assets.graph.lineage import FIRST, LABEL, Lineage
from phi_assets.graph.operations.assets import STILL_BILLING
from phi_assets.graph.operations.ending import teardown_job

FINETUNE, FINETUNE_AND_DEPLOY = "finetune", "finetune_and_deploy"
"""What the jobs of a recipe are called, below its prefix."""

LIST_BILLING = "list_billing"

list_billing = dg.define_asset_job(
    LIST_BILLING,
    selection=dg.AssetSelection.assets(STILL_BILLING),
    description="Show what is billing in the workspace. Changes nothing.",
    tags=FIRST,
    executor_def=patient_in_process_executor,
)


def recipe_jobs(lineage: Lineage, lineages: Sequence[Lineage]) -> list[Any]:
    """The four jobs of a recipe; `lineages` are all that this code location knows."""

    # What another team's asset is made of is theirs to make.
    ours = dg.AssetSelection.tag(LABEL, "")

    def job(name: str, selection: dg.AssetSelection, description: str) -> Any:
        return dg.define_asset_job(
            lineage.node(name),
            selection=selection & ours,
            description=description,
            tags=lineage.run_tags,
            executor_def=patient_in_process_executor,
        )

    return [
        job(
            FINETUNE_AND_DEPLOY,
            lineage.selection("scoring_result", "sampled_train_gen").upstream(),
            "Everything of the recipe, from data set to scored endpoint.",
        ),
        job(
            FINETUNE,
            lineage.selection("registered_model").upstream(),
            "Everything up to the registered model. Submits at most one Azure ML job.",
        ),
        job(
            DEPLOY,
            lineage.selection("preflight", "online_endpoint", "online_deployment", "live_traffic"),
            "Put the registered model behind the endpoint.",
        ),
        teardown_job(lineage, lineages),
    ]
