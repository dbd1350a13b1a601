"""The drawing of a map: what was understood of it, to be seen before needles go there."""

from labctl.wafer_maps.drawing import describe
from labctl.wafer_maps.model import Place, WaferMap


def test_the_drawing_says_format_extent_number_bins_notch_and_who():
    places = (Place(-1, 3, "a", "1"), Place(1, 3, "b", "07", "excluded by the map"), Place(0, 4, "c", "1"))
    wafer_map = WaferMap(places, "W7", "L2", 90, {"1": "pass"}, kind="SEMI G85-0703")
    assert list(describe(wafer_map, "lot.xml")) == [
        "map lot.xml (SEMI G85-0703): 3 dies, 3 x 2, x -1 to 1, y 3 to 4, 1 left out; bin 07 (drawn 0): 1, "
        "bin 1 pass: 2; the notch is at the left; wafer W7; lot L2",
        "  o is left out",
        "  1.o",
        " >.1.",
    ]


def test_reference_device_and_fiducials_are_drawn_and_the_notch_lies_where_it_is():
    places = tuple(Place(x, y, f"x{x}y{y}") for y in range(2) for x in range(5) if (x, y) != (0, 0))
    for notch, above, left, right, below in (
        (0, [], " ", "", ["    ^"]),
        (180, ["    v  "], " ", "", []),
        (270, [], " ", "<", []),
        (90, [], ">", "", []),
    ):
        lines = list(describe(WaferMap(places, notch=notch, reference=(4, 1)), "m", [(0, 0), (2, 1), (7, 7)]))
        assert lines[1] == "  @ is reference device, + is fiducial"
        drawing = ["  +XXXX", f" {left}XX+X@{right}"]
        assert [line.rstrip() for line in lines[2:]] == [
            *(line.rstrip() for line in above), *drawing, *below, "  fiducials outside of the drawing: x7y7",
        ]  # fmt: skip


def test_bins_of_more_than_one_character_have_marks_of_their_own():
    places = tuple(Place(x, 0, f"x{x}", f"{x:02X}") for x in range(12))
    first, drawing = describe(WaferMap(places), "m")
    assert "bin 0A (drawn a): 1, bin 0B (drawn b): 1" in first
    assert drawing == "  0123456789ab"
    first, drawing = describe(WaferMap(tuple(Place(x, 0, f"x{x}", f"{x:03d}") for x in range(60))), "m")
    assert "bin 019: 1, 40 more bins" in first
    assert drawing == "  " + "X" * 60


def test_a_large_map_is_drawn_small():
    places = tuple(Place(x, y, f"x{x}y{y}") for y in range(50) for x in range(130) if x >= 3 or y >= 3)
    first, scale, *drawing = describe(WaferMap(places, kind="CSV table"), "big.csv")
    assert (
        first == "map big.csv (CSV table): 6,491 dies, 130 x 50, x 0 to 129, y 0 to 49; no bins; the notch is not known"
    )
    assert scale == "  one mark for 3 x 3 places"
    assert [len(line) for line in drawing] == [2 + 44] * 17
    assert drawing[0] == "  ." + "X" * 43
