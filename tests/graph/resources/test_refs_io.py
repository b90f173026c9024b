"""Refs survive the way from one asset to the next, as files that people can read."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import fsspec
import pytest

from phi_assets.dataset.files.places import FsspecPlace
from phi_assets.graph.resources.refs_io import RefIOManager
from phi_assets.refs import ComputeRef, DataFile, SampleRef

REF = ComputeRef(name="cluster", size="Standard_NC24ads_A100_v4", gpus=1, tier="Dedicated", action="created")

A_FILE = DataFile.at("/a")


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


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialize(
    instance: dg.DagsterInstance, base: object, selection: list[dg.AssetsDefinition]
) -> dg.ExecuteInProcessResult:
    resources = {"io_manager": RefIOManager(base=str(base))}
    return dg.materialize(
        [upstream, downstream], selection=selection, instance=instance, resources=resources, raise_on_error=False
    )


def test_a_later_run_reads_what_an_earlier_one_wrote(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    first = materialize(instance, tmp_path, [upstream])
    assert json.loads((tmp_path / "upstream" / f"{first.run_id}.json").read_text()) == REF.model_dump()
    result = materialize(instance, tmp_path, [downstream])
    assert result.asset_value("downstream") == REF.model_copy(update={"action": "reused"})
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")} == {
        f"upstream/{first.run_id}.json",
        f"downstream/{result.run_id}.json",
    }


@dg.asset
def named(context: dg.AssetExecutionContext) -> dg.MaterializeResult[ComputeRef]:
    return dg.MaterializeResult(value=REF.model_copy(update={"name": context.run.tags["who"]}))


@dg.asset
def crossed(context: dg.AssetExecutionContext, named: ComputeRef) -> dg.MaterializeResult[ComputeRef]:
    """Fails the first time, after another run has made `named` anew."""
    if context.run.parent_run_id is None:
        assert (
            crossing()
            .execute_in_process(
                instance=context.instance, tags={"who": "another"}, asset_selection=[dg.AssetKey("named")]
            )
            .success
        )
        raise dg.Failure(f"had read {named.name}")
    return dg.MaterializeResult(value=named)


def crossing() -> dg.JobDefinition:
    definitions = dg.Definitions(
        [named, crossed],
        jobs=[dg.define_asset_job("crossing")],
        resources={"io_manager": RefIOManager(base="memory://crossing")},
        executor=dg.in_process_executor,
    )
    return definitions.resolve_job_def("crossing")


def test_a_run_reads_what_it_has_made_itself_whatever_others_make_meanwhile(instance: dg.DagsterInstance) -> None:
    """Also where it starts again from its failure: what has succeeded is not made anew."""
    first = crossing().execute_in_process(instance=instance, tags={"who": "first"}, raise_on_error=False)
    assert failure(first) == "had read first"
    again = dg.ReexecutionOptions.from_failure(first.run_id, instance)
    with dg.execute_job(dg.reconstructable(crossing), instance, reexecution_options=again) as result:
        assert result.success
        made = fsspec.filesystem("memory").cat(f"crossing/crossed/{result.run_id}.json")
        assert json.loads(made)["name"] == "first"


def test_any_fsspec_url_is_a_base(instance: dg.DagsterInstance) -> None:
    assert materialize(instance, "memory://refs", [upstream, downstream]).success


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What a person reads about the only failed step, which was not tried again."""
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    (event,) = result.get_step_failure_events()
    data = event.step_failure_data.user_failure_data
    assert data is not None, "the step failed with something else than a dagster.Failure"
    return data.description or ""


def test_a_missing_value_says_what_to_materialize(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    message = failure(materialize(instance, tmp_path, [downstream]))
    assert message == "Asset upstream has never been materialized on this Dagster instance: materialize it first"
    made = materialize(instance, tmp_path / "elsewhere", [upstream])
    message = failure(materialize(instance, tmp_path, [downstream]))
    assert message.startswith(
        f"Asset upstream was materialized by run {made.run_id}, which has left no value at {tmp_path}"
    )
    assert "PHI_STORAGE" in message


def test_a_value_that_cannot_be_written_says_what_to_do(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FsspecPlace, "put", full)
    message = failure(materialize(instance, tmp_path, [upstream]))
    assert f"asset upstream cannot be written to {tmp_path}/upstream/" in message
    assert "No space left on device. Make room there, or point PHI_STORAGE at another disk" in message
    monkeypatch.undo()
    (tmp_path / "file").touch()
    assert f"cannot be written to {tmp_path}/file/" in failure(materialize(instance, tmp_path / "file", [upstream]))


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
def test_a_value_that_cannot_be_read_says_what_to_materialize(
    tmp_path: Path, instance: dg.DagsterInstance, content: bytes, problem: str
) -> None:
    made = materialize(instance, tmp_path, [upstream])
    path = tmp_path / "upstream" / f"{made.run_id}.json"
    path.write_bytes(content)
    message = failure(materialize(instance, tmp_path, [downstream]))
    assert message.startswith(f"The value of asset upstream at {path} is not a ComputeRef that this version can read (")
    assert problem in message
    assert message.endswith("): materialize upstream again")
    assert "secret" not in message


def test_a_value_of_an_earlier_release_is_read_until_there_is_a_newer_one(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    old = SampleRef(split="train_sft", jsonl=A_FILE, parquet=A_FILE, rows=1, rows_total=2, size_bytes=3, sha256="c")
    recorded = old.model_dump(include={"split", "jsonl", "parquet", "rows", "rows_total", "size_bytes", "sha256"})
    (tmp_path / "sample.json").write_text(json.dumps(recorded))
    instance.report_runless_asset_event(dg.AssetMaterialization("sample"))
    resources = {"io_manager": RefIOManager(base=str(tmp_path))}
    result = dg.materialize([sample, reader], selection=[reader], instance=instance, resources=resources)
    assert result.asset_value("reader") == old
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "another-run.json").write_text("{}")
    result = dg.materialize(
        [sample, reader], selection=[reader], instance=instance, resources=resources, raise_on_error=False
    )
    assert "left no value" in failure(result)
