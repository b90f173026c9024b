"""The README: its tables as the code has them, complete, and its pictures there and small."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from phi_assets.config.recipe import Recipe
from phi_assets.config.settings import PROJECT_ROOT, setting_variables
from phi_assets.config.variables import _INTERNAL, ReadElsewhere, Variable
from phi_assets.docs import tables
from tests.e2e.take_pictures import ALL_BYTES, LARGEST_BYTES, PICTURES, SHOTS

# Where Azure and the SDK meet; users have no need to know them.
_OF_LIBRARIES = {
    "AZURE_ML",
    "AZUREML_CURRENT_CLOUD",
    "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
}


def described() -> set[str]:
    others = (value for value in vars(ReadElsewhere).values() if isinstance(value, Variable))
    return {variable.name for variable in (*setting_variables().values(), *others)}


def test_the_readme_is_what_the_code_says() -> None:
    text = tables.README.read_text(encoding="utf-8")
    assert tables.with_tables(text) == text, "run `python -m phi_assets.docs`"


def test_every_variable_that_the_code_reads_is_in_the_table() -> None:
    used = set()
    for path in (PROJECT_ROOT / "phi_assets").rglob("*.py"):
        used |= set(re.findall(r'"((?:PHI|AZURE)_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    assert used - described() - _INTERNAL - _OF_LIBRARIES == set()
    table = tables.settings_table()
    assert all(f"| `{name}` |" in table for name in described())


def test_every_recipe_key_is_in_the_tables() -> None:
    found = tables.recipe_tables()
    content = Recipe(name="r").model_dump(by_alias=True)
    for section, values in content.items():
        if not isinstance(values, dict):
            continue
        assert f"**`{section}`**" in found
        for key, value in values.items():
            names = [f"{key}.{name}" for name in value] if key == "policies" else [key]
            assert all(f"| `{name}` |" in found for name in names)


@pytest.mark.parametrize(
    "row",
    [
        "| `percent` | number, > 0, <= 100 | `5` | Share of each split, in percent. |",
        "| `mode` | `head`, `hash` | `head` |",
        "| `policies.schema` | `drop`, `warn`, `fail` | `drop` |",
        "| `tiers` | list of `Dedicated`, `LowPriority` | `[Dedicated, LowPriority]` |",
        "| `do_sample` | `true`, `false` | `true` |",
        "| `path` | path |  |",
    ],
)
def test_a_row_says_type_range_and_default(row: str) -> None:
    assert row in tables.recipe_tables()


def test_choices_of_settings_come_from_their_types() -> None:
    (row,) = [line for line in tables.settings_table().splitlines() if line.startswith("| `PHI_CLOUD` |")]
    assert row.endswith("One of `AzureCloud`, `AzureUSGovernment`, `AzureChinaCloud`. |")


def test_a_field_without_description_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tables.attribute_docstrings
    monkeypatch.setattr(tables, "attribute_docstrings", lambda owner: {**real(owner), "storage": ""})
    with pytest.raises(tables.DocsError, match=r"Settings\.storage has no description"):
        tables.settings_table()


def test_a_stale_file_is_noticed_and_written_anew(tmp_path: Path) -> None:
    path, run = tmp_path / "README.md", CliRunner()
    fresh = tables.README.read_text(encoding="utf-8")
    path.write_text(fresh.replace("`PHI_HOME` |", "`PHI_HOUSE` |"), encoding="utf-8")
    stale = run.invoke(tables.main, ["--check", "--file", str(path)])
    assert stale.exit_code == 1
    assert "run `python -m phi_assets.docs`" in stale.output
    assert "PHI_HOUSE" in path.read_text(encoding="utf-8"), "a check changes nothing"
    assert run.invoke(tables.main, ["--file", str(path)]).exit_code == 0
    assert path.read_text(encoding="utf-8") == fresh
    assert run.invoke(tables.main, ["--check", "--file", str(path)]).exit_code == 0


def test_a_file_without_markers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("# Nothing generated\n", encoding="utf-8")
    result = CliRunner().invoke(tables.main, ["--file", str(path)])
    assert result.exit_code == 1
    assert "generated: settings" in result.output
    assert path.read_text(encoding="utf-8") == "# Nothing generated\n"


def test_every_picture_is_shown_and_small() -> None:
    shown = re.findall(r"!\[.+\]\((.+)\)", tables.README.read_text(encoding="utf-8"))
    files = {str(file.relative_to(PROJECT_ROOT)): file.stat().st_size for file in PICTURES.iterdir()}
    assert sorted(shown) == sorted(files) == sorted(f"{PICTURES.name}/{name}.png" for name in SHOTS)
    assert max(files.values()) <= LARGEST_BYTES
    assert sum(files.values()) <= ALL_BYTES
