"""What every stage needs from outside, as Dagster resources."""
