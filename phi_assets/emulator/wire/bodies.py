"""Request bodies for handlers that run in threads."""

import functools
import json
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from phi_assets.emulator.wire.errors import user_error

Handler = Callable[[Request, Any], Response]


def with_json(handler: Handler) -> Callable:
    """An endpoint that reads the JSON body (None if empty), then runs `handler(request, body)` in a thread.

    Raises ServiceError 400 if the body is not JSON.
    """

    @functools.wraps(handler)
    async def endpoint(request: Request) -> Response:
        raw = await request.body()
        try:
            body = json.loads(raw) if raw.strip() else None
        except ValueError as error:
            raise user_error(f"The request body is not JSON: {error}", "BadArgument") from error
        return await run_in_threadpool(handler, request, body)

    return endpoint
