"""Submitting and cancelling through outages and races: one job, whatever becomes of requests and answers."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace
from phi_assets.azureml.connection.errors import SubmissionFailed
from phi_assets.azureml.training.cancelling import cancel_job
from phi_assets.azureml.training.jobs import ensure_job
from phi_assets.emulator.control import Control
from tests.azureml import toys as toy
from tests.azureml.training.waiting_room import DISTURBANCES, Submissions, exists


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_a_lost_cancellation_is_made_good(
    impatient: Workspace,
    tmp_path: Path,
    gate: Path,
    background: ThreadPoolExecutor,
    control: Control,
    disturbance: str,
) -> None:
    request = toy.make_request(impatient, tmp_path, gate=str(gate))
    submissions = Submissions()
    background.submit(ensure_job, impatient, request=request, on_submitted=submissions)
    fault = control.add_fault(method="POST", route="/jobs/{name}/cancel", count=1, **DISTURBANCES[disturbance])
    assert cancel_job(impatient, submissions.first().name) == "Canceled"
    assert control.fault(fault).applied == 1


def test_with_the_sdks_own_retries_a_longer_outage_is_made_good(
    toys: Workspace, tmp_path: Path, control: Control
) -> None:
    request = toy.make_request(toys, tmp_path)
    fault = control.add_fault(method="PUT", route="/jobs/{name}", count=5, action="status", status=500, when="after")
    job = ensure_job(toys, request=request)
    assert (job.action, control.fault(fault).applied) == ("submitted", 4)
    assert not exists(toys, request, 2)


def test_a_definite_refusal_is_an_error_at_once(impatient: Workspace, tmp_path: Path, control: Control) -> None:
    request = toy.make_request(impatient, tmp_path)
    fault = control.add_fault(
        method="PUT", route="/jobs/{name}", action="status", status=400, code="UserError", when="before"
    )
    with pytest.raises(SubmissionFailed, match="Nothing is running"):
        ensure_job(impatient, request=request)
    assert control.fault(fault).applied == 1
    assert not exists(impatient, request, 1)


def test_a_job_says_of_the_repository_which_commit_but_not_where_it_lies(
    toys: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.chdir(repository)
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["remote", "add", "origin", "ssh://robot:hush@git.example.com/team/secret-project"],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--allow-empty", "--message", "first"],
    ):
        subprocess.run(["git", *command], check=True)
    job = ensure_job(toys, request=toy.make_request(toys, tmp_path))
    found: Any = toys.ml.jobs.get(job.name)
    commit = Path(".git/refs/heads/main").read_text(encoding="utf-8").strip()
    assert found.properties["mlflow.source.git.commit"] == commit
    assert not any("git.example.com" in value for value in found.properties.values())


def test_retry_after_is_waited_for(impatient: Workspace, tmp_path: Path, control: Control) -> None:
    request = toy.make_request(impatient, tmp_path)
    before = control.last_entry()
    control.add_fault(
        method="PUT", route="/jobs/{name}", count=1, action="status", status=429, retry_after=4, when="before"
    )
    lines: list[str] = []
    ensure_job(impatient, request=request, log=lines.append)
    assert any("trying again in 4 s" in line for line in lines)
    puts = [entry for entry in control.journal(before) if (entry.method, entry.route) == ("PUT", "/jobs/{name}")]
    assert [entry.status for entry in puts] == [429, 200] or [entry.status for entry in puts] == [429, 201]


def test_the_put_that_loses_the_race_attaches(
    toys: Workspace, tmp_path: Path, control: Control, background: ThreadPoolExecutor
) -> None:
    request = toy.make_request(toys, tmp_path)
    # Another experiment is other content to the service, which then refuses the second PUT, but not to us.
    rival = replace(request, finetune=request.finetune.model_copy(update={"experiment": "rival"}))
    held = control.add_fault(method="PUT", route="/jobs/{name}", count=1, action="hold", when="before")
    slow = background.submit(ensure_job, toys, request=request)
    control.wait_until_held(held)
    quick = ensure_job(toys, request=rival)
    control.release(held)
    late = slow.result(60)
    assert (quick.action, late.action) == ("submitted", "attached")
    assert late.name == quick.name
    assert "submitted by somebody else" in late.reason
    assert not exists(toys, request, 2)
