"""The graph of a job's steps: which of them wait for which, laid out from top to bottom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 304, 58
_GAP_X, _GAP_Y, _MARGIN = 28, 44, 6


@dataclass(frozen=True)
class Box:
    """A step; `x` and `y` are its upper left corner."""

    key: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """Boxes, the paths of the arrows between them, and how much room they take."""

    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]
    width: float
    height: float


def draw(needs: Mapping[str, Sequence[str]]) -> Drawing:
    """The steps in rows, each below all that it waits for; `needs` has them in the order of execution."""
    direct = _without_detours(needs)
    rows = _rows(direct)
    places: dict[str, Box] = {}
    widest = max((len(row) for row in rows), default=0)
    width = widest * (WIDTH + _GAP_X) - _GAP_X + 2 * _MARGIN
    for number, row in enumerate(rows):
        # Below the middle of what they wait for, so that arrows seldom cross.
        ordered = sorted(row, key=lambda key: _middle([places[need].x for need in direct[key]]))
        left = (width - len(row) * (WIDTH + _GAP_X) + _GAP_X) / 2
        for column, key in enumerate(ordered):
            places[key] = Box(key, left + column * (WIDTH + _GAP_X), _MARGIN + number * (HEIGHT + _GAP_Y))
    arrows = [_arrow(places[need], places[key]) for key, found in direct.items() for need in found]
    height = len(rows) * (HEIGHT + _GAP_Y) - _GAP_Y + 2 * _MARGIN
    return Drawing(tuple(places.values()), tuple(arrows), width, height)


def _without_detours(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Only what a step waits for directly: not what one of its other needs waits for already."""
    behind: dict[str, set[str]] = {}
    direct: dict[str, list[str]] = {}
    for key, found in needs.items():
        behind[key] = set(found).union(*(behind[need] for need in found))
        direct[key] = [need for need in found if not any(need in behind[other] for other in found)]
    return direct


def _rows(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    depth: dict[str, int] = {}
    rows: list[list[str]] = []
    for key, found in needs.items():
        depth[key] = 1 + max((depth[need] for need in found), default=-1)
        while len(rows) <= depth[key]:
            rows.append([])
        rows[depth[key]].append(key)
    return rows


def _middle(positions: Sequence[float]) -> float:
    return sum(positions) / len(positions) if positions else 0.0


def _arrow(start: Box, end: Box) -> str:
    x1, y1, x2, y2 = start.x + WIDTH / 2, start.y + HEIGHT, end.x + WIDTH / 2, end.y - 7
    bend = max((y2 - y1) / 2, 10)
    return f"M{x1:g} {y1:g} C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"
