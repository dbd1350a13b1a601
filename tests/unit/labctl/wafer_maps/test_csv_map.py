"""A CSV map is read only if it positively is one: everything else is refused, by its line and by what was found."""

import pytest

from labctl.core.errors import BenchError
from labctl.wafer_maps.csv_map import parse_csv
from labctl.wafer_maps.model import MapReading, ReadingError


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
        ("PART_ID,X,Y\nL1,4,7\n", "m.csv:1: found a column 'PART_ID', expected x, y, bin, name, exclude, wafer or lot"),
        ("wafer,X,Y\nW1,4,7\nW2,4,8\n", "m.csv:3: found the wafer 'W2', expected 'W1' as in line 2: a map is of one"),
        ("lot,X,Y\nL1,4,7\n,4,8\n", "m.csv:3: found the lot '', expected 'L1' as in line 2"),
        ("X,Y,\n4,7,\n5,7,note\n", "m.csv:1: found a column '', expected x, y"),
        ("X,Y,\n4,7,,9\n", "m.csv:2: found 3 cells, expected 2 as in line 1"),
        ("X,Y\n4.5,7\n", "m.csv:2: found '4.5' for x, expected a whole number of at most 6 digits"),
        ("X;Y\n4,0;7\n", "m.csv:2: found '4,0' for x, expected a whole number of at most 6 digits"),
        ("x,y,HBIN,SBIN\n1,2,1,1\n", "m.csv:1: found two columns for bin ('HBIN', 'SBIN'), expected one"),
        ("PART_ID,SITE,RESULT\n1,0,4.2\n", "m.csv:1: found 'PART_ID,SITE,RESULT', expected a heading with x and y"),
        ("WAFER_MAP = {\n WAFER_ID = \"W1\"\n}\n", "m.csv:1: found 'WAFER_MAP = {', expected a heading with x and y"),
        (".XX.\nXXXX\nXXXX\n.XX.\n", "m.csv:1: found '.XX.', a drawing without separators"),
        ("X\nX\n.\n", "m.csv:1: found 'X' and no line with a separator"),
        ("1\n2\n", "a drawing without separators stands under 'map' in the wafer file"),
        ("FileVersion 1 2;\nSampleType WAFER;\nDefectList\n 1 0 0;\n", "m.csv:1: found 'FileVersion 1 2;', expected"),
        ('{"dies": [[0, 1], [2, 3]]}\n', "m.csv:1: found '{"),
        ("[\n [1, 2],\n [3, 4]\n]\n", "m.csv:1: found '[', expected"),
        (".,X,X\n# a remark, by hand\nX,X,X\n", "m.csv:2: found '# a remark', expected a heading"),
        (".,X\nX,good\n", "m.csv:2: found 'good', expected a heading"),
        (".,X\nX,1.0\n", "m.csv:2: found '1.0', expected a heading"),
        ("sep=|\n.|X\nX|X\n", "m.csv:1: found 'sep=|', expected a heading"),
        ("4,7,1\n5,7,\n4,8,2\n", "m.csv:1: found two numbers at the head of every line"),
        ("1,2,3,4,5\n1,2,3,4,6\n", "m.csv:1: found two numbers at the head of every line"),
        ("A1,4,7\nA2,5,7\n", "m.csv:1: found '4' in a grid with 'A1', expected one mark for all dies, or as bin of"),
        ("A1,4,7,\nA2,5,7,\n", "m.csv:1: found '4' in a grid with 'A1', expected one mark for all dies"),
        ("A,B,C\n1,2,.\n3,4,B\n", "m.csv:2: found '1' in a grid with 'A'"),
        ("C,R,B\n4,7,1\n5,7,1\n4,8,\n", "m.csv:2: found '4' in a grid with 'C'"),
        ("i,j,-\n4,7,1\n5,7,1\n", "m.csv:2: found '4' in a grid with 'i'"),
        ("A,4,7\nB,5,7\nC,4,8\nD,5,.\n", "m.csv:1: found '4' in a grid with 'A'"),
        (".,4,7\n.,5,7\n.,4,8\n", "m.csv:1: found bin codes and no place without a die, expected"),
        ("-,-,-\n1,2,3\nA,B,C\n", "m.csv:3: found 'A' in a grid with '1'"),
        (".,X\nX,1\n", "m.csv:2: found '1' in a grid with 'X'"),
        (".,X\nX,#\n", "m.csv:2: found '#' in a grid with 'X', expected one mark for all dies"),
        (".,X\nX,A\n", "m.csv:2: found 'A' in a grid with 'X'"),
        (".,X\nX,-\n", "m.csv:2: found '-' in a grid with '.', expected one mark for no die in the whole grid"),
        (".,9,9,.\n9,9,9,10\n", "m.csv:2: found '10' in a grid with '9'"),
        (".,1,1,.\n1,1,A,1\n", "m.csv:2: found 'A' in a grid with '1'"),
        # what has one alphabet, and is a table or a list
        ("A,B,C\nP,P,F\nP,F,.\n", "m.csv:1: found a row that counts from A to C as a list does"),
        ("C,R,B\nP,P,F\nP,F,.\n", "m.csv:1: found a row of codes that stand nowhere else ('C') as labels do"),
        (".,4,7\n1,5,7\n.,4,8\n", "m.csv:1: found bin codes in a shape that a table could have"),
        (".,1,2\n1,5,5\n2,5,5\n", "m.csv:1: found bin codes in a shape that a table could have"),
        ("4,.,7\n5,.,7\n4,.,8\n", "m.csv:1: found a row with a place without a die between bins"),
        (".,1,1,.\n1,.,1,1\n", "m.csv:2: found a row with a place without a die between bins"),
        (".,1,1,.\n\n1,1,1,1\n", "m.csv:2: found a row with a place without a die between bins"),
        (".,1,1,.\n1,1,1,1\n.,.,1,.\n1,1,1,1\n", "m.csv: found column 1 with a place without a die between bins"),
        (".,1,1,.\n1,1,2,1\n1,1,3,1\n", "m.csv: found column 3 that counts from 1 to 3 as a list does"),
        (".,09,09,.\n11,10,09,08\n", "m.csv:2: found a row that counts from 11 to 08 as a list does"),
        (".,0A,0A,.\n0E,0F,10,11\n", "m.csv:2: found a row that counts from 0E to 11 as a list does"),
        (".,1,1,.\n2,1,1,3\n4,1,1,1\n", "m.csv: found column 1 of codes that stand nowhere else ('2') as labels do"),
        ("F,P,P,F\nP,P,P,P\n", "m.csv:1: found bin codes and no place without a die"),
        (".,X\nX,\0\n", "m.csv:2: found the character U+0000, expected a text file"),
        ("\x02\0\n", "m.csv:1: found the character U+0002, expected a text file"),
        (".,X\nX,X\n\x1a\n", "m.csv:3: found the character U+001A, expected a text file"),
        (" \n\t\n", "m.csv:1: the map is empty"),
        ("just a note\n", "m.csv:1: found 'just a note', expected a heading"),
    ],
)  # fmt: skip
def test_what_is_no_map_is_refused_with_what_was_found(text, words):
    assert words in refusal(text)


def test_a_refused_grid_of_bins_is_told_what_would_be_read():
    advice = (
        "write it as a table, a die per line under the heading x,y,bin, or as a grid of X for a die and . for no die"
    )
    for text in ("A,4,.\n", ".,4,7\n.,5,7\n", ".,1,2\n1,5,5\n2,5,5\n", ".,X\nX,-\n"):
        assert refusal(text).endswith(advice)


@pytest.mark.parametrize("mark", "xX*#")
def test_dies_of_one_mark_are_a_grid_wherever_they_stand(mark):
    assert len(parse_csv("X,X,X\nX,X,X\n".replace("X", mark)).places) == 6
    assert len(parse_csv(",X,.\nX,.,X\n".replace("X", mark)).places) == 3


@pytest.mark.parametrize("none", [".", "-", "_", ""])
@pytest.mark.parametrize(("good", "bad"), [("1", "7"), ("01", "12"), ("001", "255"), ("0F", "12"), ("A", "f")])
def test_bins_of_one_kind_in_the_shape_of_a_wafer_are_a_grid(none, good, bad):
    wafer = ["..11..", ".1171.", ".1111.", "..11.."]
    text = "\n".join(",".join({".": none, "1": good, "7": bad}[mark] for mark in row) for row in wafer)
    parsed = parse_csv(text).places
    assert [(p.x, p.y) for p in parsed] == [(x, y) for y, row in enumerate(wafer) for x in range(6) if row[x] != "."]
    assert [(p.x, p.y) for p in parsed if p.bin == bad] == [(3, 1)]
    assert {p.bin for p in parsed} == {good, bad}


def test_half_a_wafer_is_one():
    assert len(parse_csv(",1,1,\n1,2,1,1\n").places) == 6
    assert len(parse_csv("1,2,1,1\n,1,1,\n").places) == 6


def test_a_table_of_another_program_may_have_remarks_a_separator_and_an_empty_column():
    expected = [(4, 7, "1"), (5, 7, "2")]
    for text in (
        "sep=;\nX;Y;HBIN\n4;7;1\n5;7;2\n",
        "# lot L1, by hand\n# 2026\nX,Y,HBIN\n4,7,1\n# none at 4, 8\n5,7,2\n",
        "X,Y,HBIN,\n4,7,1,\n5,7,2,\n",
        "X,Y,HBIN,,\r\n4.0,7.0,1,,\r\n5.0,7.0,2,,\r\n\x1a",
        "X,Y,HBIN\r4,7,1\r5,7,2\r",
    ):
        assert [(p.x, p.y, p.bin) for p in parse_csv(text).places] == expected
    assert len(parse_csv("sep=;\n.;X\nX;X\n").places) == 3


def test_a_table_may_name_its_wafer_and_its_lot():
    wafer_map = parse_csv("LOT_ID,WAFER_ID,X,Y\nL1,07,4,7\nL1,07,5,7\n")
    assert (wafer_map.lot, wafer_map.wafer, wafer_map.kind) == ("L1", "07", "CSV table")


def test_settings_of_xml_do_not_apply_to_csv():
    for text, kind in (("x,y\n1,2\n", "table"), (".,X\nX,X\n", "grid")):
        with pytest.raises(
            ReadingError, match=f"found 'notch', which does not apply to a CSV {kind}; expected one of origin"
        ):
            parse_csv(text, MapReading(notch=90))
