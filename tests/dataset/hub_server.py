"""A Hugging Face hub on the loopback interface: the routes that its clients call to find and read a data set."""

import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One repository at one commit, and what happened to it."""

    folder: Path
    repo: str = "owner/chat"
    commit: str = COMMIT
    served_commit: str = COMMIT
    """What the hub says that it serves; another one is how a stale mirror behaves."""
    unavailable: int = 0
    """So many coming requests are answered with 503."""
    cut: int = 0
    """So many coming downloads without a range end in the middle."""
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    url: str = ""

    def downloads(self) -> list[str]:
        """Names of the Parquet files that were asked for, one for each GET."""
        return [line.rsplit("/", 1)[1] for line in self.requests if line.startswith("GET") and ".parquet" in line]

    def app(self) -> Starlette:
        repository = "/api/datasets/{owner}/{name}"
        routes = [
            Route(repository, self._info),
            Route(repository + "/revision/{revision}", self._info),
            Route(repository + "/tree/{revision}", self._tree),
            Route(repository + "/tree/{revision}/{path:path}", self._tree),
            Route(repository + "/paths-info/{revision}", self._paths_info, methods=["POST"]),
            Route("/datasets/{owner}/{name}/resolve/{revision}/{path:path}", self._resolve),
        ]
        return Starlette(routes=routes)

    def _refusal(self, request: Request) -> Response | None:
        self.requests.append(f"{request.method} {request.url.path}")
        if self.unavailable:
            self.unavailable -= 1
            return Response("busy", status_code=503)
        repo = f"{request.path_params['owner']}/{request.path_params['name']}"
        if repo == "owner/gated":
            return _error(403, "GatedRepo", "Access to dataset owner/gated is restricted")
        if repo != self.repo:
            return _error(401, "RepoNotFound", "Repository Not Found")
        if request.path_params.get("revision", "main") not in ("main", self.commit):
            return _error(404, "RevisionNotFound", "Invalid rev id")
        return None

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    async def _info(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse(
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
        if refusal := self._refusal(request):
            return refusal
        top = self.folder / request.path_params.get("path", "")
        if not top.is_dir():
            return _error(404, "EntryNotFound", "Entry not found")
        recursive = request.query_params.get("recursive", "false").lower() in ("true", "1")
        return JSONResponse([self._entry(path) for path in sorted(top.rglob("*") if recursive else top.iterdir())])

    async def _paths_info(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        paths = (await request.form()).getlist("paths") or (await request.json())["paths"]
        return JSONResponse([self._entry(path) for name in paths if (path := self.folder / str(name)).exists()])

    def _entry(self, path: Path) -> dict[str, object]:
        name = str(path.relative_to(self.folder))
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
        return {"type": "file", "path": name, "oid": _etag(path), "size": path.stat().st_size}

    async def _resolve(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        path = self.folder / request.path_params["path"]
        if not path.is_file():
            return _error(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": self.served_commit})
        headers = {"X-Repo-Commit": self.served_commit, "ETag": f'"{_etag(path)}"'}
        if request.method == "GET" and "range" in request.headers:
            self.ranges.append(request.headers["range"])
        elif request.method == "GET" and self.cut and path.suffix == ".parquet":
            self.cut -= 1
            return StreamingResponse(_half(path), headers=headers | {"Content-Length": str(path.stat().st_size)})
        return FileResponse(path, headers=headers)


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
        server.should_exit = True
        thread.join()
        listener.close()
