"""Ways in which a service goes out of sight for a while, and a workspace that notices soon."""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from phi_assets.azureml.connection.client import Workspace, connect_emulator
from phi_assets.azureml.connection.sight import Vigil
from phi_assets.azureml.connection.sign_in import SignIn
from phi_assets.emulator.control import Control
from phi_assets.emulator.process import Connection

EXPIRED = {"code": "ExpiredAuthenticationToken", "message": "The access token expiry UTC time is earlier than now."}
FORBIDDEN = {
    "code": "AuthorizationFailed",
    "message": "The client does not have authorization to perform action 'jobs/read' over the scope.",
}
TWO_HOURS = 2 * 3600.0

Begin = Callable[[Control, Path], object]
"""Gets a file that makes the helper program slow while it exists."""


def refuse(status: int, error: dict[str, str], **more: Any) -> Begin:
    return lambda control, _: control.add_fault(plane="arm", action="status", status=status, error=error, **more)


@dataclass(frozen=True)
class Loss:
    """One way: what is done to the world, and what is said of it."""

    begin: Begin
    says: tuple[str, ...]
    """What the log has to have; for a loss of sight, what is said at once."""
    is_out_of_sight: bool = True
    helper: bool = False
    """The workspace signs in by a helper program."""


def shift_clock(control: Control, ahead_seconds: float) -> None:
    """Another time of the service; storage, which refuses a key's signature of another hour, is opened by identity."""
    control.set_storage_auth("identity")
    control.set_clock(ahead_seconds)


LOSSES = {
    "401 once": Loss(
        refuse(401, EXPIRED, method="GET", route="/jobs/{name}", count=1), ("with a new token",), is_out_of_sight=False
    ),
    "401 for ten minutes": Loss(refuse(401, EXPIRED), ("ExpiredAuthenticationToken", "set AZURE_CLIENT_ID")),
    "403": Loss(refuse(403, FORBIDDEN), ("AuthorizationFailed", "AzureML Data Scientist")),
    "credential helper of 12 s": Loss(lambda _, slow: slow.touch(), ("Azure CLI", "`az login`"), helper=True),
    "network gone for ten minutes": Loss(
        lambda control, _: control.add_fault(action="drop"), ("network, its DNS and its proxy",)
    ),
    "clock 2 h ahead": Loss(lambda control, _: shift_clock(control, -TWO_HOURS), (), is_out_of_sight=False),
    "clock 2 h behind": Loss(lambda control, _: shift_clock(control, TWO_HOURS), (), is_out_of_sight=False),
}


def attentive(emulator: Connection, limit_seconds: float = 60.0) -> Workspace:
    """A workspace whose SDK repeats nothing, and whose minutes are hundredths of a second."""
    vigil = Vigil(limit_seconds, first_pause_seconds=0.05, longest_pause_seconds=0.3)
    ws = connect_emulator(emulator, vigil)
    ws._client_options["retry_total"] = 0
    return ws


def with_helper(ws: Workspace, folder: Path, slow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace signs in as the Azure CLI does: a program that takes too long while the file `slow` exists."""
    from azure.identity import AzureCliCredential

    token = ws.bearer()
    program = folder / "az"
    program.write_text(
        f"#!/bin/sh\n[ -e {shlex.quote(str(slow))} ] && sleep 1.5\n"
        # Good for less than what is kept for later, so that each request asks anew.
        f'echo "{{\\"accessToken\\": \\"{token}\\", \\"expires_on\\": $(($(date +%s) + 60))}}"\n',
        encoding="utf-8",
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    ws.credential = SignIn(lambda: AzureCliCredential(process_timeout=1), mode="cli")
    for name in ("ml", "bearer"):
        ws.__dict__.pop(name, None)
