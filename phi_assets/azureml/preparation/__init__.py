"""Samples made by a job of Azure ML, beside the data."""
