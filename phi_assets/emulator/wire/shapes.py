"""Of which JSON type the fields of a request are: what a route declares, and the answer to anything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from phi_assets.emulator.wire.json_documents import refuse


class Kind(Enum):
    """The type of a field; null is always taken, as the SDK sends it for what is not set."""

    TEXT = "a text"
    NUMBER = "a whole number"
    FLAG = "true or false"
    OBJECT = "an object"
    SCALAR = "a text, a number, true or false"
    TEXTS = "an object with a text for each name"
    """Numbers and flags pass, too: the service makes texts of them."""


@dataclass(frozen=True)
class Each:
    """Every value of an object, or every element of a list (`of_list`), has this shape."""

    shape: "Shape"
    of_list: bool = False
    or_scalar: bool = False


Shape: TypeAlias = "Kind | Each | Mapping[str, Shape]"
"""A mapping has the shapes of an object's fields; fields that it does not name may be anything."""

TEXT, NUMBER, FLAG, OBJECT, SCALAR, TEXTS = Kind

Fields = Mapping[str, Shape]

_SCALARS = (str, int, float, bool)


def require_shape(value: Any, shape: Shape, path: str = "") -> None:
    """Raises ServiceError 400, with the field's path, where the value is of another type than its shape says."""
    if value is None:
        return
    if isinstance(shape, Kind):
        if not _is_of(value, shape):
            refuse(path, f"it must be {shape.value}, not {_called(value)}")
        if shape is Kind.TEXTS:
            for name, inner in value.items():
                require_shape(inner, Kind.SCALAR, f"{path}.{name}")
    elif isinstance(shape, Each):
        _require_each(value, shape, path)
    elif not isinstance(value, dict):
        refuse(path or "the request body", f"it must be an object, not {_called(value)}")
    else:
        for name, inner in shape.items():
            require_shape(value.get(name), inner, f"{path}.{name}" if path else name)


def _require_each(value: Any, shape: Each, path: str) -> None:
    if shape.of_list:
        if not isinstance(value, list):
            refuse(path, f"it must be a list, not {_called(value)}")
        members = [(f"{path}[{index}]", inner) for index, inner in enumerate(value)]
    else:
        if not isinstance(value, dict):
            refuse(path, f"it must be an object, not {_called(value)}")
        members = [(f"{path}.{name}", inner) for name, inner in value.items()]
    for where, inner in members:
        if not (shape.or_scalar and isinstance(inner, _SCALARS)):
            require_shape(inner, shape.shape, where)


def _is_of(value: Any, kind: Kind) -> bool:
    match kind:
        case Kind.TEXT:
            return isinstance(value, str)
        case Kind.NUMBER:
            return isinstance(value, int) and not isinstance(value, bool)
        case Kind.FLAG:
            return isinstance(value, bool)
        case Kind.SCALAR:
            return isinstance(value, _SCALARS)
        case Kind.OBJECT | Kind.TEXTS:
            return isinstance(value, dict)


def _called(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")
