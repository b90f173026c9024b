"""Metrics of a job, through the workspace's MLflow interface."""

from collections.abc import Sequence
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.training.history import RunHistory, is_missing

_HISTORY_PAGE = 25_000


class MetricPoint(BaseModel):
    """One value of one metric."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    value: float
    step: int = 0
    timestamp: int = 0
    """Milliseconds since 1970, UTC."""


def metric_curves(
    ws: Workspace, job_name: str, names: Sequence[str], log: Log = silent
) -> dict[str, list[MetricPoint]]:
    """The named metrics of a job over its steps, or of the steps that recorded them; without those that nobody did."""
    history = RunHistory(ws, log)

    def recorded(run_id: str) -> dict[str, list[MetricPoint]]:
        curves = {name: _history(history, run_id, name) for name in names}
        return {name: points for name, points in curves.items() if points}

    return recorded(job_name) or next(
        (curves for step in history.descendants(job_name) if (curves := recorded(step.run_id))), {}
    )


def last_metrics(ws: Workspace, job_name: str, log: Log = silent) -> dict[str, float]:
    """The last value of every metric of a job and of its steps."""
    values: dict[str, float] = {}
    for _, metrics in _runs_with_metrics(RunHistory(ws, log), job_name):
        values = {**metrics, **values}
    return values


def _runs_with_metrics(history: RunHistory, job_name: str) -> list[tuple[str, dict[str, float]]]:
    """Runs and the last values of their metrics: the job itself if it has any, else its steps."""
    own = _run_metrics(history, job_name)
    if own:
        return [(job_name, own)]
    steps = [(child.run_id, _run_metrics(history, child.run_id)) for child in history.descendants(job_name)]
    return [(run_id, metrics) for run_id, metrics in steps if metrics]


def _run_metrics(history: RunHistory, run_id: str) -> dict[str, float]:
    try:
        answer = history.mlflow("GET", "runs/get", run_id=run_id)
    except httpx.HTTPStatusError as error:
        # A step that never started has no MLflow run.
        if is_missing(error):
            return {}
        raise
    data = answer["run"].get("data") or {}
    return {metric["key"]: float(metric["value"]) for metric in data.get("metrics") or []}


def _history(history: RunHistory, run_id: str, name: str) -> list[MetricPoint]:
    points: list[dict[str, Any]] = []
    token: str | None = None
    while True:
        paging = {"page_token": token} if token else {}
        try:
            page = history.mlflow(
                "GET", "metrics/get-history", run_id=run_id, metric_key=name, max_results=_HISTORY_PAGE, **paging
            )
        except httpx.HTTPStatusError as error:
            if is_missing(error):
                return []
            raise
        points += page.get("metrics") or []
        token = page.get("next_page_token")
        if not token:
            break
    return sorted(
        (MetricPoint.model_validate(point) for point in points), key=lambda point: (point.step, point.timestamp)
    )
