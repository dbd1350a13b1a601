"""A CSV map is read only if it positively is one: everything else is refused, by its line and by what was found."""

import pytest

from labctl.core.errors import BenchError
from labctl.csvmap import parse_csv
from labctl.drawing import describe
from labctl.wafermap import Place, WaferMap


def refusal(text):
    with pytest.raises(BenchError) as error:
        parse_csv(text, where="m.csv")
    return str(error.value)


@pytest.mark.parametrize(
    "heading",
    [
        "X,Y,BIN", "x coord,y coord,Bin", "X_COORD,Y_COORD,HBIN", "DieX,DieY,Bin_Number", "col,row,SBIN",
        "X_POS;Y_POS;HARD_BIN", "Column\tRow\tSoft Bin", '"X-Coordinate","Y-Coordinate","bin no."',
    ],
)  # fmt: skip
def test_the_usual_headings_are_understood(heading):
    mark = next(c for c in ",;\t" if c in heading)
    text = "\n".join([heading, *(mark.join(row) for row in ("471", "581", "682"))])
    assert [(p.x, p.y, p.bin) for p in parse_csv(text).places] == [(4, 7, "1"), (5, 8, "1"), (6, 8, "2")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("XX,YY,HBIN\n4,7,1\n", "m.csv:1: found the heading 'XX,YY,HBIN', expected one with x and y"),
        ("lot,X,Y\nL1,4,7\n", "m.csv:1: found a column 'lot', expected x, y, bin, name or exclude"),
        ("x,y,HBIN,SBIN\n1,2,1,1\n", "m.csv:1: found two columns for bin ('HBIN', 'SBIN'), expected one"),
        ("PART_ID,SITE,RESULT\n1,0,4.2\n", "m.csv:1: found 'PART_ID,SITE,RESULT', expected a heading with x and y"),
        ("WAFER_MAP = {\n WAFER_ID = \"W1\"\n}\n", "m.csv:1: found 'WAFER_MAP = {', expected a heading with x and y"),
        (".XX.\nXXXX\nXXXX\n.XX.\n", "m.csv:1: found '.XX.', expected a heading with x and y"),
        ("X\nX\n.\n", "m.csv:1: found 'X' and no line with a separator"),
        ("1\n2\n", "a drawing without separators stands under 'map' in the wafer file"),
        ("FileVersion 1 2;\nSampleType WAFER;\nDefectList\n 1 0 0;\n", "m.csv:1: found 'FileVersion 1 2;', expected"),
        ('{"dies": [[0, 1], [2, 3]]}\n', "m.csv:1: found '{"),
        ("[\n [1, 2],\n [3, 4]\n]\n", "m.csv:1: found '[', expected"),
        (".,X,X\n# a remark, by hand\nX,X,X\n", "m.csv:2: found '# a remark', expected a heading"),
        (".,X\nX,good\n", "m.csv:2: found 'good', expected a heading"),
        (".,X\nX,1.0\n", "m.csv:2: found '1.0', expected a heading"),
        ("sep=;\n.;X\nX;X\n", "m.csv:1: found 'sep=;', expected a heading"),
        ("4,7,1\n5,7,\n4,8,2\n", "m.csv:1: found two numbers at the head of every line"),
        ("1,2,3,4,5\n1,2,3,4,6\n", "m.csv:1: found two numbers at the head of every line"),
        ("A1,4,7\nA2,5,7\n", "m.csv:1: found bin codes and no place without a die"),
        ("A1,4,7,\nA2,5,7,\n", "m.csv:1: found bin codes and no place without a die"),
        (".,X\nX,\0\n", "m.csv:2: found the character U+0000, expected a text file"),
        ("\x02\0\n", "m.csv:1: found the character U+0002, expected a text file"),
        (".,X\nX,X\n\x1a\n", "m.csv:3: found the character U+001A, expected a text file"),
        (" \n\t\n", "m.csv:1: the map is empty"),
        ("just a note\n", "m.csv:1: found 'just a note', expected a heading"),
    ],
)  # fmt: skip
def test_what_is_no_map_is_refused_with_what_was_found(text, words):
    assert words in refusal(text)


def test_a_rectangle_of_dies_without_bins_is_a_grid():
    assert len(parse_csv("X,X,X\n#,*,x\n").places) == 6


def test_bins_of_a_grid_are_short():
    grid = parse_csv(",1,12,123\n7,a,0F,.\n")
    assert [p.bin for p in grid.places] == ["1", "12", "123", "7", "a", "0F"]


def test_the_drawing_says_extent_number_bins_and_who():
    places = (Place(-1, 3, "a", "1"), Place(1, 3, "b", "07", "excluded by the map"), Place(0, 4, "c", "1"))
    assert list(describe(WaferMap(places, wafer="W7", lot="L2"), "lot.xml")) == [
        "map lot.xml: 3 dies, x -1 to 1, y 3 to 4, 1 left out; bin 07: 1, bin 1: 2; wafer W7; lot L2",
        "  X.o",
        "  .X.",
    ]


def test_a_large_map_is_drawn_small():
    places = tuple(Place(x, y, f"x{x}y{y}") for y in range(50) for x in range(130) if x >= 3 or y >= 3)
    first, scale, *drawing = describe(WaferMap(places), "big.csv")
    assert first == "map big.csv: 6,491 dies, x 0 to 129, y 0 to 49; no bins"
    assert scale == "  one mark for 3 x 3 places"
    assert [len(line) for line in drawing] == [2 + 44] * 17
    assert drawing[0] == "  ." + "X" * 43
