"""Connections to emulators other than the session's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.emulator.process import Connection


@contextmanager
def workspace_of(connection: Connection) -> Iterator[Workspace]:
    """The emulator's workspace; afterwards this process belongs to the emulator that it belonged to before.

    The SDK and its identity library look up cloud and identity endpoint in the environment, on every use.
    """
    before = dict(os.environ)
    try:
        yield connect_emulator(connection)
    finally:
        os.environ.clear()
        os.environ.update(before)
