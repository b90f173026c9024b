"""Endpoints and deployments after a restart of the emulator: served again, and what was underway brought to its end."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from phi_assets.emulator.serving import endpoints
from phi_assets.emulator.serving.documents import DEPLOYMENT, ENDPOINT, MAKING, deployment_path, endpoint_path
from phi_assets.emulator.store.state import Document
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace import operations
from phi_assets.emulator.workspace.context import Emulator

RECOVERIES_AT_A_TIME = 2

logger = logging.getLogger(__name__)


class Recovery:
    """Works in threads of its own; the operations of an earlier process end with what it finds."""

    def __init__(
        self,
        emulator: Emulator,
        create: Callable[[str, str], None],
        delete: Callable[[str, str], None],
        serve_again: Callable[[Document], None],
    ):
        """The functions are the deployment manager's: to bring a deployment up, to end it, to give it its process."""
        self._emulator = emulator
        self._create = create
        self._delete = delete
        self._serve_again = serve_again
        self._left_behind: frozenset[str] = frozenset()
        self._pool = ThreadPoolExecutor(RECOVERIES_AT_A_TIME, thread_name_prefix="recover-serving")

    def begin(self) -> None:
        """Takes up everything that an earlier process left behind, endpoints first: theirs is a matter of moments."""
        found: dict[str, tuple[Document, Callable[[Document], ServiceError | None]]] = {}
        for document in self._emulator.store.list(ENDPOINT):
            found[endpoint_path(self._emulator, document["name"])] = document, self._endpoint
        for document in self._emulator.store.list(DEPLOYMENT):
            path = deployment_path(self._emulator, document["endpoint"], document["name"])
            found[path] = document, self._deployment
        known = {path.lower() for path in found}
        kinds = {operations.ENDPOINT, operations.DEPLOYMENT}
        left = [body for body in operations.unsettled(self._emulator) if body["kind"] in kinds]
        # Those that clients begin from now on end by themselves.
        self._left_behind = frozenset(body["name"] for body in left)
        for body in left:
            if body["resource"].lower() not in known:
                operations.settle(self._emulator, body["resource"], among=self._left_behind)  # it was deleted
        for path, (document, recover) in found.items():
            self._pool.submit(self._settled, path, document["name"], partial(recover, document))

    def stop(self) -> None:
        """What has not begun is left to the next start."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _settled(self, path: str, name: str, recover: Callable[[], ServiceError | None]) -> None:
        """Nobody waits for what runs in these threads: what goes wrong must be in the log and in the operation."""
        try:
            error = recover()
        except operations.Interrupted:
            return
        except ServiceError as caught:
            logger.warning("recovery of %s: %s", name, caught)
            error = caught
        except Exception as caught:
            logger.exception("recovery of %s", name)
            error = ServiceError(500, "InternalServerError", f"The emulator failed: {type(caught).__name__}.")
        operations.settle(self._emulator, path, error, among=self._left_behind)

    def _endpoint(self, document: Document) -> ServiceError | None:
        if document["state"] == "Deleting":
            endpoints.finish_delete(self._emulator, document["name"], self._delete)
        elif document["state"] in {"Creating", "Updating"}:
            endpoints.finish_put(self._emulator, document["name"])
        return None

    def _deployment(self, document: Document) -> ServiceError | None:
        """Why its last operation failed, if it had failed before."""
        endpoint, name = document["endpoint"], document["name"]
        if document["state"] == "Deleting":
            self._delete(endpoint, name)
            return None
        if document["serving"] is not None:
            self._serve_again(document)
        if document["state"] in MAKING:
            self._create(endpoint, name)
        elif document["state"] == "Failed" and document["error"] is not None:
            return ServiceError(400, document["error"]["code"], document["error"]["message"])
        return None
