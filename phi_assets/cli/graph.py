"""The recipes' graph on this machine's Dagster instance, as a command uses it."""

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phi_assets.cli.instance import open_instance, shown_with_its_job
from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import RecipeError, load_recipes
from phi_assets.config.settings import Settings, SettingsError, load_settings
from phi_assets.config.trust import trust_authorities

if TYPE_CHECKING:
    import dagster as dg

    from phi_assets.azureml.connection.client import Workspace
    from phi_assets.graph.lineage import Lineage

which_recipes = click.option(
    "--recipe",
    "recipes",
    multiple=True,
    help="Name or path of a recipe; may be given several times. Those of PHI_RECIPE unless given.",
)
which_recipe = click.option(
    "--recipe", default=None, help="Name or path of a recipe; the first of PHI_RECIPE unless given."
)


@contextmanager
def _own_stderr() -> Iterator[Callable[[str], None]]:
    """A function that prints a line to the terminal's stderr, wherever Dagster has sent that of this process."""
    with os.fdopen(os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2), "w", encoding="utf-8") as stderr:

        def say(text: str) -> None:
            print(text, file=stderr, flush=True)

        yield say


@dataclass(frozen=True)
class Graph:
    """The recipes' graph on this Dagster instance."""

    settings: Settings
    lineages: "Sequence[Lineage]"
    definitions: "dg.Definitions"
    instance: "dg.DagsterInstance"

    @property
    def is_pretended(self) -> bool:
        """Whether nobody charges what prices say."""
        return self.settings.target == "emulator"

    def run(self, job: str, ops: dict[str, Any] | None = None) -> Any:
        """The job has run in this process; ends the program where it failed."""
        result = self.try_run(job, ops)
        require_success(result)
        return result

    def try_run(self, job: str, ops: dict[str, Any] | None = None) -> Any:
        """The job has run in this process, with or without success."""
        return self._execute(self.definitions.resolve_job_def(job), ops or {})

    def materialize(self, lineage: "Lineage", *assets: str) -> Any:
        """Assets of the recipe have been materialized in this process; ends the program where one failed."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        result = self._execute(job, {}, lineage.keys(*assets), lineage.run_tags)
        require_success(result)
        return result

    def _execute(
        self,
        job: Any,
        ops: dict[str, Any],
        assets: "Sequence[dg.AssetKey] | None" = None,
        tags: dict[str, str] | None = None,
    ) -> Any:
        from phi_assets.graph.automation.dead_runs import process_tags
        from phi_assets.graph.automation.pools import patient_pools

        run_id = str(uuid.uuid4())
        # What the steps print is the jobs' own logs, line by line; the console logger tells what people want to know.
        with (
            Path(os.devnull).open("w") as sink,
            redirect_stdout(sink),
            _own_stderr() as say,
            patient_pools(say),
            shown_with_its_job(self.instance, job.name, run_id) as shown,
        ):
            return job.execute_in_process(
                instance=self.instance,
                raise_on_error=False,
                run_config={"loggers": {"console": {}}, "ops": ops},
                run_id=run_id,
                tags={**(tags or {}), **process_tags(run_id), **shown},
                asset_selection=assets,
            )


def require_success(result: Any) -> None:
    """Ends the program where the run failed; the last lines are why."""
    from phi_assets.graph.automation.failures import reason_of

    if result.success:
        return
    click.echo(f"\nRun {result.run_id} of job {result.job_def.name} failed.", err=True)
    for event in result.all_events:
        if event.is_step_failure:
            name = (event.step_key or "").rpartition("__")[2]
            click.echo(f"{name}: {reason_of(event.step_failure_data)}", err=True)
    sys.exit(1)


def loaded_recipes(recipes: Sequence[str]) -> tuple[Settings, list[Recipe]]:
    """The settings, and these recipes or those that the settings name."""
    try:
        settings = load_settings()
        return settings, load_recipes(",".join(recipes) or settings.recipe)
    except (SettingsError, RecipeError) as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def open_graph(recipes: Sequence[str]) -> Iterator[Graph]:
    """The graph of these recipes, or of those that the settings name; runs of dead processes hold nothing any more."""
    settings, loaded = loaded_recipes(recipes)
    # Before the imports, which take seconds.
    names = ", ".join(recipe.name for recipe in loaded)
    click.echo(f"{names} in workspace {settings.workspace_name} ({settings.target})", err=True)

    from phi_assets.cli.console import calm_console

    # Not from `phi_assets.definitions`, which would make the graph of the settings' recipes as well.
    from phi_assets.components import build_definitions
    from phi_assets.graph.automation.dead_runs import DEATH, end_dead_runs
    from phi_assets.graph.lineage import Lineage

    trust_authorities(settings)
    try:
        definitions = build_definitions(settings, *loaded, loggers={"console": calm_console})
    except RecipeError as error:
        raise click.ClickException(str(error)) from error
    with open_instance() as instance:
        for dead in end_dead_runs(instance):
            click.echo(f"Run {dead.run_id} of job {dead.job_name}: {DEATH} It is marked as failed.", err=True)
        yield Graph(settings, [Lineage.of(recipe, settings) for recipe in loaded], definitions, instance)


@contextmanager
def open_workspace(settings: Settings) -> "Iterator[Workspace]":
    """The workspace that the settings name; what goes wrong there ends the program with its message."""
    import dagster as dg

    from phi_assets.graph.resources.workspace import AzureMLWorkspace

    try:
        with AzureMLWorkspace.from_settings(settings).session() as ws:
            yield ws
    except dg.Failure as failure:
        raise click.ClickException(str(failure.description)) from failure
