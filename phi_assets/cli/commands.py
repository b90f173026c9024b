"""The commands that run the graph's jobs in this process, on one Dagster instance, and what judges data."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from phi_assets.cli.bill import bill_in_words, print_bill
from phi_assets.cli.graph import loaded_recipes, open_graph, require_success, which_recipes
from phi_assets.cli.instance import open_instance, where_runs_are_kept
from phi_assets.cli.main import main
from phi_assets.cli.summary import print_left_job, print_summary


@main.command()
@which_recipes
def materialize(recipes: Sequence[str] = ()) -> None:
    """Materialize every asset of each recipe, one recipe after the other, and print a summary.

    What is billing is listed at last, also where a run has failed.
    """
    with open_graph(recipes) as graph:
        for lineage in graph.lineages:
            result = graph.try_run(lineage.node("finetune_and_deploy"))
            # A list that cannot be made hides neither a failure nor a result.
            billing = bill_in_words(graph.try_run("list_billing"), pretended=graph.is_pretended)
            if not result.success:
                click.echo(f"\n{billing}", err=True)
            require_success(result)
            if not print_left_job(result):
                print_summary(graph.settings, lineage, result, billing)


@main.command()
@which_recipes
def preflight(recipes: Sequence[str]) -> None:
    """Look at everything that can be known to go wrong with a recipe; seconds, and nothing is changed."""
    with open_graph(recipes) as graph:
        for lineage in graph.lineages:
            [event] = graph.materialize(lineage, "preflight").get_asset_materialization_events()
            metadata = event.step_materialization_data.materialization.metadata
            click.echo(f"recipe: {lineage.name}")
            for key in ("workspace", "identity", "tenant", "model", "component", "data"):
                click.echo(f"{key}: {metadata[key].value}")
            for key in metadata:
                if key.startswith("data/"):
                    click.echo(f"  {key.removeprefix('data/')}: {metadata[key].value}")
            if "estimated_cost" in metadata:
                hours, cost, currency = (
                    metadata[key].value for key in ("estimated_hours", "estimated_cost", "currency")
                )
                click.echo(f"estimate: {hours:g} hours of fine-tuning; {cost:g} {currency} with the endpoint's lease")
            if "most_preparation_cost" in metadata:
                most, currency = (metadata[key].value for key in ("most_preparation_cost", "currency"))
                click.echo(f"preparing data: {most:g} {currency} at most")
            click.echo(metadata["reason"].value)


@main.command()
@which_recipes
@click.option("--keep-cluster", is_flag=True, help="Leave the recipe's cluster, which costs nothing while it is idle.")
@click.option("--models", is_flag=True, help="Also delete the registered versions of the recipe's model.")
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted, and what is kept and why.")
@click.option("--yes", is_flag=True, help="Delete without asking, as in a script.")
def teardown(recipes: Sequence[str], keep_cluster: bool, models: bool, dry_run: bool, yes: bool) -> None:
    """List what a recipe has made and is billing, ask, delete it, and say what still is billing."""
    config = {"cluster": not keep_cluster, "models": models}
    with open_graph(recipes) as graph:
        for lineage in graph.lineages:
            job, step = lineage.node("teardown"), lineage.node("tear_down_recipe")

            def run(*, only_list: bool, job: str = job, step: str = step) -> Any:
                return graph.run(job, {step: {"config": {**config, "dry_run": only_list}}})

            if dry_run or not yes:
                listed = run(only_list=True)
                if dry_run or not _number(listed, "to_delete"):
                    print_bill(listed, pretended=graph.is_pretended)
                    continue
                click.confirm(f"Delete what is listed of {lineage.name}?", abort=True, err=True)
            print_bill(run(only_list=False), pretended=graph.is_pretended)


@main.command()
def instance() -> None:
    """Make what the Dagster instance keeps its runs in, where nobody has, and say where that is; before several code
    servers start on a new SQLite. The exit code is 1 where another release of Dagster has made it."""
    with open_instance() as opened:
        click.echo(f"runs: {where_runs_are_kept(opened)}")
        for storage in (opened.run_storage, opened.event_log_storage, opened.schedule_storage):
            found, wanted = (storage and storage.alembic_version()) or (None, None)
            if found != wanted:
                raise click.ClickException(
                    f"Its tables are of revision {found} and this Dagster's of {wanted}. Stop what uses them, and run "
                    "`dagster instance migrate`."
                )
    click.echo("Its tables are those of this release of Dagster.")


@main.command()
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@which_recipes
def validate(file: Path | None, recipes: Sequence[str]) -> None:
    """Read and judge the data of each recipe, or FILE (a file or a folder) by the contract of the first, without a
    network; the exit code is 1 where it cannot be trained on. A FILE that ends in .yaml is a recipe itself."""
    if file and file.suffix.lower() in (".yaml", ".yml"):
        file, recipes = None, [str(file)]
    # Before the hub's client is imported, which reads it once.
    os.environ["HF_HUB_OFFLINE"] = "1"
    settings, loaded = loaded_recipes(recipes)

    from phi_assets.dataset.samples.validate import validate_file, validate_recipe

    if file:
        problems = validate_file(file, loaded[0], click.echo)
    else:
        from phi_assets.graph.resources.places import data_storage

        storage = data_storage(settings)
        problems = [each for recipe in loaded for each in validate_recipe(recipe, storage.folder, click.echo, storage)]
    # Splits of one source may have the same one.
    for problem in dict.fromkeys(problems):
        click.echo(f"\n{problem}", err=True)
    if problems:
        sys.exit(1)
    click.echo("Nothing stands in the way of training on it.")


@main.command("still-billing")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def still_billing(as_json: bool) -> None:
    """Show everything in the workspace that is billing: age, price an hour, owner, lease, orphans."""
    with open_graph(()) as graph:
        print_bill(graph.run("list_billing"), as_json=as_json, pretended=graph.is_pretended)


def _number(result: Any, key: str) -> int:
    """Of the metadata of the step's output."""
    (found,) = (
        event.step_output_data.metadata[key].value
        for event in result.all_events
        if event.is_successful_output and key in event.step_output_data.metadata
    )
    return int(found)
