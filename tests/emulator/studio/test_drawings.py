"""The graph of a job's steps, and its metrics as curves."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_assets.emulator.runner.metrics import MetricPoint
from phi_assets.emulator.studio import charts, flow


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Steps in an order of execution, each with needs among those before it."""
    names = [f"s{number}" for number in range(draw(st.integers(0, 9)))]
    return {
        name: draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        for index, name in enumerate(names)
    }


class TestGraph:
    def test_a_chain_goes_down_in_one_column(self) -> None:
        drawing = flow.draw({"a": [], "b": ["a"], "c": ["b"]})
        assert len({box.x for box in drawing.boxes}) == 1
        assert [box.key for box in sorted(drawing.boxes, key=lambda box: box.y)] == ["a", "b", "c"]
        assert len(drawing.arrows) == 2

    def test_what_is_waited_for_anyway_has_no_arrow_of_its_own(self) -> None:
        assert len(flow.draw({"a": [], "b": ["a"], "c": ["a", "b"]}).arrows) == 2

    def test_a_diamond_has_two_in_its_middle_row(self) -> None:
        drawing = flow.draw({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})
        rows = {box.key: box.y for box in drawing.boxes}
        assert rows["a"] < rows["b"] == rows["c"] < rows["d"]
        assert len(drawing.arrows) == 4

    @given(graphs())
    def test_boxes_stay_apart_and_inside_and_below_their_needs(self, needs: dict[str, list[str]]) -> None:
        drawing = flow.draw(needs)
        places = {box.key: box for box in drawing.boxes}
        assert places.keys() == needs.keys()
        for one, other in combinations(places.values(), 2):
            assert abs(one.x - other.x) >= flow.WIDTH or abs(one.y - other.y) >= flow.HEIGHT
        for key, found in needs.items():
            assert all(places[need].y + flow.HEIGHT < places[key].y for need in found)
            assert 0 <= places[key].x <= drawing.width - flow.WIDTH
            assert 0 <= places[key].y <= drawing.height - flow.HEIGHT


def points(name: str, *values: float, every: int = 10) -> list[MetricPoint]:
    return [MetricPoint(name, value, index * every, index) for index, value in enumerate(values)]


class TestCurves:
    def test_of_jobs_side_by_side_one_that_measured_once_is_a_dot(self) -> None:
        (chart,) = charts.compared(
            [("long", [*points("loss", 3, 2, 1), *points("train_loss", 2)]), ("short", points("loss", 2.5))]
        )
        assert (chart.title, [(curve.name, len(curve.dots)) for curve in chart.curves]) == (
            "loss",
            [("1. long", 3), ("2. short", 1)],
        )

    def test_losses_share_a_chart_and_the_others_have_their_own(self) -> None:
        found = charts.picture(
            [*points("eval_loss", 3, 2), *points("loss", 2.5, 1.5), *points("learning_rate", 1e-3, 1e-4)]
        )
        assert [chart.title for chart in found.charts] == ["Loss", "learning_rate"]
        assert [(curve.name, curve.last) for curve in found.charts[0].curves] == [("loss", "1.5"), ("eval_loss", "2")]

    def test_what_was_measured_once_is_a_number(self) -> None:
        found = charts.picture(points("train_runtime", 9.2394))
        assert (found.charts, found.values) == ((), (("train_runtime", "9.239"),))

    def test_a_falling_loss_goes_down_to_the_right(self) -> None:
        (curve,) = charts.picture(points("loss", 3, 2, 1)).charts[0].curves
        assert [dot.x for dot in curve.dots] == sorted({dot.x for dot in curve.dots})
        assert [dot.y for dot in curve.dots] == sorted({dot.y for dot in curve.dots})  # y grows downwards
        assert curve.dots[1].text == "loss 2 at step 10"

    def test_a_value_that_is_no_number_is_left_out(self) -> None:
        (curve,) = charts.picture(points("loss", 3, math.nan, math.inf, 1)).charts[0].curves
        assert len(curve.dots) == 2
        assert "nan" not in curve.path

    def test_a_long_curve_has_no_dots(self) -> None:
        (curve,) = charts.picture(points("loss", *range(500))).charts[0].curves
        assert curve.dots == ()
        assert curve.path.count("L") == 499

    @given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20))
    def test_everything_is_inside_of_the_chart(self, values: list[float]) -> None:
        (chart,) = charts.picture(points("score", *values)).charts
        for dot in chart.curves[0].dots:
            assert chart.left <= dot.x <= chart.right
            assert 0 <= dot.y <= chart.height
        assert all(0 <= tick.position <= chart.height for tick in chart.rows)
        assert all(chart.left <= tick.position <= chart.right for tick in chart.columns)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 36, [0, 10, 20, 30]),
        (5e-7, 4e-6, [1e-6, 2e-6, 3e-6, 4e-6]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert list(charts.ticks(low, high)) == pytest.approx(expected)
