"""The part of MLflow's REST that reads runs and metrics.

Reference: https://mlflow.org/docs/latest/api_reference/rest-api.html
"""

import math
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.emulator.runner.metrics import MetricPoint, latest
from phi_assets.emulator.runner.records import Records, Run, experiment_id
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.wire.paths import MLFLOW
from phi_assets.emulator.wire.queries import as_number
from phi_assets.emulator.wire.shapes import NUMBER, TEXT, Each, Fields
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.locations import long_uri

Endpoint = Callable[[Request], Awaitable[Response]]

_STATUS = {
    "Completed": "FINISHED",
    "Failed": "FAILED",
    "Canceled": "KILLED",
    "NotStarted": "SCHEDULED",
    "Queued": "SCHEDULED",
}
_CONDITION = re.compile(
    r"""\s*(?P<field>tags?|attributes?|params?)\.(?:["`])?(?P<name>[\w.\-]+)(?:["`])?\s*(?P<operator>!=|=)\s*"""
    r"""(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)")\s*""",
    re.IGNORECASE,
)
_SEARCH: Fields = {
    "filter": TEXT,
    "experiment_ids": Each(TEXT, of_list=True),
    "max_results": NUMBER,
    "page_token": TEXT,
}
_AMONG = re.compile(r"\s*attributes?\.run_id\s+in\s*\((?P<ids>[^()]*)\)\s*", re.IGNORECASE)
_ID = re.compile(r"""'(?P<single>[^']*)'|"(?P<double>[^"]*)\"""")
_MOST_IDS = 50
"""Nobody says how many ids are too many; as in `runner/run_filter.py`."""
_MOST = 50_000
_PAGE = 1000


def _get(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    run_id = request.query_params.get("run_id") or request.query_params.get("run_uuid") or ""
    run = emulator.store.get("run", run_id)
    return _missing(run_id) if run is None else JSONResponse({"run": _document(emulator, run)})


def _history(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    run_id, key = request.query_params.get("run_id", ""), request.query_params.get("metric_key", "")
    run = emulator.store.get("run", run_id)
    if run is None:
        return _missing(run_id)
    if not key:
        return _refused("Missing value for required parameter 'metric_key'.")
    points = [_metric(point) for point in Records(emulator).metrics(run) if point.name == key]
    return _page("metrics", points, request.query_params, default=len(points) or 1)


def _search(request: Request, body: Any) -> Response:
    emulator: Emulator = request.app.state.emulator
    wanted = body or {}
    conditions = _conditions(str(wanted.get("filter") or ""))
    if conditions is None:
        return _refused(
            f"Filter '{wanted.get('filter')}' is not understood here: tags.x, attributes.x and params.x can be "
            f"compared with = and != to quoted text, attributes.run_id by IN with at most {_MOST_IDS} ids, and "
            "conditions be joined by 'and'."
        )
    experiments = [str(each) for each in wanted.get("experiment_ids") or []]
    found = [
        run
        for run in reversed(emulator.store.list("run"))
        if (not experiments or experiment_id(run["experiment"]) in experiments)
        and all((_value(emulator, run, field, name) in texts) == equal for field, name, equal, texts in conditions)
    ]
    return _page("runs", found, wanted, default=_PAGE, show=lambda run: _document(emulator, run))


def _experiment(request: Request) -> Response:
    """Experiments exist through their runs."""
    emulator: Emulator = request.app.state.emulator
    query = request.query_params
    for name in dict.fromkeys(run["experiment"] for run in emulator.store.list("run")):
        if name == query.get("experiment_name") or experiment_id(name) == query.get("experiment_id"):
            found = {"experiment_id": experiment_id(name), "name": name, "lifecycle_stage": "active"}
            return JSONResponse({"experiment": found})
    return _missing(str(query.get("experiment_name") or query.get("experiment_id")), "experiment")


def _document(emulator: Emulator, run: Run) -> dict[str, Any]:
    return {
        "info": _info(emulator, run),
        "data": {
            "metrics": [_metric(point) for point in latest(Records(emulator).metrics(run))],
            "params": [{"key": key, "value": value} for key, value in _parameters(run).items()],
            "tags": [{"key": key, "value": value} for key, value in _tags(run).items()],
        },
        "inputs": {},
    }


def _info(emulator: Emulator, run: Run) -> dict[str, Any]:
    folder = f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{run['run_id']}"
    return {
        "run_id": run["run_id"],
        "run_uuid": run["run_id"],
        "run_name": run["display_name"],
        "experiment_id": experiment_id(run["experiment"]),
        "user_id": emulator.auth.object_id,
        "status": _STATUS.get(run["status"], "RUNNING"),
        "start_time": _milliseconds(run["started"] or run["created"]),
        **({"end_time": _milliseconds(run["ended"])} if run["ended"] else {}),
        "artifact_uri": long_uri(emulator, folder),
        "lifecycle_stage": "active",
    }


def _tags(run: Run) -> dict[str, str]:
    parent = {"mlflow.parentRunId": run["parent_run_id"]} if run["parent_run_id"] else {}
    return {
        **{key: str(value) for key, value in run["tags"].items()},
        "mlflow.rootRunId": run["root_run_id"],
        "mlflow.runName": run["display_name"],
        "mlflow.user": "emulator",
        **parent,
    }


def _parameters(run: Run) -> dict[str, str]:
    return {key: str(value["value"]) for key, value in run["inputs"].items() if value.get("value") is not None}


def _metric(point: MetricPoint) -> dict[str, Any]:
    # MLflow writes what JSON has no number for as text.
    text = {True: "NaN", False: "Infinity" if point.value > 0 else "-Infinity"}[math.isnan(point.value)]
    value = point.value if point.is_finite else text
    return {"key": point.name, "value": value, "timestamp": point.timestamp, "step": point.step}


def _conditions(text: str) -> list[tuple[str, str, bool, frozenset[str]]] | None:
    """`(field, name, whether among, texts)` of each condition; None if the filter is of another form."""
    found: list[tuple[str, str, bool, frozenset[str]]] = []
    for part in re.split(r"\s+and\s+", text.strip(), flags=re.IGNORECASE) if text.strip() else []:
        if among := _AMONG.fullmatch(part):
            ids = [_ID.fullmatch(item.strip()) for item in among["ids"].split(",")]
            if None in ids or len(ids) > _MOST_IDS:
                return None
            texts = frozenset(match["single"] or match["double"] or "" for match in ids if match)
            found.append(("attribute", "run_id", True, texts))
            continue
        match = _CONDITION.fullmatch(part)
        if match is None:
            return None
        value = match["single"] if match["single"] is not None else match["double"]
        is_equal = match["operator"] == "="
        found.append((match["field"].lower().rstrip("s"), match["name"], is_equal, frozenset([value])))
    return found


def _value(emulator: Emulator, run: Run, field: str, name: str) -> str | None:
    if field == "attribute":
        value = _info(emulator, run).get(name)
        return None if value is None else str(value)
    return (_tags(run) if field == "tag" else _parameters(run)).get(name)


def _page(
    key: str, items: list[Any], query: Any, *, default: int, show: Callable[[Any], Any] = lambda item: item
) -> Response:
    size, start = as_number(str(query.get("max_results") or default)), as_number(str(query.get("page_token") or 0))
    if size is None or start is None:
        return _refused("max_results and page_token must be numbers.")
    if not 0 < size <= _MOST:
        return _refused(f"max_results must be between 1 and {_MOST}, not {size}.")
    body: dict[str, Any] = {key: [show(item) for item in items[start : start + size]]}
    if start + size < len(items):
        body["next_page_token"] = str(start + size)
    return JSONResponse(body)


def _milliseconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def _missing(name: str, what: str = "run") -> Response:
    return JSONResponse(
        {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"There is no {what} '{name}'."}, status_code=404
    )


def _in_its_words(endpoint: Endpoint) -> Endpoint:
    """The endpoint; whatever refuses the request, the answer has the form of MLflow's errors."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ServiceError as error:
            return JSONResponse(
                {"error_code": "INVALID_PARAMETER_VALUE", "message": error.message}, status_code=error.status
            )

    return answer


def _refused(message: str) -> Response:
    return JSONResponse({"error_code": "INVALID_PARAMETER_VALUE", "message": message}, status_code=400)


routes = [
    Route(MLFLOW + "/runs/get", _get),
    Route(MLFLOW + "/metrics/get-history", _history),
    Route(MLFLOW + "/runs/search", _in_its_words(with_json(_search, _SEARCH)), methods=["POST"]),
    Route(MLFLOW + "/experiments/get-by-name", _experiment),
    Route(MLFLOW + "/experiments/get", _experiment),
]
