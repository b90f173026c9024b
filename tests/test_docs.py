"""README and documentation: tables as the code has them, links that lead somewhere, pictures there and small."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from phi_assets.config.recipe import Recipe
from phi_assets.config.settings import PROJECT_ROOT, setting_variables
from phi_assets.config.variables import _INTERNAL, ReadElsewhere, Variable
from phi_assets.docs import tables
from tests.e2e.take_pictures import ALL_BYTES, LARGEST_BYTES, PICTURES, SHOTS

README = PROJECT_ROOT / "README.md"
PAGES = [README, PROJECT_ROOT / "tests" / "README.md", *sorted((PROJECT_ROOT / "phi_assets" / "docs").rglob("*.md"))]

_LINK = re.compile(r"\]\(([^)\s]+)\)")

# Where Azure and the SDK meet; users have no need to know them.
_OF_LIBRARIES = {
    "AZURE_ML",
    "AZUREML_CURRENT_CLOUD",
    "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
}


def described() -> set[str]:
    others = (value for value in vars(ReadElsewhere).values() if isinstance(value, Variable))
    return {variable.name for variable in (*setting_variables().values(), *others)}


@pytest.mark.parametrize("page", tables.TABLES)
def test_the_reference_is_what_the_code_says(page: str) -> None:
    text = (tables.REFERENCE / page).read_text(encoding="utf-8")
    assert tables.with_table(text, *tables.TABLES[page]) == text, "run `python -m phi_assets.docs`"


def test_the_readme_can_be_read_in_one_go() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    for target in _LINK.findall(_without_code(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if heading:
            assert heading in headings(file), f"{page.name} links to {target}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(PROJECT_ROOT / target).resolve() for target in _LINK.findall(_without_code(README))}
    assert set(PAGES) - {README} <= linked


def headings(page: Path) -> set[str]:
    """As GitHub names them in addresses."""
    found = re.findall(r"^#+ (.+)$", _without_code(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in found}


def _without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


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
        "| `path` | path or text |  |",
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


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return shutil.copytree(tables.REFERENCE, tmp_path / "reference")


def test_a_stale_page_is_noticed_and_written_anew(reference: Path) -> None:
    path, run = reference / "settings.md", CliRunner()
    fresh = path.read_text(encoding="utf-8")
    path.write_text(fresh.replace("`PHI_HOME` |", "`PHI_HOUSE` |"), encoding="utf-8")
    stale = run.invoke(tables.main, ["--check", "--folder", str(reference)])
    assert stale.exit_code == 1
    assert "run `python -m phi_assets.docs`" in stale.output
    assert "PHI_HOUSE" in path.read_text(encoding="utf-8"), "a check changes nothing"
    assert run.invoke(tables.main, ["--folder", str(reference)]).exit_code == 0
    assert path.read_text(encoding="utf-8") == fresh
    assert run.invoke(tables.main, ["--check", "--folder", str(reference)]).exit_code == 0


def test_a_page_without_markers_is_refused(reference: Path) -> None:
    path = reference / "settings.md"
    path.write_text("# Nothing generated\n", encoding="utf-8")
    result = CliRunner().invoke(tables.main, ["--folder", str(reference)])
    assert result.exit_code == 1
    assert "generated: settings" in result.output
    assert path.read_text(encoding="utf-8") == "# Nothing generated\n"


def test_every_picture_is_shown_and_small() -> None:
    shown = [
        (page.parent / picture).resolve()
        for page in PAGES
        for picture in re.findall(r"!\[.+\]\((.+)\)", page.read_text(encoding="utf-8"))
    ]
    files = {file: file.stat().st_size for file in PICTURES.iterdir()}
    assert sorted(shown) == sorted(files) == sorted(PICTURES / f"{name}.png" for name in SHOTS)
    assert max(files.values()) <= LARGEST_BYTES
    assert sum(files.values()) <= ALL_BYTES
