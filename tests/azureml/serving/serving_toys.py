"""Registered models, endpoints and deployments in seconds: of files from here, without a job."""

from pathlib import Path
from typing import Any

from phi_assets.azureml.connection.client import Workspace, sdk
from phi_assets.azureml.models.registered import JOB_TAG
from phi_assets.refs import RegisteredModelRef
from tests.azureml import toys as toy
from tests.azureml.toy_step import write_model


def register(
    ws: Workspace, folder: Path, name: str, *, version: str = "1", ours: bool = True, write: bool = True
) -> RegisteredModelRef:
    """A registered model that echoes, as if a job of this project's had made it; of files below `folder/version`."""
    if write:
        write_model(folder / version, "echo: ")
    made: Any = ws.ml.models.create_or_update(
        sdk().entities.Model(
            name=name,
            version=version,
            path=folder / version,
            type="mlflow_model",
            tags={JOB_TAG: "phi3-ft-toy"} if ours else {},
        )
    )
    return RegisteredModelRef(id=made.id, name=name, version=version, job_name="phi3-ft-toy", action="created")


def make_endpoint(ws: Workspace, name: str, tags: dict[str, str] | None = None) -> None:
    """An endpoint as somebody else would make it."""
    entity = sdk().entities.ManagedOnlineEndpoint(name=name, auth_mode="key", tags=tags)
    ws.ml.online_endpoints.begin_create_or_update(entity).wait()


def make_deployment(
    ws: Workspace,
    endpoint: str,
    name: str,
    model: RegisteredModelRef,
    *,
    count: int = 1,
    size: str = toy.SIZE,
    tags: dict[str, str] | None = None,
) -> None:
    """A deployment as somebody else would make it."""
    entity = sdk().entities.ManagedOnlineDeployment(
        name=name, endpoint_name=endpoint, model=model.id, instance_type=size, instance_count=count, tags=tags
    )
    ws.ml.online_deployments.begin_create_or_update(entity).wait()


def make_cluster(
    ws: Workspace,
    name: str,
    *,
    nodes: int = 0,
    most: int = 1,
    size: str = toy.SIZE,
    tier: str = "Dedicated",
    tags: dict[str, str],
) -> None:
    """A cluster that always has so many nodes."""
    entity = sdk().entities.AmlCompute(
        name=name, size=size, tier=tier, min_instances=nodes, max_instances=max(nodes, most), tags=tags
    )
    ws.ml.compute.begin_create_or_update(entity).wait()
