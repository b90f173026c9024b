"""Studio: the pages that the links of jobs, models and endpoints lead to.

The paths are those of https://ml.azure.com, so a link differs between here and Azure in its host only.
"""

from dataclasses import replace
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from phi_assets.emulator.routes.parts import parts_of
from phi_assets.emulator.runner.records import Records
from phi_assets.emulator.studio.comparing import comparison_page
from phi_assets.emulator.studio.download import tar_of, tar_size
from phi_assets.emulator.studio.endpoints import endpoint_page, endpoint_rows
from phi_assets.emulator.studio.jobs import job_rows, run_page
from phi_assets.emulator.studio.logs import read_log
from phi_assets.emulator.studio.models import model_files, model_page, model_rows
from phi_assets.emulator.studio.prompt import Prompt, PromptError, ask, read_form
from phi_assets.emulator.studio.rendering import page
from phi_assets.emulator.wire.errors import ServiceError, not_found
from phi_assets.emulator.workspace.context import Emulator

_RUNNING_SECONDS, _LIST_SECONDS = 1.5, 3.0
_LARGEST_FORM = 1 << 20


def _emulator(request: Request) -> Emulator:
    return request.app.state.emulator


def _home(request: Request) -> Response:
    return RedirectResponse("/jobs")


def _jobs(request: Request) -> Response:
    return page(request, "jobs.html", live=_LIST_SECONDS, rows=job_rows(_emulator(request)))


def _compare(request: Request) -> Response:
    shown = comparison_page(_emulator(request), request.query_params.getlist("run"))
    return page(request, "compare.html", live=_LIST_SECONDS, shown=shown)


def _run(request: Request) -> Response:
    shown = run_page(_emulator(request), request.path_params["run"], request.query_params.get("log"))
    return page(request, "run.html", live=0 if shown.is_over else _RUNNING_SECONDS, shown=shown)


def _log(request: Request) -> Response:
    """A log whole, as text."""
    run = Records(_emulator(request)).run(request.path_params["run"])
    name = request.path_params["name"]
    if run is None or name not in run["logs"]:
        raise not_found("Log", name)
    return PlainTextResponse(read_log(_emulator(request), run, name)[0])


def _models(request: Request) -> Response:
    return page(request, "models.html", live=_LIST_SECONDS, rows=model_rows(_emulator(request)))


def _model(request: Request) -> Response:
    return page(request, "model.html", shown=model_page(_emulator(request), request.path_params["model"]))


def _download(request: Request) -> Response:
    """The files of a model as one archive."""
    emulator, model = _emulator(request), request.path_params["model"]
    found = model_files(emulator, model)
    if not found.files:
        raise not_found("Files of model", model)
    name = model.replace(":", "-")
    return StreamingResponse(
        tar_of(emulator.blobs, found.container, found.prefix, found.files),
        media_type="application/x-tar",
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}.tar",
            "Content-Length": str(tar_size(found.files)),
        },
    )


def _endpoints(request: Request) -> Response:
    return page(request, "endpoints.html", live=_LIST_SECONDS, rows=endpoint_rows(_emulator(request)))


def _endpoint(request: Request) -> Response:
    return _show_endpoint(request, Prompt())


async def _prompt(request: Request) -> Response:
    """The endpoint's page with the answer to the prompt that its form has sent."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            raise HTTPException(413, "The conversation is too long.")
    prompt = Prompt()
    try:
        prompt = read_form(bytes(body))
        prompt = await ask(request.app.state.front, request.path_params["endpoint"], prompt)
    except PromptError as error:
        prompt = replace(prompt, problem=str(error))
    return await run_in_threadpool(_show_endpoint, request, prompt)


def _show_endpoint(request: Request, prompt: Prompt) -> Response:
    shown = endpoint_page(_emulator(request), parts_of(request).deployments, request.path_params["endpoint"])
    return page(request, "endpoint.html", live=_LIST_SECONDS, shown=shown, prompt=prompt)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return page(request, "error.html", status=error.status, title=error.code, message=error.message)


def _no_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "Studio has no such page." if error.status_code == 404 else error.detail
    return page(request, "error.html", status=error.status_code, title=str(error.status_code), message=message)


EXCEPTION_HANDLERS = {ServiceError: _refused, HTTPException: _no_page}

_ENDPOINT = "/endpoints/realtime/{endpoint}/detail"

routes = [
    Route("/", _home),
    Route("/jobs", _jobs),
    Route("/jobs/compare", _compare),
    Route("/runs/{run}", _run),
    Route("/runs/{run}/logs/{name:path}", _log),
    Route("/models", _models),
    Route("/model/{model}/details", _model),
    Route("/model/{model}/files", _download),
    Route("/endpoints", _endpoints),
    Route(_ENDPOINT, _endpoint),
    Route(_ENDPOINT, _prompt, methods=["POST"]),
]
