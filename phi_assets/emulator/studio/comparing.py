"""Jobs side by side, as their page shows them: parameters in which they differ, curves on one chart, last values."""

from collections.abc import Sequence
from dataclasses import dataclass

from phi_assets.emulator.runner.metrics import latest
from phi_assets.emulator.runner.records import Records, Run
from phi_assets.emulator.studio import charts
from phi_assets.emulator.studio.jobs import parameters_of
from phi_assets.emulator.studio.words import number
from phi_assets.emulator.wire.errors import not_found
from phi_assets.emulator.workspace.context import Emulator


@dataclass(frozen=True)
class ComparisonPage:
    """Several jobs; each row of a table has a value for each of them, in their order."""

    jobs: tuple[Run, ...]
    charts: tuple[charts.Chart, ...]
    parameters: tuple[tuple[str, tuple[str, ...]], ...]
    """Those that are not the same for all."""
    same: int
    """How many are."""
    metrics: tuple[tuple[str, tuple[str, ...]], ...]


def comparison_page(emulator: Emulator, names: Sequence[str]) -> ComparisonPage:
    """The page of these jobs.

    Raises:
        ServiceError: 404 if one of them does not exist.
    """
    records = Records(emulator)
    jobs = []
    for name in dict.fromkeys(names):
        run = records.run(name)
        if run is None:
            raise not_found("Run", name)
        jobs.append(run)
    given = [parameters_of(records.family(job["run_id"])) for job in jobs]
    points = [records.metrics(job) for job in jobs]
    last = [{point.name: number(point.value) for point in latest(found)} for found in points]
    parameters = _table(given)
    differing = tuple(row for row in parameters if len(set(row[1])) > 1)
    return ComparisonPage(
        jobs=tuple(jobs),
        charts=charts.compared([(job["display_name"], found) for job, found in zip(jobs, points, strict=True)]),
        parameters=differing,
        same=len(parameters) - len(differing),
        metrics=_table(last),
    )


def _table(columns: Sequence[dict[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    names = sorted({name for column in columns for name in column})
    return tuple((name, tuple(column.get(name, "-") for column in columns)) for name in names)
