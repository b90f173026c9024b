"""What a request passes before it is processed: the emulator must be free, and its principal must have a token."""

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phi_assets.emulator.server.middleware import Exchange, service_error
from phi_assets.emulator.wire.errors import ServiceError
from phi_assets.emulator.workspace.context import Emulator


class Admission:
    """Passes requests on one by one as they may enter; the control plane and the health check always may."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange | None = scope.get("state", {}).get("exchange")
        if exchange is None or exchange.name is None:
            await self._app(scope, receive, send)
            return
        emulator: Emulator = scope["app"].state.emulator
        async with emulator.occupancy.inside():
            if exchange.name.plane == "arm":
                await self._counted(exchange.name.route, emulator, scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _counted(self, route: str, emulator: Emulator, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            principal = emulator.auth.require_bearer(request).get("oid", "")
        except ServiceError:
            await self._app(scope, receive, send)  # it will be refused, at nobody's expense
            return
        try:
            remaining = emulator.throttling.take(principal, request.method, route)
        except ServiceError as error:
            await service_error(request, error)(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(remaining)
            await send(message)

        await self._app(scope, receive, answer)
