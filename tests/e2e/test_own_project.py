"""Somebody's own Dagster project: the wheel in an environment of its own, dg's scaffolding, an asset of theirs."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
import yaml

from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.emulator import process
from tests.graph_runs import FAST_PARAMETERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_ASSET = '''
import dagster as dg
import polars as pl


@dg.asset(key=["support", "conversations"])
def conversations() -> pl.DataFrame:
    """Conversations of a support desk."""
    return pl.DataFrame(
        {
            "messages": [
                [
                    {"role": "user", "content": f"Where is my order number {number}?"},
                    {"role": "assistant", "content": f"Order {number} is on its way to you."},
                ]
                for number in range(80)
            ]
        }
    )
'''


_FORKS = """
import json, os, sys
from importlib.metadata import entry_points
import dagster._core.storage.event_log.sqlite, dagster._core.storage.runs.sqlite
import phi_assets.components
from dagster_dg_cli.cli import check, labs, launch, main, scaffold

for registered in entry_points(group="dagster_dg_cli.registry_modules"):
    registered.load()
for line in sys.stdin:
    arguments, *files = json.loads(line)
    if not (child := os.fork()):
        for stream, file in enumerate([os.devnull, *files]):
            os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), stream)
        sys.argv = ["dg", *arguments]
        sys.exit(main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""An interpreter that has imported what `dg` does; each line is arguments, and the files that take what it prints."""


@dataclass(frozen=True)
class Project:
    """A Dagster project, and how its commands are run."""

    root: Path
    python: Path
    env: dict[str, str]

    def dg(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command of that name, which lies beside another interpreter."""
        return self.script("dagster_dg_cli.cli", *arguments, folder=self.root)

    def script(self, module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """As the command of that module does it, which lies beside another interpreter."""
        run = f"import sys; from {module} import main; sys.argv[0] = 'dg'; main()"
        return subprocess.run(
            [self.python, "-c", run, *arguments], cwd=folder, env=self.env, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("own")
    python = _environment_with_the_wheel(folder)
    instance = folder / "instance"
    instance.mkdir()
    (instance / "dagster.yaml").write_bytes((PROJECT_ROOT / "phi_assets" / "dagster.yaml").read_bytes())
    root = folder / "my_project"
    outside = {"DAGSTER_HOME", "PYTHONPATH", "PHI_RECIPE", "PHI_HOME"}
    env = {name: value for name, value in os.environ.items() if name not in outside} | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(python.parents[1]),
        "PYTHONPATH": str(root / "src"),
        "DAGSTER_HOME": str(instance),
        "PHI_HOME": str(folder / "phi-home"),
        "COLUMNS": "200",
        # No look at an index for newer releases.
        "DAGSTER_DG_UPDATE_CHECK_ENABLED": "0",
    }
    made = Project(root, python, env)
    scaffolded = made.script("create_dagster.cli", "project", "--no-uv-sync", str(root), folder=folder)
    assert scaffolded.returncode == 0, scaffolded.stdout + scaffolded.stderr
    yield made
    process.stop(folder / "phi-home" / "emulator")


def _environment_with_the_wheel(folder: Path) -> Path:
    """The interpreter of a new environment: the wheel, and the libraries of this one in place of an index's."""
    source = folder / "source"
    shutil.copytree(
        PROJECT_ROOT / "phi_assets", source / "phi_assets", symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT_ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, source)
    _run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    packages = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (wheel,) = folder.glob("phi_assets-*.whl")
    _run(*pip, "install", "--no-deps", "--no-index", "--target", packages, wheel)
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return python


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def forked(project: Project) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """`dg` as a function of its arguments; each time it is forked from one process of the project's interpreter."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([project.python, "-c", _FORKS], cwd=project.root, env=project.env, **pipes) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        to, answers = server.stdin, server.stdout

        def dg(*arguments: str) -> subprocess.CompletedProcess[str]:
            with TemporaryDirectory() as folder:
                files = [Path(folder, name) for name in ("stdout", "stderr")]
                print(json.dumps([arguments, *map(str, files)]), file=to, flush=True)
                code = int(answers.readline())
                printed = [file.read_text(encoding="utf-8") for file in files]
            return subprocess.CompletedProcess(arguments, code, *printed)

        yield dg


def test_from_the_wheel_to_a_fine_tune_of_an_own_asset(
    project: Project, forked: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    listed = project.dg("list", "components")
    assert "phi_assets.FineTune" in listed.stdout, listed.stdout + listed.stderr
    scaffolded = forked("scaffold", "defs", "phi_assets.FineTune", "support_bot")
    assert scaffolded.returncode == 0, scaffolded.stdout + scaffolded.stderr
    defs = project.root / "src" / "my_project" / "defs"
    checked = forked("check", "defs")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    path = defs / "support_bot" / "defs.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["attributes"]["extends"] == "quickstart"
    content["attributes"] |= {
        "dataset": {"source": "asset", "asset": "support/conversations", "name": "support-desk"},
        "sample": {"percent": 100},
        "finetune": {"parametrs": FAST_PARAMETERS},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    wrong = forked("check", "defs")
    assert wrong.returncode == 1
    assert f"{path}:" in wrong.stdout
    assert "attributes.finetune" in wrong.stdout
    assert "parametrs" in wrong.stdout

    content["attributes"]["finetune"] = {"parameters": FAST_PARAMETERS}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    (defs / "conversations.py").write_text(_ASSET, encoding="utf-8")
    # Theirs is made by their project's executor; a job of ours keeps to one process.
    for what in (("--assets", 'key:"support/conversations"'), ("--job", "support_bot__finetune_and_deploy")):
        launched = forked("launch", *what)
        assert launched.returncode == 0, launched.stdout[-4000:] + launched.stderr[-4000:]
    with dg.DagsterInstance.from_config(project.env["DAGSTER_HOME"]) as instance:
        scored = instance.get_latest_materialization_event(dg.AssetKey(["support_bot", "scoring_result"]))
        source = instance.get_latest_materialization_event(dg.AssetKey(["support_desk", "source"]))
    assert scored is not None
    assert source is not None
    assert source.asset_materialization is not None
    assert source.asset_materialization.metadata["name"].value == "support/conversations"
