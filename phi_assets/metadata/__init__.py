"""Refs and reports as Dagster metadata: tables, pictures, links, and numbers under stable keys that the UI plots."""
