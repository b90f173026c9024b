"""Clocks that somebody sets."""

import psutil
import pytest


def set_the_clock(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """For psutil in this process the boot is so much later: on Linux that is all it sees of a clock that was set."""
    linux = pytest.importorskip("psutil._pslinux")
    booted = psutil.boot_time() + seconds
    monkeypatch.setattr(linux, "boot_time", lambda: booted)
