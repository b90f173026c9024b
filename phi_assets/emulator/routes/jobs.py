"""Jobs on the management plane: submitted, read, listed, changed, canceled and deleted."""

import threading
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from phi_assets.config.limits import JOB_NAME
from phi_assets.emulator.chaos.kinds import CANCEL_REASON
from phi_assets.emulator.routes.parts import Parts, parts_of
from phi_assets.emulator.runner.documents import (
    PIPELINE,
    author,
    change_metadata,
    check_limits,
    immutable_part,
    job_resource,
    service_properties,
    step_resource,
    with_defaults,
)
from phi_assets.emulator.runner.pipeline.graph import Graph
from phi_assets.emulator.runner.pipeline.plan import plan_of
from phi_assets.emulator.runner.records import TERMINAL, Records
from phi_assets.emulator.wire.bodies import with_json
from phi_assets.emulator.wire.errors import ServiceError, not_found, user_error
from phi_assets.emulator.wire.limits import require
from phi_assets.emulator.wire.paging import page
from phi_assets.emulator.wire.paths import WS
from phi_assets.emulator.wire.shapes import FLAG, OBJECT, SCALAR, TEXT, TEXTS, Each, Fields
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator
from phi_assets.emulator.workspace.resources import now, properties_of

_PAGE = 50
_PLACE: Fields = {
    "jobInputType": TEXT,
    "job_input_type": TEXT,
    "jobOutputType": TEXT,
    "mode": TEXT,
    "uri": TEXT,
    "value": SCALAR,
    "description": TEXT,
    "assetName": TEXT,
    "assetVersion": TEXT,
}
_JOB: Fields = {
    "properties": {
        "jobType": TEXT,
        "displayName": TEXT,
        "experimentName": TEXT,
        "description": TEXT,
        "tags": TEXTS,
        "properties": TEXTS,
        "isArchived": FLAG,
        "computeId": TEXT,
        "componentId": TEXT,
        "command": TEXT,
        "codeId": TEXT,
        "environmentId": TEXT,
        "environmentVariables": TEXTS,
        "resources": OBJECT,
        "distribution": OBJECT,
        "limits": OBJECT,
        "settings": OBJECT,
        "inputs": Each(_PLACE, or_scalar=True),
        "outputs": Each(_PLACE),
        "jobs": Each({"componentId": TEXT, "computeId": TEXT, "environment_variables": TEXTS}),
    }
}
_SUBMISSION = threading.Lock()
_INVALID = "BadArgument/ArgumentInvalid"


def _put(request: Request, body: Any) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["name"]
    properties = properties_of(body)
    require(JOB_NAME, "name", name)
    existing = emulator.store.get("job", name)
    by = author(emulator, emulator.auth.require_bearer(request))
    if existing is not None:
        return _update(emulator, existing, properties, by)
    if properties.get("jobType") == PIPELINE:
        _require_user_token(request, emulator)
    check_limits(properties)
    kept = with_defaults(name, properties)
    graph = parts_of(request).runner.validate(kept)
    with _SUBMISSION:
        existing = emulator.store.get("job", name)
        if existing is None:
            return _create(parts_of(request), name, properties, kept, graph, by)
    return _update(emulator, existing, properties, by)


def _create(
    parts: Parts, name: str, sent: dict[str, Any], kept: dict[str, Any], graph: Graph, by: dict[str, Any]
) -> Response:
    job = {
        "name": name,
        "properties": kept,
        "submitted": immutable_part(sent),
        "status": "NotStarted",
        "created": now(parts.emulator),
        "run_id": name,
        "plan": plan_of(graph),
    }
    parts.emulator.store.create("job", name, job)
    records = Records(parts.emulator)
    try:
        records.create_root(name, kept, by)
        shown = job_resource(parts.emulator, job)
        answer = JSONResponse(shown, 201, {"Location": parts.emulator.base_url + shown["id"]})
        parts.runner.submit(name, graph)
    except BaseException:
        records.forget(name)  # who is answered with an error has no job
        raise
    return answer


def _update(emulator: Emulator, job: dict[str, Any], sent: dict[str, Any], by: dict[str, Any]) -> Response:
    """Repeating a request changes nothing; another content under the same name is refused."""
    wanted = immutable_part(sent)
    if wanted not in (job["submitted"], immutable_part(job_resource(emulator, job)["properties"])):
        changed = sorted(
            key for key in wanted.keys() | job["submitted"].keys() if wanted.get(key) != job["submitted"].get(key)
        )
        raise user_error(
            f"A job with this name already exists. If you are trying to create a new job, use a different name. If you "
            f"are trying to update an existing job, the existing job's {', '.join(changed)} cannot be changed. Only "
            f"description, tags, displayName, properties, and isArchived can be updated.",
            "Immutable/JobPropertyImmutable",
        )
    changed_job = change_metadata(emulator, job["name"], sent, by=by)
    if changed_job is None:  # deleted a moment ago
        raise _missing(job["name"])
    return JSONResponse(job_resource(emulator, changed_job))


def _get(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["name"]
    job = emulator.store.get("job", name)
    if job is not None:
        return JSONResponse(job_resource(emulator, job))
    run = emulator.store.get("run", name)
    if run is None:
        raise _missing(name)
    return JSONResponse(step_resource(emulator, run))


def _list(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    query = request.query_params
    jobs = [job for job in reversed(emulator.store.list("job")) if _wanted(job, query)]
    return page(request, jobs, size=_PAGE, show=lambda job: job_resource(emulator, job))


def _wanted(job: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    properties = job["properties"]
    view = query.get("listViewType", "ActiveOnly").lower()
    if view != "all" and bool(properties.get("isArchived")) != (view == "archivedonly"):
        return False
    if query.get("jobType") and query["jobType"].lower() != str(properties["jobType"]).lower():
        return False
    shown = (properties.get("properties") or {}) | service_properties(job, {})
    return _has(properties.get("tags"), query.get("tag")) and _has(shown, query.get("properties"))


def _has(pairs: Mapping[str, Any] | None, wanted: str | None) -> bool:
    """Whether `name`, `name=value` or a comma-separated list of them are all among the pairs."""
    for part in filter(None, (wanted or "").split(",")):
        name, with_value, value = part.partition("=")
        if name not in (pairs or {}) or (with_value and str((pairs or {})[name]) != value):
            return False
    return True


def _cancel(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    name = _require_job(request)["name"]
    runner = parts_of(request).runner
    runner.cancel(name, CANCEL_REASON, author(emulator, emulator.auth.require_bearer(request)))
    resource = f"{emulator.workspace_path}/jobs/{name}"
    operation = operations.start(emulator, operations.JOB_CANCELLATION, resource, lambda: runner.wait(name))
    headers = {"Location": operation.result_url, "x-ms-async-operation-timeout": "PT1H", **operations.POLL_HEADERS}
    return JSONResponse(None, status_code=202, headers=headers)


def _delete(request: Request) -> Response:
    """Forgets a job that has ended, its runs and its metrics; what it wrote to the datastores stays.

    204 if there is none, as a client that repeats its request must get.
    """
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["name"]
    job = emulator.store.get("job", name)
    if job is None and emulator.store.get("run", name) is None:
        return Response(status_code=204)
    job = job or _require_job(request)  # which says that it is a step
    if job["status"] not in TERMINAL:
        raise user_error(
            f"Job '{job['name']}' is in status {job['status']} and cannot be deleted. Cancel it first.",
            "BadArgument/ArgumentInvalid/JobNotInTerminalStatus",
        )
    Records(emulator).forget(job["name"])
    return Response(status_code=200)


def _require_job(request: Request) -> dict[str, Any]:
    emulator: Emulator = request.app.state.emulator
    name = request.path_params["name"]
    job = emulator.store.get("job", name)
    if job is None:
        if emulator.store.get("run", name) is not None:
            raise user_error(f"'{name}' is a step of a pipeline job; this works on the pipeline job only.", _INVALID)
        raise _missing(name)
    return job


def _require_user_token(request: Request, emulator: Emulator) -> None:
    """Pipelines act for their user, whose token comes in a header of its own."""
    token = request.headers.get("x-azureml-token", "")
    if not token:
        raise ServiceError(401, "AuthenticationFailed", "A pipeline job needs a user token in header x-azureml-token.")
    emulator.auth.claims(token.removeprefix("Bearer ").strip(), emulator.auth.ml_audiences)


def _missing(name: str) -> ServiceError:
    return not_found("Job", name, code="UserError", detail="RunNotFound")


routes = [
    Route(WS + "/jobs", _list),
    Route(WS + "/jobs/{name}", _get),
    Route(WS + "/jobs/{name}", with_json(_put, _JOB), methods=["PUT"]),
    Route(WS + "/jobs/{name}", _delete, methods=["DELETE"]),
    Route(WS + "/jobs/{name}/cancel", _cancel, methods=["POST"]),
]
