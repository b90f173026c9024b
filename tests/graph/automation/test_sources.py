"""New states of the data set and of the model: one run for each, whatever happens in between."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from phi_assets.config.dataset import SPLITS
from phi_assets.dataset.errors import DatasetError
from phi_assets.emulator.process import Connection
from phi_assets.graph.automation.cursor import Cursor
from tests.dataset.shards import make_rows, write_shards
from tests.dataset.sources.hub_server import COMMIT, Hub
from tests.emulator_requests import Requests
from tests.graph.ticks import Ticker, active_run, materialized
from tests.graph_runs import Graph
from tests.toy_graph import write_toy_recipe

NEXT = "fedcba9876543210fedcba9876543210fedcba98"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def hub_graph(hub: Hub, tmp_path: Path, instance: dg.DagsterInstance) -> Graph:
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", {"dataset": {"source": "hub", "repo": hub.repo}})
    return Graph(tmp_path / "home", recipe, tmp_path / "storage", instance)


@pytest.fixture
def hub_sensor(hub_graph: Graph) -> Ticker:
    return Ticker(hub_graph, "hub_revision_sensor")


def move(hub: Hub, commit: str) -> None:
    """Somebody pushes to the hub."""
    hub.commit = hub.served_commit = commit


def pause_is_over(ticker: Ticker) -> None:
    """As if the time until the next request had passed."""
    ticker.state = ticker.state.model_copy(update={"not_before": 0})


def test_what_has_never_been_materialized_is_not_started(hub: Hub, hub_sensor: Ticker) -> None:
    assert "never been materialized" in str(hub_sensor.tick().skip)
    move(hub, NEXT)
    assert not hub_sensor.tick().requests


def test_a_new_revision_is_requested_once_and_materialized(hub: Hub, hub_graph: Graph, hub_sensor: Ticker) -> None:
    materialized(hub_graph, "key:source")
    assert "up to date" in str(hub_sensor.tick().skip)
    move(hub, NEXT)
    hub.requests.clear()
    tick = hub_sensor.tick()
    assert [line for line in hub.requests if "/api/" in line] == ["GET /api/datasets/owner/chat/revision/main"]
    assert tick.assets == {"source"}
    assert tick.requests[0].tags["phi/reason"] == f"source: {COMMIT} -> {NEXT}."
    assert hub_sensor.run(tick.requests[0]).success
    for _ in range(3):
        assert "up to date" in str(hub_sensor.tick().skip)


def test_every_source_of_a_mixture_is_followed(hub: Hub, tmp_path: Path, instance: dg.DagsterInstance) -> None:
    members = {"pushed": {"source": "hub", "repo": hub.repo}, "ours": {"source": "bundled"}}
    recipe = tmp_path / "mixed.yaml"
    content = {"extends": "quickstart", "dataset": {"name": "both", "mixture": members}, "sample": {"percent": 100}}
    recipe.write_text(yaml.safe_dump(content), encoding="utf-8")
    graph = Graph(tmp_path / "home", recipe, tmp_path / "storage", instance)
    sensor = Ticker(graph, "hub_revision_sensor")
    job = graph.definitions.resolve_implicit_global_asset_job_def()
    sources = [dg.AssetKey([name, "source"]) for name in members]
    job.execute_in_process(instance=instance, asset_selection=sources)
    assert "up to date" in str(sensor.tick().skip)
    move(hub, NEXT)
    (request,) = sensor.tick().requests
    assert request.asset_selection == sources[:1]
    assert request.tags["phi/reason"] == f"source: {COMMIT} -> {NEXT}."


def test_a_run_that_has_not_ended_is_not_requested_again(hub: Hub, hub_graph: Graph, hub_sensor: Ticker) -> None:
    materialized(hub_graph, "key:source")
    move(hub, NEXT)
    run = active_run(hub_graph, "finetune")
    # Neither with the cursor of the tick that requested it, nor where the daemon died before it was kept.
    assert run.run_id in str(hub_sensor.tick().skip)
    hub_sensor.state = Cursor().after_request(NEXT)
    assert run.run_id in str(hub_sensor.tick().skip)


def test_a_run_of_other_assets_is_not_waited_for(hub: Hub, hub_graph: Graph, hub_sensor: Ticker) -> None:
    materialized(hub_graph, "key:source")
    move(hub, NEXT)
    active_run(hub_graph, "deploy")
    assert hub_sensor.tick().assets == {"source"}


def test_a_failed_run_is_requested_again_after_a_pause_that_grows(
    hub: Hub, hub_graph: Graph, hub_sensor: Ticker
) -> None:
    materialized(hub_graph, "key:source")
    move(hub, NEXT)
    pauses = []
    for number in (1, 2, 3):
        request = hub_sensor.tick().requests[0]
        cursor = hub_sensor.state
        assert cursor.requests == number
        pauses.append(cursor.not_before)
        # The repository is gone for as long as the run takes.
        hub.repo = "owner/renamed"
        assert not hub_sensor.run(request).success
        hub.repo = "owner/chat"
        assert f"{number} run(s) have not put that right" in str(hub_sensor.tick().skip)
        pause_is_over(hub_sensor)
    assert 1.9 < (pauses[2] - pauses[0]) / (pauses[1] - pauses[0]) < 3.1


def test_another_revision_does_not_wait_for_the_pause_of_the_last_one(
    hub: Hub, hub_graph: Graph, hub_sensor: Ticker
) -> None:
    materialized(hub_graph, "key:source")
    move(hub, NEXT)
    assert hub_sensor.tick().requests
    assert not hub_sensor.tick().requests
    move(hub, "00112233445566778899aabbccddeeff00112233")
    assert hub.commit in hub_sensor.tick().requests[0].tags["phi/reason"]


def test_a_restart_between_tick_and_run_requests_nothing_twice(hub: Hub, tmp_path: Path) -> None:
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", {"dataset": {"source": "hub", "repo": hub.repo}})
    (tmp_path / "dagster").mkdir()

    def restarted() -> Graph:
        instance = dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))
        return Graph(tmp_path / "home", recipe, tmp_path / "storage", instance)

    materialized(restarted(), "key:source")
    move(hub, NEXT)
    first = Ticker(restarted(), "hub_revision_sensor")
    request = first.tick().requests[0]
    second = Ticker(restarted(), "hub_revision_sensor", cursor=first.cursor)
    assert not second.tick().requests
    assert second.run(request).success
    # Even a cursor that was lost asks for nothing that has been done.
    third = Ticker(restarted(), "hub_revision_sensor")
    assert "up to date" in str(third.tick().skip)


@pytest.mark.parametrize("cursor", ["not json", "{}", '{"version": 0, "sha": "abc"}', "[1]"])
def test_a_cursor_that_cannot_be_read_begins_anew(
    hub: Hub, hub_graph: Graph, hub_sensor: Ticker, cursor: str, capfd: pytest.CaptureFixture[str]
) -> None:
    materialized(hub_graph, "key:source")
    move(hub, NEXT)
    hub_sensor.cursor = cursor
    assert hub_sensor.tick().assets == {"source"}
    assert hub_sensor.state.evidence == NEXT
    assert ("cannot be read" in capfd.readouterr().err) == (cursor != "{}")


def test_a_hub_that_does_not_answer_fails_the_tick_and_keeps_the_cursor(
    hub: Hub, hub_graph: Graph, hub_sensor: Ticker
) -> None:
    materialized(hub_graph, "key:source")
    hub_sensor.tick()
    before = hub_sensor.cursor
    hub.repo = "owner/renamed"
    with pytest.raises(DatasetError, match="no data set 'owner/chat'"):
        hub_sensor.tick()
    assert hub_sensor.cursor == before
    hub.repo = "owner/chat"
    move(hub, NEXT)
    assert hub_sensor.tick().assets == {"source"}


def test_a_local_folder_is_followed_like_the_hub(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    for split in SPLITS:
        write_shards(tmp_path / "rows", split, make_rows(5))
    recipe = write_toy_recipe(
        tmp_path / "recipe.yaml", {"dataset": {"source": "local", "path": str(tmp_path / "rows")}}
    )
    graph = Graph(tmp_path / "home", recipe, tmp_path / "storage", instance)
    materialized(graph, "key:source")
    ticker = Ticker(graph, "hub_revision_sensor")
    assert not ticker.tick().requests
    write_shards(tmp_path / "rows", "train_sft", make_rows(6, seed=1))
    assert ticker.tick().assets == {"source"}


@pytest.fixture
def model_graph(emulator: Connection, toy_registry: Path, tmp_path: Path, instance: dg.DagsterInstance) -> Graph:
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", {"model": {"version": "latest"}})
    return Graph(emulator.directory.parent, recipe, tmp_path / "storage", instance)


@pytest.fixture
def model_file(toy_registry: Path) -> Iterator[Path]:
    """The newest version of the model in the registry; whatever a test does to the model is undone."""
    path = toy_registry / "models" / "toy-model" / "2.yaml"
    content = path.read_text(encoding="utf-8")
    yield path
    path.write_text(content, encoding="utf-8")
    path.with_name("3.yaml").unlink(missing_ok=True)


def test_a_newer_model_version_is_requested_once(model_graph: Graph, model_file: Path, emulator: Connection) -> None:
    materialized(model_graph, "key:foundation_model")
    ticker = Ticker(model_graph, "foundation_model_sensor")
    with Requests(emulator) as requests:
        assert "up to date" in str(ticker.tick().skip)
    assert not requests.writes
    assert len(requests.lines) <= 6
    newer = yaml.safe_load(model_file.read_text(encoding="utf-8"))
    newer |= {"version": "3", "creation_context": {"created_at": "2026-01-05T00:00:00+00:00"}}
    model_file.with_name("3.yaml").write_text(yaml.safe_dump(newer), encoding="utf-8")
    tick = ticker.tick()
    assert tick.assets == {"preflight", "foundation_model"}
    assert "versions/2" in tick.requests[0].tags["phi/reason"]
    assert "versions/3" in tick.requests[0].tags["phi/reason"]
    assert not ticker.tick().requests
    assert ticker.run(tick.requests[0]).success
    assert "up to date" in str(ticker.tick().skip)


def test_a_version_edited_in_place_is_requested_once(model_graph: Graph, model_file: Path) -> None:
    materialized(model_graph, "key:foundation_model")
    ticker = Ticker(model_graph, "foundation_model_sensor")
    assert not ticker.tick().requests
    edited = yaml.safe_load(model_file.read_text(encoding="utf-8"))
    edited["tags"]["edited"] = "in place"
    model_file.write_text(yaml.safe_dump(edited), encoding="utf-8")
    tick = ticker.tick()
    assert tick.assets == {"preflight", "foundation_model"}
    assert ticker.run(tick.requests[0]).success
    assert not ticker.tick().requests


def test_a_model_that_has_vanished_fails_the_tick_with_what_to_do(model_graph: Graph, toy_registry: Path) -> None:
    ticker = Ticker(model_graph, "foundation_model_sensor")
    folder = toy_registry / "models" / "toy-model"
    folder.rename(toy_registry / "toy-model-away")
    try:
        with pytest.raises(dg.Failure) as caught:
            ticker.tick()
    finally:
        (toy_registry / "toy-model-away").rename(folder)
    assert "no model 'toy-model'" in str(caught.value.description)
