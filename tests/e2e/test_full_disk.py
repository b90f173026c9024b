"""The disk of PHI_HOME is full for a while in the middle of a run: the run ends or goes on, and the next one completes.

The disk is a small file system in memory. Nothing of the emulator may stay underway for want of what it could not say.
"""

import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from phi_assets.emulator import process
from tests.azureml.toys import write_registry
from tests.emulator.http import arm_client
from tests.emulator.jobs import ENDED, until
from tests.graph_runs import Graph, failure_message
from tests.toy_graph import write_toy_recipe

pytestmark = pytest.mark.slow

MOMENTS = int(os.environ.get("PHI_TEST_MOMENTS", "1"))
_SYS_ADMIN = 21
"""Number of the capability that mounting takes (capability.h)."""
_FULL_SECONDS = 2.0
_RUN_SECONDS = 6.0
"""Of a toy run on an idle machine; a moment is somewhere in it."""


def may_mount() -> bool:
    status = Path("/proc/self/status")
    if not status.exists():
        return False
    rights = re.search(r"^CapEff:\s*([0-9a-f]+)$", status.read_text(encoding="ascii"), re.MULTILINE)
    return rights is not None and bool(int(rights[1], 16) >> _SYS_ADMIN & 1)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not may_mount():
        pytest.skip("a file system in memory needs the right to mount (root, CAP_SYS_ADMIN)")
    place = tmp_path_factory.mktemp("disk")
    before = dict(os.environ)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(place)], check=True)
    yield place
    process.stop(place / "home" / "emulator")
    subprocess.run(["umount", str(place)], check=True)
    # Whoever has used an emulator trusts a certificate by a variable, which names a file of its folder.
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """Dagster's own files lie on another disk."""
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster"))) as instance:
        yield instance


def fill(disk: Path, after: float) -> None:
    """Nothing more fits in for a while."""
    time.sleep(after)
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 65536)
    except OSError:
        time.sleep(_FULL_SECONDS)
    finally:
        filler.unlink()


def underway(emulator: process.Connection) -> list[str]:
    """What has not come to its end: jobs, endpoints, deployments."""
    with arm_client(emulator) as client:
        jobs = [job["properties"]["status"] for job in client.get("/jobs").json()["value"]]
        endpoints = client.get("/onlineEndpoints").json()["value"]
        serving = [
            resource["properties"]["provisioningState"]
            for endpoint in endpoints
            for resource in [endpoint, *client.get(f"/onlineEndpoints/{endpoint['name']}/deployments").json()["value"]]
        ]
    return [status for status in jobs if status not in ENDED] + [s for s in serving if s not in {"Succeeded", "Failed"}]


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_run_outlives_a_disk_that_is_full_for_a_while(
    disk: Path, instance: dg.DagsterInstance, tmp_path: Path, moment: int
) -> None:
    home = disk / "home"
    write_registry(home / "emulator" / "registry")
    changes = {"serving": {"endpoint": f"disk-{moment}"}, "parameters": {"prefix": f"{moment}: "}}
    recipe = write_toy_recipe(tmp_path / "recipe.yaml", {**changes, "sample": {"percent": 11 + moment}})
    graph = Graph(home, recipe, tmp_path / "storage", instance)
    emulator = process.ensure_running(home / "emulator")
    after = random.Random(moment).uniform(0.3, 0.8) * _RUN_SECONDS
    filling = threading.Thread(target=fill, args=(disk, after))
    filling.start()
    try:
        graph.run()
    except OSError:  # the run's own log could not be written
        pass
    finally:
        filling.join()
    until(lambda: not underway(emulator), "everything to end")
    again = graph.run()
    assert again.success, failure_message(again)
    assert process.status(home / "emulator") == emulator
    assert "Traceback" not in (home / "emulator" / "server.log").read_text(encoding="utf-8")
