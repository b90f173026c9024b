"""Jobs that no run waits for: one sensor looks after them, and each is taken up by one run, whatever it has come to."""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.runs.schema import RunTagsTable

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.training.lookup import get_job
from phi_assets.cli.summary import print_left_job
from phi_assets.emulator.control import Control
from phi_assets.graph.automation.conditions import DETACHED_TAG
from phi_assets.graph.training.assets import JOB_TAG
from phi_assets.graph.training.detached import TAKES_UP_TAG, detached_jobs, leave
from tests.e2e.harness.processes import until
from tests.emulator_requests import Requests
from tests.graph.ticks import Ticker
from tests.graph.training.left_jobs import TRAINING, World, add_run, leaver
from tests.graph_runs import actions, failure_message


def test_a_job_is_left_watched_and_taken_up_by_one_run(
    world: World, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    name, left = world.leave()
    assert not left.get_asset_materialization_events()
    skipped = {event.step_key for event in left.all_events if event.event_type_value == "STEP_SKIPPED"}
    assert "toy__registered_model" in skipped
    assert world.run(left)[DETACHED_TAG] == "waiting"
    assert get_job(workspace, name).status not in ("Completed", "Failed", "Canceled")

    tick = world.sensor.tick()
    assert not tick.requests
    assert re.fullmatch(r"1 \w+\.", str(tick.skip))
    assert re.search(rf"toy: job {name} is \w+.* for \d+ s", capfd.readouterr().err)

    world.gate.touch()
    tick = world.tick_until(workspace, name, "Completed")
    assert tick.assets == {"finetune_job", "registered_model"}
    with Requests(world.emulator) as requests:
        result = world.take_up(tick)
    assert result.success, failure_message(result)
    assert actions(result) == {"finetune_job": "attached", "registered_model": "created"}
    assert not [line for line in requests.writes if "/jobs/" in line]
    assert (world.run(result)[TAKES_UP_TAG], world.run(result)[JOB_TAG]) == (name, name)
    assert DETACHED_TAG not in world.run(result)

    with Requests(world.emulator) as requests:
        assert world.sensor.tick().skip == "No job is waited for."
    assert not requests.lines
    assert world.run(left)[DETACHED_TAG] == "over"
    again = world.graph.materialize(TRAINING)
    assert actions(again) == {"finetune_job": "reused", "registered_model": "reused"}


def test_the_command_says_which_job_its_run_has_left(
    world: World, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    name, left = world.leave()
    capsys.readouterr()
    assert print_left_job(left)
    assert f"Job {name} goes on, and no run waits for it." in capsys.readouterr().out
    world.gate.touch()
    result = world.take_up(world.tick_until(workspace, name, "Completed"))
    assert not print_left_job(result)


def test_a_tick_that_is_repeated_asks_for_the_same_run(world: World, workspace: Workspace) -> None:
    """Whoever is killed between a tick and its run, or before it has marked anything, comes to the same request."""
    world.gate.touch()
    name, _ = world.leave()
    tick = world.tick_until(workspace, name, "Completed")
    again = world.sensor.tick()
    assert [request.run_key for request in (*tick.requests, *again.requests)] == [name, name]
    # The run exists, and has done nothing yet.
    run = add_run(world.instance, tick.requests[0].tags, dg.DagsterRunStatus.STARTED)
    assert not world.sensor.tick().requests
    world.instance.report_run_failed(run)


def test_a_run_that_no_search_for_tags_finds_is_not_made_again(world: World, workspace: Workspace) -> None:
    """On PostgreSQL a daemon may be killed between a run and the index of its tags."""
    world.gate.touch()
    name, left = world.leave()
    tick = world.tick_until(workspace, name, "Completed")
    run = add_run(world.instance, tick.requests[0].tags, dg.DagsterRunStatus.STARTED)
    with world.instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id == run.run_id))
    assert not world.sensor.tick().requests
    assert world.run(left)[DETACHED_TAG] == "over"
    assert world.sensor.tick().skip == "No job is waited for."
    world.instance.report_run_failed(run)


def test_two_runs_that_leave_the_same_job_have_it_taken_up_once_for_all_that_they_wanted(
    world: World, workspace: Workspace
) -> None:
    name, first = world.leave('key:"finetune_job"')
    same, second = world.leave()
    assert name == same
    world.gate.touch()
    tick = world.tick_until(workspace, name, "Completed")
    assert tick.assets == {"finetune_job", "registered_model"}
    assert world.take_up(tick).success
    assert not world.sensor.tick().requests
    assert {world.run(first)[DETACHED_TAG], world.run(second)[DETACHED_TAG]} == {"over"}


def test_one_run_may_leave_the_jobs_of_two_recipes_and_each_is_taken_up_as_its_own(
    world: World, workspace: Workspace
) -> None:
    both, other = world.beside("other", parameters={"prefix": "other", "gate": str(world.gate), "seed": 44})
    lineages = (world.graph.lineage, other)
    selection = other.selection("registered_model").upstream() | world.graph.lineage.selection(
        "finetune_job", "registered_model"
    )
    job = dg.Definitions.merge(both.definitions, dg.Definitions(jobs=[dg.define_asset_job("both", selection)]))
    left = job.resolve_job_def("both").execute_in_process(instance=world.instance, raise_on_error=False)
    assert left.success, failure_message(left)
    jobs = {job.recipe: job.name for job in detached_jobs(world.instance)}
    assert set(jobs) == {"toy", "other"}
    world.gate.touch()
    sensor = Ticker(both, "detached_jobs")
    for name in jobs.values():
        until(lambda name=name: get_job(workspace, name).status == "Completed" or None, 60, f"job {name} does not end")
    requests = {request.tags["phi/recipe"]: request for request in sensor.tick().requests}
    assert {name: request.run_key for name, request in requests.items()} == jobs
    for lineage in lineages:
        request = requests[lineage.name]
        assert set(request.asset_selection or ()) == set(lineage.keys("finetune_job", "registered_model"))
        result = sensor.run(request)
        assert result.success, failure_message(result)
        assert result.asset_value(lineage.key("registered_model")).job_name == jobs[lineage.name]
    assert sensor.tick().skip == "No job is waited for."


def test_a_job_that_somebody_has_taken_up_by_hand_is_left_alone(world: World, workspace: Workspace) -> None:
    world.gate.touch()
    name, left = world.leave()
    assert world.tick_until(workspace, name, "Completed").requests
    result = world.graph.materialize(TRAINING)
    assert actions(result)["finetune_job"] == "reused"
    assert world.sensor.tick().skip == "No job is waited for."
    assert world.run(left)[DETACHED_TAG] == "over"


@pytest.mark.parametrize("lost", [1, 99])
def test_a_mark_that_another_step_has_overwritten_is_written_again(
    world: World, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """Of two processes that write a run's tags at the same time, Dagster keeps what the last one has read."""
    run, lineage = add_run(world.instance, {}, dg.DagsterRunStatus.STARTED), world.graph.lineage
    writes: list[Mapping[str, str]] = []

    def write(run_id: str, tags: Mapping[str, str]) -> None:
        writes.append(tags)
        if len(writes) > lost:
            world.instance.run_storage.add_run_tags(run_id, tags)

    monkeypatch.setattr(world.instance, "add_run_tags", write)
    context: Any = SimpleNamespace(instance=world.instance, run=run, asset_key=lineage.key("finetune_job"))
    if lost > 1:
        with pytest.raises(dg.Failure, match="Job some-job goes on, and this run could not be marked"):
            leave(context, "some-job", lineage)
    else:
        leave(context, "some-job", lineage)
        assert [job.name for job in detached_jobs(world.instance)] == ["some-job"]
    world.instance.delete_run(run.run_id)


def test_a_run_that_is_still_at_something_else_is_waited_for(
    world: World, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    world.gate.touch()
    name, _ = world.leave()
    started = dg.DagsterRunStatus.STARTED
    run = leaver(world.instance, world.graph.lineage, name, started)
    assert not world.tick_until(workspace, name, "Completed").requests
    assert f"is taken up once run {run.run_id}, which has left it, has ended" in capfd.readouterr().err
    world.instance.report_run_failed(run)
    assert world.sensor.tick().assets == {"finetune_job", "registered_model"}


def test_of_a_run_that_has_failed_only_the_job_is_taken_up(world: World, workspace: Workspace) -> None:
    world.gate.touch()
    name, left = world.leave()
    world.instance.delete_run(left.run_id)
    leaver(world.instance, world.graph.lineage, name, dg.DagsterRunStatus.FAILURE)
    assert world.tick_until(workspace, name, "Completed").assets == {"finetune_job"}


def test_a_failed_job_fails_its_run_in_the_jobs_own_words(world: World, workspace: Workspace) -> None:
    world.use(world.graph_of({"outcome": "fail"}))
    world.gate.touch()
    name, _ = world.leave()
    tick = world.tick_until(workspace, name, "Failed")
    result = world.take_up(tick)
    assert not result.success
    assert failure_message(result).startswith(f"Job {name} failed: ")
    assert "toy_step" in failure_message(result)
    assert world.sensor.tick().skip == "No job is waited for."


def cancel_detached(world: World, **config: Any) -> dg.ExecuteInProcessResult:
    ops = {"ops": {"cancel_left_jobs": {"config": config}}}
    job = world.graph.job("cancel_detached")
    return job.execute_in_process(instance=world.instance, run_config=ops, raise_on_error=False)


def test_a_job_of_ours_cancels_a_detached_job(world: World, workspace: Workspace) -> None:
    name, _ = world.leave()
    stranger = cancel_detached(world, jobs=["somebody-elses"])
    assert "No run has left somebody-elses to itself" in failure_message(stranger)
    assert f"{name} (toy)" in failure_message(stranger)
    result = cancel_detached(world)
    assert result.success, failure_message(result)
    assert get_job(workspace, name).status == "Canceled"
    taken_up = world.take_up(world.sensor.tick())
    assert failure_message(taken_up).startswith(f"Job {name} was cancelled by ")
    assert "Without a run that waits: no job." in failure_message(cancel_detached(world))


def test_a_job_whose_time_is_over_is_cancelled_and_its_run_says_so(
    world: World, workspace: Workspace, control: Control
) -> None:
    name, _ = world.leave()
    world.tick_until(workspace, name, "Running")
    world.use(world.graph_of(timeout_hours=1))
    assert not world.sensor.tick().requests
    control.set_clock(2 * 3600.0)
    with Requests(world.emulator) as requests:
        assert not world.sensor.tick().requests
    assert [line for line in requests.writes if line.endswith(f"/jobs/{name}/cancel")]
    result = world.take_up(world.tick_until(workspace, name, "Canceled"))
    assert failure_message(result).startswith(f"Job {name} ran for more than 1:00:00 and has been cancelled. Raise")


def test_a_job_of_another_recipe_whose_time_is_over_runs_on_and_the_run_here_fails(
    world: World, workspace: Workspace, control: Control
) -> None:
    name, _ = world.leave()
    world.tick_until(workspace, name, "Running")
    job = get_job(workspace, name)
    job.tags = {**job.tags, "phi-recipe": "patient"}
    workspace.ml.jobs.create_or_update(job)
    world.use(world.graph_of(timeout_hours=1))
    control.set_clock(2 * 3600.0)
    result = world.take_up(world.sensor.tick())
    assert "is not waited for any longer: it was submitted by recipe 'patient'" in failure_message(result)
    assert get_job(workspace, name).status == "Running"


def test_a_job_that_waits_too_long_for_a_node_is_cancelled(
    world: World, workspace: Workspace, control: Control, capfd: pytest.CaptureFixture[str]
) -> None:
    control.add_scenario("job", scenario="stuck_queued", step="toy_step")
    name, _ = world.leave()
    world.tick_until(workspace, name, "Running")
    control.set_clock(73 * 3600.0)
    assert not world.sensor.tick().requests
    said = capfd.readouterr().err
    assert f"job {name} is waiting for a node for 73 h" in said
    assert "Cluster detached is " in said
    result = world.take_up(world.tick_until(workspace, name, "Canceled"))
    assert f"Job {name} waited for a node for more than 3 days, 0:00:00" in failure_message(result)


def test_an_edited_recipe_does_not_take_up_the_job_of_the_one_before(world: World, workspace: Workspace) -> None:
    world.gate.touch()
    name, _ = world.leave()
    world.use(world.graph_of({"seed": 43}))
    result = world.take_up(world.tick_until(workspace, name, "Completed"))
    assert f"Job {name} is not taken up. Since it was submitted the recipe" in failure_message(result)


def test_a_deleted_job_is_said(world: World, workspace: Workspace) -> None:
    world.gate.touch()
    name, _ = world.leave()
    world.tick_until(workspace, name, "Completed")
    workspace.http.delete(
        f"{workspace.resource_manager}{workspace.path}/jobs/{name}?api-version=2025-12-01",
        headers={"Authorization": f"Bearer {workspace.bearer()}"},
    ).raise_for_status()
    tick = world.sensor.tick()
    assert "has been deleted" in tick.requests[0].tags["phi/reason"]
    assert "there is no job for them" in failure_message(world.take_up(tick))


def test_a_history_that_cannot_be_read_fails_the_tick_and_nothing_is_cancelled(
    world: World, workspace: Workspace, control: Control
) -> None:
    name, _ = world.leave()
    control.add_fault(route="/experiments/{experiment}/runs:query", action="status", status=403)
    with Requests(world.emulator) as requests, pytest.raises(Exception, match="403"):
        world.sensor.tick()
    assert not requests.writes
    control.clear_faults()
    world.gate.touch()
    assert world.tick_until(workspace, name, "Completed").requests


def test_the_adopter_of_orphans_leaves_it_to_this_sensor(world: World, workspace: Workspace) -> None:
    world.gate.touch()
    name, _ = world.leave()
    world.tick_until(workspace, name, "Completed")
    skip = str(Ticker(world.graph, "orphaned_job_sensor").tick().skip)
    assert f"Job {name} was left to itself; the sensor detached_jobs takes it up." == skip


def test_a_teardown_keeps_the_cluster_of_a_job_that_was_left_many_runs_ago(
    world: World, workspace: Workspace, control: Control
) -> None:
    control.add_scenario("job", scenario="stuck_queued", step="toy_step")
    name, _ = world.leave()
    for _ in range(60):
        add_run(world.instance, {}, dg.DagsterRunStatus.SUCCESS)
    result = world.graph.run("teardown")
    assert result.success, failure_message(result)
    assert workspace.ml.compute.get("detached").name == "detached"
    assert get_job(workspace, name).status == "Running"
