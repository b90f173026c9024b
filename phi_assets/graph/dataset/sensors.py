"""The sensor that follows the data sets on the hub."""

from collections.abc import Sequence

import dagster as dg

from phi_assets.dataset.sources.raw_splits import latest_revision
from phi_assets.graph.automation.cursor import Cursor, Outcome, for_each
from phi_assets.graph.automation.following import follow
from phi_assets.graph.automation.history import data_version
from phi_assets.graph.dataset.assets import SOURCE
from phi_assets.graph.lineage import ASSET_TAG, DataSet, Lineage


def hub_revision_sensor(lineages: Sequence[Lineage]) -> dg.SensorDefinition:
    """The sensor for the data sets of these recipes; one that is added to them later is looked after as well."""

    @dg.sensor(
        name="hub_revision_sensor",
        target=dg.AssetSelection.tag(ASSET_TAG, SOURCE),
        default_status=dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=300,
        description="Materialize the source of a data set once for every new revision. With phi_automation switched "
        "on, whatever depends on it follows.",
    )
    def hub_revisions(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """`source` is requested once for every new revision of the data set; one request to the hub a data set."""

        def look(dataset: DataSet, cursor: Cursor) -> Outcome:
            if (upstream := dataset.section.asset) is not None:
                return cursor.skip(f"Asset {upstream} is followed by phi_automation.")
            now = latest_revision(dataset.section, storage=dataset.storage)
            return follow(context.instance, cursor, dataset.key(SOURCE), now=now, recorded=data_version)

        datasets = {dataset.prefix: dataset for lineage in lineages for dataset in lineage.datasets}
        return for_each(context, datasets, look)

    return hub_revisions
