"""Documents of jobs: what the service keeps of a request, what it answers, what may change afterwards."""

import json
from collections.abc import Mapping
from typing import Any

from phi_assets.config.limits import DESCRIPTION, DISPLAY_NAME, EXPERIMENT_NAME, JOB_TAGS
from phi_assets.emulator.runner.command_documents import command_defaults, command_properties, command_resource
from phi_assets.emulator.runner.pipeline.nodes import section
from phi_assets.emulator.store.blobs import DATASTORE_OF_CONTAINER, DEFAULT_CONTAINER
from phi_assets.emulator.wire.errors import ServiceError, user_error
from phi_assets.emulator.wire.limits import require
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import PROVIDER, system_data

_CHANGEABLE = frozenset({"description", "tags", "displayName", "properties", "isArchived"})
# What the service adds to its answers; clients send it back when they send a job that they have read.
_READ_ONLY = frozenset({"status", "services"})
_INVALID = "BadArgument/ArgumentInvalid"

PIPELINE, COMMAND = "Pipeline", "Command"
_RUNS = "jobs of type 'Pipeline' and 'Command'"
_NOT_BUILT = frozenset({"AutoML", "FineTuning", "Labeling", "Spark", "Sweep"})

_NO_OUTPUT = dict.fromkeys(("uri", "assetName", "assetVersion", "description"))
_DEFAULT_DATASTORE = DATASTORE_OF_CONTAINER[DEFAULT_CONTAINER]
_RULES = {"displayName": DISPLAY_NAME, "experimentName": EXPERIMENT_NAME, "description": DESCRIPTION}

NAMELESS = "emulator"
"""What the run history calls a bearer whose token has no name: the managed identity of this machine."""


def job_resource(emulator: Emulator, job: Mapping[str, Any]) -> dict[str, Any]:
    """The ARM resource of a job, with its status and links; its shape is that of the recordings.

    The uri of an output is what the request gave, else null, also when the job has completed: as recorded.
    """
    name, kept = job["name"], job["properties"]
    run = emulator.store.get("run", name) or {}
    kept = command_resource(name, kept) if kept["jobType"] == COMMAND else {"sourceJobId": None} | kept
    properties = {"componentId": None, "identity": None} | kept
    properties |= {
        "status": job["status"],
        "services": services(emulator, name),
        "inputs": {key: _input(value) for key, value in (kept.get("inputs") or {}).items()},
        "outputs": {key: _NO_OUTPUT | (value or {}) for key, value in (kept.get("outputs") or {}).items()},
        "properties": (kept.get("properties") or {}) | service_properties(job, run),
    }
    return {
        "id": f"{emulator.workspace_path}/jobs/{name}",
        "name": name,
        "type": f"{PROVIDER}/workspaces/jobs",
        "properties": properties,
        "systemData": system_data(job["created"], None),
    }


def step_resource(emulator: Emulator, run: Mapping[str, Any]) -> dict[str, Any]:
    """A step of a pipeline on the management plane, which knows only that it exists; the rest is in the run history."""
    return {
        "id": f"{emulator.workspace_path}/jobs/{run['run_id']}",
        "name": run["run_id"],
        "type": f"{PROVIDER}/workspaces/jobs",
        "systemData": system_data(run["created"], None),
    }


def service_properties(job: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    """What the service itself writes into the properties of a job; `run` is the job's own, or empty."""
    properties = job["properties"]
    if properties["jobType"] == COMMAND:
        return command_properties()
    settings = properties.get("settings") or {}
    literals = {
        name: str(value["value"])
        for name, value in (properties.get("inputs") or {}).items()
        if isinstance(value, Mapping) and value.get("value") is not None
    }
    compute = settings.get("default_compute") or str(properties.get("computeId") or "").rpartition("/")[2]
    written = {
        "azureml.DevPlatv2": "true",
        "azureml.continue_on_failed_optional_input": _truth(settings, "continue_on_failed_optional_input", True),
        "azureml.continue_on_step_failure": _truth(settings, "continue_on_step_failure", False),
        "azureml.defaultComputeName": str(compute),
        "azureml.defaultDataStoreName": str(settings.get("default_datastore") or _DEFAULT_DATASTORE),
        "azureml.parameters": json.dumps(literals),
        "azureml.pipelineComponent": "pipelinerun",
        "azureml.runsource": "azureml.PipelineRun",
        "runSource": "MFE",
        "runType": "HTTP",
    }
    if run.get("ended"):  # a recorded job that was Running did not have it
        execution = {"StartTime": run["started"], "EndTime": run["ended"], "Status": run["status"]}
        written["azureml.pipelines.stages"] = json.dumps({"Initialization": None, "Execution": execution})
    return written


def services(emulator: Emulator, run_id: str) -> dict[str, Any]:
    """Links of a run: where to see it, and where its metrics are."""
    tracking = f"azureml://{emulator.base_url.removeprefix('https://')}/mlflow/v1.0{emulator.workspace_path}"
    endpoints = {
        "Tracking": f"{tracking}?",
        "Studio": f"{emulator.studio_url}/runs/{run_id}?wsid={emulator.workspace_path}",
    }
    nothing = dict.fromkeys(("status", "port", "nodes", "errorMessage", "properties"))
    return {kind: {"jobServiceType": kind, "endpoint": endpoint, **nothing} for kind, endpoint in endpoints.items()}


def author(emulator: Emulator, claims: Mapping[str, Any]) -> dict[str, Any]:
    """Who the bearer of a token with these claims is, as the run history shows people."""
    return {
        "userObjectId": claims.get("oid") or emulator.auth.object_id,
        "userTenantId": claims.get("tid") or emulator.auth.tenant_id,
        "userName": claims.get("name") or claims.get("upn") or NAMELESS,
    }


def change_metadata(
    emulator: Emulator,
    name: str,
    changes: Mapping[str, Any],
    *,
    by: Mapping[str, Any] | None = None,
    merge_tags: bool = False,
) -> dict[str, Any] | None:
    """Sets description, display name, archive mark and tags of a job and its run; adds properties.

    `by` is who does it, from `author`. None if there is no such job.

    Raises:
        ServiceError: 400 for tags or properties beyond the service's limits.
    """
    check_limits(changes)
    wanted = {key: changes[key] for key in _CHANGEABLE - {"properties"} if changes.get(key) is not None}

    def change_job(job: dict[str, Any]) -> dict[str, Any]:
        if merge_tags and "tags" in wanted:
            wanted["tags"] = (job["properties"].get("tags") or {}) | wanted["tags"]
        added = (changes.get("properties") or {}) | (job["properties"].get("properties") or {})
        return job | {"properties": job["properties"] | wanted | {"properties": added}}

    def change_run(run: dict[str, Any]) -> dict[str, Any]:
        fields = {"displayName": "display_name", "description": "description", "tags": "tags"}
        changed = {field: wanted[key] for key, field in fields.items() if key in wanted}
        return run | changed | ({} if by is None else {"modified_by": by})

    job = emulator.store.update("job", name, change_job)
    if job is not None:
        emulator.store.update("run", name, change_run)
    return job


def with_defaults(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """What the service keeps of the sent properties.

    Raises:
        ServiceError: 501 for a kind of job that this emulator does not run, 400 for one that does not exist.
    """
    kind = properties.get("jobType")
    if kind in _NOT_BUILT:
        raise ServiceError(501, "NotImplemented", f"This emulator runs no jobs of type '{kind}', but {_RUNS}.")
    if kind not in {PIPELINE, COMMAND}:
        raise user_error(f"jobType is '{kind}'; this workspace runs {_RUNS}.", _INVALID)
    kept = {key: value for key, value in properties.items() if value is not None and key not in _READ_ONLY}
    kept = command_defaults(kept) if kind == COMMAND else {"settings": {}} | kept
    return {
        "description": None,
        "displayName": name,
        "experimentName": "Default",
        "tags": {},
        "isArchived": False,
        "computeId": None,
        "inputs": {},
        **kept,
        "properties": dict(section(properties, "properties", "the job")),
        "outputs": {key: _output(key, value) for key, value in section(properties, "outputs", "the job").items()},
    }


def _input(value: Any) -> Any:
    return {"description": None, **value} if isinstance(value, Mapping) else value


def _truth(settings: Mapping[str, Any], key: str, default: bool) -> str:
    value = settings.get(key)
    return str(default if value is None else str(value).lower() == "true")


def _output(name: str, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise user_error(f"Output '{name}' of the job must be an object.", _INVALID)
    given = {key: entry for key, entry in (value or {}).items() if entry is not None}
    return {"jobOutputType": "uri_folder", "mode": "ReadWriteMount"} | given


def immutable_part(properties: Mapping[str, Any]) -> dict[str, Any]:
    """What may never change of a job, in a form in which a repeated request compares equal."""
    part = {key: value for key, value in properties.items() if key not in _CHANGEABLE | _READ_ONLY}
    return _without_nothing(part)


def _without_nothing(value: Any) -> Any:
    if isinstance(value, Mapping):
        cleaned = {key: _without_nothing(entry) for key, entry in value.items()}
        return {key: entry for key, entry in cleaned.items() if entry not in (None, {}, [])}
    if isinstance(value, list):
        return [_without_nothing(entry) for entry in value]
    return value


def check_limits(properties: Mapping[str, Any]) -> None:
    for kind in ("tags", "properties"):
        pairs = properties.get(kind) or {}
        if isinstance(pairs, Mapping) and len(pairs) > JOB_TAGS.most:
            raise user_error(f"'{kind}' is not valid: {JOB_TAGS.problem(pairs)}.", "BadArgument/QuotaExceeded")
        require(JOB_TAGS, kind, pairs)
    for field, rule in _RULES.items():
        if properties.get(field):
            require(rule, field, properties[field])
