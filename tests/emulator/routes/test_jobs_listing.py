"""Lists of jobs in a workspace that has a thousand of them."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from phi_assets.emulator.process import Connection
from phi_assets.emulator.store.state import Store
from tests.emulator import testing_registry
from tests.emulator.jobs import FILE, Jobs, connected
from tests.emulator.testing_registry import TWO_COPIES, data, pipeline

MANY = 1000
STEPS = 6
PARAMETERS = {f"parameter_{number}": {"jobInputType": "literal", "value": str(number)} for number in range(40)}


@pytest.fixture(scope="module")
def jobs(clean_directory: Connection) -> Iterator[Jobs]:
    with connected(clean_directory) as connection:
        yield connection


@pytest.fixture(scope="module")
def clean_directory(emulator: Connection) -> Iterator[Connection]:
    """The session's emulator with a thousand jobs written down, each as large as a fine-tune; removed afterwards."""
    testing_registry.install(emulator.directory)
    with connected(emulator) as first:
        node = {"componentId": TWO_COPIES, "inputs": {"source": data(FILE)}}
        first.submitted("list-template", pipeline(pair=node) | {"inputs": PARAMETERS})
        assert first.ended("list-template") == "Completed"
    store = Store(emulator.directory / "state.sqlite")
    job, run = store.get("job", "list-template"), store.get("run", "list-template")
    assert job is not None
    assert run is not None
    keys = []
    for number in range(MANY):
        name = f"list-{number:04}"
        tags = {"listed": "x", "tenth": str(number % 10)}
        properties = job["properties"] | {"tags": tags, "isArchived": number % 100 == 0}
        keys.append(("job", name, job | {"name": name, "run_id": name, "properties": properties}))
        keys.append(("run", name, run | {"run_id": name, "root_run_id": name}))
        for step in range(STEPS):
            child = f"{name}-step-{step}"
            keys.append(("run", child, run | {"run_id": child, "parent_run_id": name, "root_run_id": name}))
            keys.append(("run_descendant", f"{name}/{child}", {"run_id": child}))
    for kind, key, body in keys:
        store.create(kind, key, body)
    store.close()
    yield emulator
    store = Store(emulator.directory / "state.sqlite")
    for kind, key, _ in keys:
        store.delete(kind, key)
    store.close()


def test_the_sdk_lists_a_thousand_jobs_newest_first(jobs: Jobs, workspace: Any) -> None:
    from azure.ai.ml.constants import ListViewType

    began = time.monotonic()
    found = [job.name for job in workspace.ml.jobs.list(tag="listed=x", list_view_type=ListViewType.ALL)]
    assert found == [f"list-{number:04}" for number in reversed(range(MANY))]
    print(f"{MANY} jobs listed in {time.monotonic() - began:.1f} s")


def test_tags_and_archive_marks_filter(jobs: Jobs, workspace: Any) -> None:
    from azure.ai.ml.constants import ListViewType

    tenth = [job.name for job in workspace.ml.jobs.list(tag="tenth=3")]
    assert tenth == [f"list-{number:04}" for number in reversed(range(3, MANY, 10))]
    archived = workspace.ml.jobs.list(tag="listed", list_view_type=ListViewType.ARCHIVED_ONLY)
    assert len(list(archived)) == MANY // 100


def test_a_page_has_fifty_jobs_and_a_job_only_its_own_steps(jobs: Jobs) -> None:
    assert len(jobs.client.get("/jobs", params={"tag": "listed", "jobType": "Pipeline"}).json()["value"]) == 50
    assert len(jobs.children("list-0500")) == STEPS
