"""The inference server of a deployment that has a scoring script: it calls the script's `init()` once, and `run()`.

`python -m phi_assets.emulator.serving.inference.script_server --script FILE --socket PATH`. What is said of `worker.py`
holds here too. As Azure ML's inference server does it, `run` gets the body of a request as text, one after the other,
and what it returns is sent as JSON:
https://learn.microsoft.com/azure/machine-learning/how-to-deploy-online-endpoints#understand-the-scoring-script.
"""

import asyncio
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from phi_assets.emulator.serving.inference.behaviour import HEADER, Behaviour, Misbehaved, misbehave
from phi_assets.emulator.serving.inference.worker import prepare, serve

log = logging.getLogger("inference-server")

_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."


def load_script(path: Path) -> Callable[[str], Any]:
    """`run` of the script, whose `init` has been called.

    Raises:
        RuntimeError: it is no Python file, or has no such functions. Whatever the script raises goes through.
    """
    sys.path[:0] = list(dict.fromkeys([str(path.parent), os.environ.get("AML_APP_ROOT", str(path.parent))]))
    specification = importlib.util.spec_from_file_location("scoring_script", path)
    if specification is None or specification.loader is None:
        raise RuntimeError(f"The scoring script {path.name} is no Python file")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    for name in ("init", "run"):
        if not callable(getattr(module, name, None)):
            raise RuntimeError(f"The scoring script {path.name} has no function {name}()")
    started = time.monotonic()
    module.init()
    log.info("init() of %s took %.1f s", path.name, time.monotonic() - started)
    return module.run


def create_app(run: Callable[[str], Any]) -> Starlette:
    """The server for a script; one request at a time."""
    turn = asyncio.Lock()

    async def alive(_: Request) -> Response:
        return PlainTextResponse("Healthy")

    async def score(request: Request) -> Response:
        started = time.monotonic()
        text = (await request.body()).decode(errors="replace")
        async with turn:
            response = await asyncio.to_thread(_answer, run, text, request.headers.get(HEADER, ""))
        log.info("POST /score %d %.0f ms", response.status_code, (time.monotonic() - started) * 1000)
        return response

    return Starlette(routes=[Route("/", alive), Route("/ready", alive), Route("/score", score, methods=["POST"])])


def _answer(run: Callable[[str], Any], text: str, behaviour: str) -> Response:
    try:
        (answer,) = misbehave(Behaviour.from_header(behaviour), [text], lambda: [run(text)])
        return JSONResponse(answer)
    except Misbehaved as error:
        return PlainTextResponse(str(error), status_code=error.status)
    except Exception:
        log.exception("run() failed")
        return PlainTextResponse(_FAILED, status_code=500)


@click.command()
@click.option("--script", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
@click.option("--socket", type=click.Path(path_type=Path), required=True)
@click.option("--crash", help="Loading the script fails with this message.")
@click.option("--crash-after", type=float, default=0.0, help="Seconds before it does.")
def main(script: Path, socket: Path, crash: str | None, crash_after: float) -> None:
    """Serves the scoring script on a Unix domain socket until standard input is closed or SIGTERM comes."""
    prepare(crash, crash_after)
    serve(create_app(load_script(script)), socket)


if __name__ == "__main__":
    main()
