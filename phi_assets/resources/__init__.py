"""What the graph needs from outside, as Dagster resources."""
