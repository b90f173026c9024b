"""Jobs, named for what a person wants."""

import dagster as dg

from phi_assets.azureml.endpoints import delete_endpoint
from phi_assets.resources.recipe import RecipeResource
from phi_assets.resources.workspace import AzureMLWorkspace

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
    selection=dg.AssetSelection.assets("online_endpoint", "online_deployment", "live_traffic"),
    description="Put the registered model behind the endpoint.",
)
score = dg.define_asset_job(
    "score",
    selection=dg.AssetSelection.assets("base_answers", "scoring_result"),
    description="Ask the live model, and compare its answers with the base model's.",
)
finetune_and_deploy = dg.define_asset_job(
    "finetune_and_deploy",
    selection=dg.AssetSelection.all(),
    description="The whole graph, from data set to scored endpoint.",
)


@dg.op
def delete_online_endpoint(context: dg.OpExecutionContext, workspace: AzureMLWorkspace, recipe: RecipeResource) -> None:
    """Delete the recipe's endpoint with all its deployments and wait until it is gone; it is billed until then."""
    name = recipe.value.serving.endpoint
    with workspace.session() as ws:
        deleted = delete_endpoint(ws, name, context.log.info)
    context.log.info(f"Endpoint {name} {'deleted' if deleted else 'does not exist: nothing to delete'}")
    context.add_output_metadata({"endpoint": name, "deleted": deleted})


@dg.job(description="Delete the recipe's online endpoint and its deployments; the cluster scales to zero by itself.")
def teardown() -> None:
    delete_online_endpoint()


jobs = [prepare_data, finetune, deploy, score, finetune_and_deploy, teardown]
