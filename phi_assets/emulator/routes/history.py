"""Run history: runs with their steps, logs, errors, outputs and metrics."""

import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.runner.documents import author, change_metadata, services
from phi_assets.emulator.runner.metrics import MetricPoints
from phi_assets.emulator.runner.records import Records, Run, experiment_id
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import not_found, user_error
from phi_assets.emulator.wire.paging import page
from phi_assets.emulator.wire.paths import DATA_PLANE, HISTORY, WS
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.locations import long_uri

_PAGE = 50
_OUTPUT_ID = re.compile(r".*/data/azureml_(?P<run>.+)_output_data_(?P<output>.+)/versions/[^/]+")


def _find(request: Request) -> tuple[Emulator, Run]:
    emulator: Emulator = request.app.state.emulator
    run_id = request.path_params["run"]
    return emulator, _require(emulator, run_id)


def _require(emulator: Emulator, run_id: str) -> Run:
    run = emulator.store.get("run", run_id)
    if run is None:
        raise not_found("Run", run_id, code="UserError", detail="RunNotFound")
    return run


def _get(request: Request) -> Response:
    return JSONResponse(_document(*_find(request)))


def _details(request: Request) -> Response:
    emulator, run = _find(request)
    document = _document(emulator, run)
    details = {key: value for key, value in document.items() if key not in {"createdUtc", "displayName", "name"}}
    logs = {name: emulator.sas_url(*place.split("/", 1)) for name, place in sorted(run["logs"].items())}
    return JSONResponse(details | {"createdTimeUtc": document["createdUtc"], "logFiles": logs})


def _children(request: Request) -> Response:
    emulator, run = _find(request)
    children = [_document(emulator, child) for child in Records(emulator).children(run["run_id"])]
    return page(request, children, size=_PAGE)


def _run_data(request: Request, body: Any) -> Response:
    emulator: Emulator = request.app.state.emulator
    run = _require(emulator, str((body or {}).get("runId")))
    job = emulator.store.get("job", run["run_id"]) or {}
    return JSONResponse(
        {
            "runMetadata": _document(emulator, run),
            "runDefinition": None,
            "jobSpecification": job.get("properties"),
            "systemSettings": None,
        }
    )


def _patch(request: Request, body: Any) -> Response:
    emulator, run = _find(request)
    changes = body or {}
    if not isinstance(changes, Mapping):
        raise user_error("The request body must be a JSON object.", "BadArgument")
    if run["run_id"] != run["root_run_id"]:
        raise user_error(f"'{run['run_id']}' is a step of a pipeline job and cannot be changed.", "BadArgument")
    wanted = {key: changes[key] for key in ("description", "displayName", "tags", "properties") if changes.get(key)}
    if changes.get("hidden") is not None:
        wanted["isArchived"] = bool(changes["hidden"])
    by = author(emulator, emulator.auth.require_bearer(request))
    change_metadata(emulator, run["run_id"], wanted, by=by, merge_tags=True)
    return JSONResponse(_document(emulator, _require(emulator, run["run_id"])))


def _metrics(request: Request) -> Response:
    """All metrics of the run, one entry for each name with all of its points."""
    emulator, run = _find(request)
    points = Records(emulator).metrics(run)
    names = list(dict.fromkeys(point.name for point in points))
    return JSONResponse({"value": [_series(run, name, points) for name in names]})


def _series(run: Run, name: str, points: MetricPoints) -> dict[str, Any]:
    return {
        "runId": run["run_id"],
        "name": name,
        "columns": {name: "Double"},
        "value": [
            {
                "step": point.step,
                "createdUtc": datetime.fromtimestamp(point.timestamp / 1000).astimezone().isoformat(),
                "data": {name: point.value if point.is_finite else str(point.value)},
            }
            for point in points
            if point.name == name
        ],
    }


def _resolved_uris(request: Request, body: Any) -> Response:
    """Where the outputs lie that `_document` gave asset ids to; unknown ids are left out."""
    emulator: Emulator = request.app.state.emulator
    found: dict[str, Any] = {}
    for asset_id in (body or {}).get("values") or []:
        match = _OUTPUT_ID.fullmatch(str(asset_id))
        run = emulator.store.get("run", match["run"]) if match else None
        if match and run and match["output"] in run["outputs"]:
            output = run["outputs"][match["output"]]
            found[asset_id] = {"uri": long_uri(emulator, output["uri"]), "type": _data_type(output["type"])}
    return JSONResponse({"values": found})


def _document(emulator: Emulator, run: Run) -> dict[str, Any]:
    run_id = run["run_id"]
    root = run_id == run["root_run_id"]
    nameless = author(emulator, {})
    job = emulator.store.get("job", run_id) if root else None
    return {
        "runNumber": None,
        "runId": run_id,
        "rootRunId": run["root_run_id"],
        "parentRunId": run["parent_run_id"],
        "runUuid": _uuid(run_id),
        "rootRunUuid": _uuid(run["root_run_id"]),
        "parentRunUuid": _uuid(run["parent_run_id"]) if run["parent_run_id"] else None,
        "experimentId": experiment_id(run["experiment"]),
        "dataContainerId": f"dcid.{run_id}",
        "displayName": run["display_name"],
        "name": run["display_name"],
        "description": run["description"],
        "status": run["status"],
        "createdUtc": run["created"],
        "startTimeUtc": run["started"],
        "endTimeUtc": run["ended"],
        "lastModifiedUtc": run["modified"],
        "duration": _duration(run),
        "cancelationReason": run.get("cancelation_reason"),
        "createdBy": run.get("created_by") or nameless,
        "lastModifiedBy": run.get("modified_by") or nameless,
        "userId": (run.get("created_by") or nameless)["userObjectId"],
        "runType": "azureml.PipelineRun" if root else "azureml.StepRun",
        "runTypeV2": {
            "orchestrator": "AEVA",
            "traits": [],
            "attribution": None,
            "computeType": "AmlcTrain" if run["compute"] else None,
        },
        "target": run["compute"],
        "compute": {"target": run["compute"], "targetType": "AmlCompute"} if run["compute"] else None,
        "hidden": bool(job and job["properties"].get("isArchived")),
        "tags": _texts(run["tags"]),
        "properties": _texts(run["properties"]) | _texts((job or {}).get("properties", {}).get("properties")),
        "parameters": {name: value["value"] for name, value in run["inputs"].items() if value.get("value") is not None},
        "services": services(emulator, run_id),
        "error": _error(emulator, run),
        "warnings": [],
        "inputs": {
            name: {"assetId": value["uri"], "type": _data_type(value["type"])}
            for name, value in run["inputs"].items()
            if value.get("uri")
        },
        "outputs": {
            name: {"assetId": _output_id(emulator, run_id, name, output), "type": _data_type(output["type"])}
            for name, output in run["outputs"].items()
        },
        "inputDatasets": [],
        "outputDatasets": [],
    }


def _output_id(emulator: Emulator, run_id: str, name: str, output: Mapping[str, Any]) -> str:
    made_by = output.get("made_by") or {"run": run_id, "output": name}
    return (
        f"azureml://locations/{emulator.location}/workspaces/{emulator.workspace_id}"
        f"/data/azureml_{made_by['run']}_output_data_{made_by['output']}/versions/1"
    )


def _data_type(type_: str) -> str:
    # The SDK (1.35.2) cannot download outputs that are reported as models, but it can download their folders.
    return type_ if type_ in {"uri_file", "mltable"} else "uri_folder"


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
    if not run["started"] or not run["ended"]:
        return None
    return str(datetime.fromisoformat(run["ended"]) - datetime.fromisoformat(run["started"]))


def _uuid(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


def _texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    return {key: str(value) for key, value in (values or {}).items() if value is not None}


# The SDK asks below the workspace for reading and below the experiment for changing.
_BASES = (HISTORY, HISTORY + "/experiments/{experiment}", HISTORY + "/experimentids/{experiment}")

routes = [
    route
    for base in _BASES
    for route in (
        Route(base + "/runs/{run}", _get),
        Route(base + "/runs/{run}", with_json(_patch), methods=["PATCH"]),
        Route(base + "/runs/{run}/details", _details),
        Route(base + "/runs/{run}/children", _children),
        Route(base + "/runs/{run}/metrics", _metrics),
    )
] + [
    Route(HISTORY + "/rundata", with_json(_run_data), methods=["POST"]),
    Route(DATA_PLANE + "/dataversion/batchgetresolveduris", with_json(_resolved_uris), methods=["POST"]),
    Route("/metric/v2.0" + WS + "/runs/{run}/full", with_json(lambda request, _: _metrics(request)), methods=["POST"]),
]
