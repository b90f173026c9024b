"""Requests to Azure Resource Manager for what the SDK's entities leave out."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.clouds import API_VERSION
from phi_assets.azureml.connection.retry import Log, ride_out


def arm_list(ws: Workspace, collection: str, log: Log, **query: str) -> Iterator[dict[str, Any]]:
    """The documents of a collection of the workspace (`computes`), page by page, as `query` filters them.

    Raises:
        httpx.HTTPError: the service refused, or does not answer.
    """
    filters = "".join(f"&{urlencode({key: value})}" for key, value in query.items())
    yield from arm_pages(ws, f"{_url(ws, collection)}{filters}", collection, log)


def arm_pages(ws: Workspace, first: str, what: str, log: Log) -> Iterator[dict[str, Any]]:
    """The documents of the collection whose first page is at this address.

    Raises:
        httpx.HTTPError: the service refused, or does not answer.
    """
    url: str | None = first
    while url:
        page = _request(ws, "GET", url, what, log).json()
        yield from page.get("value", [])
        url = page.get("nextLink")


def arm_get(ws: Workspace, thing: str, log: Log) -> dict[str, Any] | None:
    """The document of a thing of the workspace (`computes/a`), or of itself (empty); None where there is no such thing.

    Raises:
        httpx.HTTPError: the service refused, or does not answer.
    """
    try:
        return _request(ws, "GET", _url(ws, thing), thing or "workspace", log).json()
    except httpx.HTTPStatusError as error:
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise
        return None


def arm_delete(ws: Workspace, thing: str, log: Log) -> None:
    """The thing of the workspace (`models/a/versions/1`) is gone; one that is not there is fine.

    Raises:
        httpx.HTTPError: the service refused, or does not answer.
    """
    _request(ws, "DELETE", _url(ws, thing), thing, log)


def _url(ws: Workspace, path: str) -> str:
    return f"{ws.resource_manager}{ws.path}{f'/{path}' if path else ''}?api-version={API_VERSION}"


def _request(ws: Workspace, method: str, url: str, what: str, log: Log) -> httpx.Response:
    def ask() -> httpx.Response:
        response = ws.http.request(method, url, headers={"Authorization": f"Bearer {ws.bearer()}"})
        response.raise_for_status()
        return response

    return ride_out(ask, what, log)
