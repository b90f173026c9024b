"""Who may look at Studio, and who may ask a model through it.

Everybody who can reach loopback of this machine may look, without a login, as at the UI of `dg dev`, which shows
the same logs and answers and can start runs. A secret in the link would end up wherever links end up: in the event log,
in alerts, in the browser's history. What a page must not do is work for a *website* that the user happens to visit:

- A name that somebody else's DNS points at 127.0.0.1 is refused by the Host header.
- A form that another site submits is refused by Origin and Sec-Fetch-Site, which no script can forge. Only prompts are
  sent by form; looking changes nothing.
- Nobody can put a page into a frame, and no page loads or sends anything from or to elsewhere.

No page contains a key, a token or a signed url: prompts are asked by the server itself.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phi_assets.emulator.studio.rendering import SCRIPT, STYLE, content_hash

_HOSTS = frozenset({"127.0.0.1", "localhost"})

_POLICY = {
    "default-src": "'none'",
    "style-src": content_hash(STYLE),
    "script-src": content_hash(SCRIPT),
    "connect-src": "'self'",
    "img-src": "data:",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not `no-referrer`: with that, browsers send the page's own forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses what a website could have sent; adds the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = _refusal(scope["method"], Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, answer)
            return
        # Nobody looks while the emulator is reset.
        async with scope["app"].state.emulator.occupancy.inside():
            await self._app(scope, receive, answer)


def _refusal(method: str, headers: Headers) -> Response | None:
    host = headers.get("host", "")
    # Whatever the port: it may be forwarded to another one.
    if urlsplit(f"//{host}").hostname not in _HOSTS:
        return PlainTextResponse("Studio answers to 127.0.0.1 and localhost only.", 421)
    if method in {"GET", "HEAD"}:
        return None
    same_site = headers.get("sec-fetch-site", "same-origin") == "same-origin"
    if headers.get("origin") != f"http://{host}" or not same_site:
        return PlainTextResponse("A prompt can be sent from a page of Studio only.", 403)
    return None
