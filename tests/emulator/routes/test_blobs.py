"""Blob REST as clients that are not the SDK may use it, well or ill."""

import base64
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import httpx
import pytest

from phi_assets.emulator.process import Connection
from tests.emulator.http import datastore_sas, raw_client, token

BLOCK_BLOB = {"x-ms-blob-type": "BlockBlob"}


@pytest.fixture(scope="module")
def container(emulator: Connection) -> tuple[str, str]:
    return datastore_sas(emulator)


@pytest.fixture
def client(emulator: Connection) -> Iterator[httpx.Client]:
    with raw_client(emulator) as client:
        yield client


@pytest.fixture
def blob(container: tuple[str, str]):
    """Builds the signed url of a blob, or of the container for an empty name."""
    url, sas = container

    def build(name: str, query: str = "") -> str:
        return f"{url}{'/' if name else ''}{quote(name)}?{query}{'&' if query else ''}{sas}"

    return build


def code(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.headers.get("x-ms-error-code")


def test_a_blob_comes_back_as_it_was_put(client: httpx.Client, blob):
    content = bytes(range(256)) * 40
    headers = BLOCK_BLOB | {"x-ms-blob-content-type": "text/plain", "x-ms-meta-upload_status": "completed"}
    put = client.put(blob("r/ä b.txt"), content=content, headers=headers)
    assert put.status_code == 201
    assert put.headers["etag"].startswith('"')
    assert put.headers["last-modified"].endswith("GMT")
    head = client.head(blob("r/ä b.txt"))
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(content)), b"")
    assert head.headers["x-ms-meta-upload_status"] == "completed"
    got = client.get(blob("r/ä b.txt"))
    assert (got.status_code, got.content, got.headers["etag"]) == (200, content, put.headers["etag"])
    assert got.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    ("header", "wanted", "first", "last"),
    [
        ("x-ms-range", "bytes=0-3", 0, 3),
        ("Range", "bytes=5-", 5, 9),
        ("x-ms-range", "bytes=8-100", 8, 9),
        ("x-ms-range", "bytes=0-33554431", 0, 9),
    ],
)
def test_ranges(client: httpx.Client, blob, header: str, wanted: str, first: int, last: int):
    client.put(blob("ranges"), content=b"0123456789", headers=BLOCK_BLOB)
    got = client.get(blob("ranges"), headers={header: wanted})
    assert got.status_code == 206
    assert got.content == b"0123456789"[first : last + 1]
    assert got.headers["content-range"] == f"bytes {first}-{last}/10"


def test_ranges_that_cannot_be(client: httpx.Client, blob):
    client.put(blob("empty"), content=b"", headers=BLOCK_BLOB)
    assert code(client.get(blob("empty"), headers={"x-ms-range": "bytes=0-10"})) == (416, "InvalidRange")
    assert client.get(blob("empty")).status_code == 200
    client.put(blob("short"), content=b"abc", headers=BLOCK_BLOB)
    assert code(client.get(blob("short"), headers={"x-ms-range": "bytes=3-"})) == (416, "InvalidRange")


def test_conditions(client: httpx.Client, blob):
    first = client.put(blob("condition"), content=b"1", headers=BLOCK_BLOB | {"if-none-match": "*"})
    assert first.status_code == 201
    again = client.put(blob("condition"), content=b"2", headers=BLOCK_BLOB | {"if-none-match": "*"})
    assert code(again) == (409, "BlobAlreadyExists")
    etag = first.headers["etag"]
    assert client.get(blob("condition"), headers={"if-none-match": etag}).status_code == 304
    assert client.get(blob("condition"), headers={"if-match": etag}).content == b"1"
    client.put(blob("condition"), content=b"3", headers=BLOCK_BLOB)
    assert code(client.get(blob("condition"), headers={"if-match": etag})) == (412, "ConditionNotMet")
    stale = client.put(blob("condition"), content=b"4", headers=BLOCK_BLOB | {"if-match": etag})
    assert code(stale) == (412, "ConditionNotMet")
    assert client.get(blob("condition")).content == b"3"


def test_of_many_first_writers_one_wins(client: httpx.Client, blob):
    def put(number: int) -> int:
        headers = BLOCK_BLOB | {"if-none-match": "*"}
        return client.put(blob("race"), content=b"%d" % number, headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(put, range(8)))
    assert statuses == [201] + [409] * 7


def test_blocks(client: httpx.Client, blob):
    ids = [base64.b64encode(b"%04d" % number).decode() for number in range(3)]
    for number, block in enumerate(ids):
        put = client.put(blob("blocks", f"comp=block&blockid={quote(block)}"), content=b"%d" % number)
        assert put.status_code == 201
    assert client.head(blob("blocks")).status_code == 404
    listed = "".join(f"<Latest>{block}</Latest>" for block in reversed(ids))
    body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
    done = client.put(blob("blocks", "comp=blocklist"), content=body.encode())
    assert done.status_code == 201
    assert client.get(blob("blocks")).content == b"210"


@pytest.mark.parametrize("body", [b"<BlockList>", b'<!DOCTYPE x [<!ENTITY a "b">]><BlockList/>', b""])
def test_broken_block_lists(client: httpx.Client, blob, body: bytes):
    assert code(client.put(blob("broken", "comp=blocklist"), content=body)) == (400, "InvalidXmlDocument")


def listing(client: httpx.Client, blob, query: str) -> tuple[list[str], list[str], str, ElementTree.Element]:
    answer = client.get(blob("", "restype=container&comp=list&" + query))
    assert answer.status_code == 200
    root = ElementTree.fromstring(answer.content)
    return (
        [element.text or "" for element in root.findall("Blobs/Blob/Name")],
        [element.text or "" for element in root.findall("Blobs/BlobPrefix/Name")],
        root.findtext("NextMarker") or "",
        root,
    )


def test_listing(client: httpx.Client, blob):
    for name in ("list/b/2", "list/a", "list/b/1", "list/b.txt", "list/c/d/e", "listed"):
        client.put(blob(name), content=b"x", headers=BLOCK_BLOB | {"x-ms-meta-of": "me"})
    names, prefixes, marker, root = listing(client, blob, "prefix=list/&include=metadata")
    assert names == ["list/a", "list/b.txt", "list/b/1", "list/b/2", "list/c/d/e"]
    assert (prefixes, marker) == ([], "")
    assert root.findtext("Blobs/Blob/Metadata/of") == "me"
    assert root.findtext("Blobs/Blob/Properties/Content-Length") == "1"
    names, prefixes, _, _ = listing(client, blob, "prefix=list/&delimiter=/")
    assert (names, prefixes) == (["list/a", "list/b.txt"], ["list/b/", "list/c/"])


@pytest.mark.parametrize("delimiter", ["", "&delimiter=/"])
def test_pages_together_are_the_whole_listing(client: httpx.Client, blob, delimiter: str):
    for name in ("page/b/2", "page/a", "page/b/1", "page/b.txt", "page/c"):
        client.put(blob(name), content=b"x", headers=BLOCK_BLOB)
    whole = listing(client, blob, "prefix=page/" + delimiter)
    names: list[str] = []
    prefixes: list[str] = []
    marker = ""
    for _ in range(10):
        query = f"prefix=page/{delimiter}&maxresults=1&marker={quote(marker)}"
        some_names, some_prefixes, marker, _ = listing(client, blob, query)
        assert len(some_names) + len(some_prefixes) == 1
        names += some_names
        prefixes += some_prefixes
        if not marker:
            break
    assert (names, prefixes) == (whole[0], whole[1])


def test_delete(client: httpx.Client, blob):
    client.put(blob("gone"), content=b"x", headers=BLOCK_BLOB)
    assert client.delete(blob("gone")).status_code == 202
    assert code(client.delete(blob("gone"))) == (404, "BlobNotFound")
    assert code(client.head(blob("gone"))) == (404, "BlobNotFound")


def test_what_is_not_done_to_a_container_is_501(client: httpx.Client, blob):
    client.put(blob("kept.txt"), content=b"x", headers=BLOCK_BLOB).raise_for_status()
    assert client.get(blob("", "restype=container")).status_code == 200
    for method, query in (("DELETE", ""), ("GET", "&comp=acl"), ("HEAD", "&comp=lease")):
        answer = client.request(method, blob("", f"restype=container{query}"))
        assert (answer.status_code, answer.headers["x-ms-error-code"]) == (501, "NotImplemented")
    assert client.get(blob("kept.txt")).content == b"x"


def test_errors_are_xml_with_the_code(client: httpx.Client, blob):
    answer = client.get(blob("missing"))
    assert ElementTree.fromstring(answer.content).findtext("Code") == "BlobNotFound"
    assert code(client.put(blob("x"), content=b"", headers={"x-ms-blob-type": "PageBlob"})) == (
        400,
        "InvalidHeaderValue",
    )
    assert code(client.put(blob("x", "comp=lease"))) == (501, "NotImplemented")
    mark = client.put(blob("x"), content=b"", headers=BLOCK_BLOB | {"x-ms-meta-a.b": "1"})
    assert code(mark) == (400, "InvalidMetadata")


def test_who_may_not(client: httpx.Client, emulator: Connection, container: tuple[str, str]):
    url, sas = container
    assert code(client.get(f"{url}/x")) == (401, "NoAuthenticationInformation")
    forged = sas.replace("sp=racwdl", "sp=racwdlx")
    assert code(client.get(f"{url}/x?{forged}")) == (403, "AuthenticationFailed")
    assert code(client.get(f"{url.replace('azureml-blobstore', 'azureml')}/x?{sas}")) == (403, "AuthenticationFailed")
    headers = {"Authorization": f"Bearer {token(emulator)}"}
    assert client.get(f"{url}/x", headers=headers).status_code == 401
    headers = {"Authorization": f"Bearer {token(emulator, 'https://storage.azure.com')}"}
    assert code(client.get(f"{url}/x", headers=headers)) == (404, "BlobNotFound")


@pytest.mark.parametrize(
    "path",
    [
        "/../../state.sqlite",
        "/%2e%2e/%2e%2e/state.sqlite",
        "/a/..%2f..%2f..%2fstate.sqlite",
        "/..%5c..%5cstate.sqlite",
        "/%2fetc/passwd",
        "/a%00b",
        "/.",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_paths_that_climb_are_refused(emulator: Connection, container: tuple[str, str], method: str, path: str):
    url, sas = container
    answer = send_raw(emulator, method, f"{urlsplit(url).path}{path}?{sas}")
    assert answer.startswith(b"HTTP/1.1 400 "), answer[:200]
    assert b"InvalidUri" in answer


def send_raw(emulator: Connection, method: str, target: str) -> bytes:
    """The answer to a request whose path no client library has tidied up."""
    trust = ssl.create_default_context(cafile=str(emulator.ca_bundle))
    headers = "Host: localhost\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: 1\r\nConnection: close"
    request = f"{method} {target} HTTP/1.1\r\n{headers}\r\n\r\nx"
    with (
        socket.create_connection(("127.0.0.1", emulator.port), timeout=10) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def test_a_client_that_hangs_up_leaves_no_blob(emulator: Connection, client: httpx.Client, blob, container):
    url, sas = container
    trust = ssl.create_default_context(cafile=str(emulator.ca_bundle))
    head = (
        f"PUT {urlsplit(url).path}/half?{sas} HTTP/1.1\r\nHost: localhost\r\n"
        "x-ms-blob-type: BlockBlob\r\nContent-Length: 1000000\r\n\r\n"
    )
    with (
        socket.create_connection(("127.0.0.1", emulator.port), timeout=10) as plain,
        trust.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(head.encode() + b"x" * 1000)
    assert code(client.head(blob("half"))) == (404, "BlobNotFound")
    assert client.put(blob("half"), content=b"whole", headers=BLOCK_BLOB).status_code == 201
    assert client.get(blob("half")).content == b"whole"


def test_the_access_log_has_no_signatures(emulator: Connection, client: httpx.Client, blob, container):
    client.get(blob("log/line"))
    log = (emulator.directory / "access.log").read_text()
    assert "/azureml-blobstore/log/line 404" in log
    assert "sig=" not in log
    assert container[1] not in log
