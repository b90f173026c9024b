"""Requests of the SDK and their answers, as they went over the wire."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

ABSENT = object()
"""What the body of a request or answer is that has none."""


@dataclass(frozen=True)
class Exchange:
    """A request and its answer; bodies are parsed JSON."""

    method: str
    path: str
    """Without the query, percent-decoded."""
    sent: Any
    status: int
    headers: Mapping[str, str]
    answer: Any


@dataclass
class Exchanges:
    """Everything that this process has asked with `requests`, as the SDK does, but blobs."""

    all: list[Exchange] = field(default_factory=list)

    def last(self, method: str, path: str, status: int) -> Exchange | None:
        """The last exchange whose path matches the pattern, without regard to case."""
        wanted = re.compile(path, re.IGNORECASE)
        found = [each for each in self.all if (each.method, each.status) == (method, status)]
        return next((each for each in reversed(found) if wanted.fullmatch(each.path)), None)


@contextmanager
def observed() -> Iterator[Exchanges]:
    """Writes down what goes over the wire while the block runs; nothing of it is changed."""
    exchanges = Exchanges()
    send = HTTPAdapter.send

    def sending(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = send(adapter, request, **options)
        path = unquote(urlsplit(str(request.url)).path)
        if ".blob." not in path:
            exchanges.all.append(
                Exchange(
                    str(request.method),
                    path,
                    _body(request.body),
                    response.status_code,
                    response.headers,
                    _body(response.content),
                )
            )
        return response

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPAdapter, "send", sending)
        yield exchanges


def _body(content: Any) -> Any:
    if not content:
        return ABSENT
    try:
        return json.loads(content)
    except ValueError:
        return ABSENT
