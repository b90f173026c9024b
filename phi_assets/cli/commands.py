"""The commands: each runs jobs of the graph in this process, on one Dagster instance."""

import os
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi_assets.cli.console import own_stderr
from phi_assets.cli.instance import ensure_dagster_home
from phi_assets.cli.summary import print_bill, print_left_job, print_summary
from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import RecipeError, load_recipes
from phi_assets.config.settings import Settings, SettingsError, load_settings, read_env_file

if TYPE_CHECKING:
    import dagster as dg

    from phi_assets.graph.lineage import Lineage

_which_recipes = click.option(
    "--recipe",
    "recipes",
    multiple=True,
    help="Name or path of a recipe; may be given several times. Those of PHI_RECIPE unless given.",
)


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Fine-tune, register, deploy and score a chat model; on the local emulator unless PHI_TARGET=azure."""
    read_env_file()
    os.environ["DAGSTER_HOME"] = str(ensure_dagster_home(os.environ))
    if context.invoked_subcommand is None:
        context.invoke(materialize)


@main.command()
@_which_recipes
def materialize(recipes: Sequence[str] = ()) -> None:
    """Materialize every asset of each recipe, one recipe after the other, and print a summary."""
    with _graph(recipes) as graph:
        for lineage in graph.lineages:
            result = graph.run(lineage.node("finetune_and_deploy"))
            if not print_left_job(result):
                print_summary(graph.settings, lineage, result)


@main.command()
@_which_recipes
def preflight(recipes: Sequence[str]) -> None:
    """Look at everything that can be known to go wrong with a recipe; seconds, and nothing is changed."""
    with _graph(recipes) as graph:
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
            click.echo(metadata["reason"].value)


@main.command()
@_which_recipes
@click.option("--keep-cluster", is_flag=True, help="Leave the recipe's cluster, which costs nothing while it is idle.")
@click.option("--models", is_flag=True, help="Also delete the registered versions of the recipe's model.")
def teardown(recipes: Sequence[str], keep_cluster: bool, models: bool) -> None:
    """List and delete what a recipe has made and is billing, and say what still is."""
    config = {"cluster": not keep_cluster, "models": models}
    with _graph(recipes) as graph:
        for lineage in graph.lineages:
            job, step = lineage.node("teardown"), lineage.node("tear_down_recipe")
            print_bill(graph.run(job, {step: {"config": config}}))


@main.command()
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@_which_recipes
def validate(file: Path | None, recipes: Sequence[str]) -> None:
    """Read and judge the data of each recipe, or FILE (a file or a folder) by the contract of the first, without a
    network; the exit code is 1 where it cannot be trained on."""
    # Before the hub's client is imported, which reads it once.
    os.environ["HF_HUB_OFFLINE"] = "1"
    settings, loaded = _loaded(recipes)

    from phi_assets.dataset.samples.validate import validate_file, validate_recipe

    if file:
        problems = validate_file(file, loaded[0], click.echo)
    else:
        problems = [each for recipe in loaded for each in validate_recipe(recipe, settings.data_dir, click.echo)]
    for problem in problems:
        click.echo(f"\n{problem}", err=True)
    if problems:
        sys.exit(1)
    click.echo("Nothing stands in the way of training on it.")


@main.command("still-billing")
def still_billing() -> None:
    """Show everything in the workspace that is billing: age, price an hour, owner, lease, orphans."""
    with _graph(()) as graph:
        print_bill(graph.run("list_billing"))


@dataclass(frozen=True)
class _Graph:
    """The recipes' graph on this Dagster instance."""

    settings: Settings
    lineages: "Sequence[Lineage]"
    definitions: "dg.Definitions"
    instance: "dg.DagsterInstance"

    def run(self, job: str, ops: dict[str, Any] | None = None) -> Any:
        """The job has run in this process; ends the program where it failed."""
        return self._execute(self.definitions.resolve_job_def(job), ops or {})

    def materialize(self, lineage: "Lineage", *assets: str) -> Any:
        """Assets of the recipe have been materialized in this process; ends the program where one failed."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return self._execute(job, {}, lineage.keys(*assets), lineage.run_tags)

    def _execute(
        self,
        job: Any,
        ops: dict[str, Any],
        assets: "Sequence[dg.AssetKey] | None" = None,
        tags: dict[str, str] | None = None,
    ) -> Any:
        from phi_assets.graph.automation.dead_runs import process_tags
        from phi_assets.graph.automation.failures import reason_of
        from phi_assets.graph.automation.pools import patient_pools

        run_id = str(uuid.uuid4())
        # What the steps print is the jobs' own logs, line by line; the console logger tells what people want to know.
        with Path(os.devnull).open("w") as sink, redirect_stdout(sink), own_stderr() as say, patient_pools(say):
            result = job.execute_in_process(
                instance=self.instance,
                raise_on_error=False,
                run_config={"loggers": {"console": {}}, "ops": ops},
                run_id=run_id,
                tags={**(tags or {}), **process_tags(run_id)},
                asset_selection=assets,
            )
        if not result.success:
            click.echo(f"\nRun {result.run_id} of job {job.name} failed.", err=True)
            for event in result.all_events:
                if event.is_step_failure:
                    name = (event.step_key or "").rpartition("__")[2]
                    click.echo(f"{name}: {reason_of(event.step_failure_data)}", err=True)
            sys.exit(1)
        return result


def _loaded(recipes: Sequence[str]) -> tuple[Settings, list[Recipe]]:
    """The settings, and these recipes or those that the settings name."""
    try:
        settings = load_settings()
        return settings, load_recipes(",".join(recipes) or settings.recipe)
    except (SettingsError, RecipeError) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _graph(recipes: Sequence[str]) -> Iterator[_Graph]:
    """The graph of these recipes, or of those that the settings name; runs of dead processes hold nothing any more."""
    settings, loaded = _loaded(recipes)
    # Before the imports, which take seconds.
    names = ", ".join(recipe.name for recipe in loaded)
    click.echo(f"{names} in workspace {settings.workspace_name} ({settings.target})", err=True)

    import dagster as dg

    from phi_assets.cli.console import calm_console
    from phi_assets.definitions import build_definitions
    from phi_assets.graph.automation.dead_runs import DEATH, end_dead_runs
    from phi_assets.graph.lineage import Lineage

    try:
        definitions = build_definitions(settings, *loaded, loggers={"console": calm_console})
    except RecipeError as error:
        raise click.ClickException(str(error)) from error
    with dg.DagsterInstance.get() as instance:
        for dead in end_dead_runs(instance):
            click.echo(f"Run {dead.run_id} of job {dead.job_name}: {DEATH} It is marked as failed.", err=True)
        yield _Graph(settings, [Lineage.of(recipe, settings) for recipe in loaded], definitions, instance)
