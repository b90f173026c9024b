"""Run history: runs with their steps, logs, errors, outputs and metrics."""

import re
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.runner.documents import author, change_metadata
from phi_assets.emulator.runner.metrics import MetricPoints
from phi_assets.emulator.runner.records import Records, Run, experiment_id
from phi_assets.emulator.runner.run_documents import data_type, run_data, run_definition, run_document
from phi_assets.emulator.runner.run_filter import predicate
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import not_found, user_error
from phi_assets.emulator.wire.paging import page
from phi_assets.emulator.wire.paths import DATA_PLANE, HISTORY, WS
from phi_assets.emulator.wire.queries import as_number
from phi_assets.emulator.wire.shapes import FLAG, NUMBER, TEXT, TEXTS, Each, Fields
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.locations import long_uri

_PAGE = 50
_IDS: Fields = {"values": Each(TEXT, of_list=True)}
_CHANGES: Fields = {
    "description": TEXT,
    "displayName": TEXT,
    "tags": TEXTS,
    "properties": TEXTS,
    "hidden": FLAG,
}
_QUERY: Fields = {"filter": TEXT, "continuationToken": TEXT, "orderBy": TEXT, "top": NUMBER}
_QUERY_PAGE = 200
"""Runs that a query is answered at a time, whatever it asks for."""
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
    return JSONResponse(run_document(*_find(request)))


def _details(request: Request) -> Response:
    emulator, run = _find(request)
    document = run_document(emulator, run)
    details = {key: value for key, value in document.items() if key not in {"createdUtc", "displayName", "name"}}
    logs = {name: emulator.sas_url(*place.split("/", 1)) for name, place in sorted(run["logs"].items())}
    return JSONResponse(details | {"createdTimeUtc": document["createdUtc"], "logFiles": logs})


def _children(request: Request) -> Response:
    emulator, run = _find(request)
    children = [run_document(emulator, child) for child in Records(emulator).children(run["run_id"])]
    return page(request, children, size=_PAGE)


def _query(request: Request, body: Any) -> Response:
    """The experiment's runs that the filter asks for, steps included, the newest first."""
    emulator: Emulator = request.app.state.emulator
    wanted = body or {}
    experiment = request.path_params["experiment"]
    runs = [run for run in emulator.store.list("run") if experiment in _names_of_experiment(run)]
    if not runs:
        raise not_found("Experiment", experiment, code="UserError", detail="ExperimentNotFound")
    is_wanted = predicate(str(wanted.get("filter") or ""))
    found = [run for run in reversed(runs) if is_wanted(run)]
    start, top = as_number(str(wanted.get("continuationToken") or 0)), int(wanted.get("top") or _QUERY_PAGE)
    if start is None:
        raise user_error("continuationToken is not one that this server has given.", "BadArgument")
    end = start + min(max(top, 1), _QUERY_PAGE)
    return JSONResponse(
        {
            "value": [run_document(emulator, run) for run in found[start:end]],
            "continuationToken": str(end) if end < len(found) else None,
            "nextLink": None,
        }
    )


def _names_of_experiment(run: Run) -> tuple[str, str]:
    """Under which the run's experiment is asked for: its name, and its id."""
    return run["experiment"], experiment_id(run["experiment"])


def _run_data(request: Request, body: Any) -> Response:
    emulator: Emulator = request.app.state.emulator
    run = _require(emulator, str((body or {}).get("runId")))
    return JSONResponse(
        {
            "runMetadata": run_data(emulator, run),
            "runDefinition": run_definition(emulator, run),
            "jobSpecification": None,
            "systemSettings": None,
        }
    )


def _patch(request: Request, body: Any) -> Response:
    emulator, run = _find(request)
    changes = body or {}
    if run["run_id"] != run["root_run_id"]:
        raise user_error(f"'{run['run_id']}' is a step of a pipeline job and cannot be changed.", "BadArgument")
    wanted = {key: changes[key] for key in ("description", "displayName", "tags", "properties") if changes.get(key)}
    if changes.get("hidden") is not None:
        wanted["isArchived"] = bool(changes["hidden"])
    by = author(emulator, emulator.auth.require_bearer(request))
    change_metadata(emulator, run["run_id"], wanted, by=by, merge_tags=True)
    return JSONResponse(run_document(emulator, _require(emulator, run["run_id"])))


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
    """Where the outputs lie that `run_data` gave asset ids to; unknown ids are left out."""
    emulator: Emulator = request.app.state.emulator
    found: dict[str, Any] = {}
    for asset_id in (body or {}).get("values") or []:
        match = _OUTPUT_ID.fullmatch(asset_id or "")
        run = emulator.store.get("run", match["run"]) if match else None
        if match and run and match["output"] in run["outputs"]:
            output = run["outputs"][match["output"]]
            found[asset_id] = {"uri": long_uri(emulator, output["uri"]), "type": data_type(output["type"])}
    return JSONResponse({"values": found})


# The SDK asks below the workspace for reading and below the experiment for changing.
_BASES = (HISTORY, HISTORY + "/experiments/{experiment}", HISTORY + "/experimentids/{experiment}")

routes = [
    route
    for base in _BASES
    for route in (
        Route(base + "/runs/{run}", _get),
        Route(base + "/runs/{run}", with_json(_patch, _CHANGES), methods=["PATCH"]),
        Route(base + "/runs/{run}/details", _details),
        Route(base + "/runs/{run}/children", _children),
        Route(base + "/runs/{run}/metrics", _metrics),
    )
] + [
    *(Route(base + "/runs:query", with_json(_query, _QUERY), methods=["POST"]) for base in _BASES[1:]),
    Route(HISTORY + "/rundata", with_json(_run_data, {"runId": TEXT}), methods=["POST"]),
    Route(
        DATA_PLANE + "/dataversion/batchgetresolveduris",
        with_json(_resolved_uris, _IDS),
        methods=["POST"],
    ),
    Route("/metric/v2.0" + WS + "/runs/{run}/full", with_json(lambda request, _: _metrics(request)), methods=["POST"]),
]
