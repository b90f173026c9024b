"""A Hugging Face hub on the loopback interface: the routes that its clients call to find and read a data set."""

import asyncio
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

COMMIT = "0123456789abcdef0123456789abcdef01234567"


ALWAYS = 1 << 30


@dataclass
class Weather:
    """What happens to coming requests instead of an answer."""

    kind: Literal["unavailable", "limited", "silent", "stalled", "other commit"]
    """503; 429; no answer; half an answer and then nothing; an answer that says it is of another commit."""
    where: str = ""
    """Regular expression that is searched for in `<method> <path>`."""
    times: int = 1
    """So many requests are met."""
    retry_after: str = "1"
    """What 429 comes with: seconds or a date, or, beginning with a quotation mark, a `RateLimit` instead."""


@dataclass
class Hub:
    """One repository at one commit, and what happened to it."""

    folder: Path
    repo: str = "owner/chat"
    commit: str = COMMIT
    served_commit: str = COMMIT
    """What the hub says that it serves; another one is how a stale mirror behaves."""
    weather: list[Weather] = field(default_factory=list)
    cut: int = 0
    """So many coming downloads without a range end in the middle."""
    requests: list[str] = field(default_factory=list)
    impatient: list[str] = field(default_factory=list)
    """Requests that came before the time that a refusal asked to wait for."""
    ranges: list[str] = field(default_factory=list)
    url: str = ""
    closing: bool = False
    not_before: float = 0.0

    def downloads(self) -> list[str]:
        """Names of the data files that were asked for, one for each GET."""
        return [line.rsplit("/", 1)[1] for line in self.requests if re.search(r"^GET .*/resolve/.*/data/", line)]

    def app(self) -> Starlette:
        repository = "/api/datasets/{owner}/{name}"
        routes = [
            Route(repository, self._info),
            Route(repository + "/revision/{revision}", self._info),
            Route(repository + "/tree/{revision}", self._tree),
            Route(repository + "/tree/{revision}/{path:path}", self._tree),
            Route(repository + "/paths-info/{revision}", self._paths_info, methods=["POST"]),
            Route("/{owner}/{name}/resolve/{revision}/{path:path}", self._resolve),
            Route("/datasets/{owner}/{name}/resolve/{revision}/{path:path}", self._resolve),
        ]
        return Starlette(routes=routes)

    async def _refusal(self, request: Request) -> Response | None:
        line = f"{request.method} {request.url.path}"
        self.requests.append(line)
        if time.monotonic() < self.not_before:
            self.impatient.append(line)
        weather = self._met(line, "unavailable", "limited", "silent")
        if weather is not None and weather.kind == "silent":
            await self._silence(request)
        if weather is not None and weather.kind == "limited":
            return self._limit(weather.retry_after)
        if weather is not None:
            return Response("busy", status_code=503)
        repo = f"{request.path_params['owner']}/{request.path_params['name']}"
        if repo == "owner/gated":
            return _error(403, "GatedRepo", "Access to dataset owner/gated is restricted")
        if repo != self.repo:
            return _error(401, "RepoNotFound", "Repository Not Found")
        if request.path_params.get("revision", "main") not in ("main", self.commit):
            return _error(404, "RevisionNotFound", "Invalid rev id")
        return None

    def _met(self, line: str, *kinds: str) -> Weather | None:
        for weather in self.weather:
            if weather.kind in kinds and weather.times and re.search(weather.where, line):
                weather.times -= 1
                return weather
        return None

    async def _silence(self, request: Request) -> None:
        while not (self.closing or await request.is_disconnected()):
            await asyncio.sleep(0.02)

    def _limit(self, retry_after: str) -> Response:
        seconds = re.search(r"\d+$", retry_after)
        self.not_before = time.monotonic() + (int(seconds[0]) if seconds else 0)
        header = "RateLimit" if retry_after.startswith('"') else "Retry-After"
        return Response("slow down", status_code=429, headers={header: retry_after})

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    async def _info(self, request: Request) -> Response:
        return await self._refusal(request) or JSONResponse(
            {
                "id": self.repo,
                "sha": self.served_commit,
                "private": False,
                "gated": False,
                "tags": [],
                "downloads": 0,
                "siblings": [{"rfilename": str(path.relative_to(self.folder))} for path in self._files()],
            }
        )

    async def _tree(self, request: Request) -> Response:
        if refusal := await self._refusal(request):
            return refusal
        top = self.folder / request.path_params.get("path", "")
        if not top.is_dir():
            return _error(404, "EntryNotFound", "Entry not found")
        recursive = request.query_params.get("recursive", "false").lower() in ("true", "1")
        return JSONResponse([self._entry(path) for path in sorted(top.rglob("*") if recursive else top.iterdir())])

    async def _paths_info(self, request: Request) -> Response:
        if refusal := await self._refusal(request):
            return refusal
        body = await request.body()
        paths = parse_qs(body.decode())["paths"] if body[:1] != b"{" else json.loads(body)["paths"]
        return JSONResponse([self._entry(path) for name in paths if (path := self.folder / str(name)).exists()])

    def _entry(self, path: Path) -> dict[str, object]:
        name = str(path.relative_to(self.folder))
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
        return {"type": "file", "path": name, "oid": _etag(path), "size": path.stat().st_size}

    async def _resolve(self, request: Request) -> Response:
        if refusal := await self._refusal(request):
            return refusal
        path = self.folder / request.path_params["path"]
        line = f"{request.method} {request.url.path}"
        served = "e" * 40 if self._met(line, "other commit") else self.served_commit
        if not path.is_file():
            return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": served})
        headers = {"X-Repo-Commit": served, "ETag": f'"{_etag(path)}"'}
        halved = headers | {"Content-Length": str(path.stat().st_size)}
        if self._met(line, "stalled"):
            return StreamingResponse(self._stalled(path, request), headers=halved)
        if request.method == "GET" and "range" in request.headers:
            self.ranges.append(request.headers["range"])
        elif request.method == "GET" and self.cut and path.suffix == ".parquet":
            self.cut -= 1
            return StreamingResponse(_half(path), headers=halved)
        return FileResponse(path, headers=headers)

    async def _stalled(self, path: Path, request: Request) -> AsyncIterator[bytes]:
        content = path.read_bytes()
        yield content[: len(content) // 2]
        await self._silence(request)


async def _half(path: Path) -> AsyncIterator[bytes]:
    content = path.read_bytes()
    yield content[: len(content) // 2]
    raise ConnectionResetError("the hub hangs up in the middle of a file")


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(
        {"error": message}, status, headers={"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
    )


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The hub answers at `hub.url`."""
    listener = socket.create_server(("127.0.0.1", 0))
    hub.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(hub.app(), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing = server.should_exit = True
        thread.join()
        listener.close()
