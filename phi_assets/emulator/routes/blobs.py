"""The blob service's REST operations, on the same listener as everything else.

https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import BinaryIO
from xml.etree import ElementTree

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from phi_assets.emulator.security.account_key import SHARED_KEY, STORAGE_VERSION
from phi_assets.emulator.security.auth import STORAGE_AUDIENCE
from phi_assets.emulator.store import blob_listing
from phi_assets.emulator.store.blobs import BlobProperties, BlobStore, Check
from phi_assets.emulator.store.failures import failure_of
from phi_assets.emulator.store.uploads import Upload
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.wire.queries import as_number
from phi_assets.emulator.workspace.context import Emulator

_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_CHUNK = 1 << 18
_LARGEST_BLOCK_LIST = 8 << 20
_METADATA = "x-ms-meta-"

Endpoint = Callable[[Request], Awaitable[Response]]


def _answering_xml(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with errors in the blob service's own shape."""

    async def answer(request: Request) -> Response:
        try:
            response = await endpoint(request)
        except ServiceError as error:
            response = _error(request, error)
        except OSError as error:
            failure = failure_of(error, request.app.state.emulator.directory)
            if failure is None:
                raise
            response = _error(request, failure)
        response.headers["x-ms-version"] = STORAGE_VERSION
        return response

    return answer


def _error(request: Request, error: ServiceError) -> Response:
    headers = {"x-ms-error-code": error.code, **error.headers}
    if request.method == "HEAD" or error.status == 304:
        return Response(status_code=error.status, headers=headers)
    root = ElementTree.Element("Error")
    ElementTree.SubElement(root, "Code").text = error.code
    ElementTree.SubElement(root, "Message").text = error.message
    content = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return Response(content, error.status, headers, media_type="application/xml")


async def _container(request: Request) -> Response:
    emulator: Emulator = request.app.state.emulator
    container = request.path_params["container"]
    query = request.query_params
    if query.get("restype") != "container":
        raise ServiceError(400, "InvalidQueryParameterValue", "A container is addressed with restype=container.")
    if request.method == "PUT":
        _authorize(request, container, "", "c")
        raise ServiceError(403, "AuthorizationFailure", "Containers of the workspace are made by the workspace.")
    if query.get("comp") == "list":
        _authorize(request, container, query.get("prefix", ""), "l")
        return await run_in_threadpool(_list, emulator.blobs, request)
    if request.method == "DELETE" or query.get("comp", "metadata") != "metadata":
        _authorize(request, container, "", "d" if request.method == "DELETE" else "rl")
        raise ServiceError(501, "NotImplemented", "This emulator keeps its containers, without policies and leases.")
    _authorize(request, container, "", "rl")
    modified = (await run_in_threadpool(emulator.blobs.container_path(container).stat)).st_mtime
    headers = {
        "ETag": f'"0x{int(modified * 1e6):X}"',
        "Last-Modified": _http_date(datetime.fromtimestamp(modified, UTC)),
    }
    return Response(headers=headers)


def _list(blobs: BlobStore, request: Request) -> Response:
    query = request.query_params
    most = as_number(query.get("maxresults", ""))
    page = blob_listing.page(
        blobs.list(request.path_params["container"], query.get("prefix", "")),
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        marker=query.get("marker", ""),
        most=most or blob_listing.MOST,
    )
    content = blob_listing.document(
        page, request.path_params["container"], dict(query), metadata="metadata" in query.get("include", "")
    )
    return Response(content, media_type="application/xml")


async def _blob(request: Request) -> Response:
    container, name = request.path_params["container"], request.path_params["name"]
    emulator: Emulator = request.app.state.emulator
    if request.method in {"GET", "HEAD"}:
        _authorize(request, container, name, "r")
        return await run_in_threadpool(_read, emulator.blobs, request, container, name)
    if request.method == "DELETE":
        _authorize(request, container, name, "d")
        await run_in_threadpool(emulator.blobs.delete, container, name)
        return Response(status_code=202, headers={"x-ms-delete-type-permanent": "true"})
    exists = emulator.blobs.exists(container, name)
    _authorize(request, container, name, "w" if exists else "cw")
    operation = PUTS.get(request.query_params.get("comp", ""))
    if operation is None or "x-ms-copy-source" in request.headers:
        raise ServiceError(501, "NotImplemented", "This emulator does not have the requested blob operation.")
    return await operation(emulator.blobs, request, container, name)


async def _put_blob(blobs: BlobStore, request: Request, container: str, name: str) -> Response:
    if request.headers.get("x-ms-blob-type") != "BlockBlob":
        raise ServiceError(400, "InvalidHeaderValue", "This emulator has block blobs only (x-ms-blob-type: BlockBlob).")
    _conditions(request)(blobs.find(container, name))
    upload = blobs.writing(
        container,
        name,
        content_type=_content_type(request),
        metadata=_metadata(request),
        content_md5=request.headers.get("content-md5"),
        overwrite=request.headers.get("if-none-match") != "*",
        check=_conditions(request),
    )
    await _receive(request, upload)
    return _written(upload.published, 201)


async def _put_block(blobs: BlobStore, request: Request, container: str, name: str) -> Response:
    block_id = request.query_params.get("blockid", "")
    if not block_id:
        raise ServiceError(400, "MissingRequiredQueryParameter", "A block needs a blockid.")
    upload = blobs.writing_block(container, name, block_id, content_md5=request.headers.get("content-md5"))
    await _receive(request, upload)
    return Response(status_code=201)


async def _put_block_list(blobs: BlobStore, request: Request, container: str, name: str) -> Response:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BLOCK_LIST:
            raise ServiceError(413, "RequestBodyTooLarge", "The block list is too long.")
    properties = await run_in_threadpool(
        blobs.put_block_list,
        container,
        name,
        _block_ids(bytes(body)),
        content_type=_content_type(request),
        metadata=_metadata(request),
        overwrite=request.headers.get("if-none-match") != "*",
        check=_conditions(request),
    )
    return _written(properties, 201)


async def _set_metadata(blobs: BlobStore, request: Request, container: str, name: str) -> Response:
    _conditions(request)(blobs.find(container, name))
    properties = await run_in_threadpool(blobs.set_metadata, container, name, _metadata(request))
    return _written(properties, 200)


PUTS = {"": _put_blob, "block": _put_block, "blocklist": _put_block_list, "metadata": _set_metadata}


async def _receive(request: Request, upload: Upload) -> None:
    try:
        async for chunk in request.stream():
            upload.write(chunk)
    except BaseException:
        upload.discard()
        raise
    await run_in_threadpool(upload.commit)


def _read(blobs: BlobStore, request: Request, container: str, name: str) -> Response:
    if request.method == "HEAD":
        properties = blobs.properties(container, name)
        _check_etag(request, properties)
        return Response(headers=_property_headers(properties) | {"Content-Length": str(properties.size)})
    properties, file = blobs.open(container, name)
    try:
        _check_etag(request, properties)
        start, end = _range(request, properties)
        headers = _property_headers(properties) | {"Content-Length": str(end - start)}
        status = 206 if _range_header(request) else 200
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{properties.size}"
            # Of the whole blob; a client would compare `Content-MD5` with what it has been sent.
            if md5 := headers.pop("Content-MD5", None):
                headers["x-ms-blob-content-md5"] = md5
    except BaseException:
        file.close()
        raise
    return StreamingResponse(_content(file, start, end - start), status, headers, media_type=properties.content_type)


def _range_header(request: Request) -> re.Match[str] | None:
    return _RANGE.fullmatch(request.headers.get("x-ms-range") or request.headers.get("range") or "")


def _range(request: Request, properties: BlobProperties) -> tuple[int, int]:
    """First byte, and the one after the last."""
    match = _range_header(request)
    if match is None:
        return 0, properties.size
    start, end = int(match[1]), min(int(match[2] or properties.size) + 1, properties.size)
    if start >= end:
        message = "The range specified is invalid for the current size of the resource."
        raise ServiceError(416, "InvalidRange", message, headers={"Content-Range": f"bytes */{properties.size}"})
    return start, end


def _content(file: BinaryIO, start: int, length: int) -> Iterator[bytes]:
    """Exactly `length` bytes as promised in the header, though a log may grow meanwhile."""
    with file:
        file.seek(start)
        while length > 0 and (chunk := file.read(min(_CHUNK, length))):
            length -= len(chunk)
            yield chunk


def _authorize(request: Request, container: str, name: str, needed: str) -> None:
    emulator: Emulator = request.app.state.emulator
    query, authorization = request.query_params, request.headers.get("authorization", "")
    by_key = authorization.partition(" ")[0] == SHARED_KEY
    # Signatures of a whole container come from the datastores; those of one blob would be of a user delegation key.
    if emulator.storage_auth not in {"keys", "sas"} and (by_key or ("sig" in query and query.get("sr") == "c")):
        message = "Key based authentication is not permitted on this storage account."
        raise ServiceError(403, "KeyBasedAuthenticationNotPermitted", message)
    if "sig" in query:
        emulator.account_key.check_sas(query, container, name, needed)
    elif by_key:
        emulator.account_key.check_request(request)
    elif authorization:
        emulator.auth.require_bearer(request, [STORAGE_AUDIENCE, STORAGE_AUDIENCE + "/"])
    else:
        message = "Server failed to authenticate the request. The request has no signature and no authorization header."
        raise ServiceError(401, "NoAuthenticationInformation", message, headers={"WWW-Authenticate": "Bearer"})


def _conditions(request: Request) -> Check:
    def check(present: BlobProperties | None) -> None:
        if present is not None:
            _check_etag(request, present)
        elif "if-match" in request.headers:
            raise _condition_not_met()

    return check


def _check_etag(request: Request, properties: BlobProperties) -> None:
    required, refused = request.headers.get("if-match"), request.headers.get("if-none-match")
    if required not in {None, "*", properties.etag}:
        raise _condition_not_met()
    if refused == properties.etag or (refused == "*" and request.method != "PUT"):
        if request.method in {"GET", "HEAD"}:
            raise ServiceError(304, "ConditionNotMet", "The blob has not changed.")
        raise _condition_not_met()


def _condition_not_met() -> ServiceError:
    message = "The condition specified using HTTP conditional header(s) is not met."
    return ServiceError(412, "ConditionNotMet", message)


def _block_ids(content: bytes) -> list[str]:
    # Entities are what makes XML from outside dangerous; a block list has none.
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ServiceError(400, "InvalidXmlDocument", "A block list must not have a document type.")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - see above
    except ElementTree.ParseError as error:
        raise ServiceError(400, "InvalidXmlDocument", "XML specified is not syntactically valid.") from error
    return [(block.text or "").strip() for block in root if block.tag in {"Latest", "Uncommitted", "Committed"}]


def _content_type(request: Request) -> str:
    return request.headers.get("x-ms-blob-content-type") or "application/octet-stream"


def _metadata(request: Request) -> dict[str, str]:
    headers = request.headers.items()
    metadata = {name.removeprefix(_METADATA): value for name, value in headers if name.startswith(_METADATA)}
    for name in metadata:
        if not name.isidentifier() or not name.isascii():  # it becomes an XML tag when blobs are listed
            raise ServiceError(400, "InvalidMetadata", f"The metadata name '{name}' is not an identifier.")
    return metadata


def _property_headers(properties: BlobProperties) -> dict[str, str]:
    headers = {
        "ETag": properties.etag,
        "Last-Modified": _http_date(properties.modified),
        "Content-Type": properties.content_type,
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-lease-state": "available",
        "x-ms-lease-status": "unlocked",
        "x-ms-creation-time": _http_date(properties.modified),
    }
    if properties.content_md5:
        headers["Content-MD5"] = properties.content_md5
    return headers | {_METADATA + name: value for name, value in properties.metadata.items()}


def _written(properties: BlobProperties, status: int) -> Response:
    headers = {"ETag": properties.etag, "Last-Modified": _http_date(properties.modified)}
    return Response(status_code=status, headers=headers | {"x-ms-request-server-encrypted": "false"})


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


_METHODS = ["GET", "HEAD", "PUT", "DELETE"]

routes = [
    Route("/{account}.blob.{suffix}/{container}", _answering_xml(_container), methods=_METHODS),
    Route("/{account}.blob.{suffix}/{container}/{name:path}", _answering_xml(_blob), methods=_METHODS),
]
