"""What the tests of detached jobs share; others in this folder have an instance and a world of their own."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from phi_assets.emulator.process import Connection
from tests.graph.training.left_jobs import World


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def world(emulator: Connection, toy_registry: Path, tmp_path: Path, instance: dg.DagsterInstance) -> Iterator[World]:
    world = World(emulator, tmp_path, instance)
    yield world
    world.end()
