"""Metrics of a job, through the workspace's MLflow interface."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import MetricsUnreadable
from phi_assets.azureml.connection.retry import Log, silent
from phi_assets.azureml.training.history import RunHistory

_HISTORY_PAGE = 25_000
_RUNS_AT_ONCE = 50


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
    """The named metrics of a job over its steps, or of the steps that recorded them; without those that nobody did.

    Raises:
        MetricsUnreadable: the service does not say.
    """
    history = RunHistory(ws, log)

    def recorded(run_id: str) -> dict[str, list[MetricPoint]]:
        curves = {name: _history(history, run_id, name) for name in names}
        return {name: points for name, points in curves.items() if points}

    return recorded(job_name) or next(
        (curves for step in history.descendants(job_name) if (curves := recorded(step.run_id))), {}
    )


def metrics_of_runs(
    ws: Workspace, experiments: Collection[str], run_ids: Sequence[str], log: Log = silent
) -> dict[str, dict[str, float]]:
    """The last values of what each of many runs has recorded; one request for every 50 of them.

    Args:
        experiments: ids of the runs' experiments.
        run_ids: of jobs or of steps; those that are not known are left out of the answer.

    `IN` is documented for `attributes.run_id`, and `attributes.status` was not filtered for a long time:
    https://learn.microsoft.com/azure/machine-learning/how-to-track-experiments-mlflow

    Raises:
        MetricsUnreadable: the service does not say.
    """
    history = RunHistory(ws, log)
    found: dict[str, dict[str, float]] = {}
    for start in range(0, len(run_ids), _RUNS_AT_ONCE):
        ids = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + _RUNS_AT_ONCE])
        wanted = {"experiment_ids": sorted(experiments), "filter": f"attributes.run_id IN ({ids})"}
        answer = history.mlflow("POST", "runs/search", **wanted, max_results=_RUNS_AT_ONCE)
        try:
            for run in (answer or {}).get("runs") or []:
                found[run["info"]["run_id"]] = _values(run)
        except (LookupError, AttributeError, TypeError, ValueError) as error:
            raise _not_mlflow("many runs", answer) from error
    return found


def last_metrics(ws: Workspace, job_name: str, log: Log = silent) -> dict[str, float]:
    """The last value of every metric of a job and of its steps.

    Raises:
        MetricsUnreadable: the service does not say.
    """
    values: dict[str, float] = {}
    for metrics in _metrics_of_runs(RunHistory(ws, log), job_name):
        values = {**metrics, **values}
    return values


def _metrics_of_runs(history: RunHistory, job_name: str) -> list[dict[str, float]]:
    """Last values of the job's own metrics if it has any, else those of each of its steps."""
    own = _run_metrics(history, job_name)
    return [own] if own else [_run_metrics(history, child.run_id) for child in history.descendants(job_name)]


def _run_metrics(history: RunHistory, run_id: str) -> dict[str, float]:
    answer = history.mlflow("GET", "runs/get", run_id=run_id)
    if answer is None:
        # A step that never started has no MLflow run.
        return {}
    try:
        return _values(answer["run"])
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise _not_mlflow(f"run {run_id}", answer) from error


def _history(history: RunHistory, run_id: str, name: str) -> list[MetricPoint]:
    points: list[MetricPoint] = []
    token: str | None = None
    while True:
        paging = {"page_token": token} if token else {}
        page = history.mlflow(
            "GET", "metrics/get-history", run_id=run_id, metric_key=name, max_results=_HISTORY_PAGE, **paging
        )
        if page is None:
            return []
        try:
            points += [MetricPoint.model_validate(point) for point in page.get("metrics") or []]
        except (AttributeError, TypeError, ValueError) as error:
            raise _not_mlflow(f"metric {name} of run {run_id}", page) from error
        token = page.get("next_page_token")
        if not token:
            break
    return sorted(points, key=lambda point: (point.step, point.timestamp))


def _values(run: Mapping[str, Any]) -> dict[str, float]:
    """What a run of MLflow's has recorded last."""
    return {metric["key"]: float(metric["value"]) for metric in (run.get("data") or {}).get("metrics") or []}


def _not_mlflow(what: str, answer: Any) -> MetricsUnreadable:
    return MetricsUnreadable(f"What the workspace's MLflow interface says of {what} is not understood: {answer!s:.200}")
