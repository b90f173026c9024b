"""A registry of trivial components, and an emulator without a server that has it."""

import shutil
from pathlib import Path
from typing import Any

from phi_assets import emulator as package
from phi_assets.emulator.routes.parts import Parts
from phi_assets.emulator.workspace.context import open_emulator

FOLDER = Path(__file__).parent / "registry"
PACKAGED = Path(package.__file__).parent / "registry"

COPY = "azureml://registries/testing/components/copy_file/versions/1"
FAIL = "azureml://registries/testing/components/fail/versions/1"
WAIT = "azureml://registries/testing/components/wait/versions/1"
MEET = "azureml://registries/testing/components/meet/versions/1"
"""Ends when another step of its kind has begun as well."""
STAMP = "azureml://registries/testing/components/stamp/versions/1"
"""Deterministic, or so it says: writes the time."""
TWO_COPIES = "azureml://registries/testing/components/two_copies/versions/1"
NESTED = "azureml://registries/testing/components/nested/versions/1"


def install(directory: Path) -> None:
    """Drops the registry into an emulator's folder, as a user would."""
    shutil.copytree(FOLDER, directory / "registry", dirs_exist_ok=True)


def without_server(directory: Path, scale: float = 50.0) -> Parts:
    """The parts of an emulator that jobs need, in this process."""
    emulator = open_emulator(directory, "https://127.0.0.1:1", scale, registries=[PACKAGED, FOLDER])
    return Parts.of(emulator)


def literal(value: str) -> dict[str, str]:
    """A literal input as it travels."""
    return {"job_input_type": "literal", "value": value}


def data(uri: str, type_: str = "uri_file") -> dict[str, str]:
    """A data input as it travels."""
    return {"job_input_type": type_, "uri": uri}


def pipeline(**jobs: Any) -> dict:
    """Properties of a pipeline job with these nodes."""
    return {"jobType": "Pipeline", "experimentName": "tests", "jobs": jobs}
