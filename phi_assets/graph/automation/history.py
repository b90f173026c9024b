"""What this Dagster instance has done and is doing, as sensors ask for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
"""States of a run that will do nothing any more."""
_UNENDED = [status for status in dg.DagsterRunStatus if status not in ENDED]

_DATA_VERSION_TAG = "dagster/data_version"


def last_materialization(instance: dg.DagsterInstance, asset: dg.AssetKey) -> dg.EventLogEntry | None:
    """The asset's last materialization; None if there has never been one."""
    return instance.get_latest_materialization_event(asset)


def data_version(entry: dg.EventLogEntry) -> str | None:
    """The data version that a materialization recorded."""
    materialization = entry.asset_materialization
    return (materialization.tags or {}).get(_DATA_VERSION_TAG) if materialization else None


def metadata_value(entry: dg.EventLogEntry, key: str) -> object:
    """A metadata value of a materialization; None if it has none under this key."""
    materialization = entry.asset_materialization
    value = materialization.metadata.get(key) if materialization else None
    return value.value if value is not None else None


@dataclass(frozen=True)
class Evaluation:
    """The outcome of a check."""

    passed: bool
    timestamp: float
    metadata: Mapping[str, dg.MetadataValue[Any]]


def last_evaluation(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> Evaluation | None:
    """The check's last outcome; None if it has never come to one. A run that died on the way to it does not count."""
    ended = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    records = instance.event_log_storage.get_asset_check_execution_history(check, limit=1, status=ended)
    event = records[0].event if records else None
    if event is None or event.dagster_event is None:
        return None
    found = event.dagster_event.asset_check_evaluation_data
    return Evaluation(found.passed, event.timestamp, found.metadata)


def active_run(instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey]) -> dg.DagsterRun | None:
    """A run that is going to materialize one of the assets: queued, starting, running or being cancelled."""
    wanted = set(assets)
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNENDED)):
        if wanted & planned_assets(instance, run.run_id):
            return run
    return None


def last_run(instance: dg.DagsterInstance, job: str) -> dg.RunRecord | None:
    """The job's newest run, whatever became of it."""
    return next(iter(instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)), None)


def has_ended(run: dg.DagsterRun) -> bool:
    """Whether the run will do nothing any more."""
    return run.status in ENDED


def planned_assets(instance: dg.DagsterInstance, run_id: str) -> set[dg.AssetKey]:
    """What the run was to materialize when it was created."""
    # Recorded when the run is created, whichever way it was asked for: by job, by selection, by a sensor.
    planned: set[dg.AssetKey] = set()
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(
            run_id, cursor=cursor, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, limit=100
        )
        planned |= {record.asset_key for record in page.records if record.asset_key}
        if not page.has_more:
            return planned
        cursor = page.cursor
