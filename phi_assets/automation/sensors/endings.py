"""What has been ended on purpose, and is therefore no damage."""

import dagster as dg

from phi_assets.automation.ending import REAPED_TAG, reap_expired, teardown


def last_ending(instance: dg.DagsterInstance, endpoint: str) -> dg.RunRecord | None:
    """The newest run that has ended the endpoint, or is about to: a teardown, or the end of its lease."""
    filters = [
        dg.RunsFilter(job_name=teardown.name),
        dg.RunsFilter(job_name=reap_expired.name, tags={REAPED_TAG.format(endpoint): "true"}),
    ]
    newest = [record for each in filters for record in instance.get_run_records(each, limit=1)]
    return max(newest, key=lambda record: record.create_timestamp, default=None)
