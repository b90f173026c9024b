"""Tables as people and programs read them: no name is cut, whatever the width."""

import pytest

from phi_assets.cli.tables import table_lines

ENDPOINT = "support-assistant-in-german-79fde7fc"
DEPLOYMENT = f"{ENDPOINT}/ft-1796005252"
SIZE = "1 x Standard_NC24ads_A100_v4"


def row(what: str, name: str, **more: str) -> dict[str, str]:
    nothing = {"state": "Succeeded", "machines": "-", "an hour": "0.00", "owner": "recipe support", "remarks": ""}
    return {"what": what, "name": name, **nothing, **more}


ROWS = [row("endpoint", ENDPOINT), row("deployment", DEPLOYMENT, machines=SIZE, **{"an hour": "3.67"})]


@pytest.mark.parametrize("columns", [40, 80, 120, 200, None])
def test_every_name_is_whole_at_any_width_and_in_a_pipe(columns: int | None) -> None:
    lines = table_lines(ROWS, columns, heading=2)
    text = "\n".join(lines)
    for whole in (ENDPOINT, DEPLOYMENT, SIZE, "recipe support", "3.67"):
        assert whole in text
    # What is longer than the terminal by itself is broken by it and stays whole when it is copied.
    names = {f"deployment {DEPLOYMENT}", f"endpoint {ENDPOINT}"}
    assert all(columns is None or len(line) <= columns or line in names for line in lines)


def test_where_it_fits_there_is_a_line_for_each_below_a_header() -> None:
    header, *lines = table_lines(ROWS, 200)
    assert header.split("  ")[0].strip() == "what"
    assert [line.split()[:2] for line in lines] == [["endpoint", ENDPOINT], ["deployment", DEPLOYMENT]]
    assert lines == table_lines(ROWS, None)[1:]
    # Nothing is said of remarks, so they take no room.
    assert "remarks" not in header
    assert table_lines([], 80) == []
