"""Whether the name that the fine-tuned model is registered under is ours to give versions to."""

from urllib.parse import quote

import httpx

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.clouds import API_VERSION
from phi_assets.azureml.ownership import Whose, maker_of
from phi_assets.azureml.preflight.asking import Unanswered, read_pages
from phi_assets.azureml.preflight.findings import Findings
from phi_assets.config.limits import ASSET_NAME
from phi_assets.config.recipe import Recipe

_NEXT_STEP = "Give `serving.model_name` another name"


def look_at_registered_model(ws: Workspace, recipe: Recipe, found: Findings) -> None:
    """The newest version of that name is this recipe's, or there is none.

    A new version becomes what people get who ask for the newest one. So a name that somebody else gives versions to is
    refused, and one that another recipe of the project does is told; versions themselves cannot be changed, and each
    says whose it is.
    """
    name = recipe.registered_model_name
    if ASSET_NAME.problem(name) is not None:
        return  # told with the other names
    newest = f"api-version={API_VERSION}&$orderBy={quote('createdtime desc')}&$top=1"
    try:
        versions = read_pages(ws, f"{ws.resource_manager}{ws.path}/models/{name}/versions?{newest}")
        version = next(versions, None)
    except Unanswered as error:
        if error.status != httpx.codes.NOT_FOUND:
            found.warning("model", "model_name_unknown", f"Model {name}", f"cannot be read: {error}", "Run again.")
        return
    if version is None:
        return
    tags = (version.get("properties") or {}).get("tags")
    whose, subject = ws.owner(recipe.name).whose(tags), f"Model {name} of the workspace"
    made = f"has a newest version, {version.get('name')}, that was made by {maker_of(tags)}"
    # The default name says the base model, and recipes share it; each version says its job.
    if whose is Whose.OTHER_RECIPE and recipe.serving.model_name is not None:
        found.warning("model", "model_of_another_recipe", subject, made, f"{_NEXT_STEP} to tell the two apart.")
    elif whose not in (Whose.OURS, Whose.OTHER_RECIPE):
        ways = "or accept that ours become newer ones: `preflight.accept: [model_taken]`."
        found.error("model", "model_taken", subject, made, f"{_NEXT_STEP}, {ways}")
