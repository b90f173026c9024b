"""What is billing, printed: on any width and in a pipe, no name is cut."""

import json
from typing import Any

import click

from phi_assets.cli.tables import print_table

_PRETENCE = "The emulator charges nothing: these are the prices of Azure."


def print_bill(result: Any, *, as_json: bool = False, pretended: bool = False) -> None:
    """The last listing of the run: as a table, as a block for each item where that is too wide, or as JSON.

    `pretended` says that the prices are those of Azure, and that nobody charges them here.
    """
    metadata = _metadata(result)
    rows = [dict(record.data) for record in metadata["billing"].records]
    if as_json:
        told = ("summary", "hourly_price", "hourly_by_recipe", "prices", "region")
        said = {key: metadata[key].value for key in told}
        click.echo(json.dumps(said | {"pretended": pretended, "items": rows}, indent=2))
        return
    print_table(rows, heading=2)
    click.echo(metadata["summary"].value)
    if len(by_recipe := metadata["hourly_by_recipe"].value) > 1:
        click.echo(f"By recipe: {', '.join(f'{name} {hourly:.2f}' for name, hourly in by_recipe.items())} an hour.")
    if rows:
        pretence = f" {_PRETENCE}" if pretended else ""
        click.echo(f"Prices: {metadata['prices'].value}; the workspace is in {metadata['region'].value}.{pretence}")


def bill_in_words(result: Any, *, pretended: bool) -> str:
    """The sum of the last listing of the run, in a sentence; that it is unknown, where the run has failed."""
    if not result.success:
        return "What is billing is unknown: it could not be listed."
    metadata = _metadata(result)
    return f"{metadata['summary'].value}{f' {_PRETENCE}' if pretended and metadata['hourly_price'].value else ''}"


def _metadata(result: Any) -> Any:
    from phi_assets.graph.operations.assets import STILL_BILLING

    events = [event for event in result.get_asset_materialization_events() if event.asset_key == STILL_BILLING]
    return events[-1].step_materialization_data.materialization.metadata
