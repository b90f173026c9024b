"""Lists that come in pages."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from phi_assets.emulator.wire.queries import number

SKIP = "$skip"


def page(
    request: Request, items: Sequence[Any], *, size: int, show: Callable[[Any], Any] = lambda item: item
) -> Response:
    """One page of `items`, each as `show` makes it, and `nextLink` if there are more.

    `$top` limits the whole list, as the registries and the run history mean it.

    Raises:
        ServiceError: 400 for a `$skip` or `$top` that is not a number.
    """
    top = number(request, "$top")
    wanted = list(items if top is None else items[:top])
    skip = number(request, SKIP) or 0
    body: dict[str, Any] = {"value": [show(item) for item in wanted[skip : skip + size]]}
    if skip + size < len(wanted):
        query = dict(request.query_params) | {SKIP: str(skip + size)}
        body["nextLink"] = f"{request.app.state.emulator.base_url}{request.url.path}?{urlencode(query)}"
    return JSONResponse(body)
