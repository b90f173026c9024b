"""The reference of the graph: its assets, checks, jobs and switches, and the keys of their metadata."""

import re
from collections.abc import Iterator
from typing import Any

import dagster as dg

from phi_assets.docs.markdown import DocsError, sentence, table
from phi_assets.docs.metadata_keys import EVERY_ASSET, KEYS

_SPLIT = re.compile(r"^(raw|sampled)_\w+$")
_RECIPE = "quickstart"
_FLOW = (
    *("source", "raw_<split>", "sampled_<split>", "preflight", "foundation_model", "finetune_compute"),
    *("finetune_job", "registered_model", "online_endpoint", "online_deployment", "live_traffic"),
    *("base_answers", "scoring_result", "still_billing"),
)
"""The assets in the order in which they are made."""


def graph_text() -> str:
    """Every asset, check, job, sensor and schedule, as the definitions of a shipped recipe have them."""
    from phi_assets.components import build_definitions
    from phi_assets.config.recipe_files import load_recipe
    from phi_assets.config.settings import load_settings

    found = build_definitions(load_settings({}), load_recipe(_RECIPE)).get_repository_def()
    parts = {
        "Assets": table(("asset", "what is true once it is materialized"), list(_assets(found.asset_graph))),
        "Checks": table(("asset", "check", "blocks", "what it asks"), list(_checks(found.asset_graph))),
        "Jobs": table(
            ("job", "what it does"),
            [
                (f"`{each.name.replace(f'{_RECIPE}__', '<recipe>__')}`", _said(each.name, each.description))
                for each in sorted(found.get_all_jobs(), key=lambda each: each.name)
                if not each.name.startswith("__")
            ],
        ),
        "Sensors and schedules": table(
            ("name", "at first", "what it does"),
            [
                (f"`{each.name}`", _state(each.default_status.value), _said(each.name, each.description))
                for each in [*sorted(found.sensor_defs, key=lambda each: each.name), *found.schedule_defs]
            ],
        ),
    }
    return "\n\n".join(f"## {title}\n\n{content}" for title, content in parts.items())


def metadata_text() -> str:
    """Every key of the metadata of every asset with its meaning.

    Raises:
        DocsError: an asset of the flow has no keys, or keys are of no asset.
    """
    if set(KEYS) != set(_FLOW):
        raise DocsError(f"Metadata keys and assets differ: {', '.join(sorted(set(KEYS) ^ set(_FLOW)))}")
    sections = [("Every asset", EVERY_ASSET), *((f"`{name}`", KEYS[name]) for name in _FLOW)]
    return "\n\n".join(
        f"## {title}\n\n{table(('key', 'meaning'), [(f'`{key}`', sentence(text)) for key, text in keys.items()])}"
        for title, keys in sections
    )


def asset_name(key: dg.AssetKey) -> str:
    """The asset's name below its prefix, with `<split>` in the place of a split."""
    return _SPLIT.sub(r"\1_<split>", key.path[-1])


def _assets(graph: Any) -> Iterator[tuple[str, str]]:
    rows: dict[str, list[dg.AssetKey]] = {}
    for key in sorted(graph.materializable_asset_keys):
        text = _said(key.path[-1], graph.get(key).description)
        # Most splits are told apart by nothing but their names.
        split = key.path[-1].partition("_")[2]
        rows.setdefault(text.replace(f"`{split}`", "the split"), []).append(key)
    for text, keys in sorted(rows.items(), key=lambda row: _FLOW.index(asset_name(row[1][0]))):
        if len(keys) > 1:
            yield f"`{asset_name(keys[0])}`", text
        else:
            yield f"`{keys[0].path[-1]}`", _said(keys[0].path[-1], graph.get(keys[0]).description)


def _checks(graph: Any) -> Iterator[tuple[str, str, str, str]]:
    rows: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for key in graph.asset_check_keys:
        spec, asset = graph.get_check_spec(key), asset_name(key.asset_key)
        blocks = "yes" if spec.blocking else ""
        rows[asset, key.name] = (f"`{asset}`", f"`{key.name}`", blocks, _said(key.name, spec.description))
    for row in sorted(rows, key=lambda row: (_FLOW.index(row[0]), row[1])):
        yield rows[row]


def _said(name: str, text: str | None) -> str:
    if not text:
        raise DocsError(f"{name} has no description")
    return sentence(text)


def _state(status: str) -> str:
    return {"RUNNING": "on", "STOPPED": "off"}[status]
