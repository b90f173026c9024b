"""The model that a new one has to live up to, found in the history of its scores."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from phi_assets.changes import in_short
from phi_assets.evaluation.scoring import Champion
from phi_assets.evaluation.write import read_rival
from phi_assets.graph.scoring.metadata import IS_CHAMPION, MODEL, ROWS

_PAGE = 100


def find_champion(context: dg.AssetExecutionContext, model_id: str) -> Champion:
    """The latest other model that this asset has scored, and that was not worse than its own champion."""
    for materialization in _history(context):
        model, rows, is_champion = (_value(materialization, key) for key in (MODEL, ROWS, IS_CHAMPION))
        if not isinstance(model, str) or model == model_id or not is_champion:
            continue
        if not rows or not Path(str(rows)).is_file():
            return Champion(None, f"The answers of champion {in_short(model)} are gone from {rows}.")
        return Champion(read_rival(model, Path(str(rows))), f"{in_short(model)} is the champion so far.")
    return Champion(None, "No other model has been scored.")


def _history(context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization]:
    """Materializations of the asset, the latest first."""
    cursor = None
    while True:
        page = context.instance.fetch_materializations(context.asset_key, limit=_PAGE, cursor=cursor)
        yield from (record.asset_materialization for record in page.records if record.asset_materialization)
        if not page.has_more:
            return
        cursor = page.cursor


def _value(materialization: dg.AssetMaterialization, key: str) -> object:
    found = materialization.metadata.get(key)
    return found.value if found is not None else None
