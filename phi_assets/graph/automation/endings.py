"""What has been ended on purpose, and is therefore no damage."""

from collections.abc import Sequence

import dagster as dg

DEPLOY, TEARDOWN = "deploy", "teardown"
"""What the jobs of a recipe are called that make its endpoint and end it, below the recipe's prefix."""

REAP_EXPIRED = "reap_expired"
"""Name of the job that ends endpoints of all recipes."""

REAPED_TAG = "phi/reaped/{}"
"""Run tag, made with the name of an endpoint whose lease had ended and that the run therefore deletes."""


def last_ending(instance: dg.DagsterInstance, teardown: str, endpoints: Sequence[str]) -> dg.RunRecord | None:
    """The newest run that has ended one of the endpoints, or is about to: of job `teardown`, or at its lease's end."""
    filters = [
        dg.RunsFilter(job_name=teardown),
        *(dg.RunsFilter(job_name=REAP_EXPIRED, tags={REAPED_TAG.format(name): "true"}) for name in endpoints),
    ]
    newest = [record for each in filters for record in instance.get_run_records(each, limit=1)]
    return max(newest, key=lambda record: record.create_timestamp, default=None)
