"""A tiny base model, data files, and ways to run a component: in this process, or as the child process it will be."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.emulator.components import tiny_model

PACKAGE = "phi_assets.emulator.components"
PROJECT = Path(__file__).parents[3]

Call = Callable[..., None]


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The MLflow folder of a random two-layer model."""
    return tiny_model.save_base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 64 training and 16 test rows as JSON Lines."""
    folder = tmp_path_factory.mktemp("data")
    tiny_model.write_jsonl(folder / "train.jsonl", tiny_model.conversations(64))
    tiny_model.write_jsonl(folder / "test.jsonl", tiny_model.conversations(16, seed=9))
    return folder


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a component's `main` here, with options as keyword arguments."""

    def run(module: str, **options: object) -> None:
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        importlib.import_module(f"{PACKAGE}.{module}").main()

    return run


@pytest.fixture(scope="session")
def imported(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What model_import makes of the base model."""
    output = tmp_path_factory.mktemp("import") / "output"
    finished(start("model_import", mlflow_model_path=base_model, output_dir=output))
    return output


def start(module: str, *, metrics: Path | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    """A component as the emulator runs it: a process of its own with one thread."""
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if metrics is not None:
        environment["PHI_METRICS_FILE"] = str(metrics)
    command = [sys.executable, "-m", f"{PACKAGE}.{module}", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def finished(process: subprocess.CompletedProcess[str]) -> str:
    """The standard output of a component that succeeded."""
    assert process.returncode == 0, process.stderr
    return process.stdout
