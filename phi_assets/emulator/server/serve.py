"""The server process: an HTTPS listener on loopback with the whole workspace behind it, and Studio on another one."""

import copy
import json
import logging
import logging.handlers
import os
import re
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
import uvicorn
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.routing import Route

from phi_assets.config.private_files import write_secret
from phi_assets.emulator.folder import LOCK_FILE, folder_id, make_private
from phi_assets.emulator.importing.leftovers import clear_leftovers
from phi_assets.emulator.process import VERSION, EmulatorError
from phi_assets.emulator.routes import (
    blobs,
    computes,
    control,
    datastores,
    deployments,
    discovery,
    endpoints,
    history,
    jobs,
    mlflow,
    registries,
    scenarios,
    scoring,
    workspace,
)
from phi_assets.emulator.routes.assets import codes, components, data, environments, models
from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.security.tls import Certificates, ensure_certificates
from phi_assets.emulator.server.admission import Admission
from phi_assets.emulator.server.connections import LimitedProtocol
from phi_assets.emulator.server.fault_injection import FaultInjection
from phi_assets.emulator.server.middleware import (
    EXCEPTION_HANDLERS,
    RequestFrame,
    access_log,
    protect,
    protect_control,
    protect_registries,
)
from phi_assets.emulator.serving.dispatch import Front
from phi_assets.emulator.small_files import PORT_FILE, STATE_FILE, STUDIO_PORT_FILE, damages
from phi_assets.emulator.store.failures import failure_of
from phi_assets.emulator.studio import listener as studio_listener
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.wire.listening import Server
from phi_assets.emulator.wire.planes import RouteNames
from phi_assets.emulator.wire.route_table import RouteTable
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator, open_emulator
from phi_assets.processes import ProcessId, pid_namespace

_LOG_BYTES = 5_000_000
# More would be spent on idle connections: closing one over TLS waits for a client that does not listen.
_GRACE_SECONDS = 1
# Handlers run in threads; some of them wait for a model's answer.
_THREADS = 100
# One that was killed has its lock for a moment more: until the last of its threads has ended.
_LOCK_SECONDS = 0.5
# Longer than a client pauses between two polls, so that it does not meet a connection that was closed meanwhile.
_KEEP_ALIVE_SECONDS = 75

logger = logging.getLogger("phi_assets.emulator")


def create_app(parts: Parts, studio: socket.socket) -> Starlette:
    """Every route of the emulator, matched without regard to case; its parts start and stop with the application.

    So does Studio, which answers at the socket `studio`.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        try:
            await run_in_threadpool(_recover, parts)
        except Exception as error:
            app.state.failure = error  # uvicorn only says that the start has failed
            raise
        async with studio_listener.serving(parts, studio):
            yield
        await run_in_threadpool(_stop, parts)

    table = RouteTable(_ignoring_case(all_routes()))
    app = Starlette(
        routes=[table],
        middleware=[
            Middleware(RequestFrame, names=RouteNames(table)),
            Middleware(FaultInjection),
            Middleware(Admission),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    app.state.emulator = parts.emulator
    app.state.parts = parts
    app.state.failure = None
    app.state.front = Front(parts.emulator, lambda: parts.deployments)
    return app


def serve(directory: Path, port: int | None, time_scale: float) -> None:
    """Serves until SIGTERM or SIGINT; the state lies in `directory`.

    Without `port` it is that of the last time if nobody else has it by now, else a free one.

    Raises:
        EmulatorError: if another emulator serves this directory, somebody else has the port, or the operating system
            refuses what is needed.
    """
    try:
        _serve(directory, port, time_scale)
    except (OSError, sqlite3.Error, MemoryError) as error:
        failure = failure_of(error, directory)
        if failure is None:
            raise
        raise EmulatorError(failure.message) from error
    except ServiceError as error:
        raise EmulatorError(error.message) from error


def _serve(directory: Path, port: int | None, time_scale: float) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    make_private(directory)
    lock = FileLock(directory / LOCK_FILE, mode=0o600)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout as error:
        raise EmulatorError(f"Another emulator serves {directory}; stop it first, or choose another folder.") from error
    with lock:
        # That of an earlier server is replaced, whatever is in it.
        wrong = [each for each in damages(directory) if not each.startswith(str(directory / STATE_FILE))]
        if wrong:
            raise EmulatorError("\n".join(wrong))
        listener, studio = _bind(directory / PORT_FILE, port), _bind(directory / STUDIO_PORT_FILE)
        _set_up_logs(directory)
        clear_leftovers(directory / "registry")
        base_url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        emulator = open_emulator(directory, base_url, time_scale, f"http://127.0.0.1:{studio.getsockname()[1]}")
        _run(Parts.of(emulator), listener, studio, ensure_certificates(directory / "tls"))


def _leave(number: int, frame: object) -> None:
    """Uvicorn, once it has shut down, raises the signal again; the default action would skip what follows."""
    raise SystemExit(0)


def _run(parts: Parts, listener: socket.socket, studio: socket.socket, certificates: Certificates) -> None:
    app = create_app(parts, studio)
    config = uvicorn.Config(
        app,
        http=LimitedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        # The service has its own clock, which need not be this machine's.
        date_header=False,
        ssl_certfile=certificates.certificate,
        ssl_keyfile=certificates.key,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    emulator = parts.emulator
    state = emulator.directory / STATE_FILE
    write_secret(state, json.dumps(_state(emulator)).encode())
    logger.info(
        "serving at %s, Studio at %s, process %d, version %s",
        emulator.base_url,
        emulator.studio_url,
        os.getpid(),
        VERSION,
    )
    server = Server(config)
    try:
        server.run(sockets=[listener])
        if not server.started and app.state.failure is not None:
            raise app.state.failure
    finally:
        state.unlink(missing_ok=True)
        emulator.store.seal()
        logger.info("stopped")


def _state(emulator: Emulator) -> dict[str, object]:
    this = ProcessId.of(os.getpid())
    return {
        "id": emulator.instance_id,
        "version": VERSION,
        "pid": this.pid,
        "process_created": this.created,
        "process_start": this.start,
        "pid_namespace": pid_namespace(),
        "folder": folder_id(emulator.directory),
        "base_url": emulator.base_url,
        "studio_url": emulator.studio_url,
        "identity_header": emulator.auth.identity_header,
        "subscription_id": emulator.subscription_id,
        "resource_group": emulator.resource_group,
        "workspace_name": emulator.workspace_name,
    }


def _recover(parts: Parts) -> None:
    computes.recover(parts.emulator)
    operations.recover(parts.emulator)
    parts.runner.recover()
    parts.deployments.recover()
    parts.emulator.home.keep(parts.emulator.store)


def _stop(parts: Parts) -> None:
    with parts.emulator.changing:
        parts.emulator.stopping.set()
        parts.runner.shutdown()
        parts.deployments.shutdown()
        parts.template.stop()
        parts.emulator.workers.close()


def all_routes() -> list[Route]:
    """Every route, each with the guard of the token that opens it."""
    protected = (
        workspace,
        computes,
        operations,
        datastores,
        data,
        models,
        environments,
        codes,
        components,
        jobs,
        history,
        mlflow,
        endpoints,
        deployments,
    )
    closed = protect(route for module in protected for route in module.routes)
    public = protect_registries([*discovery.routes, *registries.routes])
    controlling = protect_control([*control.routes, *scenarios.routes])
    # Scoring and blobs have credentials of their own kind and check them themselves.
    return [*discovery.open_routes, *public, *closed, *controlling, *scoring.routes, *blobs.routes]


def _ignoring_case(routes: Iterable[Route]) -> list[Route]:
    """The service ignores the case of fixed path segments, and the SDK is not consistent about it."""
    found = [copy.copy(route) for route in routes]
    for route in found:
        route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
    return found


def _bind(kept: Path, port: int | None = None) -> socket.socket:
    """A socket on `port`, else on the one in the file `kept`, else on a free one; the file says then which it is.

    So links that were handed out before a restart stay good after it.
    """
    for candidate in [_last_port(kept), 0] if port is None else [port]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", candidate))
        except OSError as error:
            listener.close()
            if port is not None:
                raise EmulatorError(f"Port {port} of 127.0.0.1 cannot be used: {error.strerror}") from error
        else:
            write_secret(kept, f"{listener.getsockname()[1]} {folder_id(kept.parent)}".encode())
            return listener
    raise EmulatorError("127.0.0.1 has no free port.")


def _last_port(path: Path) -> int:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    port, _, folder = text.strip().partition(" ")
    # In a copy of the folder it is the original's port.
    is_ours = folder in {"", folder_id(path.parent)}
    return int(port) if is_ours and re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 1 << 16 else 0


def _set_up_logs(directory: Path) -> None:
    """`server.log` for events and defects, `access.log` for one line a request; each at most 10 MB on disk."""
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(_log_file(directory / "server.log", "%(asctime)s %(levelname)s %(name)s: %(message)s"))
    access_log.addHandler(_log_file(directory / "access.log", "%(asctime)s %(message)s"))
    access_log.propagate = False
    # One line for every request that is passed on to a deployment, urls included.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _log_file(path: Path, line: str) -> logging.Handler:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter(line))
    return handler
