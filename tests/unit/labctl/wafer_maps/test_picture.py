"""Where dies, numbers and notch stand in the picture of a wafer."""

import math

import pytest

from labctl.wafer_maps.picture import Layout, Panel, drawn, orientation

ROUND = [(x, y) for x in range(3, 9) for y in range(-2, 3) if (x in (3, 8)) + (y in (-2, 2)) < 2]


def test_dies_stand_where_the_map_has_them() -> None:
    layout = Layout([(2, 1), (4, 1), (5, 2)])
    a, b, c = layout.squares
    assert (layout.n_cols, layout.n_rows, layout.round) == (4, 2, False)
    assert (a.x, a.y) == (0, 0)
    assert c.x > b.x > a.x
    assert c.y > b.y == a.y
    assert [n.text for n in layout.columns] == ["2", "3", "4", "5"]
    assert [n.text for n in layout.rows] == ["1", "2"]
    assert layout.columns[2].x == pytest.approx(b.middle[0])
    assert layout.rows[1].y == pytest.approx(c.middle[1])


def test_dies_at_one_place_share_it() -> None:
    squares = Layout([(0, 0)] * 3).squares
    assert len({(s.x, s.y) for s in squares}) == 3
    assert max(s.x + s.wide for s in squares) <= 64


def test_the_wafer_is_that_of_its_map_and_not_of_the_dies_at_hand() -> None:
    layout = Layout([(5, 0)], ROUND)
    assert layout.round
    assert len(layout.others) == len(ROUND) - 1
    assert layout.squares[0].middle == Layout(ROUND).squares[ROUND.index((5, 0))].middle


@pytest.mark.parametrize(("notch", "towards"), [(0, (0, 1)), (90, (-1, 0)), (180, (0, -1)), (270, (1, 0))])
def test_the_notch_is_a_dent_where_the_wafer_has_it(notch: int, towards: tuple[int, int]) -> None:
    layout = Layout(ROUND, notch=notch)
    (x, y), radius = layout.centre, layout.radius
    *arc, dent = layout.edge
    assert all(math.isclose(math.dist(point, (x, y)), radius) for point in arc)
    depth = radius - math.dist(dent, (x, y))
    assert depth > 5
    assert dent == pytest.approx((x + towards[0] * (radius - depth), y + towards[1] * (radius - depth)))
    corners = [(s.x + a * s.wide, s.y + b * s.high) for s in layout.squares for a in (0, 1) for b in (0, 1)]
    assert max(math.dist(corner, (x, y)) for corner in corners) < radius - depth  # no die is under it


@pytest.mark.parametrize(("notch", "axis", "beyond"), [(0, 1, True), (90, 0, False), (180, 1, False), (270, 0, True)])
def test_a_few_dies_have_a_mark_of_the_notch_beside_them(notch: int, axis: int, beyond: bool) -> None:
    layout = Layout([(0, 0), (1, 0)], notch=notch)
    ends = [(s.x, s.x + s.wide) if axis == 0 else (s.y, s.y + s.high) for s in layout.squares]
    edge = max(high for _, high in ends) if beyond else min(low for low, _ in ends)
    assert all((point[axis] > edge) == beyond for point in layout.arrow)


def test_an_unknown_notch_is_not_drawn_and_is_said_to_be_unknown() -> None:
    layout = Layout(ROUND)
    assert all(math.isclose(math.dist(point, layout.centre), layout.radius) for point in layout.edge)
    assert Layout([(0, 0)]).arrow == []
    assert orientation(None).endswith("the notch is not known")


def test_a_large_map_has_some_of_its_numbers() -> None:
    layout = Layout([(x, y) for x in range(-3, 60) for y in range(25)])
    assert [n.text for n in layout.columns] == [str(n) for n in range(0, 60, 5)]
    assert [n.text for n in layout.rows] == [str(n) for n in range(0, 25, 2)]


def test_the_edge_is_that_of_a_wafer_with_too_many_dies_to_outline_each() -> None:
    wafer = [(x, y) for x in range(100) for y in range(80)]
    one = Layout([(50, 40)], wafer)
    assert one.others == []
    assert one.radius == Layout(wafer).radius


def test_maps_are_drawn_side_by_side() -> None:
    layout = Layout(ROUND, notch=0)
    values = Panel("R_P", layout, ["#20457c"] * len(ROUND), ["2.1"] * len(ROUND), ("#fff", "#000"), ("1", "2"), "kΩ")
    bins = Panel("bin", layout, [""] * len(ROUND), ["G"] * len(ROUND), legend=[("good", "#2f8f6b", "G")])
    figure = drawn([values, bins], "W01", orientation(0), across=2)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("2.1") == len(ROUND)
    assert "kΩ" in texts
