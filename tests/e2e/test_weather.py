"""The whole graph in bad weather: answers fail, get lost or are throttled, and nothing is made twice."""

from pathlib import Path

import dagster as dg
import pytest

from phi_assets.azureml.connection import retry
from phi_assets.azureml.connection.client import Workspace
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from tests.emulator_requests import Requests
from tests.graph_runs import Graph, actions, failure_message
from tests.toy_graph import write_toy_recipe

pytestmark = pytest.mark.slow

REMOTE_ASSETS = (
    "foundation_model",
    "finetune_compute",
    "finetune_job",
    "registered_model",
    "online_endpoint",
    "online_deployment",
    "live_traffic",
)
MOST_READS = 12

FAILURES = [
    {"action": "status", "status": 429, "retry_after": 1},
    {"action": "status", "status": 500},
    {"action": "drop"},
    # The same once the request has been carried out: whoever then repeats it must not make a second thing.
    {"action": "status", "status": 500, "when": "after"},
    {"action": "drop", "when": "after"},
]


@pytest.fixture
def graph(clean_emulator: Connection, toys: Workspace, tmp_path: Path) -> Graph:
    # As Azure's component does, the job records a learning rate with each loss.
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", {"parameters": {"outcome": "rated"}})
    return Graph(clean_emulator.directory.parent, recipe, tmp_path / "storage", dg.DagsterInstance.ephemeral())


def count(toys: Workspace) -> dict[str, int]:
    """How many of each kind of thing there are."""
    ml = toys.ml
    endpoints = [str(endpoint.name) for endpoint in ml.online_endpoints.list()]
    models = [model.name for model in ml.models.list()]
    data = [asset.name for asset in ml.data.list()]
    return {
        "jobs": len(list(ml.jobs.list())),
        "computes": len(list(ml.compute.list())),
        "model versions": sum(len(list(ml.models.list(name=name))) for name in models),
        "data versions": sum(len(list(ml.data.list(name=name))) for name in data),
        "endpoints": len(endpoints),
        "deployments": sum(len(list(ml.online_deployments.list(endpoint_name=name))) for name in endpoints),
    }


ONE_OF_EACH = {"jobs": 1, "computes": 1, "model versions": 1, "data versions": 3, "endpoints": 1, "deployments": 1}


def test_a_full_run_passes_while_every_fifth_arm_answer_fails(graph: Graph, toys: Workspace, control: Control) -> None:
    fault = control.add_fault(plane="arm", every=5, cycle=FAILURES)
    result = graph.run()
    applied = control.fault(fault).applied
    control.clear_faults()
    print(f"{applied} answers failed")
    assert result.success, failure_message(result)
    assert applied > len(FAILURES)
    assert actions(result)["finetune_job"] == "submitted"
    assert count(toys) == ONE_OF_EACH


def test_a_throttled_run_waits_as_long_as_it_is_told_and_passes(
    graph: Graph, toys: Workspace, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who waits for a job leaves as few reads as these to others, and looks every two minutes.
    monkeypatch.setattr(retry, "_LONGEST_PAUSE", 1.0)
    control.set_throttling(True, reads=(5, 5), writes=(1, 1), deletes=(1, 1))
    result = graph.run()
    assert result.success, failure_message(result)
    assert any(entry.status == 429 for entry in control.journal())
    assert count(toys) == ONE_OF_EACH


def test_a_full_run_is_within_azures_request_limits_and_an_unchanged_one_writes_nothing_and_reads_little(
    graph: Graph, toys: Workspace, emulator: Connection, control: Control
) -> None:
    control.set_throttling(True)
    first = graph.run()
    assert first.success, failure_message(first)
    arm = [entry for entry in control.journal() if entry.plane == "arm"]
    throttled = [entry for entry in arm if entry.status == 429]
    print(f"{len(arm)} requests to ARM, {len(throttled)} throttled")
    assert len(throttled) <= 1
    assert count(toys) == ONE_OF_EACH
    control.set_throttling(False)
    with Requests(emulator) as requests:
        again = graph.run()
    assert again.success, failure_message(again)
    assert set(actions(again).values()) == {"reused"}
    assert requests.writes == []
    for asset in REMOTE_ASSETS:
        before = control.last_entry()
        assert graph.materialize(f'key:"{asset}"').success
        # The token comes from the machine's identity service, not from Azure ML.
        reads = [entry for entry in control.journal(since=before) if entry.route != "/msi/token"]
        print(f"{asset}: {len(reads)} reads")
        assert len(reads) <= MOST_READS
