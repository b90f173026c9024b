"""Metrics of runs: the lines that steps append to the file that PHI_METRICS_FILE names."""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MetricPoint:
    """One value; `timestamp` in milliseconds since 1970."""

    name: str
    value: float
    step: int
    timestamp: int

    @property
    def is_finite(self) -> bool:
        """Whether JSON has a number for the value."""
        return math.isfinite(self.value)


MetricPoints = list[MetricPoint]


def read_metrics(path: Path) -> MetricPoints:
    """Everything a step has recorded so far, in the order of the file; a line that is still being written is left."""
    if not path.is_file():
        return []
    points: MetricPoints = []
    complete, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    for number, line in enumerate(complete.splitlines(), start=1):
        try:
            points.append(_point(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s, line %d is not a metric and is left out: %s", path, number, error)
    return points


def latest(points: MetricPoints) -> MetricPoints:
    """The last point of each metric: that of the highest step, among equals the latest."""
    last: dict[str, MetricPoint] = {}
    for point in points:
        known = last.get(point.name)
        if known is None or (point.step, point.timestamp) >= (known.step, known.timestamp):
            last[point.name] = point
    return list(last.values())


def _point(entry: Any) -> MetricPoint:
    moment = float(entry["timestamp"])
    # Seconds or milliseconds, whichever the step writes: seconds stay below this for the next three thousand years.
    milliseconds = moment if moment > 1e11 else moment * 1000
    return MetricPoint(str(entry["name"]), float(entry["value"]), int(entry.get("step") or 0), int(milliseconds))
