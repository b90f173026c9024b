"""What the UI shows is really there to be shown."""

import base64

from phi_assets.azureml.metrics import MetricPoint
from phi_assets.metadata import loss_curve, table


def test_the_loss_curve_is_a_small_png() -> None:
    points = [MetricPoint(value=1 / (step + 1), step=step) for step in range(50)]
    markdown = loss_curve({"loss": points, "eval_loss": points[::25]})
    prefix = "![loss curve](data:image/png;base64,"
    assert markdown.startswith(prefix)
    png = base64.b64decode(markdown.removeprefix(prefix).removesuffix(")"))
    assert png.startswith(b"\x89PNG")
    # It is stored in the event log.
    assert len(png) < 100_000


def test_a_table_has_the_columns_of_its_rows() -> None:
    value = table([{"name": "seed", "value": 42}, {"name": "epochs", "value": 2}])
    assert [column.name for column in value.schema.columns] == ["name", "value"]
    assert [record.data["value"] for record in value.records] == ["42", "2"]


def test_an_empty_table_is_a_table() -> None:
    assert table([]).records == []
