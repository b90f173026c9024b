"""Steps that need nothing of each other run at the same time, and steps that have been done are not done again."""

import os
from pathlib import Path
from typing import Any

import pytest

from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.runner.records import Records
from tests.emulator.jobs import until
from tests.emulator.runner.test_no_room import status, submit
from tests.emulator.runner.test_queue import CLUSTER, scale, until_completed
from tests.emulator.testing_registry import FAIL, MEET, STAMP, WAIT, data, literal, pipeline

STORE = "azureml://datastores/workspaceblobstore/paths"
HERE = data(f"{STORE}/here", "uri_folder")


@pytest.fixture(autouse=True)
def here(parts: Parts) -> Path:
    folder = parts.emulator.blobs.root / "azureml-blobstore" / "here"
    folder.mkdir()
    return folder


def meet(me: str, other: str, **more: Any) -> dict[str, Any]:
    return {"componentId": MEET, "inputs": {"place": HERE, "me": literal(me), "other": literal(other)}, **more}


def stamp(source: dict[str, str] = HERE, **inputs: str) -> dict[str, Any]:
    given = {name: literal(value) for name, value in inputs.items()}
    return {"componentId": STAMP, "inputs": {"source": source, **given}}


def after(step: str) -> dict[str, str]:
    return literal(f"${{{{parent.jobs.{step}.outputs.target}}}}")


def runs(parts: Parts, job: str) -> dict[str, dict[str, Any]]:
    return {run["step"]: run for run in Records(parts.emulator).family(job)[1:]}


def reused(parts: Parts, job: str) -> dict[str, bool]:
    return {name: run["properties"].get("azureml.isreused") == "true" for name, run in runs(parts, job).items()}


def written(parts: Parts, job: str, step: str) -> str:
    uri = runs(parts, job)[step]["outputs"]["target"]["uri"]
    return (
        parts.emulator.blobs.path("azureml-blobstore", uri.partition("/paths/")[2].strip("/")) / "stamp"
    ).read_text()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="as many steps run at a time as there are processors")
def test_they_run_at_the_same_time_and_what_needs_one_comes_after_it(parts: Parts) -> None:
    last = {"componentId": STAMP, "inputs": {"source": after("a"), "word": literal("x")}}
    submit(parts, "both", pipeline(a=meet("a", "b"), b=meet("b", "a"), c=meet("c", "c"), last=last))
    until_completed(parts, "both")
    found = runs(parts, "both")
    assert {run["status"] for run in found.values()} == {"Completed"}
    assert found["last"]["started"] > found["a"]["ended"]


def test_on_a_cluster_of_one_node_they_run_one_after_the_other(parts: Parts) -> None:
    scale(parts, most=1)
    nodes = {name: stamp(word=name) | {"computeId": CLUSTER} for name in "abc"}
    submit(parts, "one", pipeline(**nodes))
    until_completed(parts, "one")
    times = sorted((run["started"], run["ended"]) for run in runs(parts, "one").values())
    assert len(times) == 3
    assert [moment for pair in times for moment in pair] == sorted(moment for pair in times for moment in pair)


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_step_that_fails_ends_what_needs_it_and_others_where_the_job_says_so(parts: Parts, goes_on: bool) -> None:
    failing = {"componentId": FAIL, "inputs": {}}
    nodes = pipeline(bad=failing, good=meet("good", "good"), then=stamp(after("good")))
    submit(parts, "half", nodes | {"settings": {"continue_on_step_failure": goes_on}})
    until(lambda: status(parts, "half") == "Failed", "the job to fail")
    found = {name: run["status"] for name, run in runs(parts, "half").items()}
    assert found["bad"] == "Failed"
    if goes_on:
        assert found == {"bad": "Failed", "good": "Completed", "then": "Completed"}


def test_a_cancelled_job_ends_all_of_its_steps(parts: Parts) -> None:
    waiting = {"componentId": WAIT, "inputs": {"seconds": literal("60")}}
    submit(parts, "off", pipeline(a=waiting, b=waiting))
    until(lambda: sum(bool(run["process"]) for run in runs(parts, "off").values()) == 2, "both to run")
    parts.runner.cancel("off")
    until(lambda: status(parts, "off") == "Canceled", "the job to be cancelled")
    assert {run["status"] for run in runs(parts, "off").values()} == {"Canceled"}
    assert not any(run["process"] for run in runs(parts, "off").values())


def test_equal_steps_are_taken_over_with_what_they_wrote(parts: Parts) -> None:
    chain = pipeline(first=stamp(word="x"), second=stamp(after("first")))
    submit(parts, "made", chain)
    until_completed(parts, "made")
    submit(parts, "again", chain)
    until_completed(parts, "again")
    assert reused(parts, "again") == {"first": True, "second": True}
    for step in ("first", "second"):
        assert written(parts, "again", step) == written(parts, "made", step)
        properties = runs(parts, "again")[step]["properties"]
        assert properties["azureml.reusedrunid"] == runs(parts, "made")[step]["run_id"]
        assert properties["azureml.reusedpipelinerunid"] == "made"
    # A third job takes over from the run that has done the work.
    submit(parts, "third", chain)
    until_completed(parts, "third")
    assert runs(parts, "third")["second"]["properties"]["azureml.reusedpipelinerunid"] == "made"
    # Another word makes the first step another one, and so the second, which reads what it wrote.
    submit(parts, "other", pipeline(first=stamp(word="y"), second=stamp(after("first"))))
    until_completed(parts, "other")
    assert reused(parts, "other") == {"first": False, "second": False}
    submit(parts, "forced", chain | {"settings": {"force_rerun": True}})
    until_completed(parts, "forced")
    assert reused(parts, "forced") == {"first": False, "second": False}


def test_what_has_failed_or_does_not_say_that_it_is_deterministic_is_done_again(parts: Parts, here: Path) -> None:
    missing = here / "missing"
    nodes = pipeline(good=stamp(), bad=stamp(failing=str(missing)), open=meet("me", "me"))
    submit(parts, "before", nodes | {"settings": {"continue_on_step_failure": True}})
    until(lambda: status(parts, "before") == "Failed", "the job to fail")
    missing.touch()
    submit(parts, "after", nodes)
    until_completed(parts, "after")
    assert reused(parts, "after") == {"good": True, "bad": False, "open": False}
