"""What has been ended on purpose, and is therefore no damage."""

from collections.abc import Sequence

import dagster as dg

TEARDOWN, REAP_EXPIRED = "teardown", "reap_expired"
"""Names of the jobs that end endpoints."""

REAPED_TAG = "phi/reaped/{}"
"""Run tag, made with the name of an endpoint whose lease had ended and that the run therefore deletes."""


def last_ending(instance: dg.DagsterInstance, endpoints: Sequence[str]) -> dg.RunRecord | None:
    """The newest run that has ended one of the endpoints, or is about to: a teardown, or the end of its lease."""
    filters = [
        dg.RunsFilter(job_name=TEARDOWN),
        *(dg.RunsFilter(job_name=REAP_EXPIRED, tags={REAPED_TAG.format(name): "true"}) for name in endpoints),
    ]
    newest = [record for each in filters for record in instance.get_run_records(each, limit=1)]
    return max(newest, key=lambda record: record.create_timestamp, default=None)
