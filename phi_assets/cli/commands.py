"""The commands: each runs one job of the graph in this process, on one Dagster instance."""

import os
import sys
import uuid
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from phi_assets.cli.instance import ensure_dagster_home
from phi_assets.cli.summary import print_bill, print_summary
from phi_assets.config.settings import Settings, SettingsError, load_settings, read_env_file


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Fine-tune, register, deploy and score a chat model; on the local emulator unless PHI_TARGET=azure."""
    read_env_file()
    os.environ["DAGSTER_HOME"] = str(ensure_dagster_home(os.environ))
    if context.invoked_subcommand is None:
        context.invoke(materialize)


@main.command()
def materialize() -> None:
    """Materialize every asset, then print a summary."""
    settings, result = _run("finetune_and_deploy")
    print_summary(settings, result)


@main.command()
def preflight() -> None:
    """Look at everything that can be known to go wrong with the recipe; seconds, and nothing is changed."""
    _, result = _run("preflight")
    [event] = result.get_asset_materialization_events()
    metadata = event.step_materialization_data.materialization.metadata
    for key in ("workspace", "identity", "tenant", "model", "component"):
        click.echo(f"{key}: {metadata[key].value}")
    if "estimated_cost" in metadata:
        hours, cost, currency = (metadata[key].value for key in ("estimated_hours", "estimated_cost", "currency"))
        click.echo(f"estimate: {hours:g} hours of fine-tuning; {cost:g} {currency} with the endpoint's lease")
    click.echo(metadata["reason"].value)


@main.command()
@click.option("--keep-cluster", is_flag=True, help="Leave the recipe's cluster, which costs nothing while it is idle.")
@click.option("--models", is_flag=True, help="Also delete the registered versions of the recipe's model.")
def teardown(keep_cluster: bool, models: bool) -> None:
    """List and delete what the recipe has made and is billing, and say what still is."""
    config = {"cluster": not keep_cluster, "models": models}
    _, result = _run("teardown", {"tear_down_recipe": {"config": config}})
    print_bill(result)


@main.command("still-billing")
def still_billing() -> None:
    """Show everything in the workspace that is billing: age, price an hour, owner, lease, orphans."""
    _, result = _run("list_billing")
    print_bill(result)


def _run(job: str, ops: dict[str, Any] | None = None) -> tuple[Settings, Any]:
    """The job has run in this process; ends the program where it failed."""
    from phi_assets.config.recipe_files import RecipeError, load_recipe

    try:
        settings = load_settings()
        recipe = load_recipe(settings.recipe)
    except (SettingsError, RecipeError) as error:
        raise click.ClickException(str(error)) from error

    import dagster as dg

    from phi_assets.cli.console import calm_console
    from phi_assets.definitions import build_definitions
    from phi_assets.graph.automation.dead_runs import DEATH, end_dead_runs, process_tags

    definitions = build_definitions(settings, recipe, loggers={"console": calm_console})
    # What the steps print is the jobs' own logs, line by line; the console logger tells what a person wants to know.
    with dg.DagsterInstance.get() as instance, Path(os.devnull).open("w") as sink, redirect_stdout(sink):
        for dead in end_dead_runs(instance):
            click.echo(f"Run {dead.run_id} of job {dead.job_name}: {DEATH} It is marked as failed.", err=True)
        run_id = str(uuid.uuid4())
        result = definitions.resolve_job_def(job).execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {}}, "ops": ops or {}},
            run_id=run_id,
            tags=dict(process_tags(run_id)),
        )
    if not result.success:
        click.echo(f"\nRun {result.run_id} of job {job} failed; the reason stands above.", err=True)
        sys.exit(1)
    return settings, result
