"""The inference server of one deployment: loads an MLflow model folder and answers on a Unix domain socket.

`python -m phi_assets.emulator.serving.inference.worker --model FOLDER --socket PATH`. The socket appears when the
model is loaded. `GET /` tells that the process lives, `GET /ready` that it can score, `POST /score` scores. The process
ends when its standard input is closed, which the operating system does when the emulator dies, however it dies.
`--flavour` is how it answers (`flavours.py`).
"""

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.config import STARTUP_FAILURE

from phi_assets.emulator.serving.inference.batching import MicroBatcher, Scored
from phi_assets.emulator.serving.inference.behaviour import HEADER, Behaviour, Misbehaved, misbehave
from phi_assets.emulator.serving.inference.flavours import (
    FOUNDATION,
    MLFLOW,
    Flavour,
    ModelFailure,
    Refusal,
    answered,
    failed,
)
from phi_assets.emulator.serving.inference.payload import PayloadError, ScoringRequest, parse_request
from phi_assets.emulator.serving.inference.rolling import OpenBatch
from phi_assets.emulator.wire.listening import Server

log = logging.getLogger("inference-server")

CLIENT_CLOSED_REQUEST = 499
"""Only ever logged: there is nobody left to receive it."""


def load(folder: Path) -> Any:
    """The model in `folder`, ready to predict."""
    started = time.monotonic()
    import mlflow.pyfunc

    imported = time.monotonic()
    model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True)
    log.info("Model loaded in %.1f s (libraries %.1f s)", time.monotonic() - started, imported - started)
    return model


def predict(model: Any, request: ScoringRequest) -> list[Any]:
    """One answer per conversation.

    Raises:
        ValueError: the model refuses the input.
        ModelFailure: anything else that is wrong with the model's reply.
    """
    model_input = {"input_string": request.conversations, "parameters": request.parameters}
    try:
        predictions = model.predict(model_input, params=request.params or None)
    except ValueError:
        raise
    except Exception as error:
        log.exception("The model failed")
        raise ModelFailure(f"The model failed with {type(error).__name__}: {error}") from error
    answers = _as_list(predictions)
    if len(answers) != len(request.conversations):
        raise ModelFailure(f"The model returned {len(answers)} answers for {len(request.conversations)} conversations")
    return answers


def _as_list(predictions: Any) -> list[Any]:
    if hasattr(predictions, "iloc"):  # a pandas frame or series
        predictions = predictions.iloc[:, 0] if predictions.ndim == 2 else predictions
    return predictions.tolist() if hasattr(predictions, "tolist") else list(predictions)


def rolling_batches(model: Any) -> OpenBatch | None:
    """How the model opens a rolling batch; None where it has none."""
    try:
        raw = model.get_raw_model()
    except NotImplementedError:
        return None
    open_batch = getattr(raw, "open_batch", None)
    return open_batch and (lambda request: open_batch(request.parameters, request.params))


def create_app(model: Any, flavour: Flavour = MLFLOW) -> Starlette:
    """The server for a loaded model."""

    def call(request: ScoringRequest) -> list[Any]:
        return misbehave(request.behaviour, request.conversations, lambda: predict(model, request))

    batcher = MicroBatcher(call, open_batch=rolling_batches(model))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(batcher.run())
        yield
        task.cancel()

    async def alive(_: Request) -> Response:
        return PlainTextResponse("Healthy")

    async def ready(_: Request) -> Response:
        return JSONResponse({"status": "ready"})

    async def score(request: Request) -> Response:
        started = time.monotonic()
        response, remark = await _score(request, batcher, flavour)
        log.info("POST /score %d %.0f ms%s", response.status_code, (time.monotonic() - started) * 1000, remark)
        return response

    routes = [Route("/", alive), Route("/ready", ready), Route("/score", score, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan)


async def _score(request: Request, batcher: MicroBatcher, flavour: Flavour) -> tuple[Response, str]:
    try:
        behaviour = Behaviour.from_header(request.headers.get(HEADER, ""))
        parsed = replace(parse_request(await request.body()), behaviour=behaviour)
        if flavour == FOUNDATION:
            parsed = replace(parsed, conversations=parsed.conversations[:1])
        scored = await _unless_gone(request, batcher, parsed)
    except (PayloadError, ModelFailure, Misbehaved) as error:
        return _reply(failed(flavour, error)), f": {error}"
    except ValueError as error:
        refusal = Refusal(f"The model refused the request: {error}")
        return _reply(failed(flavour, refusal)), f": {refusal}"
    if scored is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST), ": the caller has gone"
    remark = f", {len(scored.answers)} of a batch of {scored.batch_size}"
    if parsed.ignored:
        remark += f"; input_data holds more than the model is given: {', '.join(parsed.ignored)}"
    return _reply(answered(flavour, scored.answers)), remark


async def _unless_gone(request: Request, batcher: MicroBatcher, parsed: ScoringRequest) -> Scored | None:
    """Scores, but leaves the queue as soon as the caller hangs up; None in that case."""
    scoring = asyncio.ensure_future(batcher.submit(parsed))
    gone = asyncio.ensure_future(request.receive())  # the body is read: the next message can only be the disconnect
    try:
        await asyncio.wait({scoring, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await scoring if scoring.done() else None
    finally:
        scoring.cancel()
        gone.cancel()


def _reply(reply: tuple[int, Any]) -> Response:
    status, content = reply
    return JSONResponse(content, status_code=status)


def serve(app: Starlette, socket: Path) -> None:
    """Answers on the socket until SIGTERM comes."""
    config = uvicorn.Config(
        app,
        uds=str(socket),
        log_config=None,
        access_log=False,
        # Longer than the emulator keeps idle connections: the side that closes first must be the client.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )
    server = Server(config)
    try:
        server.run()
    finally:
        socket.unlink(missing_ok=True)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def prepare(crash: str | None, crash_after: float) -> None:
    """The process writes its log, ends with the emulator, and fails now if it shall."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    _end_with_parent()
    if crash is not None:
        time.sleep(crash_after)
        raise RuntimeError(crash)


def _end_with_parent() -> None:
    """Ends this process when the emulator, which holds the other end of our standard input, is gone."""

    standard_input = 0

    def watch() -> None:
        # Not through sys.stdin: a thread that holds its lock makes the interpreter abort when it ends by itself.
        while os.read(standard_input, 1):
            continue
        os._exit(0)  # nobody is left to answer to, so there is nothing to finish

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


@click.command()
@click.option("--model", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--socket", type=click.Path(path_type=Path), required=True)
@click.option("--flavour", type=click.Choice(get_args(Flavour)), default=MLFLOW, show_default=True)
@click.option("--crash", help="Loading the model fails with this message.")
@click.option("--crash-after", type=float, default=0.0, help="Seconds of loading before it does.")
def main(folder: Path, socket: Path, flavour: Flavour, crash: str | None, crash_after: float) -> None:
    """Serves the MLflow model in FOLDER on a Unix domain socket until standard input is closed or SIGTERM comes."""
    prepare(crash, crash_after)
    log.info("Loading the model from %s", folder)
    serve(create_app(load(folder), flavour), socket)


if __name__ == "__main__":
    main()
