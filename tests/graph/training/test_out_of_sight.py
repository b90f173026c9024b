"""What a person sees in Dagster of a job that could not be seen any more: its link, what to do, and no harm done."""

from pathlib import Path

import dagster as dg
import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.training.lookup import get_job
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection
from phi_assets.graph.training.assets import JOB_TAG
from tests.azureml.out_of_sight import FORBIDDEN
from tests.emulator_requests import Requests
from tests.graph.ticks import materialized
from tests.graph_runs import Graph, actions, failure_message
from tests.toy_graph import write_toy_recipe

UPSTREAM = '+key:"sampled_train_sft" or +key:"sampled_validation_sft" or +key:"finetune_compute"'


def test_a_run_that_lost_its_job_says_where_it_is_and_the_next_one_attaches(
    emulator: Connection, toys: Workspace, control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHI_SIGHT_HOURS", str(1 / 3600))
    gate = tmp_path / "gate"
    recipe = write_toy_recipe(
        tmp_path / "recipe.yaml", {"parameters": {"gate": str(gate)}, "compute": {"name": "unseen"}}
    )
    with dg.DagsterInstance.ephemeral() as instance:
        graph = Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance)
        materialized(graph, UPSTREAM)
        # Once the job is submitted and looked at a few times, nobody may read it any more.
        control.add_fault(
            method="GET", route="/jobs/{name}", skip=10, action="status", status=403, error=FORBIDDEN, plane="arm"
        )
        with Requests(emulator) as requests:
            lost = graph.materialize("finetune_job")
        control.clear_faults()
        assert not lost.success
        run = instance.get_run_by_id(lost.run_id)
        assert run is not None
        name = run.tags[JOB_TAG]
        message = failure_message(lost)
        for part in (name, "could not be seen", "AuthorizationFailed", "It runs on and is billing", "Run again"):
            assert part in message
        data = lost.get_step_failure_events()[0].step_failure_data.user_failure_data
        assert data is not None
        assert str(data.metadata["studio"].value) == toys.studio_url(name)
        assert [line.split()[0] for line in requests.writes if "/jobs/" in line] == ["PUT"]
        assert get_job(toys, name).status == "Running"
        gate.touch()
        again = graph.materialize("finetune_job")
        assert again.success, failure_message(again)
        assert actions(again)["finetune_job"] in ("attached", "reused")
        assert again.asset_value("finetune_job").name == name
