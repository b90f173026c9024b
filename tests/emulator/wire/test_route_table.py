"""The table of routes chooses as a router does that tries one after the other, whatever it has kept."""

from typing import Any

import pytest
from starlette.routing import Match, Route, replace_params

from phi_assets.emulator.server.serve import all_routes
from phi_assets.emulator.wire.planes import UNKNOWN_ROUTE, RouteNames, route_name
from phi_assets.emulator.wire.route_table import RouteTable

METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS")


@pytest.fixture(scope="module")
def table() -> RouteTable:
    return RouteTable(all_routes())


def request(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}


def path_of(route: Route) -> str:
    values = dict.fromkeys(route.param_convertors, "models")
    path, _ = replace_params(route.path_format, route.param_convertors, values)
    return path


def chosen(routes: tuple[Route, ...], scope: dict[str, Any]) -> Route | None:
    """One after the other: the first that fits wholly, else the first that has the path."""
    matches = [(route, route.matches(scope)[0]) for route in routes]
    full = [route for route, match in matches if match is Match.FULL]
    partial = [route for route, match in matches if match is Match.PARTIAL]
    return next(iter([*full, *partial]), None)


def test_each_request_gets_the_route_of_a_router(table: RouteTable) -> None:
    paths = {path_of(route) for route in table.routes}
    assert len(paths) > 50
    for path in sorted(paths):
        for method in [*METHODS, *METHODS]:
            scope = request(method, path)
            match, child = table.matches(scope)
            expected = chosen(table.routes, scope)
            assert expected is not None
            assert match is expected.matches(scope)[0]
            assert [value for value in child.values() if isinstance(value, Route)] == [expected], (method, path)
            assert child["path_params"] == expected.matches(scope)[1]["path_params"]


def test_a_path_that_no_route_has_has_none(table: RouteTable) -> None:
    scope = request("GET", "/nowhere/at/all")
    assert table.matches(scope) == (Match.NONE, {})
    name = RouteNames(table).of(scope)
    assert name is not None
    assert name.route == UNKNOWN_ROUTE


def test_a_request_is_named_after_the_first_route_that_has_its_path(table: RouteTable) -> None:
    names = RouteNames(table)
    for path in sorted({path_of(route) for route in table.routes}):
        first = next(route for route in table.routes if route.path_regex.match(path))
        found = names.of(request("BREW", path))
        if found is not None:
            kind = first.matches(request("BREW", path))[1]["path_params"].get("kind", "")
            assert found.route == route_name(first.path).route.replace("{kind}", kind), path
            assert found.plane == route_name(first.path).plane
