"""All routes of the emulator as one, which looks at each path once: clients ask for the same ones again and again."""

from collections.abc import Iterable
from functools import lru_cache

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

_FOUND = "phi_assets.route"
_KEPT_PATHS = 1024


class RouteTable(BaseRoute):
    """Does what a router does that has these routes: the first one that fits answers."""

    def __init__(self, routes: Iterable[Route]):
        self.routes = tuple(routes)
        self._at = lru_cache(_KEPT_PATHS)(self._look_at)

    def at(self, path: str) -> tuple[Route, ...]:
        """Those that have this path, by whatever method."""
        return self._at(path)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As its first route that fits wholly, else as the first one that has the path."""
        best: tuple[Match, Scope] = Match.NONE, {}
        for route in self.at(scope["path"]):
            match, child = route.matches(scope)
            if match.value > best[0].value:
                best = match, {**child, _FOUND: route}
            if match is Match.FULL:
                break
        return best

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The route that `matches` has found answers."""
        await scope[_FOUND].handle(scope, receive, send)

    def _look_at(self, path: str) -> tuple[Route, ...]:
        return tuple(route for route in self.routes if route.path_regex.match(path))
