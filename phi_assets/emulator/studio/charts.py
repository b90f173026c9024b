"""Metrics over the steps of a training, as the coordinates of a picture."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from phi_assets.emulator.runner.metrics import MetricPoint, MetricPoints, latest
from phi_assets.emulator.studio.words import number

_LARGE, _SMALL = (640, 250), (330, 190)
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 12, 30
_TICKS = 5
_MOST_DOTS = 40
"""A curve with more points is a line without dots."""

Points = Sequence[MetricPoint]


@dataclass(frozen=True)
class Dot:
    """A point of a curve, with what it says when pointed at."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Curve:
    """A metric: the path of its line, its dots, and its latest value."""

    name: str
    path: str
    dots: tuple[Dot, ...]
    last: str


@dataclass(frozen=True)
class Tick:
    """A mark of an axis."""

    position: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Curves over the same axes."""

    title: str
    width: int
    height: int
    curves: tuple[Curve, ...]
    rows: tuple[Tick, ...]
    columns: tuple[Tick, ...]

    @property
    def left(self) -> int:
        """Where the curves begin."""
        return _LEFT

    @property
    def right(self) -> int:
        """Where they end at the latest."""
        return self.width - _RIGHT


@dataclass(frozen=True)
class Metrics:
    """Charts of what was measured more than once, the losses in the first one; values of what was measured once."""

    charts: tuple[Chart, ...]
    values: tuple[tuple[str, str], ...]


def picture(points: MetricPoints) -> Metrics:
    """Everything that a job has measured so far."""
    series: dict[str, MetricPoints] = {}
    for point in points:
        if point.is_finite:
            series.setdefault(point.name, []).append(point)
    curves = {name: sorted(found, key=lambda point: point.step) for name, found in series.items() if _varies(found)}
    losses = {name: curves[name] for name in sorted(curves, key=len) if name.split("_")[-1] == "loss"}
    charts = [_chart("Loss", losses, *_LARGE)] if losses else []
    charts += [_chart(name, {name: found}, *_SMALL) for name, found in curves.items() if name not in losses]
    values = [(point.name, number(point.value)) for point in latest(points) if point.name not in curves]
    return Metrics(tuple(charts), tuple(values))


def compared(jobs: Sequence[tuple[str, MetricPoints]]) -> tuple[Chart, ...]:
    """A chart for each loss that any of the jobs measured more than once, with each job's curve, or its only point."""
    drawn: dict[str, dict[str, MetricPoints]] = {}
    for number_, (job, points) in enumerate(jobs, start=1):
        for name in {point.name for point in points if point.is_finite and point.name.split("_")[-1] == "loss"}:
            drawn.setdefault(name, {})[f"{number_}. {job}"] = _of(name, points)
    curves = {name: series for name, series in drawn.items() if any(map(_varies, series.values()))}
    return tuple(
        _chart(name, series, *_LARGE) for name, series in sorted(curves.items(), key=lambda item: len(item[0]))
    )


def _of(name: str, points: MetricPoints) -> MetricPoints:
    return sorted((p for p in points if p.name == name and p.is_finite), key=lambda point: point.step)


def _varies(points: Points) -> bool:
    return len({point.step for point in points}) > 1


def _chart(title: str, series: dict[str, MetricPoints], width: int, height: int) -> Chart:
    every = [point for points in series.values() for point in points]
    low, high = min(point.value for point in every), max(point.value for point in every)
    first, last = min(point.step for point in every), max(point.step for point in every)
    margin = _margin(low, high)
    low, high = (max(low - margin, 0.0) if low >= 0 else low - margin), high + margin

    def x(step: float) -> float:
        return round(_LEFT + (step - first) / (last - first) * (width - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(height - _BOTTOM - (value - low) / (high - low) * (height - _TOP - _BOTTOM), 1)

    def curve(name: str, points: MetricPoints) -> Curve:
        dots = [Dot(x(p.step), y(p.value), f"{name} {number(p.value)} at step {p.step}") for p in points]
        path = "M" + " L".join(f"{dot.x:g} {dot.y:g}" for dot in dots)
        return Curve(name, path, tuple(dots) if len(dots) <= _MOST_DOTS else (), number(points[-1].value))

    return Chart(
        title,
        width,
        height,
        tuple(curve(name, points) for name, points in series.items()),
        tuple(Tick(y(value), number(value)) for value in ticks(low, high)),
        tuple(Tick(x(step), number(step)) for step in ticks(first, last) if float(step).is_integer()),
    )


def _margin(low: float, high: float) -> float:
    """Room above and below the curves; a flat one lies in the middle of a range of its own size."""
    largest = max(abs(low), abs(high))
    margin = (high - low) * 0.06 if high - low > largest * 1e-9 else largest * 0.1
    return margin if margin > 1e-30 else 1.0


def ticks(low: float, high: float) -> Iterable[float]:
    """At most about five round numbers between the two."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    found = (float(f"{index * step:.12g}") for index in range(math.ceil(low / step), math.floor(high / step) + 1))
    return [value for value in found if low <= value <= high]
