"""Requests that nobody should send, made of the real table of routes."""

import copy
import json
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from starlette.routing import Route

TEXTS = [
    "",
    " ",
    "x",
    "a" * 300,
    "a" * 3000,
    "../../etc/passwd",
    "..",
    "%2e%2e",
    "NaN",
    "-1",
    "9" * 5000,
    "1e400",
    "\u0663",
    "\u00b2",
    "\u202eevil",
    "\U0001f600",
    "\ud83d",
    "a\x00b",
    "\r\nSet-Cookie: a=b",
    "${{parent.inputs.x}}",
    "${{" * 40,
    "azureml:",
    "azureml://",
    "azureml://datastores/workspaceblobstore/paths/../../x",
    "azureml://registries/azureml/models/x/versions/1",
    "azureml://jobs/x/outputs/y",
    "runs:/x/y",
    "https://127.0.0.1:1/x.blob.y/z/\ud800",
    "/subscriptions/x",
    "<script>alert(1)</script>",
    "'; drop table documents; --",
    "PT" + "9" * 400 + "S",
    "P999999999D",
    "{}",
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    2**63,
    10**400,
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"a": {"b": {"c": []}}},
    {"\udfff": "\ud800"},
    {"value": {}},
    {"type": "x", "uri": 5},
    *TEXTS,
]
RAW_BODIES = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"1e400",
    b"NaN",
    b'{"a":1,"a":2}',
    b"[" * 100_000,
    b'{"properties":' * 3000,
    b'{"properties":{"tags":' + b"[" * 500 + b"]" * 500 + b"}}",
    b'{"properties":"' + b"x" * (5 << 20) + b'"}',
    "{}".encode("utf-16"),
    b'<?xml version="1.0"?><BlockList><Latest>AA==</Latest></BlockList>',
    b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
]
QUERIES = [
    "$top",
    "$skip",
    "$orderBy",
    "listViewType",
    "hash",
    "tag",
    "jobType",
    "properties",
    "api-version",
    "run_id",
    "metric_key",
    "max_results",
    "page_token",
    "experiment_name",
    "restype",
    "comp",
    "prefix",
    "marker",
    "maxresults",
    "delimiter",
    "include",
    "blockid",
    "isDefault",
    "resource",
    "since",
    "timeout",
    "sig",
    "sv",
    "se",
    "sr",
    "sp",
    "sdd",
    "st",
]
QUERIED = [*TEXTS, "container", "list", "block", "blocklist", "metadata", "1", "all"]
HEADERS = [
    "range",
    "x-ms-range",
    "if-match",
    "if-none-match",
    "content-md5",
    "x-ms-blob-type",
    "x-ms-blob-content-type",
    "x-ms-meta-a",
    "x-ms-meta-1",
    "x-ms-date",
    "x-ms-client-request-id",
    "x-azureml-token",
    "azureml-model-deployment",
    "x-ms-copy-source",
    "x-ms-correlation-request-id",
]


@dataclass(frozen=True)
class Attempt:
    """One request; `credential` is the plane's, or None."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """As they travel."""
        return [(name.encode(), text.encode("latin-1")) for name, text in self.headers.items()]


def attempt(draw: random.Random, route: Route, known: dict[str, list[str]], bodies: dict[str, Any]) -> Attempt:
    """A request for this route: mostly right, so that it gets far, and wrong somewhere.

    `known` has values that exist for the parameters of paths; `bodies` good bodies by the end of the route's path.
    """
    method = draw.choice(sorted((route.methods or {"GET"}) - ({"HEAD"} if draw.random() < 0.9 else set())))
    path = route.path
    for name in route.param_convertors:
        chosen = draw.choice(known[name]) if name in known and draw.random() < 0.9 else draw.choice(TEXTS)
        if method == "DELETE" and chosen == "known":
            chosen = "new"
        as_path = quote(chosen.encode("utf-8", "surrogatepass"), safe="/" if name == "name:path" else "")
        path = path.replace("{" + name + ":path}", as_path).replace("{" + name + "}", as_path)
    query = "&".join(
        f"{draw.choice(QUERIES)}={quote(draw.choice(QUERIED).encode('utf-8', 'surrogatepass'))}"
        for _ in range(draw.choice([0, 0, 1, 3]))
    )
    headers = {draw.choice(HEADERS): _header(draw) for _ in range(draw.choice([0, 0, 1, 2]))}
    return Attempt(method, f"{path}?{query}" if query else path, headers, _body(draw, route, bodies))


def _header(draw: random.Random) -> str:
    text = draw.choice([*TEXTS, "*", "bytes=0-", "bytes=5-1", f"bytes={'9' * 400}-", "BlockBlob", "Bearer x", '"0x1"'])
    return text.encode("latin-1", "replace").decode("latin-1").replace("\r", "").replace("\n", "").replace("\x00", "")


def _body(draw: random.Random, route: Route, bodies: dict[str, Any]) -> bytes:
    if draw.random() < 0.1:
        return draw.choice(RAW_BODIES)
    good = next((body for end, body in bodies.items() if route.path.endswith(end)), {"properties": {"tags": {}}})
    body = copy.deepcopy(good)
    for _ in range(draw.choice([0, 1, 1, 2])):
        body = _spoilt(draw, body)
    return json.dumps(body).encode()


def _spoilt(draw: random.Random, body: Any) -> Any:
    places = list(_places(body))
    if not places or draw.random() < 0.03:
        return copy.deepcopy(draw.choice(VALUES))
    owner, key = draw.choice(places)
    if isinstance(owner, dict) and draw.random() < 0.15:
        owner[draw.choice(TEXTS)] = copy.deepcopy(draw.choice(VALUES))
    else:
        owner[key] = copy.deepcopy(draw.choice(VALUES))
    return body


def _places(value: Any):
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(inner)
