"""The reference of the emulator's API: every route that it has, by plane."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import phi_assets.emulator
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
    refused = "\n".join(f"- {message}" for message in sorted(_messages()))
    return f"""## What answers 501

- Any other path that begins with {begins}.
- Any other method of a single resource there.
- `PUT` of a blob other than as a whole or with {puts}, and any copy of one.

The code of the answer is `NotImplemented`. Its message names the method and the path. What a body asks for and is not
built is answered 501 as well, in these words:

{refused}"""


def _messages() -> Iterator[str]:
    """What the code says where it refuses with 501 itself; `...` is what depends on the request."""
    for path in Path(phi_assets.emulator.__file__).parent.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if "ServiceError(501" not in source:
            continue
        names = path.relative_to(Path(phi_assets.emulator.__file__).parents[2]).with_suffix("").parts
        known = vars(importlib.import_module(".".join(names)))
        for function in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)):
            yield from _refusals(function, known)


def _refusals(function: ast.FunctionDef, known: dict[str, Any]) -> Iterator[str]:
    texts: dict[str, ast.expr] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            texts[node.targets[0].id] = node.value
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ServiceError" and node.args:
            status, _, message = (*node.args, *(ast.Constant(""),) * 3)[:3]
            if isinstance(status, ast.Constant) and status.value == 501:
                yield _text(texts.get(message.id, message) if isinstance(message, ast.Name) else message, known)


def _text(message: ast.expr, known: dict[str, Any]) -> str:
    parts = message.values if isinstance(message, ast.JoinedStr) else [message]
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else _value(part.value, known)
        for part in parts
        if isinstance(part, ast.Constant | ast.FormattedValue)
    )


def _value(expression: ast.expr, known: dict[str, Any]) -> str:
    """What the module itself knows of it."""
    try:
        return str(eval(compile(ast.Expression(expression), "<message>", "eval"), dict(known)))  # noqa: S307 - our code
    except NameError:
        return "..."


def _routes() -> Iterator[tuple[str, str, set[str]]]:
    from phi_assets.emulator.server.serve import all_routes
    from phi_assets.emulator.wire.planes import route_name

    for route in all_routes():
        name = route_name(route.path)
        plane = "control" if route.path.startswith("/_control") else name.plane
        # Whatever may be read has both.
        yield plane, name.route, set(route.methods or ()) - {"HEAD"}
