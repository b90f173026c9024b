"""Request bodies for handlers that run in threads."""

import functools
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.wire.json_documents import LARGEST_BODY, parse
from phi_assets.emulator.wire.shapes import Fields, require_shape

Handler = Callable[[Request, Any], Response]


def with_json(handler: Handler, fields: Fields | None = None) -> Callable:
    """An endpoint that reads the JSON body (None if empty), then runs `handler(request, body)` in a thread.

    Raises ServiceError 400 for a body that is no JSON object, or whose fields are of other types than `fields` says;
    413 for one that is too large.
    """
    shape = fields or {}

    @functools.wraps(handler)
    async def endpoint(request: Request) -> Response:
        body = parse(await read_body(request))
        require_shape(body, shape)
        return await run_in_threadpool(handler, request, body)

    return endpoint


async def read_body(request: Request, most: int = LARGEST_BODY) -> bytes:
    """The body. Raises ServiceError 413 for one of more than `most` bytes, before it is in memory."""
    announced = request.headers.get("content-length", "")
    body = bytearray()
    too_large = announced.isdecimal() and (len(announced) > 18 or int(announced) > most)
    if not too_large:
        async for chunk in request.stream():
            body += chunk
            if too_large := len(body) > most:
                break
    if too_large:
        message = f"The request body has more than {most} bytes, which is the limit."
        raise ServiceError(413, "RequestEntityTooLarge", message)
    return bytes(body)
