"""What the tests of the whole graph drive and look at: Dagster as it is deployed, and processes that may be killed."""
