"""What is said of a single command job only; its shape is that of the recordings."""

from collections.abc import Mapping
from typing import Any

from phi_assets.emulator.store.blobs import ARTIFACT_CONTAINER, datastore_uri

_NOTHING = dict.fromkeys(
    (
        "autologgerSettings",
        "codeId",
        "distribution",
        "limits",
        "notificationSetting",
        "queueSettings",
        "secretsConfiguration",
    )
)
_RESOURCES = {
    **dict.fromkeys(("dockerArgs", "instanceType", "locations", "maxInstanceCount")),
    "instanceCount": 1,
    "properties": {},
    "shmSize": "2g",
}


def command_defaults(properties: Mapping[str, Any]) -> dict[str, Any]:
    """What the service adds to the sent properties of a command job."""
    asked = {key: value for key, value in (properties.get("resources") or {}).items() if value is not None}
    variables = {name: str(value) for name, value in (properties.get("environmentVariables") or {}).items()}
    inputs = {
        name: {"mode": "ReadOnlyMount", **value} if isinstance(value, Mapping) and value.get("uri") else value
        for name, value in (properties.get("inputs") or {}).items()
    }
    return {
        "parameters": {},
        **properties,
        "inputs": inputs,
        "environmentVariables": variables,
        "resources": _RESOURCES | asked,
    }


def command_resource(job: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a command job as the service answers them."""
    outputs = _artifacts(job) | (kept.get("outputs") or {})
    shown = {name: {"autoDeleteSetting": None} | (output or {}) for name, output in outputs.items()}
    return {**_NOTHING, **kept, "outputs": shown}


def command_properties() -> dict[str, str]:
    """What the service itself writes into the properties of a command job."""
    return {
        "_azureml.ComputeTargetType": "amlctrain",
        "azureml.DevPlatv2": "true",
        "ProcessInfoFile": "azureml-logs/process_info.json",
        "ProcessStatusFile": "azureml-logs/process_status.json",
    }


def _artifacts(job: str) -> dict[str, Any]:
    """The output `default` of every command job: its logs, and what it has written to `./outputs`."""
    uri = datastore_uri(ARTIFACT_CONTAINER, f"ExperimentRun/dcid.{job}")
    return {"default": {"jobOutputType": "uri_folder", "mode": "ReadWriteMount", "uri": uri}}
