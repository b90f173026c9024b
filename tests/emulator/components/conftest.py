"""A tiny base model, data files, and ways to run a component: in this process, or as the child process it will be."""

import importlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.emulator.components import template, tiny_model

PACKAGE = "phi_assets.emulator.components"
PROJECT = Path(__file__).parents[3]

Call = Callable[..., None]
Start = Callable[..., subprocess.CompletedProcess[str]]


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
        monkeypatch.setattr(sys, "argv", [module, *as_arguments(options)])
        importlib.import_module(f"{PACKAGE}.{module}").main()

    return run


@pytest.fixture(scope="session")
def imported(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What model_import makes of the base model."""
    output = tmp_path_factory.mktemp("import") / "output"
    finished(start("model_import", mlflow_model_path=base_model, output_dir=output))
    return output


@pytest.fixture(scope="session")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """As `start`, but the process is a copy of one that has made the imports of fine-tuning already."""
    said = tmp_path_factory.mktemp("said")
    command = [sys.executable, "-m", template.__name__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=environment_of(None)
    ) as program:
        requests, answers = program.stdin, program.stdout
        assert requests is not None
        assert answers is not None

        def run(module: str, *, metrics: Path | None = None, **options: object) -> subprocess.CompletedProcess[str]:
            arguments, files = as_arguments(options), [said / f"{uuid.uuid4()}" for _ in range(2)]
            request = {
                "module": f"{PACKAGE}.{module}",
                "arguments": arguments,
                "environment": environment_of(metrics),
                "stdout": str(files[0]),
                "stderr": str(files[1]),
            }
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            code = int(answers.readline())
            return subprocess.CompletedProcess(arguments, code, *(file.read_text(encoding="utf-8") for file in files))

        yield run
        requests.close()


def start(module: str, *, metrics: Path | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    """A component as the emulator runs it: a process of its own with one thread."""
    command = [sys.executable, "-m", f"{PACKAGE}.{module}", *as_arguments(options)]
    environment = environment_of(metrics)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def as_arguments(options: Mapping[str, object]) -> list[str]:
    """Options of a program."""
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def environment_of(metrics: Path | None) -> dict[str, str]:
    """The variables of a component's process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment | ({} if metrics is None else {"PHI_METRICS_FILE": str(metrics)})


def finished(process: subprocess.CompletedProcess[str]) -> str:
    """The standard output of a component that succeeded."""
    assert process.returncode == 0, process.stderr
    return process.stdout
