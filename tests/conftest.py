"""Fixtures of the whole suite: one emulator process and one SDK connection to it, in a temporary PHI_HOME."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from phi_assets.emulator import process
from phi_assets.emulator.control import Control
from phi_assets.emulator.security.tls import ensure_certificates
from tests.azurite import Azurite, running

if TYPE_CHECKING:
    from phi_assets.azureml.connection.client import Workspace
    from tests.postgres import Server

pytest_plugins = ["tests.balance", "tests.forked_emulators", "tests.forked_workers"]

TIME_SCALE = "5"

# Without byte code every worker would rewrite all tests anew, and every child process compile the whole package.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Of several threads of torch those that wait for the others compute on, and there are more tests than cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A script's shell has what it starts in its background ignore SIGINT, and Dagster would make of SIGTERM what SIGINT is.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The libraries make a million objects that stay, and looking at them again and again took a tenth of the time.
gc.set_threshold(20_000, 20, 50)


def pytest_collection_finish() -> None:
    """What has been imported by now stays and need not be looked at."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def hermetic_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads the developer's settings, and no library looks for a network."""
    home = tmp_path_factory.mktemp("phi-home")
    forks = os.environ.get("PHI_TEST_FORKS") or str(tmp_path_factory.mktemp("forks") / "template")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PHI_", "AZURE_", "AZUREML_", "DAGSTER_", "ARM_CLOUD", "IDENTITY_")):
                patch.delenv(name)
        patch.setenv("PHI_HOME", str(home))
        patch.setenv("PHI_EMULATOR_TIME_SCALE", TIME_SCALE)
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(home / "huggingface"))
        patch.setenv("PHI_TEST_FORKS", forks)
        patch.setenv("PHI_TEST_DRAWN", str(_folder_of_all_workers(tmp_path_factory, "drawn")))
        patch.setenv("DAGSTER_DISABLE_TELEMETRY", "true")
        # No test has a connection to the world, and every one to the emulator would load the world's authorities.
        authority = str(ensure_certificates(home / "nobodys-authority").authority)
        patch.setenv("REQUESTS_CA_BUNDLE", authority)
        patch.setenv("SSL_CERT_FILE", authority)
        yield home


def _folder_of_all_workers(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """It is one folder for all processes of this session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def emulator(hermetic_environment: Path) -> Iterator[process.Connection]:
    """A running emulator; its state lies under the session's PHI_HOME."""
    directory = hermetic_environment / "emulator"
    yield process.ensure_running(directory)
    process.stop(directory)


@pytest.fixture
def control(emulator: process.Connection) -> Iterator[Control]:
    """What can be done to the session's emulator; faults, scenarios and limits are gone afterwards."""
    with Control(emulator) as control:
        yield control
        control.restore()


@pytest.fixture
def clean_emulator(emulator: process.Connection) -> process.Connection:
    """The session's emulator without anything that another test made in it."""
    with Control(emulator) as control:
        control.reset()
    return emulator


@pytest.fixture(scope="session")
def workspace(emulator: process.Connection) -> "Workspace":
    """The real SDK, connected to the emulator."""
    from phi_assets.azureml.connection.client import connect_emulator
    from tests import quick_runs

    connected = connect_emulator(emulator)
    quick_runs.use_sdk()
    return connected


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """A storage account on loopback; what needs it is skipped where the program is not installed."""
    with running() as account:
        yield account


@pytest.fixture(scope="session")
def toy_registry(emulator: process.Connection) -> Path:
    """Folder of the registry `toys`, which lies beside the emulator's own."""
    from tests.azureml.toys import REGISTRY, write_registry

    write_registry(emulator.directory / "registry")
    return emulator.directory / "registry" / REGISTRY


@pytest.fixture(scope="session")
def toys(toy_registry: Path, workspace: "Workspace") -> "Workspace":
    """The workspace, with the registry `toys`."""
    return workspace


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Server]":
    """A PostgreSQL server, whose databases are each for one Dagster instance; see `tests.postgres.needs_postgresql`."""
    from tests.postgres import running_server

    with running_server() as server:
        yield server
