"""Reading JSON Lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from phi_assets.dataset.errors import DatasetError


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file, one by one.

    Lines end at the newline character only: `str.splitlines` would also cut at U+2028, which JSON text may hold.

    Raises:
        DatasetError: a line is not JSON; the message names file and line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DatasetError(f"{path}, line {number} is not JSON: {error}") from error
