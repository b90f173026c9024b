"""Everything that knows Dagster, one package a stage."""
