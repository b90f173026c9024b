"""Refs survive the way from one asset to the next, as files that people can read."""

import json

import dagster as dg
import pytest

from phi_assets.refs import ComputeRef
from phi_assets.resources.refs_io import RefIOManager

REF = ComputeRef(name="cluster", size="Standard_NC24ads_A100_v4", gpus=1, tier="Dedicated", action="created")


@dg.asset
def upstream() -> dg.MaterializeResult[ComputeRef]:
    return dg.MaterializeResult(value=REF)


@dg.asset
def downstream(upstream: ComputeRef) -> dg.MaterializeResult[ComputeRef]:
    return dg.MaterializeResult(value=upstream.model_copy(update={"action": "reused"}))


def materialize(base, selection: list[dg.AssetsDefinition]) -> dg.ExecuteInProcessResult:
    resources = {"io_manager": RefIOManager(base=str(base))}
    return dg.materialize([upstream, downstream], selection=selection, resources=resources, raise_on_error=False)


def test_a_later_run_reads_what_an_earlier_one_wrote(tmp_path) -> None:
    assert materialize(tmp_path, [upstream]).success
    assert json.loads((tmp_path / "upstream.json").read_text()) == REF.model_dump()
    result = materialize(tmp_path, [downstream])
    assert result.asset_value("downstream") == REF.model_copy(update={"action": "reused"})
    assert {path.name for path in tmp_path.iterdir()} == {"upstream.json", "downstream.json"}


def test_any_fsspec_url_is_a_base() -> None:
    assert materialize("memory://refs", [upstream, downstream]).success


def test_a_missing_value_says_what_to_materialize(tmp_path) -> None:
    result = materialize(tmp_path, [downstream])
    failure = result.get_step_failure_events()[0].step_failure_data.error
    messages = []
    while failure is not None:
        messages.append(failure.message)
        failure = failure.cause
    assert "upstream has no recorded value" in " ".join(messages)


@pytest.mark.parametrize("content", ['{"name": "cluster"}', "not json"])
def test_a_damaged_value_fails_instead_of_travelling_on(tmp_path, content: str) -> None:
    (tmp_path / "upstream.json").write_text(content)
    assert not materialize(tmp_path, [downstream]).success
