"""The price file: complete for what the emulator offers, editable, and refused with one message."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import yaml

from phi_assets.azureml.billing.prices import PricesError, load_prices
from phi_assets.config.recipe_files import load_recipe
from phi_assets.config.section import RECIPES_DIR
from phi_assets.config.settings import PRICES_FILE, load_settings
from phi_assets.emulator.workspace.vm_sizes import VM_SIZES
from phi_assets.graph.resources.prices import PricesResource


def test_the_shipped_file_has_every_size_that_can_be_met() -> None:
    prices = load_prices()
    assert {size.lower() for size in prices.hourly} >= set(VM_SIZES)
    assert date(2024, 1, 1) < prices.as_of < date(2027, 1, 1)
    assert (prices.currency, prices.region) == ("USD", "eastus")
    assert "https://prices.azure.com" in PRICES_FILE.read_text()
    for recipe in RECIPES_DIR.glob("*.yaml"):
        assert prices.hourly_price(load_recipe(recipe.stem).serving.instance_type) is not None


def test_more_gpus_of_a_family_cost_more_in_proportion() -> None:
    prices = load_prices()
    for one, several, ratio in [
        ("Standard_NC24ads_A100_v4", "Standard_NC96ads_A100_v4", 4),
        ("Standard_NC6s_v3", "Standard_NC24s_v3", 4),
        ("Standard_NC40ads_H100_v5", "Standard_NC80adis_H100_v5", 2),
    ]:
        assert prices.hourly[several] == pytest.approx(prices.hourly[one] * ratio, rel=1e-3)


def write(path: Path, **changes: object) -> Path:
    content = {"currency": "EUR", "region": "westeurope", "as_of": date(2026, 1, 2), "hourly": {"Standard_X": 2.5}}
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def test_a_file_of_ones_own_takes_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", low_priority_share=0.5)
    assert load_settings({}).prices == PRICES_FILE
    settings = load_settings({"PHI_PRICES": str(path)})
    prices = PricesResource.from_settings(settings).value
    assert (prices.currency, prices.region) == ("EUR", "westeurope")
    assert prices.hourly_price("standard_x") == 2.5
    assert prices.hourly_price("STANDARD_X", "LowPriority") == prices.hourly_price("Standard_X", "low_priority") == 1.25
    assert prices.hourly_price("Standard_Y") is None
    # Read anew whenever somebody looks.
    write(path, hourly={"Standard_X": 3})
    assert PricesResource.from_settings(settings).value.hourly_price("Standard_X") == 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hourly": {"Standard_X": -1}}, "hourly.Standard_X: Input should be greater than 0"),
        ({"hourly": {"Standard_X": "free"}}, "hourly.Standard_X: Input should be a valid number"),
        ({"hourly": {"Standard_X": float("nan")}}, "hourly.Standard_X: Input should be"),
        ({"hourly": {}}, "hourly: Dictionary should have at least 1 item"),
        ({"currency": "dollars"}, "currency: String should match pattern"),
        ({"monthly": {"Standard_X": 3}}, "monthly: Extra inputs are not permitted"),
        ({"as_of": "yesterday"}, "as_of: Input should be a valid date"),
    ],
)
def test_a_wrong_file_is_refused_with_everything_that_is_wrong(tmp_path: Path, changes: dict, expected: str) -> None:
    path = write(tmp_path / "wrong.yaml", region=7, **changes)
    with pytest.raises(PricesError) as raised:
        load_prices(path)
    message = str(raised.value)
    assert message.startswith(f"Price file {path} is not a price list like ")
    assert f"- {expected}" in message
    assert "- region: Input should be a valid string" in message


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match=r"nowhere.yaml not found.*PHI_PRICES"):
        load_prices(tmp_path / "nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("hourly: {")
    with pytest.raises(PricesError, match=r"broken.yaml is not valid YAML"):
        load_prices(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(PricesError, match="file: Input should be a valid dictionary"):
        load_prices(tmp_path / "list.yaml")


def test_a_wrong_file_fails_who_looks_and_only_warns_who_deletes(tmp_path: Path) -> None:
    resource = PricesResource(path=str(tmp_path / "nowhere.yaml"))
    with pytest.raises(dg.Failure) as raised:
        _ = resource.value
    assert "nowhere.yaml not found" in str(raised.value.description)
    warnings: list[str] = []
    assert resource.value_or_none(warnings.append) is None
    assert "nowhere.yaml not found" in warnings[0]
