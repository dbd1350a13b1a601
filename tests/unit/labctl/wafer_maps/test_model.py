"""Maps that other machines wrote: what is read, how it is turned, and what is refused with its line."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from labctl.config.campaign import WaferEntry
from labctl.config.wafer_file import WaferFile, lay_out
from labctl.core.errors import BenchError
from labctl.files import Loaded, read
from labctl.wafer_maps.csv_map import parse_csv
from labctl.wafer_maps.model import MapReading, Place, WaferMap
from labctl.wafer_maps.read import read_map
from labctl.wafer_maps.write_g85 import write_g85
from sim_backend.wafer import Wafer

# two rows of three, as a person sees it:   . 1 7
#                                           1 1 .
ROWS = {
    "Ascii": (".", [".17", "11."]),
    "Decimal": ("255", ["255 001 007", "001 001 255 "]),
    "HexaDecimal": ("FF", ["FF0107", "0101FF"]),
    "Integer2": ("FFFF", ["FFFF 0001 0007", "0001 0001 FFFF"]),
}


def g85(kind="Decimal", *, rows=None, device="", inside="", namespace=' xmlns="http://www.semi.org"', before=""):
    null, lines = ROWS[kind]
    body = "".join(f"<Row><![CDATA[{line}]]></Row>" for line in (rows or lines))
    return (
        f'<?xml version="1.0" encoding="utf-8"?>{before}<Maps><Map{namespace} SubstrateId="W07" SubstrateType="Wafer">'
        f'<Device LotId="L3" BinType="{kind}" NullBin="{null}" Rows="2" Columns="3" {device}>{inside}'
        f'<Data MapName="m">{body}</Data></Device></Map></Maps>'
    )


def read_g85(text, reading=None, where="m"):
    return read_map(text if isinstance(text, bytes) else text.encode(), reading, where)


def spots(wafer_map):
    return [(p.x, p.y) for p in wafer_map.places]


# -- CSV


def test_a_table_of_places_may_have_bins_names_and_exclusions():
    wafer_map = parse_csv("Y; X; bin; exclude; name\n2; 4; 1; ; D1\n2; 5; 7; scratched; D2\n3; -1; ; yes; \n")
    assert wafer_map.places == (
        Place(4, 2, "D1", "1"),
        Place(5, 2, "D2", "7", "excluded by the map: scratched"),
        Place(-1, 3, "x-1y3", "", "excluded by the map"),
    )
    assert list(wafer_map.excluded) == ["D2", "x-1y3"]


def test_a_grid_of_marks_is_read_from_the_top():
    wafer_map = parse_csv(",,X,\nX,X,.,X\n.,,X,X\n")
    assert spots(wafer_map) == [(2, 0), (0, 1), (1, 1), (3, 1), (2, 2), (3, 2)]
    assert {p.bin for p in wafer_map.places} == {""}
    wafer_map = parse_csv(".,7,1,.,.\n1,1,1,1,.\n")
    assert spots(wafer_map) == [(1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 1)]
    assert [p.bin for p in wafer_map.places] == ["7", "1", "1", "1", "1", "1"]


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("upper left", [(2, 1), (3, 1), (3, 2)]),
        ("upper right", [(2, 1), (3, 1), (2, 2)]),
        ("lower left", [(3, 1), (2, 2), (3, 2)]),
        ("lower right", [(2, 1), (2, 2), (3, 2)]),
    ],
)
def test_coordinates_from_another_corner_are_mirrored_in_place(origin, expected):
    text = "x,y\n2,1\n3,1\n3,2\n"
    assert spots(parse_csv(text, MapReading(origin=origin))) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "m.csv:1: the map is empty; expected columns x and y, or a grid of marks"),
        ("x,y\n", "m.csv: the map has no die, expected at least one"),
        (
            "x,y,colour\n1,2,red\n",
            "m.csv:1: found a column 'colour', expected x, y, bin, name, exclude, wafer or lot; delete it, or its "
            "heading",
        ),
        ("x,col,y\n1,2,3\n", "m.csv:1: found two columns for x ('x', 'col'), expected one"),
        ("x,y\n1,2\n1,b\n", "m.csv:3: found 'b' for y, expected a whole number of at most 6 digits"),
        ("x,y\n1,2\n\n1\n", "m.csv:4: found 1 cells, expected 2 as in line 1"),
        ("x,y\n1,2\n1,2\n", "m.csv: two dies have the place x1y2; expected one"),
        (
            "x,y,name\n1,2,A\n3,2,a\n",
            "m.csv: of the dies A and a differ in case only, which makes one file of both on some systems; expected "
            "a name of its own for each",
        ),
        (
            "1,2\n3,4\n",
            "m.csv:1: found two numbers at the head of every line; expected the names x and y above them, or a grid "
            "of bins with places without a die around them",
        ),
        (
            "x,y,name\n0,0,\n0,1,../a\n",
            "m.csv:3: name: found '../a', expected 1 to 64 ASCII letters, digits, '_', '-' or '.', the first a letter "
            "or digit: files are named after it",
        ),
        (".,X,X\n.,X\n", "m.csv:2: found 2 cells, expected 3 as in the longest row of the grid"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_line(text, words):
    with pytest.raises(BenchError) as error:
        parse_csv(text, where="m.csv")
    assert str(error.value) == words


# -- SEMI G85


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("namespace", ["", ' xmlns="http://www.semi.org"', ' xmlns:semi="http://www.semi.org"'])
def test_every_kind_of_bin_gives_the_same_places(kind, namespace):
    wafer_map = read_g85(g85(kind, namespace=namespace))
    assert spots(wafer_map) == [(1, 0), (2, 0), (0, 1), (1, 1)]
    assert [int(p.bin, 16) for p in wafer_map.places] == [1, 7, 1, 1]
    assert (wafer_map.wafer, wafer_map.lot, wafer_map.notch) == ("W07", "L3", None)


def test_elements_with_a_prefix_are_known():
    text = g85().replace("<", "<s:").replace("<s:/", "</s:").replace("<s:?", "<?").replace("<s:!", "<!")
    text = text.replace(' xmlns="http://www.semi.org"', "").replace(
        "<s:Maps>", '<s:Maps xmlns:s="http://www.semi.org">'
    )
    assert spots(read_g85(text)) == [(1, 0), (2, 0), (0, 1), (1, 1)]


def test_bins_of_quality_null_are_no_dies_and_the_others_are_kept():
    bins = '<Bin BinCode="007" BinQuality="NULL"/><Bin BinCode="1" BinQuality="Pass"/>'
    wafer_map = read_g85(g85(inside=bins))
    assert spots(wafer_map) == [(1, 0), (0, 1), (1, 1)]
    assert wafer_map.quality == {"7": "null", "1": "pass"}


@pytest.mark.parametrize(
    ("notch", "expected"),
    [
        # the file's notch is at the left:   . 1 7
        #                                    1 1 .
        (90, [(1, 0, "1"), (2, 0, "7"), (0, 1, "1"), (1, 1, "1")]),
        (180, [(0, 0, "1"), (0, 1, "1"), (1, 1, "1"), (1, 2, "7")]),
        (270, [(1, 0, "1"), (2, 0, "1"), (0, 1, "7"), (1, 1, "1")]),
        (0, [(0, 0, "7"), (0, 1, "1"), (1, 1, "1"), (1, 2, "1")]),
    ],
)
def test_the_map_is_turned_to_the_notch_on_the_chuck(notch, expected):
    wafer_map = read_g85(g85(device='Orientation="90"'), MapReading(notch=notch))
    assert wafer_map.notch == notch
    assert [(p.x, p.y, p.bin) for p in wafer_map.places] == expected


@pytest.mark.parametrize(
    ("origin", "x", "y", "first"),
    [
        ("2", 3, 1, 1), ("2", 2, 0, 0), ("UpperLeft", 3, 1, 1), ("1", 1, 1, 1), ("toUpperRight", 1, 1, 1),
        ("3", 3, 2, 1), ("4", 1, 2, 1), ("LowerRight", 0, 1, 0),
    ],
)  # fmt: skip
def test_the_reference_device_moves_the_map_to_where_the_prober_has_it(origin, x, y, first):
    inside = f'<ReferenceDevice ReferenceDeviceX="{x}" ReferenceDeviceY="{y}"/>'
    wafer_map = read_g85(
        g85(device=f'OriginLocation="{origin}"', inside=inside), MapReading(reference=(12, 40), first=first)
    )
    assert [(p.x, p.y) for p in wafer_map.places if p.bin == "7"] == [(12, 40)]
    assert spots(wafer_map) == [(11, 40), (12, 40), (10, 41), (11, 41)]


def test_a_reference_from_the_centre_counts_from_the_middle_die():
    inside = '<ReferenceDevice ReferenceDeviceX="1" ReferenceDeviceY="-1"/>'
    text = g85(rows=["255 001 007", "001 001 255", "255 001 255"], device='OriginLocation="0"', inside=inside)
    wafer_map = read_g85(text.replace('Rows="2"', 'Rows="3"'), MapReading(reference=(0, 0)))
    assert [(p.x, p.y) for p in wafer_map.places if p.bin == "7"] == [(0, 0)]
    with pytest.raises(BenchError, match="OriginLocation is the centre, and a map of 3 x 2 has none"):
        read_g85(g85(device='OriginLocation="0"', inside=inside), MapReading(reference=(0, 0)))


def test_reference_and_notch_go_together():
    inside = '<ReferenceDevice ReferenceDeviceX="3" ReferenceDeviceY="1"/>'
    text = g85(device='OriginLocation="2" Orientation="0"', inside=inside)
    wafer_map = read_g85(text, MapReading(reference=(5, 5), notch=90))
    assert [(p.x, p.y, p.bin) for p in wafer_map.places] == [(4, 3, "1"), (4, 4, "1"), (5, 4, "1"), (5, 5, "7")]


ENTITY = '<!DOCTYPE Map [<!ENTITY a "aaaa">]>'


@pytest.mark.parametrize(
    ("text", "reading", "words"),
    [
        (g85(before=ENTITY), {}, r"m: found XML with a document type \(DTD\), expected"),
        (g85()[:-8], {}, "m:1: found no XML"),
        ("<Maps/>", {}, "m: found XML of maps with 0 Map and 0 Device, expected a SEMI G85 map"),
        (g85().replace('Rows="2"', 'Rows="4"'), {}, "found 2 rows of codes, expected 4 as the file says"),
        (g85().replace('Columns="3"', 'Columns="8"'), {}, "found 3 columns of codes, expected 8"),
        (g85(rows=["255 001 007", "001 001"]), {}, "row 2: found 2 codes, expected 3"),
        (g85("HexaDecimal", rows=["FF0107", "0101F"]), {}, "row 2: found 5 digits, expected 2 for each"),
        (g85(rows=["255 001 007", "001 0x1 255"]), {}, "row 2: found '0x1', expected a bin code that is decimal"),
        (g85().replace('"Decimal"', '"Roman"'), {}, "BinType is 'roman', expected Ascii, Decimal"),
        (g85().replace('NullBin="255" ', ""), {}, "there is no NullBin"),
        (g85(device='Orientation="45"'), {}, "Orientation is '45', expected 0, 90, 180 or 270"),
        (g85(), {"notch": 90}, "the map says no Orientation"),
        (g85(), {"reference": (1, 1)}, "the map has no ReferenceDevice"),
        (g85(rows=["255 255 255", "255 255 255"]), {}, "the map has no die"),
    ],
)  # fmt: skip
def test_a_wrong_xml_is_refused(text, reading, words):
    with pytest.raises(BenchError, match=words):
        read_g85(text, MapReading(**reading), "m")


@pytest.mark.parametrize(
    ("device", "x", "words"),
    [
        ('OriginLocation="9"', 1, "OriginLocation is '9'"),
        ('OriginLocation="2" AxisDirection="UpLeft"', 1, "AxisDirection upleft leads out of a map"),
        ('OriginLocation="2" AxisDirection="Sideways"', 1, "AxisDirection is 'sideways'"),
        ('OriginLocation="2"', 7, "the reference device is at column 6, row 0 of a map of 3 x 2"),
    ],
)
def test_a_wrong_reference_is_refused(device, x, words):
    inside = f'<ReferenceDevice ReferenceDeviceX="{x}" ReferenceDeviceY="1"/>'
    with pytest.raises(BenchError, match=words):
        read_g85(g85(device=device, inside=inside), MapReading(reference=(0, 0)))


def test_bytes_in_another_encoding_are_read():
    text = g85().replace("utf-8", "utf-16").replace("L3", "Lü")
    assert read_g85(text.encode("utf-16")).lot == "Lü"


def test_our_bins_come_back_from_the_g85_that_we_write_with_dies_that_were_not_tested():
    wafer_map = read_g85(g85(device='Orientation="90"'), MapReading())
    moved = replace(wafer_map, places=tuple(replace(p, x=p.x - 3, y=p.y - 2) for p in wafer_map.places))
    text = write_g85(moved, {"x1y0": 1, "x2y0": 3, "x1y1": 1})
    again = read_g85(text)
    found = [(p.x, p.y, p.bin) for p in again.places]
    assert found == [(-2, -2, "1"), (-1, -2, "3"), (-3, -1, "254"), (-2, -1, "1")]
    assert (again.wafer, again.lot, again.notch) == ("W07", "L3", 90)
    assert again.quality == {"1": "pass", "3": "fail", "254": "skip"}
    bins = ElementTree.fromstring(text.encode()).iter("{http://www.semi.org}Bin")
    assert [(b.get("BinCode"), b.get("BinCount")) for b in bins] == [("001", "2"), ("003", "1"), ("254", "1")]
    elsewhere = read_g85(text, MapReading(reference=(10, 10)))
    assert spots(elsewhere) == [(10, 10), (11, 10), (9, 11), (10, 11)]
    unjudged = read_g85(write_g85(moved, {"x1y0": 1, "x2y0": 99, "x1y1": 1}, unjudged={99}))
    assert unjudged.quality == {"1": "pass", "99": "", "254": "skip"}, "nothing judged bin 99, so it has not failed"
    with pytest.raises(BenchError, match="bin 254 asked for; a map holds 0 to 253"):
        write_g85(wafer_map, {"x1y0": 254})


@pytest.mark.parametrize(("far", "there"), [((249_999, 0), ""), ((0, 250), "251")])
def test_a_map_that_is_too_large_is_refused_wherever_it_comes_from(far, there):
    places = (Place(0, 0, "a"), Place(*far, "b"), Place(999, 0, "c"))
    text = "x,y\n" + "".join(f"{p.x},{p.y}\n" for p in places)
    dies = {p.name: (p.x, p.y) for p in places}
    words = "places, expected at most 250,000"
    if far[1]:
        with pytest.raises(BenchError, match=f"1,000 x {there} {words}"):
            parse_csv(text)
        with pytest.raises(BenchError, match=f"1,000 x {there} {words}"):
            write_g85(WaferMap(places), {})
        with pytest.raises(ValueError, match=f"1,000 x {there} {words}"):
            Wafer(name="W", dies=dies)
    else:
        assert len(parse_csv(text).places) == len(Wafer(name="W", dies=dies).places) == 3


# -- leaving dies out, and the wafer file


BINNED = WaferMap(
    (Place(0, 0, "a", "1"), Place(1, 0, "b", "07"), Place(2, 0, "c", "", "excluded by the map"), Place(0, 1, "d", "9")),
    quality={"1": "pass", "07": "fail", "9": "fail"},
)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, {"c"}),
        ({"exclude": ["x0y1", "a"]}, {"a", "c", "d"}),
        ({"exclude_bins": ["7"]}, {"b", "c"}),
        ({"include_bins": ["Pass"]}, {"b", "c", "d"}),
        ({"include_bins": ["1", "9"], "exclude_bins": ["9"]}, {"b", "c", "d"}),
        ({"exclude_bins": ["fail"]}, {"b", "c", "d"}),
    ],
)
def test_dies_are_left_out_by_place_name_bin_and_quality(how, expected):
    assert set(BINNED.without(**how).excluded) == expected


def test_every_exclusion_has_its_reason():
    wafer_map = BINNED.without(["a"], ["7"], []).excluded
    assert wafer_map == {
        "a": "excluded by the campaign", "c": "excluded by the map", "d": "bin 9 of the map is not included",
    }  # fmt: skip
    with pytest.raises(BenchError, match="there is no die 'x9y9' to exclude; the map has a to d"):
        BINNED.without(["x9y9"])
    with pytest.raises(BenchError, match="the map has no bin '5'; it has 07, 1, 9"):
        BINNED.without(exclude_bins=["5"])


def wafer_file(folder: Path, text: str, map_text: str = "", name: str = "lot.csv") -> Loaded[WaferFile]:
    (folder / name).write_text(map_text, encoding="utf-8")
    (folder / "wafer.yaml").write_text(text, encoding="utf-8")
    return read(folder / "wafer.yaml", WaferFile)


def entry(folder: Path, **more) -> WaferEntry:
    return WaferEntry(file=folder / "wafer.yaml", die=folder / "die.yaml", **more)


def test_a_wafer_file_names_its_map_relative_to_itself(tmp_path):
    described = wafer_file(tmp_path, "name: W3\nmap_file: lot.csv\n", "x,y,name,bin\n10,4,N1,1\n11,4,N2,5\n")
    wafer_map = lay_out(entry(tmp_path, exclude_bins=[5]), described)
    assert wafer_map.wafer.names == ("W3-N1", "W3-N2")
    assert wafer_map.wafer.place("W3-N2") == (11, 4)
    assert wafer_map.excluded == {"W3-N2": "bin 5 of the map is excluded"}
    assert wafer_map.source == tmp_path / "lot.csv"


def test_a_wafer_file_may_name_g85(tmp_path):
    text = "name: W3\nmap_file: lot.xml\nmap_reading: {notch: 0}\n"
    described = wafer_file(tmp_path, text, g85(device='Orientation="90"'), "lot.xml")
    assert lay_out(entry(tmp_path), described).wafer.names == ("W3-x0y0", "W3-x0y1", "W3-x1y1", "W3-x1y2")


def test_a_drawn_map_is_left_out_of_by_full_name_too(tmp_path):
    described = wafer_file(tmp_path, "name: W3\nmap: [.XX, XXX]\n")
    wafer_map = lay_out(entry(tmp_path, exclude=["W3-x1y0", "x0y1"]), described)
    assert wafer_map.excluded == dict.fromkeys(("W3-x1y0", "W3-x0y1"), "excluded by the campaign")
    assert wafer_map.source is None
    assert len(wafer_map.wafer.names) == 5


@pytest.mark.parametrize(
    ("text", "map_text", "words"),
    [
        ("name: W3\nmap: [X]\nmap_file: lot.csv\n", "x,y\n0,0\n", "expected one map: drawn"),
        ("name: W3\n", "", "a map without a die"),
        ("name: W3\nmap_file: other.csv\n", "", "no such file or folder: .*other.csv"),
        ("name: W3\nmap_file: lot.csv\n", "x,y\n0,zero\n", "lot.csv:2: found 'zero' for y"),
        ("name: W3\nmap_file: lot.csv\n", "x,y,name\n0,0,a/b\n", "lot.csv:2: name: found 'a/b', expected 1 to 64"),
        ("name: W3\nmap: [X]\ndies: {a: [0, 0]}\n", "", "not both"),
        ("name: W3\ndies: {a: 3}\n", "", r":2: dies.a: found 3, expected a list .* column and row of the die, such as"),
        ("name: W3\ndies: {a: [3]}\n", "", r":2: dies.a: found a list of 1, expected 2 entries: column and row of the"),
        ("name: W3\ndies: {a: [0, 0], b: [0, 0]}\n", "", "two dies are at the same place"),
    ],
)
def test_a_wrong_wafer_file_is_refused(tmp_path, text, map_text, words):
    with pytest.raises(BenchError, match=words):
        lay_out(entry(tmp_path), wafer_file(tmp_path, text, map_text))


def test_a_map_that_is_no_text_is_refused(tmp_path):
    described = wafer_file(tmp_path, "name: W3\nmap_file: lot.csv\n")
    (tmp_path / "lot.csv").write_bytes(b"x,y\n1,\xff\n")
    with pytest.raises(
        BenchError,
        match=r"lot\.csv:2: found the byte 0xff: a binary file, or a text in another encoding than UTF-8; expected",
    ):
        lay_out(entry(tmp_path), described)


# -- the documentation


DOC = Path(__file__).parents[4] / "docs" / "wafers.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)


def test_the_files_of_the_documentation_are_read(tmp_path):
    with_map, night, with_fiducials = blocks("yaml")
    described = wafer_file(tmp_path, with_map, *blocks("csv"))
    assert [(p.name, p.excluded) for p in lay_out(entry(tmp_path), described).map.places] == [
        ("A", ""),
        ("B", "excluded by the map: scratched"),
    ]
    assert [f.name for f in wafer_file(tmp_path, with_fiducials).value.fiducials] == ["x0y0", "x3y1", "x1y0"]
    (tmp_path / "die.yaml").write_text("", encoding="utf-8")
    wafer_map = yaml.safe_load(night)["wafer"]
    read = WaferEntry.model_validate({**wafer_map, "file": tmp_path, "die": tmp_path}, context={"file": True})
    assert read.exclude_bins == (7, "fail")
    assert [(s.name, s.x, s.y) for s in read.subsites] == [("a", 0, 0), ("b", 250e-6, -120e-6)]
