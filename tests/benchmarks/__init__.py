"""Benchmarks to run by hand: what this project's work costs beside that of others."""
