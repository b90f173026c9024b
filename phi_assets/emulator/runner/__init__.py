"""Runs jobs: a pipeline's component graph as child processes of the emulator."""

from phi_assets.emulator.runner.lifecycle import JobRunner

__all__ = ["JobRunner"]
