"""The managed online endpoint, its deployment and its traffic."""

import dagster as dg

from phi_assets.assets.common import AZUREML_POOL, OWNERS, explained, reads
from phi_assets.azureml.deployments import ensure_deployment
from phi_assets.azureml.endpoints import ensure_endpoint
from phi_assets.azureml.traffic import ensure_traffic
from phi_assets.fingerprint import fingerprint
from phi_assets.metadata.serving import deployment_metadata, endpoint_metadata, traffic_metadata
from phi_assets.refs import DeploymentRef, EndpointRef, ModelRef, RegisteredModelRef, TrafficRef
from phi_assets.resources.recipe import RecipeResource
from phi_assets.resources.workspace import AzureMLWorkspace

GROUP = "serving"

DEPLOYMENT_KEYS = (
    "serving.instance_type",
    "serving.instance_count",
    "serving.request_timeout_seconds",
    "serving.liveness_initial_delay_seconds",
    "serving.max_concurrent_requests",
)


@dg.asset(
    group_name=GROUP,
    kinds={"azureml"},
    owners=OWNERS,
    code_version="1",
    pool=AZUREML_POOL,
    metadata=reads("serving.endpoint", "serving.auth_mode", "serving.lease_hours", "serving.tags"),
)
def online_endpoint(
    context: dg.AssetExecutionContext, workspace: AzureMLWorkspace, recipe: RecipeResource
) -> dg.MaterializeResult[EndpointRef]:
    """A managed online endpoint in state Succeeded, with the time at which its lease ends."""
    serving = recipe.value.serving
    with workspace.session() as ws:
        ref = ensure_endpoint(ws, serving, {"phi-recipe": recipe.value.name}, context.log.info)
    why = explained(context, serving.model_dump(include={"endpoint", "auth_mode", "lease_hours"}), ref.reason)
    version = fingerprint({"name": ref.name, "auth": serving.auth_mode})[:16]
    return dg.MaterializeResult(value=ref, data_version=dg.DataVersion(version), metadata=endpoint_metadata(ref) | why)


@dg.asset(
    group_name=GROUP,
    kinds={"azureml"},
    owners=OWNERS,
    code_version="1",
    pool=AZUREML_POOL,
    metadata=reads(*DEPLOYMENT_KEYS),
)
def online_deployment(
    context: dg.AssetExecutionContext,
    online_endpoint: EndpointRef,
    registered_model: RegisteredModelRef,
    foundation_model: ModelRef,
    workspace: AzureMLWorkspace,
    recipe: RecipeResource,
) -> dg.MaterializeResult[DeploymentRef]:
    """A healthy deployment of the model version, named after it; it gets no traffic yet when it is new."""
    serving = recipe.value.serving
    with workspace.session() as ws:
        ref = ensure_deployment(
            ws, online_endpoint, registered_model, serving, foundation_model.inference_computes, context.log.info
        )
    settings = serving.model_dump(mode="json", include={key.partition(".")[2] for key in DEPLOYMENT_KEYS})
    why = explained(context, {"endpoint": ref.endpoint, "model": ref.model_id, **settings}, ref.reason)
    version = fingerprint({"model": ref.model_id, "serving": recipe.value.code_version(*DEPLOYMENT_KEYS)})[:16]
    return dg.MaterializeResult(
        value=ref, data_version=dg.DataVersion(version), metadata=deployment_metadata(ref) | why
    )


@dg.asset(group_name=GROUP, kinds={"azureml"}, owners=OWNERS, code_version="1", pool=AZUREML_POOL)
def live_traffic(
    context: dg.AssetExecutionContext,
    online_endpoint: EndpointRef,
    online_deployment: DeploymentRef,
    workspace: AzureMLWorkspace,
) -> dg.MaterializeResult[TrafficRef]:
    """All traffic goes to the newest deployment, read back from the service; older deployments are gone."""
    with workspace.session() as ws:
        ref = ensure_traffic(ws, online_endpoint, online_deployment, context.log.info)
    why = explained(
        context, {"endpoint": ref.endpoint, "deployment": online_deployment.name, "model": ref.model_id}, ref.reason
    )
    return dg.MaterializeResult(
        value=ref,
        data_version=dg.DataVersion(fingerprint({"traffic": ref.traffic, "model": ref.model_id})[:16]),
        metadata=traffic_metadata(ref) | why,
    )
