"""A second recipe, whose run goes on while something happens to the first one's, and ends with what is its own."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import dagster as dg

from phi_assets.azureml.connection.status import JobStatus
from phi_assets.dataset.files.jsonl import read_jsonl
from tests.e2e.harness.run_records import RunRecords
from tests.e2e.harness.toy_deployment import BESIDE, ToyDeployment
from tests.toy_graph import write_toy_recipe

EVERYWHERE = bool(os.environ.get("PHI_TEST_BESIDE"))
"""Whether every case that knows of a second recipe has one, and not only one case of each kind."""

SAYS = f"{BESIDE}: "
"""What the second recipe's model says first."""


def write_second_recipe(folder: Path, **sections: dict[str, Any]) -> Path:
    """It shares data, base model and the model's name with the toy recipe; its job waits for `gate_of_second(folder)`.

    `sections` have values that it is to have instead of the toy recipe's.
    """
    changes = {
        "parameters": {"prefix": SAYS, "gate": str(gate_of_second(folder))},
        "sample": {"percent": 12},
        "compute": {"name": f"{BESIDE}-cluster"},
        "serving": {"endpoint": f"toy-{BESIDE}"},
        **sections,
    }
    return write_toy_recipe(folder / f"{BESIDE}.yaml", changes, BESIDE)


def gate_of_second(folder: Path) -> Path:
    """The file that lets jobs of the second recipe end."""
    return folder / f"{BESIDE}-gate"


@contextmanager
def second_recipe(toy: ToyDeployment) -> Iterator[None]:
    """Inside, a run of the second recipe waits for a job that trains; afterwards it has ended well, with its own."""
    gate = gate_of_second(toy.home)
    gate.unlink(missing_ok=True)
    again = {"ops": {f"{BESIDE}__finetune_job": {"config": {"force": True}}}}
    run_id = toy.dagster.launch("finetune_and_deploy", run_config=again, recipe=BESIDE)
    try:
        toy.wait_for_job(toy.job_of(run_id), JobStatus.RUNNING)
        yield
        assert toy.dagster.status(run_id) is dg.DagsterRunStatus.STARTED
    finally:
        gate.touch()
        status = toy.dagster.wait(run_id)
    assert status is dg.DagsterRunStatus.SUCCESS, toy.dagster.failures(run_id)
    assert_has_its_own(toy.dagster, BESIDE, SAYS)
    # The next one need not take over from it.
    toy.workspace.ml.online_endpoints.begin_delete(name=f"toy-{BESIDE}").wait()


def maybe_second_recipe(toy: ToyDeployment, *, here: bool) -> AbstractContextManager[None]:
    """`second_recipe` if it is `here`, or everywhere."""
    return second_recipe(toy) if here or EVERYWHERE else nullcontext()


def assert_has_its_own(records: RunRecords, recipe: str, says: str) -> str:
    """Job, model, deployment and answers that the recipe's assets show belong together and are its own.

    `says` is what its model says first. Returns the name of the job.
    """
    job, model, deployment, scores = (
        records.metadata(records.materializations(f"{recipe}/{asset}")[0])
        for asset in ("finetune_job", "registered_model", "online_deployment", "scoring_result")
    )
    assert model["job_name"] == job["job_name"]
    assert deployment["endpoint"] == f"toy-{recipe}"
    assert deployment["model"] == model["id"] == scores["model"]
    answers = [row["answer"] for row in read_jsonl(Path(scores["jsonl"]))]
    assert answers
    assert all(answer.startswith(says) for answer in answers), answers
    return job["job_name"]
