"""Command line of the emulator."""

import os
import re
import shlex
import signal
import sys
from pathlib import Path

import click

from phi_assets.config.settings import emulator_home, read_env_file
from phi_assets.emulator import process
from phi_assets.emulator.small_files import damages
from phi_assets.processes import collect_seldom

_directory = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: emulator_home(os.environ) / "emulator",
    show_default="PHI_HOME/emulator",
    help="Folder of the emulator's state.",
)


@click.group(help="A local Azure Machine Learning workspace for the unmodified azure-ai-ml SDK.")
def main() -> None:
    """Dispatches to the commands below."""
    collect_seldom()


@main.command(help="Serve in the foreground until interrupted.")
@_directory
@click.option("--port", type=click.IntRange(1, 65535), help="Default: the last one if it is free, else any free one.")
@click.option(
    "--time-scale",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    envvar="PHI_EMULATOR_TIME_SCALE",
    show_default=True,
    help="Divides the artificial durations (provisioning, queueing).",
)
def serve(directory: Path, port: int | None, time_scale: float) -> None:
    """Runs the server in this process."""
    from phi_assets.emulator.server import serve as server

    _reporting_errors(lambda: server.serve(directory.resolve(), port, time_scale))


@main.command(help="Stop the emulator and everything it started.")
@_directory
def stop(directory: Path) -> None:
    """Says whether there was one."""
    click.echo("stopped" if _reporting_errors(lambda: process.stop(directory.resolve())) else "not running")
    _report_damages(directory.resolve())


@main.command(help="Say whether the emulator runs, and where; exit code 1 if not.")
@_directory
def status(directory: Path) -> None:
    """Prints address and process."""
    connection = _reporting_errors(lambda: process.status(directory.resolve()))
    if connection is None:
        click.echo("not running")
        _report_damages(directory.resolve())
        raise SystemExit(1)
    click.echo(f"running at {connection.base_url} (pid {connection.pid}, state in {connection.directory})")
    click.echo(f"Studio: {connection.studio_url}")
    _report_damages(directory.resolve())


@main.command(help='Start the emulator if need be and print variables for a shell: eval "$(... env)".')
@_directory
def env(directory: Path) -> None:
    """Prints export lines and nothing else on stdout."""
    connection = _reporting_errors(lambda: process.ensure_running(directory.resolve()))
    for name, value in connection.environment(os.environ).items():
        click.echo(f"export {name}={shlex.quote(value)}")


@main.command(
    "import-model", help="Make a causal chat model, a Hugging Face folder or a GGUF file, a model of a registry."
)
@click.argument("source", metavar="FOLDER|FILE.gguf", type=click.Path(exists=True, path_type=Path))
@click.option("--name", default="local-model", show_default=True, help="The model's name in the registry.")
@click.option("--registry", default="local", show_default=True, help="The registry.")
@click.option(
    "--chat-template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Jinja file to use in place of the tokenizer's own chat template.",
)
@_directory
def import_model(source: Path, name: str, registry: str, chat_template: Path | None, directory: Path) -> None:
    """Says which version it is, and what to write into the recipe. A running emulator has it at once."""
    from phi_assets.emulator.importing import registry_model
    from phi_assets.emulator.importing.folder import ImportRefused

    for what, text in (("--name", name), ("--registry", registry)):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
            raise click.BadParameter(f"{text!r} may have letters, digits, '.', '_' and '-'", param_hint=what)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what is staged is removed on the way out
    registries = directory.resolve() / "registry"
    try:
        found = registry_model.import_model(
            source, registries, registry=registry, name=name, chat_template=chat_template, say=click.echo
        )
    except ImportRefused as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{found.id} {'imported' if found.is_new else 'is already there'}: {found.findings.architecture}")
    if not found.findings.takes_system_messages:
        click.echo("Its chat template takes no system message; conversations with one cannot be trained on.")
    click.echo(f"In the recipe: model: {{registry: {registry}, name: {name}, version: '{found.version}'}}")


def _report_damages(directory: Path) -> None:
    found = damages(directory)
    if found:
        raise click.ClickException("\n".join(found))


def _reporting_errors(action):
    try:
        return action()
    except process.EmulatorError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    read_env_file()
    main(prog_name="python -m phi_assets.emulator")
