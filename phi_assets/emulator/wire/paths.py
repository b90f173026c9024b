"""Path prefixes of the service's planes, lower-cased: the application matches paths case-insensitively."""

PROVIDER = "microsoft.machinelearningservices"

WS = "/subscriptions/{subscription}/resourcegroups/{group}/providers/" + PROVIDER + "/workspaces/{workspace}"
"""ARM path of the workspace."""

LOC = "/subscriptions/{subscription}/providers/" + PROVIDER + "/locations/{location}"
"""ARM path of a region: VM sizes and the status documents of long-running operations."""

REGISTRY_DISCOVERY = "/registrymanagement/v1.0/registries/{registry}/discovery"
"""Where a registry client learns which data plane serves the registry."""

REGISTRY = (
    "/mferp/managementfrontend/subscriptions/{subscription}/resourcegroups/{group}/providers/"
    + PROVIDER
    + "/registries/{registry}"
)
"""Data plane of a registry."""

HISTORY = "/history/v1.0" + WS
"""Run history of the workspace."""

DATA_PLANE = "/data/v1.0" + WS
"""Dataset data plane of the workspace, asked for the resolved uris of job outputs."""

MLFLOW = "/mlflow/v1.0" + WS + "/api/2.0/mlflow"
"""MLflow REST of the workspace."""
