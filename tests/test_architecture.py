"""The house: who may import whom, and that no room or module grows beyond what a person can look over."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from phi_assets.config.settings import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "phi_assets"

MODULES_IN_A_FOLDER = 17
LINES_IN_A_MODULE = 350

# A line that breaks a contract, and the module that it is added to.
BREAKS = {
    "Arrows run one way": ("azureml/serving/gates.py", "import phi_assets.graph.explanation"),
    "they import no Dagster": ("dataset/errors.py", "import dagster"),
    "Inside azureml": ("azureml/connection/retry.py", "import phi_assets.azureml.training.jobs"),
    "Inside graph": ("graph/training/assets.py", "import phi_assets.graph.serving.assets"),
    "Inside dataset": ("dataset/contract/seen.py", "import phi_assets.dataset.samples.selection"),
    "Inside the emulator": ("emulator/store/state.py", "import phi_assets.emulator.runner.records"),
    "run in processes of their own": ("emulator/components/rows.py", "import phi_assets.emulator.store.state"),
    "imports nothing of the graph but config": ("emulator/wire/errors.py", "import phi_assets.refs"),
    "Only graph.resources.workspace starts the emulator": (
        "graph/explanation.py",
        "import phi_assets.emulator.process",
    ),
}


def _modules() -> list[Path]:
    models = PACKAGE / "emulator" / "registry"
    return [path for path in PACKAGE.rglob("*.py") if models not in path.parents]


def _lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: inside this one it would switch off every logger that exists already."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_import_runs_the_way_that_the_contracts_say() -> None:
    said = _lint_imports(PROJECT_ROOT)
    assert said.returncode == 0, said.stdout + said.stderr


def test_an_import_that_breaks_a_contract_is_told_by_its_sentence(tmp_path: Path) -> None:
    """All at once, in a copy: what each of them breaks is named, type-checking imports and circles included."""
    shutil.copy(PROJECT_ROOT / "pyproject.toml", tmp_path)
    for path in _modules():
        copy = tmp_path / path.relative_to(PROJECT_ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    for name, line in BREAKS.values():
        path = tmp_path / "phi_assets" / name
        guarded = f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {line}\n"
        path.write_text(path.read_text(encoding="utf-8") + guarded, encoding="utf-8")
    said = _lint_imports(tmp_path)
    assert said.returncode == 1, said.stderr
    verdicts = " ".join(said.stdout.partition("Broken contracts")[0].split())
    for sentence in [*BREAKS, "No circles"]:
        verdict = re.search(r"\b(KEPT|BROKEN)\b", verdicts.partition(sentence)[2])
        assert verdict, f"{sentence} is the name of no contract"
        assert verdict[1] == "BROKEN", sentence


def test_no_module_is_longer_than_a_person_reads_at_a_time() -> None:
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in _modules()}
    assert {name: count for name, count in lines.items() if count > LINES_IN_A_MODULE} == {}


def test_no_folder_has_more_modules_than_a_person_looks_over() -> None:
    folders = {path.parent for path in _modules()}
    counts = {
        str(folder.relative_to(PACKAGE)): len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for folder in folders
    }
    assert {name: count for name, count in counts.items() if count > MODULES_IN_A_FOLDER} == {}
