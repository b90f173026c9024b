"""Documents of the run history: a run with everything that was recorded of it, and what defined it.

Whose shape was recorded has every key of the recording, null where that was null: `tests/contract/recorded`.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from phi_assets.emulator.runner.documents import COMMAND, author, service_properties, services
from phi_assets.emulator.runner.records import Records, Run, experiment_id
from phi_assets.emulator.workspace.context import Emulator

# The recording has the type of these numbers only; they are positions in the lists of
# https://learn.microsoft.com/rest/api/azureml/jobs/get#joboutputtype.
_OUTPUT_TYPES = ("uri_file", "uri_folder", "mltable", "custom_model", "mlflow_model", "triton_model")
_OUTPUT_MODES = ("ReadWriteMount", "Upload", "Direct")

_UNUSED = dict.fromkeys(
    (
        "completeUri",
        "compute",
        "computeRequest",
        "createdFrom",
        "currentAttemptId",
        "currentComputeTime",
        "diagnosticsUri",
        "effectiveStartTimeUtc",
        "jobSpecification",
        "lastStartTimeUtc",
        "primaryMetricName",
        "queueingInfo",
        "runDefinition",
        "scheduleId",
        "scriptName",
        "token",
        "tokenExpiryTimeUtc",
        "warnings",
    )
)
_UNUSED_IN_DEFINITION = dict.fromkeys(
    (
        "Bindings",
        "ComponentId",
        "ComponentJobs",
        "Compute",
        "Identity",
        "InteractionEndpoints",
        "NotificationSetting",
        "Output",
        "ParentJobName",
        "Pipeline",
        "Priority",
        "RunId",
        "Schedule",
        "SourceJobId",
    )
)


def run_document(emulator: Emulator, run: Run) -> dict[str, Any]:
    """The run as the history shows it; a step's inputs and outputs are null there, and `run_data` has them."""
    document = run_data(emulator, run)
    return document if _is_root(run) else document | {"inputs": None, "outputs": None}


def run_data(emulator: Emulator, run: Run) -> dict[str, Any]:
    """The same with inputs and outputs, whose assets have the ids of the service."""
    run_id, root = run["run_id"], _is_root(run)
    job = (emulator.store.get("job", run_id) if root else None) or {}
    created_by = _person(emulator, run.get("created_by"))
    cancel = f"{emulator.base_url}{emulator.workspace_path}/jobs/{run['root_run_id']}/cancel"
    family = Records(emulator).family(run_id) if root else []
    return _UNUSED | {
        "runNumber": int(datetime.fromisoformat(run["created"]).timestamp()),
        "runId": run_id,
        "rootRunId": run["root_run_id"],
        "parentRunId": run["parent_run_id"],
        "runUuid": _uuid(run_id),
        "rootRunUuid": _uuid(run["root_run_id"]),
        "parentRunUuid": _uuid(run["parent_run_id"]) if run["parent_run_id"] else None,
        "experimentId": experiment_id(run["experiment"]),
        "dataContainerId": f"dcid.{run_id}",
        "displayName": run["display_name"],
        "name": None if root else run["display_name"],
        "description": run["description"] or job.get("properties", {}).get("description"),
        "status": run["status"],
        "revision": run.get("revision", 0),
        "statusRevision": run.get("status_revision", 0),
        "createdUtc": run["created"],
        "startTimeUtc": run["started"],
        "endTimeUtc": run["ended"],
        "lastModifiedUtc": run["modified"],
        "duration": _duration(run),
        "computeDuration": _duration(run),
        "cancelationReason": run.get("cancelation_reason"),
        "cancelUri": cancel,
        "actionUris": {"Cancel": cancel},
        "createdBy": created_by,
        "lastModifiedBy": _person(emulator, run.get("modified_by")),
        "userId": created_by["userObjectId"],
        **_run_type(run, root),
        "target": run["compute"],
        "uniqueChildRunComputeTargets": sorted({each["compute"] for each in family if each["compute"]}),
        "retainForLifetimeOfWorkspace": False if root else None,
        "hidden": bool(job.get("properties", {}).get("isArchived")),
        "tags": _texts(run["tags"]),
        "properties": _properties(run, job),
        "parameters": {name: value["value"] for name, value in run["inputs"].items() if value.get("value") is not None},
        "services": services(emulator, run_id),
        "settings": {},
        "error": _error(emulator, run),
        "inputs": {
            name: {"assetId": value["uri"], "type": data_type(value["type"])}
            for name, value in run["inputs"].items()
            if value.get("uri")
        },
        "outputs": {
            name: {"assetId": _output_id(emulator, run_id, name, output), "type": data_type(output["type"])}
            for name, output in run["outputs"].items()
        },
        "inputDatasets": [],
        "outputDatasets": [],
    }


def run_definition(emulator: Emulator, run: Run) -> dict[str, Any] | None:
    """What a job's run was asked to be, as it was at its submission, in Pascal case; None for a step."""
    job = emulator.store.get("job", run["run_id"])
    if job is None:
        return None
    properties = job["properties"]
    outputs = properties.get("outputs") or {}
    return _UNUSED_IN_DEFINITION | {
        "ComputeId": properties.get("computeId"),
        "Description": properties.get("description"),
        "DisplayName": properties.get("displayName"),
        "ExperimentName": properties.get("experimentName"),
        "InputBindings": properties.get("inputs") or {},
        "Inputs": properties.get("inputs") or {},
        "IsArchived": bool(properties.get("isArchived")),
        "JobType": properties["jobType"],
        "Jobs": properties.get("jobs") or {},
        "OutputBindings": {name: _output_binding(output or {}) for name, output in outputs.items()},
        "Outputs": {name: _output(output or {}) for name, output in outputs.items()},
        "PipelineJobType": "AzureML",
        "Properties": _properties(run, job),
        "ProvisioningState": "Succeeded",
        "Settings": properties.get("settings") or {},
        "Status": "NotStarted",
        "Tags": _texts(properties.get("tags")),
    }


def data_type(type_: str) -> str:
    """How outputs are typed: the SDK (1.35.2) cannot download those that are models, but it can download folders."""
    return type_ if type_ in {"uri_file", "mltable"} else "uri_folder"


def _run_type(run: Run, root: bool) -> dict[str, Any]:
    kind, orchestrator, traits = "azureml.StepRun", None, ["azureml.StepRun"]
    if root:
        is_command = run.get("job_type") == COMMAND
        kind, orchestrator = ("azureml.scriptrun", "Execution") if is_command else ("azureml.PipelineRun", "Pipeline")
        traits = [kind, "MFE", "HTTP", "DevPlatv2"]
    described = {"orchestrator": orchestrator, "traits": traits, "attribution": None, "computeType": None}
    return {"runType": kind, "runTypeV2": described}


def _is_root(run: Run) -> bool:
    return run["run_id"] == run["root_run_id"]


def _properties(run: Run, job: Mapping[str, Any]) -> dict[str, str]:
    if job:
        return _texts(run["properties"]) | _texts(job["properties"].get("properties")) | service_properties(job, run)
    component = str(run["component_id"] or "").split("/")
    name, version = (component[-3], component[-1]) if len(component) > 2 else ("", "")
    return {
        "ComputeTargetType": "AmlCompute",
        "ContentSnapshotId": _uuid(str(run["component_id"])),
        "ProcessInfoFile": "azureml-logs/process_info.json",
        "ProcessStatusFile": "azureml-logs/process_status.json",
        "StepType": "PythonScriptStep",
        "_azureml.ComputeTargetType": "amlctrain",
        "azureml.DevPlatv2": "true",
        "azureml.isreused": "false",
        "azureml.moduleName": name,
        "azureml.moduleVersion": version,
        "azureml.pipeline": run["root_run_id"],
        "azureml.pipelineComponent": "masterescloud",
    } | _texts(run["properties"])


def _output_binding(output: Mapping[str, Any]) -> dict[str, Any]:
    asset = {"AssetName": output.get("assetName"), "AssetUri": None, "AssetVersion": output.get("assetVersion")}
    return asset | {
        "DatastoreId": None,
        "Description": output.get("description"),
        "IsAssetJobOutput": bool(output.get("assetName")),
        "JobOutputType": _position(output.get("jobOutputType"), _OUTPUT_TYPES),
        "Mode": output.get("mode"),
        "PathOnCompute": None,
        "PathOnDatastore": None,
        "Uri": output.get("uri"),
    }


def _output(output: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "AssetName": output.get("assetName"),
        "AssetVersion": output.get("assetVersion"),
        "Description": output.get("description"),
        "JobOutputType": _position(output.get("jobOutputType"), _OUTPUT_TYPES),
        "Mode": _position(output.get("mode"), _OUTPUT_MODES),
        "Uri": output.get("uri"),
    }


def _position(value: object, names: tuple[str, ...]) -> int:
    return names.index(str(value)) if value in names else len(names)


def _output_id(emulator: Emulator, run_id: str, name: str, output: Mapping[str, Any]) -> str:
    made_by = output.get("made_by") or {"run": run_id, "output": name}
    return (
        f"azureml://locations/{emulator.location}/workspaces/{emulator.workspace_id}"
        f"/data/azureml_{made_by['run']}_output_data_{made_by['output']}/versions/1"
    )


def _person(emulator: Emulator, known: Mapping[str, Any] | None) -> dict[str, Any]:
    person = known or author(emulator, {})
    issuer = f"{emulator.base_url}/aad/{person['userTenantId']}/"
    return {"userPuId": "", "userIdp": None, "userAltSecId": None, "userIss": issuer, "upn": None, **person}


def _error(emulator: Emulator, run: Run) -> dict[str, Any] | None:
    if run["error"] is None:
        return None
    return {
        "error": {"code": run["error"]["code"], "message": run["error"]["message"], "details": []},
        "correlation": {"operation": uuid.uuid5(uuid.NAMESPACE_URL, run["run_id"]).hex, "request": None},
        "environment": emulator.location,
        "location": emulator.location,
        "time": run["ended"],
        "componentName": "execution",
    }


def _duration(run: Run) -> str | None:
    """`00:00:05.1234567`, with days before it if need be: `1.00:00:05.1234567`."""
    if not run["started"] or not run["ended"]:
        return None
    took = datetime.fromisoformat(run["ended"]) - datetime.fromisoformat(run["started"])
    minutes, seconds = divmod(took.seconds, 60)
    days = f"{took.days}." if took >= timedelta(days=1) else ""
    return f"{days}{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{took.microseconds:06}0"


def _uuid(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    return {key: str(value) for key, value in (values or {}).items() if value is not None}
