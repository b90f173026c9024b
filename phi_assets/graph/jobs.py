"""Jobs, named for what a person wants."""

import dagster as dg

from phi_assets.graph.operations.assets import GROUP as OPERATIONS
from phi_assets.graph.operations.ending import reap_expired, teardown

preflight = dg.define_asset_job(
    "preflight",
    selection=dg.AssetSelection.assets("preflight"),
    description="Look at everything that can be known to go wrong. Seconds, and nothing is changed.",
)
prepare_data = dg.define_asset_job(
    "prepare_data",
    selection=dg.AssetSelection.groups("dataset"),
    description="Fetch the data set and write its samples. Costs nothing.",
)
finetune = dg.define_asset_job(
    "finetune",
    selection=dg.AssetSelection.groups("training").upstream(),
    description="Everything up to the registered model. Submits at most one Azure ML job.",
)
deploy = dg.define_asset_job(
    "deploy",
    selection=dg.AssetSelection.assets("preflight", "online_endpoint", "online_deployment", "live_traffic"),
    description="Put the registered model behind the endpoint.",
)
score = dg.define_asset_job(
    "score",
    selection=dg.AssetSelection.assets("base_answers", "scoring_result"),
    description="Ask the live model, and compare its answers with the base model's.",
)
finetune_and_deploy = dg.define_asset_job(
    "finetune_and_deploy",
    selection=dg.AssetSelection.all() - dg.AssetSelection.groups(OPERATIONS),
    description="The whole graph, from data set to scored endpoint.",
)


list_billing = dg.define_asset_job(
    "list_billing",
    selection=dg.AssetSelection.groups(OPERATIONS),
    description="Show what is billing in the workspace. Changes nothing.",
)

jobs = [preflight, prepare_data, finetune, deploy, score, finetune_and_deploy, list_billing, teardown, reap_expired]
