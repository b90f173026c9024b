"""Reads of Azure Resource Manager that answer within seconds, or fail with something that a person can act on."""

import time
from collections.abc import Iterator
from typing import Any

import httpx

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.clouds import API_VERSION
from phi_assets.azureml.connection.retry import is_transient, retry_after

_TIMEOUT = httpx.Timeout(5.0)
_TRIES, _PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 3, 0.5, 2.0

PROVIDER = "Microsoft.MachineLearningServices"


class Unanswered(Exception):
    """The service refused, or gave no answer; `code` is its own error code, "" where it gave none."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if code and code not in message else message)
        self.status = status
        """0 where there was no answer at all."""
        self.code = code


def read(ws: Workspace, path: str, api_version: str = API_VERSION) -> dict[str, Any]:
    """The document at an ARM path.

    Raises:
        Unanswered: there is none, the service refused, or it failed three times.
    """
    return _read(ws, f"{ws.resource_manager}{path}?api-version={api_version}")


def read_or_none(ws: Workspace, path: str) -> dict[str, Any] | None:
    """The document at an ARM path; None where there is no such thing.

    Raises:
        Unanswered: the service refused, or it failed three times.
    """
    try:
        return read(ws, path)
    except Unanswered as error:
        if error.status != httpx.codes.NOT_FOUND:
            raise
        return None


def read_all(ws: Workspace, path: str) -> Iterator[dict[str, Any]]:
    """The documents of a collection, page by page.

    Raises:
        Unanswered: the service refused, or it failed three times.
    """
    yield from read_pages(ws, f"{ws.resource_manager}{path}?api-version={API_VERSION}")


def read_pages(ws: Workspace, first: str) -> Iterator[dict[str, Any]]:
    """The documents of the collection whose first page is at this address.

    Raises:
        Unanswered: the service refused, or it failed three times.
    """
    url: str | None = first
    while url:
        page = _read(ws, url)
        yield from page.get("value", [])
        url = page.get("nextLink")


def region_path(ws: Workspace, region: str) -> str:
    """ARM path of what Azure ML has in a region."""
    return f"/subscriptions/{ws.subscription_id}/providers/{PROVIDER}/locations/{region}"


def _read(ws: Workspace, url: str) -> dict[str, Any]:
    for attempt in range(1, _TRIES + 1):
        try:
            response = ws.http.get(url, headers={"Authorization": f"Bearer {ws.bearer()}"}, timeout=_TIMEOUT)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            if attempt == _TRIES or not is_transient(error):
                raise _unanswered(error) from error
            time.sleep(min(max(_PAUSE_SECONDS, retry_after(error)), _LONGEST_PAUSE_SECONDS))
    raise AssertionError


def _unanswered(error: Exception) -> Unanswered:
    if not isinstance(error, httpx.HTTPStatusError):
        return Unanswered(0, "", str(error) or type(error).__name__)
    status = error.response.status_code
    try:
        said = error.response.json()["error"]
        return Unanswered(status, str(said["code"]), str(said["message"]).rstrip("."))
    except (ValueError, KeyError, TypeError):
        return Unanswered(status, "", f"{status} {error.response.reason_phrase}")
