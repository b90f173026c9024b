"""What pages say of names and numbers is what the code has: recipe keys, variables, switches, rules, checks, prices."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from phi_assets.azureml.billing.prices import load_prices
from phi_assets.azureml.preflight.findings import GROUPS
from phi_assets.config.dataset import Policies
from phi_assets.config.recipe import Recipe
from phi_assets.config.settings import PROJECT_ROOT
from phi_assets.dataset.contract.rules import RULES
from phi_assets.docs import tables
from tests.test_docs import PAGES, described

DOCS = PROJECT_ROOT / "phi_assets" / "docs"


def keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{key}.")


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table after the heading."""
    content = page.read_text("utf-8").partition(heading)[2]
    found = re.search(r"(?:^\|.*\n)+", content, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found[0].splitlines()[2:]]


def named_by_pages(pattern: str) -> set[tuple[str, ...]]:
    """What the groups of the pattern match, with the page before it."""
    return {
        (str(page.relative_to(PROJECT_ROOT)), *(found.groups()))
        for page in PAGES
        for found in re.finditer(pattern, page.read_text("utf-8"))
    }


def test_recipe_keys_that_pages_name_exist() -> None:
    named = named_by_pages(rf"`((?:{'|'.join(Recipe.model_fields)})\.[a-z0-9_.]+)(?:`|: )")
    assert len(named) > 50
    files, known = (".py", ".md", ".yaml"), set(keys(Recipe))
    assert {(page, key) for page, key in named if key not in known and not key.endswith(files)} == set()


def test_variables_that_pages_name_are_read() -> None:
    named, known = named_by_pages(r"\b((?:PHI|AZURE)_[A-Z_]+)\b"), described()
    assert len(named) > 30
    assert {(page, name) for page, name in named if name not in known and not name.startswith("PHI_TEST_")} == set()


def test_sensors_and_schedules_that_pages_name_exist() -> None:
    listed = (tables.REFERENCE / "assets.md").read_text("utf-8")
    named = named_by_pages(r"`([a-z_]+_(?:sensor|alert|reaper)|detached_jobs|phi_automation)`")
    assert len(named) > 20
    assert {(page, name) for page, name in named if f"| `{name}` |" not in listed} == set()


def test_prices_that_pages_name_are_those_of_the_price_list() -> None:
    prices = load_prices()
    pattern = r"`(Standard_\w+)`\s+(?:costs|at)\s+about\s+(\d+\.\d+)\s+USD\s+an\s+hour"
    named = named_by_pages(pattern)
    assert "README.md" in {page for page, *_ in named}
    assert {(page, size, price) for page, size, price in named if f"{prices.hourly_price(size):.2f}" != price} == set()


def test_the_data_contract_has_every_rule_with_its_policy() -> None:
    found = {
        rule: cells[2]
        for cells in rows(DOCS / "explanation" / "data-contract.md", "## Rules")
        for rule in re.findall(r"`(\w+)`", cells[0])
    }
    assert found.keys() == set(RULES)
    policies = {field.alias or name: field.get_default() for name, field in Policies.model_fields.items()}
    assert {rule: re.findall(r"`(\w+)`", said) for rule, said in found.items()} == {
        rule: [policies[rule]] for rule in found
    }


def test_preflights_page_has_every_group_of_checks() -> None:
    found = [cells[0].strip("`") for cells in rows(DOCS / "explanation" / "preflight.md", "# Preflight")]
    assert set(found) == set(GROUPS)


def test_codes_of_findings_that_a_page_names_are_in_the_code() -> None:
    code = "\n".join(path.read_text("utf-8") for path in (PROJECT_ROOT / "phi_assets" / "azureml").rglob("*.py"))
    text = (DOCS / "explanation" / "ownership.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_]+_(?:taken|left|recipe))`", text)) - {"phi_recipe"}
    assert named
    assert {name for name in named if f'"{name}"' not in code} == set()
