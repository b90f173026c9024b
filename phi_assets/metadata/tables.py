"""Tables of the UI."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """A table of the given rows, with the columns of the first."""
    columns = [dg.TableColumn(name) for name in (rows[0] if rows else {"": ""})]
    return dg.MetadataValue.table(
        records=[dg.TableRecord({key: str(value) for key, value in row.items()}) for row in rows],
        schema=dg.TableSchema(columns),
    )
