"""The model that a new one has to live up to, found in the history of its scores."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from phi_assets.changes import in_short
from phi_assets.dataset.files.storage import DataStorage
from phi_assets.evaluation.scoring import Champion
from phi_assets.evaluation.write import read_rival

SCORING_RESULT = "scoring_result"
MODEL, ROWS, IS_CHAMPION = "model", "jsonl", "is_champion"
"""Metadata of a materialization of `scoring_result`."""

_PAGE = 100


def find_champion(instance: dg.DagsterInstance, scores: dg.AssetKey, model_id: str, storage: DataStorage) -> Champion:
    """The latest other model that was scored and became the champion: the best one so far.

    `scores` is the key of the recipe's `scoring_result`.
    """
    for materialization in _history(instance, scores):
        model, rows, is_champion = (_value(materialization, key) for key in (MODEL, ROWS, IS_CHAMPION))
        if not isinstance(model, str) or model == model_id or not is_champion:
            continue
        file = storage.file_at(str(rows or ""))
        if not storage.is_there(file):
            gone = f"The answers of champion {in_short(model)} are gone from {rows}"
            return Champion(None, f"{gone}, so nobody knows whether this model is worse.", is_lost=True)
        return Champion(read_rival(model, Path(file)), f"{in_short(model)} is the champion so far.")
    return Champion(None, "No other model has been scored.")


def _history(instance: dg.DagsterInstance, asset: dg.AssetKey) -> Iterator[dg.AssetMaterialization]:
    """Materializations of the asset, the latest first."""
    cursor = None
    while True:
        page = instance.fetch_materializations(asset, limit=_PAGE, cursor=cursor)
        yield from (record.asset_materialization for record in page.records if record.asset_materialization)
        if not page.has_more:
            return
        cursor = page.cursor


def _value(materialization: dg.AssetMaterialization, key: str) -> object:
    found = materialization.metadata.get(key)
    return found.value if found is not None else None
