"""Runs jobs: a pipeline's component graph as child processes of the emulator."""
