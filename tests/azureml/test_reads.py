"""What an unchanged materialization costs: no write, and at most a dozen reads for each thing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.compute.clusters import ensure_compute
from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.azureml.models.foundation import get_foundation_model
from phi_assets.azureml.models.registered import ensure_registered_model
from phi_assets.azureml.serving.deployments import ensure_deployment
from phi_assets.azureml.serving.endpoints import delete_endpoint, ensure_endpoint
from phi_assets.azureml.serving.traffic import ensure_traffic
from phi_assets.azureml.training.data import ensure_data_asset
from phi_assets.azureml.training.finetune import ensure_finetune_job
from phi_assets.config.recipe import FinetuneSection, Recipe, ServingSection
from phi_assets.emulator.process import Connection
from tests.azureml import toys as toy
from tests.emulator_requests import Requests

MOST_READS = 12

RECIPE = Recipe(
    name="reads",
    model=toy.MODEL,
    component=toy.COMPONENT,
    compute=toy.COMPUTE,
    finetune=FinetuneSection(parameters={"prefix": "reads: ", "outcome": "rated"}),
    serving=ServingSection(endpoint="reads", instance_type=toy.SIZE, liveness_initial_delay_seconds=10),
)


@pytest.fixture
def graph(toys: Workspace, tmp_path: Path) -> Iterator[dict[str, Callable[[Workspace], Any]]]:
    """Every `ensure_*` of the graph in its order, each given what those before it have returned."""
    done: dict[str, Any] = {}
    splits = ("train_sft", "validation_sft", "test_sft")
    samples = {split: toy.make_sample(tmp_path, split, str(tmp_path)) for split in splits}

    def remember(name: str, make: Callable[[Workspace], Any]) -> Callable[[Workspace], Any]:
        def call(ws: Workspace) -> Any:
            done[name] = make(ws)
            return done[name]

        return call

    serving = RECIPE.serving
    steps: dict[str, Callable[[Workspace], Any]] = {
        "model": lambda ws: get_foundation_model(ws, RECIPE.model),
        "compute": lambda ws: ensure_compute(ws, RECIPE.compute, done["model"]),
        "data": lambda ws: ensure_data_asset(ws, "reads", samples["train_sft"]),
        "job": lambda ws: (
            ensure_finetune_job(
                ws,
                RECIPE,
                model=done["model"],
                compute=done["compute"],
                train=samples["train_sft"],
                validation=samples["validation_sft"],
                test=samples["test_sft"],
            ).job
        ),
        "registered": lambda ws: ensure_registered_model(ws, job=done["job"], name="reads", description="A toy"),
        "endpoint": lambda ws: ensure_endpoint(ws, serving, owner=ws.owner(RECIPE.name)),
        "deployment": lambda ws: ensure_deployment(ws, done["endpoint"], done["registered"], serving),
        "traffic": lambda ws: ensure_traffic(ws, done["endpoint"], done["deployment"]),
    }
    yield {name: remember(name, make) for name, make in steps.items()}
    delete_endpoint(toys, str(serving.endpoint))


def test_an_unchanged_materialization_writes_nothing_and_reads_little(
    graph: dict[str, Callable[[Workspace], Any]], emulator: Connection
) -> None:
    for ensure in graph.values():
        ensure(connect_emulator(emulator))
    reads = {}
    for name, ensure in graph.items():
        # As every asset does, each begins with a connection of its own.
        ws = connect_emulator(emulator)
        with Requests(emulator) as requests:
            result = ensure(ws)
        assert getattr(result, "action", "reused") == "reused", name
        assert not requests.writes, name
        reads[name] = len([line for line in requests.lines if not line.endswith("/msi/token")])
    assert max(reads.values()) <= MOST_READS, reads
    assert sum(reads.values()) <= 40, reads
