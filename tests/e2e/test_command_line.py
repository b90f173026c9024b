"""`python -m phi_assets` as a newcomer runs it, in a process of its own.

Each kind is started once by an interpreter of its own, and forked where what it says and does is the question.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from phi_assets.config.dataset import SAMPLED_SPLITS, SPLITS
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.settings import load_settings
from phi_assets.emulator import process
from phi_assets.graph.lineage import Lineage
from tests.dataset.cases.inputs import asked, lines
from tests.e2e.harness import command
from tests.emulator_requests import Requests
from tests.graph_runs import write_recipe

PREFLIGHT = dg.AssetKey(["quickstart", "preflight"])
PROJECT = Path(__file__).parents[2]
EVERY_ASSET = {
    *("source", *(f"raw_{split}" for split in SPLITS), *(f"sampled_{split}" for split in SAMPLED_SPLITS), "preflight"),
    *("foundation_model", "finetune_compute", "finetune_job", "registered_model"),
    *("online_endpoint", "online_deployment", "live_traffic", "base_answers", "scoring_result"),
}


def test_validate_says_in_its_exit_code_whether_a_file_can_be_trained_on(
    environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "chats.jsonl"
    rows = [{"messages": asked(number)} for number in range(20)]
    file.write_bytes(lines(rows))
    fine = begun(environment, "validate", str(file))
    assert (fine.returncode, fine.stderr) == (0, "")
    assert "20 of 20 rows sampled" in fine.stdout
    assert "Nothing stands in the way of training on it." in fine.stdout
    file.write_bytes(lines([*rows, {"messages": asked(20), "weight": 0}]))
    wrong = command.run(environment, "validate", str(file))
    assert wrong.returncode == 1
    assert "chats.jsonl, row 21 has weight 0" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"extends: quickstart\ndataset: {{source: local, path: {file}}}\n", encoding="utf-8")
    by_recipe = command.run(environment, "validate", str(recipe))
    assert (by_recipe.returncode, by_recipe.stderr.count("chats.jsonl, row 21 has weight 0")) == (1, 1)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory):
    home = tmp_path_factory.mktemp("newcomer")
    dagster_home = home / "instance"
    dagster_home.mkdir()
    (dagster_home / "dagster.yaml").write_bytes((PROJECT / ".dagster" / "dagster.yaml").read_bytes())
    yield {**os.environ, "PHI_HOME": str(home), "DAGSTER_HOME": str(dagster_home), "COLUMNS": "200"}
    process.stop(home / "emulator")


def begun(environment: dict[str, str], *arguments: str, folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """The command by an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-m", "phi_assets", *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_preflight_says_who_asks_and_that_nothing_stands_in_the_way(environment: dict[str, str]) -> None:
    looked = command.run(environment, "preflight")
    assert looked.returncode == 0, looked.stderr
    for part in (
        "identity: ",
        "tenant: ",
        "model: azureml://",
        "data: bundled",
        "  train_sft: 1,500 rows in 1 file(s)",
        "hours of fine-tuning",
        "Nothing stands in the way.",
    ):
        assert part in looked.stdout


def test_preflight_says_what_a_cluster_that_prepares_data_may_cost(environment: dict[str, str], tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", {"dataset": {"prepare": "cluster"}})
    data = "azureml://datastores/workspaceblobstore/paths/costs"
    looked = command.run({**environment, "PHI_RECIPE": str(recipe), "PHI_DATA": data}, "preflight")
    assert looked.returncode == 0, looked.stderr
    # Four jobs, four nodes, six hours.
    assert "\npreparing data: 24.19 USD at most\n" in looked.stdout
    looked = command.run({**environment, "PHI_RECIPE": str(recipe)}, "preflight")
    assert looked.returncode == 1
    assert "lies in no datastore of workspace" in looked.stderr


def test_preflight_ends_with_what_has_to_be_put_right(environment: dict[str, str], tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", {"model": {"registry": "azureml-2026"}})
    looked = command.run({**environment, "PHI_RECIPE": str(recipe)}, "preflight")
    assert looked.returncode == 1
    assert "Set `model.name: Phi-4`" in looked.stderr


def test_without_the_repository_the_commands_make_an_instance_below_phi_home(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """As from a wheel: the package alone, and no DAGSTER_HOME."""
    shutil.copytree(PROJECT / "phi_assets", tmp_path / "phi_assets", ignore=shutil.ignore_patterns("__pycache__"))
    alone = {name: value for name, value in environment.items() if name != "DAGSTER_HOME"}
    looked = begun({**alone, "PYTHONPATH": str(tmp_path)}, "preflight", folder=tmp_path)
    assert looked.returncode == 0, looked.stderr
    instance = Path(environment["PHI_HOME"]) / "dagster"
    assert (instance / "dagster.yaml").read_bytes() == (PROJECT / "phi_assets" / "dagster.yaml").read_bytes()
    with dg.DagsterInstance.from_config(str(instance)) as opened:
        (done,) = opened.get_runs()
    assert (done.asset_selection, done.status) == ({PREFLIGHT}, dg.DagsterRunStatus.SUCCESS)
    # As Dagster calls the module that the command for the UI names.
    assert done.remote_job_origin is not None
    assert done.remote_job_origin.location_name == "phi_assets.definitions"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_quickstart_trains_serves_and_says_what_came_of_it(environment: dict[str, str], tmp_path: Path) -> None:
    first = begun(environment)
    assert first.returncode == 0, first.stderr
    said = re.search(r"loss\s+([\d.]+) at first, ([\d.]+) at last; on validation data ([\d.]+) after", first.stdout)
    assert said is not None, first.stdout
    before, after, _ = map(float, said.groups())
    assert after < 0.7 * before
    for word in ("job", "model", "endpoint", "question", "answer", "open the UI", "delete the endpoint"):
        assert re.search(rf"^  {word} ", first.stdout, re.MULTILINE), word
    told = tells(first.stderr)
    made = [asset for asset, action, _ in told if action not in ("...", "job", "warning")]
    # What is billing is read after all the others.
    assert made.pop() == "still_billing"
    assert "1 endpoint, 1 deployment; 3.67 USD an hour" in first.stdout
    assert (len(made), set(made)) == (len(EVERY_ASSET), EVERY_ASSET)
    assert [why for _, action, why in told if action == "job"] == [f"{job_of(first.stdout)}: {page_of(first.stdout)}"]

    connection = process.status(Path(environment["PHI_HOME"]) / "emulator")
    assert connection is not None
    killed = kill_while_it_holds_a_slot(environment, tmp_path / "killed.log")
    with Requests(connection) as requests:
        second = command.run(environment)
    assert second.returncode == 0, second.stderr
    assert f"Run {killed} of job quickstart__finetune_and_deploy: The process" in second.stderr
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        dead = instance.get_run_by_id(killed)
    assert dead is not None
    assert dead.status is dg.DagsterRunStatus.FAILURE
    assert second.stdout.count("(reused)") == 2
    # A calm run fits a screen, and no link in it is broken.
    calm = [line for line in (second.stderr + second.stdout).splitlines() if not line.startswith(f"Run {killed} ")]
    assert len(calm) <= 40, calm
    assert page_of(second.stdout) == page_of(first.stdout)
    assert requests.writes == []

    # What it reads, and how, is what the `teardown` below ends with, by an interpreter of its own.
    billing = command.run(environment, "still-billing")
    assert billing.returncode == 0, billing.stderr
    billed = r"^deployment +quickstart-[0-9a-f]{8}/ft-\d+ .*3\.67 .*1 x Standard_NC24ads_A100_v4"
    assert re.search(billed, billing.stdout, re.MULTILINE), billing.stdout
    assert "1 endpoint, 1 deployment; 3.67 USD an hour" in billing.stdout
    assert "The emulator charges nothing" in billing.stdout
    for_programs = json.loads(command.run(environment, "still-billing", "--json").stdout)
    assert for_programs["pretended"]
    assert for_programs["hourly_price"] == pytest.approx(3.67, abs=0.01)
    assert [item["what"] for item in for_programs["items"]] == ["endpoint", "deployment"]

    with Requests(connection) as requests:
        listed = command.run(environment, "teardown", "--dry-run")
        # Nobody is there to say yes.
        refused = command.run(environment, "teardown")
    assert (listed.returncode, refused.returncode) == (0, 1)
    for shown in (listed.stderr, refused.stderr):
        assert re.search(r"Delete endpoint quickstart-[0-9a-f]{8}", shown), shown
    assert "Delete what is listed of quickstart? [y/N]" in refused.stderr
    assert requests.writes == []
    deleted = begun(environment, "teardown", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    assert "deleted" in deleted.stderr
    assert "Nothing is billing in workspace phi-workspace." in deleted.stdout


def tells(stderr: str) -> list[tuple[str, str, str]]:
    """What the lines about assets say: asset, action and text."""
    lines = [line for line in stderr.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    return [(line[9:31].strip(), line[32:42].strip(), line[52:]) for line in lines]


def job_of(stdout: str) -> str:
    found = re.search(r"^  job +(\S+) ", stdout, re.MULTILINE)
    assert found is not None, stdout
    return found[1]


def page_of(stdout: str) -> str:
    found = re.search(r"^  its page +(http\S+/runs/\S+)$", stdout, re.MULTILINE)
    assert found is not None, stdout
    return found[1]


def kill_while_it_holds_a_slot(environment: dict[str, str], log: Path) -> str:
    """Id of a run whose command has been killed, as if for want of memory, while nobody else might write."""
    killed = command.start(environment, log)
    try:
        pool = Lineage.of(load_recipe("quickstart"), load_settings({})).endpoint_pool
        with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
            while not (holders := instance.event_log_storage.get_concurrency_info(pool).active_run_ids):
                assert killed.is_alive(), "the command has ended before it wrote anything"
                time.sleep(0.01)
    finally:
        killed.kill()
        killed.join()
    (run_id,) = holders
    return run_id


def test_nothing_is_billing_where_nothing_was_made(environment: dict[str, str], tmp_path: Path) -> None:
    home = {"PHI_HOME": str(tmp_path / "empty")}
    try:
        shown = command.run(environment | home, "still-billing")
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout == "Nothing is billing in workspace phi-workspace.\n"
        wrong = command.run(environment | home | {"PHI_PRICES": "/nowhere.yaml"}, "still-billing")
        assert wrong.returncode == 1
        assert "Price file /nowhere.yaml not found" in wrong.stderr
        assert "Traceback" not in wrong.stderr
        # Nothing goes on billing for want of prices.
        assert command.run(environment | home | {"PHI_PRICES": "/nowhere.yaml"}, "teardown", "--yes").returncode == 0
    finally:
        process.stop(tmp_path / "empty" / "emulator")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"PHI_TARGET": "cloud"}, "PHI_TARGET='cloud' is not one of emulator, azure"),
        ({"PHI_TARGET": "azure"}, "AZURE_SUBSCRIPTION_ID, AZURE_RESOURCE_GROUP, AZURE_ML_WORKSPACE"),
        ({"PHI_RECIPE": "quickstrat"}, "Recipe 'quickstrat' not found"),
    ],
)
def test_wrong_settings_are_one_message_without_a_traceback(
    environment: dict[str, str], changes: dict[str, str], expected: str
) -> None:
    result = begun(environment | changes)
    assert result.returncode == 1
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
