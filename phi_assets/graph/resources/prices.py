"""The price list as a Dagster resource."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
from pydantic import Field

from phi_assets.azureml.billing.prices import PriceList, PricesError, load_prices
from phi_assets.config.settings import Settings


class PricesResource(dg.ConfigurableResource):
    """What machines cost an hour; the file is read anew whenever somebody asks."""

    path: str = Field(description="A YAML file like phi_assets/prices.yaml (`PHI_PRICES`)")

    @classmethod
    def from_settings(cls, settings: Settings) -> "PricesResource":
        """The resource for these settings; the file is not looked at yet."""
        return cls(path=str(settings.prices))

    @property
    def value(self) -> PriceList:
        """The price list.

        Raises:
            dagster.Failure: the file is missing or is not a price list.
        """
        try:
            return load_prices(Path(self.path))
        except PricesError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error

    def value_or_none(self, warn: Callable[[str], None]) -> PriceList | None:
        """The price list; None, and a warning, where it cannot be read: nothing may keep on billing for that."""
        try:
            return load_prices(Path(self.path))
        except PricesError as error:
            warn(f"Nothing has a price: {error}")
            return None
