"""Refs survive the way from one asset to the next, as files that people can read."""

import json

import dagster as dg
import pytest

from phi_assets.graph.resources.refs_io import RefIOManager
from phi_assets.refs import ComputeRef, SampleRef

REF = ComputeRef(name="cluster", size="Standard_NC24ads_A100_v4", gpus=1, tier="Dedicated", action="created")


@dg.asset
def upstream() -> dg.MaterializeResult[ComputeRef]:
    return dg.MaterializeResult(value=REF)


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def downstream(upstream: ComputeRef) -> dg.MaterializeResult[ComputeRef]:
    return dg.MaterializeResult(value=upstream.model_copy(update={"action": "reused"}))


@dg.asset
def sample() -> dg.MaterializeResult[SampleRef]:
    raise AssertionError("its value is there already")


@dg.asset
def reader(sample: SampleRef) -> dg.MaterializeResult[SampleRef]:
    return dg.MaterializeResult(value=sample)


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


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What a person reads about the only failed step, which was not tried again."""
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    (event,) = result.get_step_failure_events()
    data = event.step_failure_data.user_failure_data
    assert data is not None, "the step failed with something else than a dagster.Failure"
    return data.description or ""


def test_a_missing_value_says_what_to_materialize(tmp_path) -> None:
    message = failure(materialize(tmp_path, [downstream]))
    assert message.startswith(f"Asset upstream has no recorded value at {tmp_path / 'upstream.json'}: materialize it")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            b'{"name": "cluster", "action": "created"}',
            "size: Field required; gpus: Field required; tier: Field required",
        ),
        (REF.model_dump_json().replace(":1,", ':"one",').encode(), "gpus: Input should be a valid integer"),
        (REF.model_dump_json()[:-1].encode() + b', "zone": "secret"}', "zone: Extra inputs are not permitted"),
        (b"not json", "Invalid JSON"),
        (REF.model_dump_json()[:40].encode(), "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b'{"name": "\xff"}', "Invalid JSON"),
    ],
)
def test_a_value_that_cannot_be_read_says_what_to_materialize(tmp_path, content: bytes, problem: str) -> None:
    path = tmp_path / "upstream.json"
    path.write_bytes(content)
    message = failure(materialize(tmp_path, [downstream]))
    assert message.startswith(f"The value of asset upstream at {path} is not a ComputeRef that this version can read (")
    assert problem in message
    assert message.endswith("): materialize upstream again")
    assert "secret" not in message


def test_a_sample_recorded_by_an_earlier_version_is_still_read(tmp_path) -> None:
    old = SampleRef(split="train_sft", jsonl="/a", parquet="/b", rows=1, rows_total=2, size_bytes=3, sha256="c")
    recorded = old.model_dump(include={"split", "jsonl", "parquet", "rows", "rows_total", "size_bytes", "sha256"})
    (tmp_path / "sample.json").write_text(json.dumps(recorded))
    resources = {"io_manager": RefIOManager(base=str(tmp_path))}
    result = dg.materialize([sample, reader], selection=[reader], resources=resources)
    assert result.asset_value("reader") == old
