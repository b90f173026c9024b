"""What machines cost an hour, from a file that anybody can edit."""

from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phi_assets.config.settings import PRICES_FILE

Price = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PricesError(ValueError):
    """The price file cannot be used; the message names the file and everything that is wrong with it."""


class PriceList(BaseModel):
    """Prices of one region in one currency."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    region: str
    as_of: date
    """When these prices were right."""
    low_priority_share: Annotated[float, Field(gt=0, le=1)] = 1
    """What a low-priority node costs of a dedicated one's price."""
    hourly: Annotated[dict[str, Price], Field(min_length=1)]
    """VM size to the price of an hour."""

    def hourly_price(self, size: str, tier: str = "Dedicated") -> float | None:
        """Of one machine; None for a size that the list does not have."""
        price = next((price for name, price in self.hourly.items() if name.lower() == size.lower()), None)
        is_low = tier.replace("_", "").lower() == "lowpriority"
        return price * self.low_priority_share if price is not None and is_low else price


def load_prices(path: Path = PRICES_FILE) -> PriceList:
    """The price list of a YAML file.

    Raises:
        PricesError: there is no such file, or it is not a price list.
    """
    if not path.is_file():
        raise PricesError(f"Price file {path} not found: PHI_PRICES names no file. Copy {PRICES_FILE} and edit it.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PricesError(f"Price file {path} is not valid YAML: {error}") from error
    try:
        return PriceList.model_validate(content)
    except ValidationError as error:
        wrong = [f"- {'.'.join(map(str, entry['loc'])) or 'file'}: {entry['msg']}" for entry in error.errors()]
        raise PricesError(f"Price file {path} is not a price list like {PRICES_FILE}:\n" + "\n".join(wrong)) from error
