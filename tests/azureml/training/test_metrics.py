"""Where metrics are read, and that nothing but MLflow's own word means that there are none."""

from pathlib import Path

import pytest

from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.azureml.connection.errors import MetricsUnreadable
from phi_assets.azureml.training.history import RunHistory
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.azureml.training.metrics import last_metrics, metric_curves
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.refs import JobRef
from tests.azureml import toys as toy
from tests.azureml.training.azureml_mlflow import azureml_mlflow
from tests.azureml.training.waiting_room import Lines

GET, HISTORY = "/runs/get", "/metrics/get-history"


@pytest.fixture(scope="module")
def job(toys: Workspace, tmp_path_factory: pytest.TempPathFactory) -> JobRef:
    return ensure_job(toys, request=toy.make_request(toys, tmp_path_factory.mktemp("metrics")))


def test_the_packages_that_are_installed_make_no_difference(
    toys: Workspace, emulator: Connection, job: JobRef, tmp_path: Path
) -> None:
    with azureml_mlflow(tmp_path):
        ws = connect_emulator(emulator)
        assert "/mlflow/v2.0/" in str(ws.description.mlflow_tracking_uri), "the SDK has not found the package"
        assert last_metrics(ws, job.name) == last_metrics(toys, job.name) == {"loss": 1.0}
        assert metric_curves(ws, job.name, ["loss"]) == metric_curves(toys, job.name, ["loss"])


def test_a_run_that_mlflow_does_not_know_has_recorded_nothing(toys: Workspace) -> None:
    assert RunHistory(toys).mlflow("GET", "runs/get", run_id="nobody") is None
    assert RunHistory(toys).mlflow("GET", "metrics/get-history", run_id="nobody", metric_key="loss") is None


@pytest.mark.parametrize("status", [401, 403, 404, 400])
@pytest.mark.parametrize("route", [GET, HISTORY])
def test_any_other_refusal_is_an_error_that_names_the_address(
    toys: Workspace, job: JobRef, control: Control, emulator: Connection, status: int, route: str
) -> None:
    control.add_fault(plane="mlflow", route=f"*{route}", action="status", status=status)
    with pytest.raises(MetricsUnreadable) as failed:
        last_metrics(toys, job.name) if route == GET else metric_curves(toys, job.name, ["loss"])
    assert f"{emulator.base_url}/mlflow/v1.0/subscriptions/" in str(failed.value)
    assert f"/api/2.0/mlflow{route} does not give a job's metrics: it answers {status} " in str(failed.value)


def test_a_proven_job_is_kept_and_says_that_its_metrics_are_unknown(
    toys: Workspace, control: Control, tmp_path: Path
) -> None:
    request = toy.make_request(toys, tmp_path)
    first = ensure_job(toys, request=request)
    assert (first.metrics, first.metrics_note) == ({"loss": 1.0}, "")
    control.add_fault(plane="mlflow", action="status", status=404)
    lines = Lines()
    again = ensure_job(toys, request=request, log=lines)
    assert (again.action, again.metrics) == ("reused", {})
    assert f"The metrics of job {first.name} cannot be read." in again.metrics_note
    assert "404" in again.metrics_note
    assert f"Warning: {again.metrics_note}" in lines


def test_a_job_without_any_metric_is_said(toys: Workspace, tmp_path: Path) -> None:
    job = ensure_job(toys, request=toy.make_request(toys, tmp_path, outcome="silent"))
    assert job.metrics == {}
    assert job.metrics_note == f"Job {job.name} is Completed and has recorded no metric at all."
