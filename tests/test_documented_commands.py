"""What the documentation tells people to type and to write works: commands are parsed as their programs parse them,
recipes are loaded, code compiles and finds what it imports."""

import ast
import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from dagster._cli import create_dagster_cli
from dagster_dg_cli.cli import create_dg_cli

from phi_assets.__main__ import main
from phi_assets.components import FineTune
from phi_assets.config.recipe import Recipe
from phi_assets.config.recipe_files import EXTENDS, recipe_of
from phi_assets.config.section import RECIPES_DIR
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.docs import tables
from phi_assets.docs.metadata_keys import KEYS
from phi_assets.emulator.__main__ import main as emulator
from tests.test_docs import PAGES, described

_COMMANDS, _LINE, _DAMAGE, _PROJECT = (
    "tests/cli/test_commands.py",
    "tests/e2e/test_command_line.py",
    "tests/emulator/test_damage.py::test_every_command_says_it",
    "tests/e2e/test_own_project.py::test_from_the_wheel_to_a_fine_tune_of_an_own_asset",
)
RUN_BY = {
    "phi_assets": f"{_LINE}::test_the_quickstart_trains_serves_and_says_what_came_of_it",
    "phi_assets materialize": f"{_LINE}::test_the_quickstart_trains_serves_and_says_what_came_of_it",
    "phi_assets ask": f"{_COMMANDS}::test_a_question_is_answered_by_the_live_model",
    "phi_assets chat": f"{_COMMANDS}::test_a_conversation_goes_on_until_an_empty_line",
    "phi_assets compare": f"{_COMMANDS}::test_jobs_are_compared_by_what_differs",
    "phi_assets docs": f"{_COMMANDS}::test_the_documentation_is_at_hand",
    "phi_assets export": f"{_COMMANDS}::test_a_model_is_copied_whole_or_not_at_all",
    "phi_assets instance": "tests/cli/test_instance.py::test_whoever_begins_at_the_same_time_finds_one_whole_instance",
    "phi_assets models": f"{_COMMANDS}::test_models_of_the_registry_are_listed_with_their_sizes",
    "phi_assets preflight": f"{_LINE}::test_preflight_says_who_asks_and_that_nothing_stands_in_the_way",
    "phi_assets still-billing": f"{_LINE}::test_nothing_is_billing_where_nothing_was_made",
    "phi_assets teardown": f"{_LINE}::test_the_quickstart_trains_serves_and_says_what_came_of_it",
    "phi_assets validate": f"{_LINE}::test_validate_says_in_its_exit_code_whether_a_file_can_be_trained_on",
    "phi_assets.docs": "tests/test_docs.py::test_a_stale_page_is_noticed_and_written_anew",
    "phi_assets.emulator env": "tests/emulator/test_process.py::test_a_plain_shell_is_pointed_at_it",
    "phi_assets.emulator import-model": "tests/emulator/importing/test_import_model.py::"
    "test_the_command_says_what_to_write_into_the_recipe",
    "phi_assets.emulator serve": "tests/emulator/test_process.py::test_a_second_server_in_the_same_folder_refuses",
    "phi_assets.emulator status": _DAMAGE,
    "phi_assets.emulator stop": _DAMAGE,
    "tests.benchmarks.gpu": "tests/test_benchmarks.py::test_a_model_of_phis_architecture_is_trained_and_served",
    "tests.benchmarks.mixed_traffic": "tests/test_benchmarks.py::test_mixed_traffic_leaves_nothing_behind",
    "tests.benchmarks.near": "tests/dataset/contract/test_near.py::",
    "tests.benchmarks.planning": "tests/e2e/test_postgres.py::test_what_a_fine_tune_needs_is_measured_phase_by_phase",
    "tests.benchmarks.prepare": "tests/test_benchmarks.py::"
    "test_one_round_measures_every_contestant_and_judges_what_it_can",
    "tests.benchmarks.scoring": "tests/test_benchmarks.py::"
    "test_scoring_is_measured_side_by_side_and_judged_against_the_seed",
    "tests.benchmarks.ultrachat": "tests/test_benchmarks.py::test_a_split_can_be_made_alone",
    "dg check": _PROJECT,
    "dg list": _PROJECT,
    "dg scaffold": _PROJECT,
    "dg dev": "tests/e2e/test_ui.py::test_materialize_all_makes_every_asset_green",
}
"""Which test runs a command, or the function behind it, for real. Here its lines are parsed."""

NOT_RUN = {
    "python3 -m venv": "the gate makes an environment with these lines: .ci/run",
    "pip install": "the gate installs with these options; without a package index nothing can be installed",
    "apt-get install": "changes the machine",
    "git": "asks another machine",
    "az": "asks Azure",
    "lint-imports": "tests/test_architecture.py checks the same contracts",
    "ruff": "the gate runs it: .ci/run",
    "pyright": "the gate runs it: .ci/run",
    "tests.benchmarks.cluster_prepare": "starts thirty processes; tests/azureml/preparation does the same smaller",
    "tests.e2e.take_pictures": "drives a browser for minutes; tests/e2e/test_ui.py clicks the same way",
    "dagster instance": "writes to databases; it is the command of Dagster's own documentation",
    "python -m pip wheel": ".ci/image makes the wheels so",
    "pip wheel": ".ci/image makes the wheels so",
    "docker build": "tests/e2e/test_containers.py builds the image, from another base",
    "docker compose": "tests/test_deploy.py reads the file; Debian has no release of Compose that takes it",
    "jupyter": "is not installed with this project",
}
"""What is not run, and why. The options of click's programs and of pytest are looked at all the same."""

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:[A-Z_]+=\S+ )*(?:\.venv/bin/|python3? -m |phi-assets|dg |dagster |az )[^`]*)`(?!`)")
_OF_OTHERS = {"DAGSTER_HOME", "NODE_OPTIONS", "_PHI_ASSETS_COMPLETE"}


@dataclass(frozen=True)
class Line:
    """A command of a page: its words, and the variables that are set before it."""

    page: str
    text: str
    variables: dict[str, str]
    words: tuple[str, ...]


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, content in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if language in languages:
            yield content


def texts(page: Path) -> Iterator[str]:
    """Every line of a shell in code blocks, in steps of workflows, and between backticks."""
    for block in blocks(page, "bash", "console"):
        yield from block.replace("\\\n", " ").splitlines()
    for block in blocks(page, "yaml"):
        yield from re.findall(r"^\s*(?:- )?run: (.+)$", block, re.MULTILINE)
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    yield from _INLINE.findall(prose)


def commands(text: str) -> Iterator[tuple[str, ...]]:
    """The words of each command of a shell's line."""
    if found := re.fullmatch(r'eval "\$\((.*)\)"', text.strip()):
        text = found[1]
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words: list[str] = []
    for word in [*lexer, ";"]:
        if not set(word) <= set("|&;"):
            words.append(word)
        elif words:
            yield tuple(words)
            words = []


def _line(page: Path, text: str, words: tuple[str, ...]) -> Line:
    variables: dict[str, str] = {}
    if words[0] in {"export", "time"}:
        words = words[1:]
    while words and (found := _ASSIGNMENT.fullmatch(words[0])):
        variables[found[1]] = found[2]
        words = words[1:]
    if words:
        words = (words[0].removeprefix(".venv/bin/"), *words[1:])
    if words[:2] in (("python", "-m"), ("python3", "-m")) and words[2] != "venv":
        words = words[2:]
    if words and words[0] == "phi-assets":
        words = ("phi_assets", *words[1:])
    return Line(str(page.relative_to(PROJECT_ROOT)), text.strip(), variables, words)


LINES = [_line(page, text, words) for page in PAGES for text in texts(page) for words in commands(text)]


@cache
def program(name: str) -> click.Command | None:
    known: dict[str, Callable[[], click.Command]] = {
        "phi_assets": lambda: main,
        "phi_assets.emulator": lambda: emulator,
        "phi_assets.docs": lambda: tables.main,
        "dg": create_dg_cli,
        "dagster": create_dagster_cli,
    }
    if name in known:
        return known[name]()
    return importlib.import_module(name).main if name.startswith("tests.") else None


def parse(command: click.Command, name: str, arguments: list[str], parent: click.Context | None = None) -> list[str]:
    """The names of the command and its subcommands.

    Raises:
        click.UsageError: it is not called so.
    """
    try:
        context = command.make_context(name, arguments, parent=parent)
    except click.exceptions.Exit:  # --help
        return [name]
    if not isinstance(command, click.Group):
        return [name]
    rest = [*context._protected_args, *context.args]
    if not rest:
        assert command.invoke_without_command, f"{name} alone does nothing"
        return [name]
    chosen, subcommand, rest = command.resolve_command(context, rest)
    assert chosen is not None
    assert subcommand is not None
    return [name, *parse(subcommand, chosen, rest, context)]


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.page}: {line.text[:70]}")
def test_a_command_of_the_documentation_is_one(
    line: Line, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    strange = line.variables.keys() - described() - _OF_OTHERS - pytest_variables()
    assert not strange, f"nobody reads {', '.join(strange)}"
    for recipe in line.variables.get("PHI_RECIPE", "").split(","):
        shipped = (RECIPES_DIR / f"{recipe}.yaml").is_file()
        assert not recipe or shipped or any(f"# {recipe}\n" in page.read_text("utf-8") for page in PAGES), recipe
    if not line.words:
        return
    name, *arguments = line.words
    if name == "pytest":
        known_to_pytest(arguments, pytestconfig)
    elif name in {"rm", "ps", "grep", "mkdir", "cd"}:
        done = subprocess.run(["bash", "-c", line.text], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or (name in {"ps", "grep"} and done.stderr == ""), done.stderr
    elif (command := program(name)) is not None:
        # Files that a page names are the reader's.
        monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
        called = " ".join(parse(command, name, arguments)[:2])
        assert called in RUN_BY or called in NOT_RUN, f"no test runs {called!r}: say in RUN_BY which one does"
    else:
        said = " ".join(line.words)
        assert any(said.startswith(start) or name == start for start in NOT_RUN), f"nothing runs {said!r}"


def pytest_variables() -> set[str]:
    """What tests read to be made longer by hand."""
    return set(re.findall(r"`(PHI_TEST_[A-Z]+)", (PROJECT_ROOT / "tests" / "README.md").read_text("utf-8")))


def known_to_pytest(arguments: list[str], config: pytest.Config) -> None:
    """The options exist, and so do the files and the tests that are named."""
    known, unknown = config._parser.parse_known_and_unknown_args(arguments)
    assert unknown == []
    for named in known.file_or_dir:
        path, _, test = named.partition("::")
        assert (PROJECT_ROOT / path).exists(), named
        assert f"def {test.partition('[')[0]}" in (PROJECT_ROOT / path).read_text("utf-8") if test else True, named


def test_every_test_that_runs_a_command_is_there() -> None:
    for command, where in RUN_BY.items():
        path, _, test = where.partition("::")
        content = (PROJECT_ROOT / path).read_text("utf-8")
        assert f"def {test}(" in content if test else command.rpartition(".")[2] in content, where


def test_every_command_that_there_is_has_a_test_and_a_page() -> None:
    named = {" ".join(line.words[:2]) for line in LINES}
    for program_name, group in (("phi_assets", main), ("phi_assets.emulator", emulator)):
        for command in group.commands:
            assert f"{program_name} {command}" in RUN_BY
            if command != "materialize":  # is what runs without a command
                assert f"{program_name} {command}" in named, f"no page shows {command}"


def test_the_completion_for_a_shell_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written = CliRunner().invoke(main, prog_name="phi-assets", env={"_PHI_ASSETS_COMPLETE": "bash_source"})
    assert written.exit_code == 0
    assert "complete" in written.output
    if shutil.which("bash"):
        checked = subprocess.run(["bash", "-n", "-c", written.output], capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr


def _snippets(*languages: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{page.relative_to(PROJECT_ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, *languages))
    ]


@pytest.mark.parametrize("block", _snippets("yaml"))
def test_a_recipe_of_the_documentation_is_one(block: str, tmp_path: Path) -> None:
    content = yaml.safe_load(block)
    if content.keys() <= {*Recipe.model_fields, EXTENDS}:
        for file in content.get("contract", {}).get("decontaminate", []):
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
        recipe_of(content, "page", tmp_path)
    elif "attributes" in content:
        assert content["type"] == f"phi_assets.{FineTune.__name__}"
        FineTune.get_model_cls().model_validate(content["attributes"])
    else:
        assert "jobs" in content, "neither a recipe, nor a component, nor a workflow of GitHub"
        strange = set(re.findall(r"\b(?:PHI|AZURE)_[A-Z_]+\b", block)) - described()
        assert not strange, f"nobody reads {', '.join(strange)}"


@pytest.mark.parametrize("block", _snippets("python"))
def test_code_of_the_documentation_finds_what_it_imports(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("phi_assets"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            # Others cost seconds to import.
            assert importlib.util.find_spec(node.module), node.module
        elif isinstance(node, ast.Import):
            assert all(importlib.util.find_spec(alias.name) for alias in node.names)


def test_configuration_is_for_steps_that_there_are() -> None:
    named = [name for page in PAGES for name in re.findall(r"ops: \{([^:{}]+): \{config", page.read_text("utf-8"))]
    assert named
    assert {name.removeprefix("<recipe>__") for name in named if name.startswith("<recipe>__")} <= KEYS.keys()
    assert all(name.startswith("<recipe>__") for name in named), "a recipe's steps begin with its name"


def test_what_is_no_command_is_noticed() -> None:
    for words in (["ask"], ["still-billing", "--jason"], ["nothing"], ["teardown", "--yes", "more"]):
        with pytest.raises(click.UsageError):
            parse(main, "phi_assets", words)
