"""The data of declared pictures: maps from arrays or from rows of cells, marks, and curves by key."""

import numpy as np
import pytest

from labctl.core.picture import CellMap, Curves, pictures_of_run, plain
from labctl.report import charts_svg
from labctl.report.die_pictures import curves, kernel_pictures, marks_of
from labctl.storage.tables import Table


def table(**columns):
    rows = len(next(iter(columns.values())))
    return Table("own", {"seq": np.arange(rows), **columns}, {"width": "s"}, codes={"code": {"good": 0, "torn": 5}})


def test_the_newest_array_of_a_kernel_is_drawn_in_the_unit_of_the_picture() -> None:
    g = np.arange(18.0).reshape(3, 2, 3)
    code = np.zeros((3, 2, 3), int)
    code[2, 1, 2] = 5
    drawn = list(kernel_pictures(table(kernel=np.array([0, 1, 0]), g=g, code=code), CellMap(
        "own", "g", "conductance", "uS", 10.0, marks="code",
    )))  # fmt: skip
    assert [one.kernel for one in drawn] == [0, 1]
    np.testing.assert_array_equal(drawn[0].values, g[2] * 10)
    assert [(mark.code, mark.title, mark.letter) for mark in drawn[0].marks] == [(5, "torn", "T")]
    assert drawn[1].marks == ()


def test_rows_of_cells_make_a_map_in_which_the_last_row_of_a_cell_stays() -> None:
    cells = table(kernel=np.zeros(4, int), row=np.array([0, 1, 0, 0]), col=np.array([0, 2, 0, 1]), v=np.arange(4.0))
    (one,) = kernel_pictures(cells, CellMap("own", "v", "voltage"))
    np.testing.assert_array_equal(one.values, [[2.0, 3.0, np.nan], [np.nan, np.nan, 1.0]])


@pytest.mark.parametrize(
    ("columns", "picture", "words"),
    [
        ({}, CellMap("own", "g", "conductance"), "has no column 'g'; it has seq, kernel, x"),
        ({}, CellMap("own", "x", "a number a kernel"), "x has one value a row and there is no column row"),
        ({}, Curves("own", "x", "y", "curve", "x", "y"), "has no column 'y'"),
        ({"y": np.array(["a"])}, Curves("own", "x", "y", "curve", "x", "y"), "y is <U1; expected real numbers"),
        ({"y": np.ones((1, 2))}, Curves("own", "x", "y", "curve", "x", "y"), r"x has the shape \(1,\) and y \(1, 2\)"),
        ({"y": np.ones((1, 2))}, CellMap("own", "y", "map"), r"y has the shape \(1, 2\); expected \(rows, n_rows"),
        ({"y": np.ones((1, 2))}, Curves("own", "x", "x", "curve", "x", "y", by=("y",)), "expected one value a row"),
        ({"y": np.ones((1, 2, 3)) * 1j}, CellMap("own", "y", "map"), "y is complex128; expected real"),
        ({"y": np.ones((1, 2, 3)), "m": np.ones((1, 2, 3))}, CellMap("own", "y", "map", marks="m"), "expected codes"),
        (
            {"y": np.ones((1, 2, 3)), "m": np.ones(1, int)},
            CellMap("own", "y", "map", marks="m"),
            "expected .* that of y",
        ),
        ({"row": np.array([10**9]), "col": np.array([0])}, CellMap("own", "x", "map"), "row has numbers beyond 0 to"),
        ({"row": np.array([-1]), "col": np.array([0])}, CellMap("own", "x", "map"), "row has numbers beyond 0 to"),
        (
            {"row": np.array([60000]), "col": np.array([60000])},
            CellMap("own", "x", "map"),
            "more than 16,777,216 cells",
        ),
        ({"kernel": np.array([0.5]), "y": np.ones((1, 2, 3))}, CellMap("own", "y", "map"), "kernel is float64"),
    ],
)
def test_a_picture_that_does_not_fit_its_table_is_refused_in_words(columns, picture, words) -> None:
    other = table(**{"kernel": np.array([0]), "x": np.array([1.0]), **columns})
    with pytest.raises(ValueError, match=words):
        list((kernel_pictures if isinstance(picture, CellMap) else curves)(other, picture))


def test_rows_with_the_same_key_are_one_curve_and_each_is_labelled() -> None:
    width = np.array([1e-3, 1e-2, 1e-3])
    picture = Curves("own", "x", "y", "curve", "x, mV", "y", x_factor=1e3, by=("width",))
    drawn = list(curves(table(x=np.array([0.1, 0.2, 0.3]), y=np.array([1.0, np.nan, 3.0]), width=width), picture))
    assert [(label, x.tolist()) for label, x, _ in drawn] == [
        ("width 0.001 s", [100.0, 300.0]), ("width 0.01 s", [200.0]),
    ]  # fmt: skip
    svg = charts_svg.curves(picture, drawn)
    assert svg.count('<path class="curve ') == 1
    assert "<title>width 0.001 s</title>" in svg
    assert charts_svg.curves(picture, drawn[1:]) == ""


def test_letters_of_codes_differ_from_each_other_and_from_those_of_defects() -> None:
    marks = marks_of({1: "short", 8: "sooty", 9: "sooty too"})
    assert [mark.letter for mark in marks] == ["S", "O", "T"]
    assert len({mark.marker for mark in marks}) == 3


def test_pictures_are_the_same_after_they_were_stored_with_a_run() -> None:
    declared = (CellMap("own", "g", "conductance", marks="code"), Curves("own", "x", "y", "t", "x", "y", by=("width",)))
    entries = [
        {**plain(picture), **({"by": list(picture.by)} if isinstance(picture, Curves) else {})} for picture in declared
    ]
    stored = pictures_of_run({"pictures": [*entries, {"kind": "of a later version"}]})
    assert tuple(one.picture for one in stored) == declared
