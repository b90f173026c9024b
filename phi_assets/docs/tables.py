"""The reference's generated parts, and the pages that they stand in; here: settings, recipe keys and commands."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
from pydantic import BaseModel

from phi_assets.config.recipe import Recipe
from phi_assets.config.section import member_section
from phi_assets.config.settings import Settings, setting_variables
from phi_assets.config.variables import ReadElsewhere
from phi_assets.docs.emulator_routes import routes_text
from phi_assets.docs.graph_tables import graph_text, metadata_text
from phi_assets.docs.markdown import DocsError, sentence, table

REFERENCE = Path(__file__).parent / "reference"

_BEGIN, _END = "<!-- generated: {} -->", "<!-- end of {} -->"
COMMAND = "python -m phi_assets.docs"


def settings_table() -> str:
    """Every environment variable with its default and meaning."""
    meanings, hints = attribute_docstrings(Settings), get_type_hints(Settings)
    rows = []
    for field, variable in setting_variables().items():
        choices = [choice for choice in get_args(hints[field]) if isinstance(choice, str)]
        listed = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
        rows.append((f"`{variable.name}`", variable.default, _meaning(meanings, field, Settings) + listed))
    elsewhere = attribute_docstrings(ReadElsewhere)
    for field in elsewhere:
        variable = getattr(ReadElsewhere, field)
        rows.append((f"`{variable.name}`", variable.default, _meaning(elsewhere, field, ReadElsewhere)))
    return table(("variable", "default", "meaning"), rows)


def recipe_tables() -> str:
    """Every key of a recipe with its type, default and meaning, one table per section."""
    schema = Recipe.model_json_schema()
    parts = []
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            intro = inspect.getdoc(section) or ""
            rows = list(_rows(section, schema["$defs"][section.__name__], schema["$defs"], ""))
            parts.append(f"**`{name}`**: {sentence(intro)}\n\n{table(('key', 'value', 'default', 'meaning'), rows)}")
    return "\n\n".join(parts)


def commands_text() -> str:
    """Every command with its options, as its help says it."""
    from phi_assets.__main__ import main as commands

    return "\n\n".join(_command(name, command) for name, command in sorted(commands.commands.items()))


def _command(name: str, command: click.Command) -> str:
    arguments = [
        each.make_metavar(click.Context(command)) for each in command.params if isinstance(each, click.Argument)
    ]
    rows = [
        (f"`{', '.join(each.opts)}`", "" if each.is_flag else "a value", str(each.help))
        for each in command.params
        if isinstance(each, click.Option)
    ]
    said = inspect.cleandoc(command.help or "").replace("\b\n", "")
    parts = [f"## {' '.join([name, *arguments])}", said]
    return "\n\n".join(parts + ([table(("option", "takes", "meaning"), rows)] if rows else []))


TABLES = {
    "settings.md": ("settings", settings_table),
    "recipe.md": ("recipe keys", recipe_tables),
    "commands.md": ("commands", commands_text),
    "assets.md": ("assets", graph_text),
    "metadata.md": ("metadata keys", metadata_text),
    "emulator-api.md": ("routes", routes_text),
}
"""What is generated in each page of the reference."""


def with_table(text: str, name: str, make: Callable[[], str]) -> str:
    """`text` with its generated part as it has to be.

    Raises:
        DocsError: the markers of the part are missing, or something has no description.
    """
    begin, end = _BEGIN.format(name), _END.format(name)
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise DocsError(f"The markers {begin} and {end} are not both there, in this order")
    return f"{before}{begin}\n\n{make()}\n\n{end}{after}"


def attribute_docstrings(owner: type) -> dict[str, str]:
    """The text below each attribute of a class, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, following in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(statement, ast.Assign):
            target = statement.targets[0]
        if not isinstance(target, ast.Name):
            continue
        text = following.value if isinstance(following, ast.Expr) else None
        found[target.id] = " ".join(str(text.value).split()) if isinstance(text, ast.Constant) else ""
    return found


def _rows(
    section: type[BaseModel], schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, str, str, str]]:
    meanings = _meanings(section)
    for field, info in section.model_fields.items():
        key = f"{prefix}{info.alias or field}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _rows(info.annotation, definitions[info.annotation.__name__], definitions, f"{key}.")
            continue
        if (member := member_section(info.annotation)) is not None:
            yield f"`{key}`", "mapping to the keys of a source", "", _meaning(meanings, field, section)
            # What a source of several has in common with one that is alone is said there.
            known = {f"`{key}.<name>.{name}`" for name in section.model_fields}
            rows = _rows(member, definitions[member.__name__], definitions, f"{key}.<name>.")
            yield from (row for row in rows if row[0] not in known)
            continue
        value = schema["properties"][info.alias or field]
        default = info.get_default(call_default_factory=True)
        yield f"`{key}`", _kind(value), _default(default), _meaning(meanings, field, section)


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    owners = [owner for owner in reversed(section.__mro__) if issubclass(owner, BaseModel) and owner is not BaseModel]
    return {name: text for owner in owners for name, text in attribute_docstrings(owner).items()}


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value may be, for example `number, > 0, <= 100`."""
    if "anyOf" in schema:
        kinds = [_kind(option) for option in schema["anyOf"] if option.get("type") != "null"]
        return " or ".join(kind for kind in kinds if kind != "whole number" or "number" not in kinds)
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{choice}`" for choice in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items = schema.get("items") or {}
        return f"list of {_kind(items)}" if items else "list"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"mapping to {_kind(values)}" if isinstance(values, Mapping) and values else "mapping"
    kind = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    kind = "path" if schema.get("format") == "path" else kind[schema["type"]]
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    return ", ".join([kind, *(f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema)])


def _default(value: Any) -> str:
    if value is None or value in ("", {}, [], ()):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        # A list of sentences is no help in a table.
        shown = ", ".join(str(item) for item in value)
        return f"`[{shown}]`" if len(shown) < 40 else f"{len(value)} of them"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _meaning(meanings: Mapping[str, str], field: str, owner: type) -> str:
    if not meanings.get(field):
        raise DocsError(f"{owner.__name__}.{field} has no description: write one below it")
    return sentence(meanings[field])


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if the tables are not up to date.")
@click.option("--folder", type=click.Path(file_okay=False, exists=True, path_type=Path), default=REFERENCE)
def main(check: bool, folder: Path) -> None:
    """Write the generated parts of the reference into its pages."""
    for page, (name, make) in TABLES.items():
        path = folder / page
        text = path.read_text(encoding="utf-8")
        try:
            wanted = with_table(text, name, make)
        except DocsError as error:
            raise click.ClickException(f"{path}: {error}") from error
        if wanted == text:
            click.echo(f"{page} is up to date")
        elif check:
            raise click.ClickException(f"{page} is not what the code says; run `{COMMAND}`")
        else:
            path.write_text(wanted, encoding="utf-8")
            click.echo(f"{page} written")
