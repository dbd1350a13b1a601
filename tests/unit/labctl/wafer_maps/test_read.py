"""Map files of other programs: each is read as what it positively is, or refused by what it seems to be."""

import tracemalloc
from random import Random

import pytest

from labctl.core.errors import BenchError
from labctl.core.texts import odd_character
from labctl.wafer_maps.model import MAX_BYTES, MapReading, ReadingError
from labctl.wafer_maps.read import read_map
from tests.unit.labctl.wafer_maps.corpus import NEW, READ, REFUSED, e142, g85


def refusal(raw):
    """Return why a map is refused, None if it is read; whatever else happens goes through."""
    try:
        read_map(raw)
    except BenchError as error:
        return str(error)
    return None


@pytest.mark.parametrize("head", READ, ids=lambda head: head.after)
def test_a_map_that_is_known_is_read(head):
    wafer_map = read_map(head.raw, MapReading(**head.reading))
    assert tuple((p.x, p.y, p.bin) for p in wafer_map.places) == tuple(sorted(head.places, key=lambda p: (p[1], p[0])))
    assert {name: getattr(wafer_map, name) for name in head.says} == head.says


@pytest.mark.parametrize("head", REFUSED, ids=lambda head: head.after)
def test_every_other_file_is_refused_by_what_it_seems_to_be(head):
    with pytest.raises(BenchError) as error:
        read_map(head.raw, MapReading(**head.reading), "lot.map")
    assert str(error.value).startswith("lot.map")
    assert head.refused in str(error.value)
    assert "expected" in str(error.value)


def test_the_corpus_has_heads_enough():
    assert len(READ) + len(REFUSED) >= 30
    assert len({head.after for head in (*READ, *REFUSED)}) == len(READ) + len(REFUSED)


PLAIN = 'BinType="Decimal" NullBin="255"'


@pytest.mark.parametrize(
    ("text", "reading", "key", "words"),
    [
        (g85(NEW, ["001"], device=PLAIN + ' OriginLocation="2"'), {"origin": "lower left"}, "origin",
         "found 'origin', which does not apply to SEMI G85-0703 that says its origin itself; expected one of notch,"),
        (g85(NEW, ["001"], device=PLAIN), {"origin": "lower left"}, "origin", "nothing in this map counts from it"),
        (g85(NEW, ["001"], device=PLAIN), {"first": 0}, "first", "found 'first' without 'reference'"),
        (g85(NEW, ["001"], device=PLAIN), {"reference_device": 1}, "reference_device", "without 'reference'"),
        (g85(NEW, ["001"], device=PLAIN), {"reference": (1, 1)}, "reference", "the map has no ReferenceDevice"),
        (g85(NEW, ["001"], device=PLAIN + ' OriginLocation="0"').replace(
            "<Data", '<ReferenceDevice ReferenceDeviceX="0" ReferenceDeviceY="0"/><Data', 1
        ), {"reference": (1, 1), "first": 0}, "first", "this map counts from its centre"),
        (g85(NEW, ["001"], device=PLAIN), {"notch": 0}, "notch", "the map says no Orientation"),
        (g85(NEW, ["001"], device=PLAIN), {"wafer": "W2"}, "wafer", "found 'W2', and the map m names 'A12_91'"),
        (g85(NEW, ["001"], device=PLAIN), {"lot": "L2"}, "lot", "found 'L2', and the map m names no lot"),
        ("x,y\n1,2\n", {"reference": (1, 1)}, "reference", "found 'reference', which does not apply to a CSV table"),
        ("x,y\n1,2\n", {"first": 0}, "first", "found 'first', which does not apply to a CSV table"),
        (e142('<BinCode X="1" Y="0">1</BinCode>', code_map='BinType="Ascii" NullBin="." MapType="Coordinate"',
              substrate='AxisDirection="UpRight" Orientation="0"'), {"notch": 90}, "notch",
         "expected 'reference' as well"),
    ],
)  # fmt: skip
def test_a_setting_that_does_not_apply_is_refused_by_its_name(text, reading, key, words):
    with pytest.raises(ReadingError) as error:
        read_map(text.encode(), MapReading(**reading), "m")
    assert error.value.key == key
    assert words in str(error.value)


def test_a_list_of_dies_is_turned_about_its_reference_device():
    #  1 7 at (5, 3) and (6, 3), 2 at (5, 4) below; y grows upwards, the notch is at the left and goes below
    codes = "".join(f'<BinCode X="{x}" Y="{y}">{b}</BinCode>' for x, y, b in ((5, 4, "1"), (6, 4, "7"), (5, 3, "2")))
    text = e142(
        codes,
        code_map='BinType="Ascii" NullBin="." MapType="Coordinate"',
        substrate='SubstrateId="K7-03" AxisDirection="UpRight" Orientation="90"',
        references='<ReferenceDevice><Coordinates X="6" Y="4"/></ReferenceDevice>',
    ).encode()
    upright = read_map(text, MapReading(reference=(0, 0)))
    assert [(p.x, p.y, p.bin) for p in upright.places] == [(-1, 0, "1"), (0, 0, "7"), (-1, 1, "2")]
    turned = read_map(text, MapReading(reference=(0, 0), notch=180))
    assert [(p.x, p.y, p.bin) for p in turned.places] == [(-1, -1, "2"), (0, -1, "1"), (0, 0, "7")]
    assert (turned.notch, turned.reference) == (180, (0, 0))


LARGE = {
    "columns that the file only claims": g85(NEW, ["001"], device=PLAIN + ' Columns="1000000000"'),
    "places far apart": "x,y\n-999999,0\n999999,999999\n",
    "a row of a million codes": g85(NEW, ["1" * 250_001], device='BinType="Ascii" NullBin="."'),
    "a grid of many cells": "," * 1_000_001 + "X\n",
    "a thousand rows of many": g85(NEW, ["01" * 501] * 500, device='BinType="HexaDecimal" NullBin="FF"'),
    "elements without end": "<Map>" + "<a>" * 800_000,
    "a list of two dies": e142(
        '<BinCode X="0" Y="0">1</BinCode><BinCode X="999999" Y="9">1</BinCode>',
        code_map='BinType="Ascii" NullBin="." MapType="Coordinate"',
        substrate='AxisDirection="DownRight"',
    ),
}


@pytest.mark.parametrize("what", LARGE)
def test_a_map_without_bounds_is_refused_before_it_takes_memory(what):
    raw = LARGE[what].encode()
    tracemalloc.start()
    with pytest.raises(
        BenchError, match=r"expected (at most|a whole number|a map of at most)|places, expected at most"
    ):
        read_map(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "x,y,wafer\n1,2," + "W" * 65,
            f"found wafer '{'W' * 64}' of 65 characters, expected at most 64 that can be printed",
        ),
        ("x,y,bin\n1,2," + "B" * 33, "of 33 characters, expected at most 32 that can be printed"),
        ("x,y,exclude\n1,2," + "e" * 500, "characters, expected at most 200 that can be printed"),
        (g85(NEW.replace("A12_91", "A&#10;B"), ["001"], device=PLAIN), r"found wafer 'A\nB' of 3 characters"),
    ],
)
def test_texts_that_go_elsewhere_are_short_and_can_be_printed(text, words):
    with pytest.raises(BenchError) as error:
        read_map(text.encode())
    assert words in str(error.value)


def test_a_message_can_be_printed_whatever_the_file_has():
    with pytest.raises(BenchError) as error:
        read_map(b'x,y\n\t,1\n"\n\n",1\n')
    assert not odd_character(str(error.value))
    assert not set("\t\n") & set(str(error.value))


@pytest.mark.parametrize("seed", range(4))
def test_a_map_that_is_damaged_is_read_or_refused_in_words(seed):
    random = Random(seed)
    for _ in range(150):
        raw = bytearray(random.choice((*READ, *REFUSED)).raw)
        for _ in range(random.choice((1, 2, 5))):
            at = random.randrange(len(raw) + 1)
            end = min(len(raw), at + random.choice((1, 5, 50)))
            other = random.choice((*READ, *REFUSED)).raw
            raw[at:end] = random.choice(
                (b"", b"<", b"\0", b"\xff", b"&", b"9" * 20, raw[at:end] * 3, other[:80], other[-80:])
            )
        said = refusal(bytes(raw))
        assert said is None or (not odd_character(said) and "expected" in said)


def test_a_file_that_is_too_large_is_not_looked_at():
    with pytest.raises(BenchError, match=r"found 16,777,217 bytes, expected a wafer map .* of at most 16,777,216"):
        read_map(b"x" * (MAX_BYTES + 1))
