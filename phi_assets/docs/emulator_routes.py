"""The reference of the emulator's API: every route that it has, by plane."""

from collections.abc import Iterator

from phi_assets.docs.markdown import table

_PLANES = {
    "arm": "Azure Resource Manager, below `{workspace}`, `{subscription}` or `{location}`",
    "registry": "Registries",
    "history": "Run history and metrics",
    "mlflow": "MLflow",
    "scoring": "Scoring",
    "blob": "Blob storage, below `/{account}.blob.{suffix}`",
    "discovery": "What a client asks first: metadata, tokens",
    "control": "The control plane, with a token of its own",
}


def routes_text() -> str:
    """Every route with its methods, as the server has them; paths as the journal and faults name them."""
    found: dict[str, dict[str, set[str]]] = {plane: {} for plane in _PLANES}
    for plane, path, methods in _routes():
        found[plane].setdefault(path, set()).update(methods)
    sections = [
        f"## {_PLANES[plane]}\n\n"
        + table(("path", "methods"), [(f"`{path}`", ", ".join(sorted(methods))) for path, methods in paths.items()])
        for plane, paths in found.items()
    ]
    return "\n\n".join([*sections, _not_implemented()])


def _not_implemented() -> str:
    from phi_assets.emulator.routes.blobs import PUTS
    from phi_assets.emulator.wire.planes import SERVICES

    begins = ", ".join(f"`/{name}`" for name in SERVICES)
    puts = ", ".join(f"`comp={name}`" for name in sorted(PUTS) if name)
    return f"""## What answers 501

- Any other path that begins with {begins}.
- Any other method of a single resource there.
- `PUT` of a blob other than as a whole or with {puts}, and any copy of one.

The code of the answer is `NotImplemented`. Its message names the method and the path."""


def _routes() -> Iterator[tuple[str, str, set[str]]]:
    from phi_assets.emulator.server.serve import all_routes
    from phi_assets.emulator.wire.planes import route_name

    for route in all_routes():
        name = route_name(route.path)
        plane = "control" if route.path.startswith("/_control") else name.plane
        # Whatever may be read has both.
        yield plane, name.route, set(route.methods or ()) - {"HEAD"}
