"""Map files with slips in them: CSV tables, CSV grids and SEMI G85, their cells, elements, attributes and bytes."""

import random
from collections.abc import Callable
from xml.etree import ElementTree

from faults.odd import BYTES, INTEGERS, NUMBERS, OTHER_FILES, TEXTS, XML_ENCODINGS
from faults.yaml_mutations import bytes_of, encoded

TABLE = "x,y,bin,name,exclude\n" + "".join(
    f"{x},{y},{1 + (x * y) % 3},{'R' if y else 'P'}{x}-{y},{'edge' if x == y == 0 else ''}\n"
    for y in range(4)
    for x in range(6)
)
GRID = (
    "\n".join(",".join(row) for row in (".....XX....", "..XXXXXX...", ".XXXXXXXXX.", "..XXXXXXX..", "....XXX...."))
    + "\n"
)
BINS = "\n".join(
    ";".join(row)
    for row in (
        [".", ".", "1", "2", ".", "."],
        [".", "1", "1", "1", "3", "."],
        ["1", "1", "2", "1", "1", "1"],
        [".", ".", "1", "1", ".", "."],
    )
)
G85 = """<?xml version="1.0" encoding="UTF-8"?>
<Map xmlns="http://www.semi.org" WaferId="W7" FormatRevision="G85-1101">
 <Device ProductId="P" LotId="L42" Orientation="0" WaferSize="200" DeviceSizeX="1" DeviceSizeY="2" Rows="3" Columns="4"
  OriginLocation="2" BinType="Decimal" NullBin="255">
  <ReferenceDevice ReferenceDeviceX="1" ReferenceDeviceY="2"/>
  <Bin BinCode="001" BinQuality="Pass" BinCount="6"/>
  <Bin BinCode="255" BinQuality="Null"/>
  <Data MapName="m"><Row>255 001 001 255</Row><Row>001 001 002 001</Row><Row>255 001 001 255</Row></Data>
 </Device>
</Map>
"""
READINGS = (
    {},
    *({"origin": corner} for corner in ("upper left", "lower right", "lower left")),
    *({"notch": notch} for notch in (0, 90, 270)),
    {"reference": (3, -2)},
    {"reference": (999_999, -999_999), "first": 0, "notch": 180},
)


def cells(rng: random.Random, text: str) -> bytes:
    """Return a CSV with cells, rows or columns changed, dropped or doubled."""
    mark = ";" if ";" in text else ","
    rows = [line.split(mark) for line in text.splitlines()]
    for _ in range(rng.choice([1, 1, 2, 4])):
        row = rng.choice(rows)
        what = rng.randrange(8)
        if what == 0:
            rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)))
        elif what == 1 and len(rows) > 1:
            rows.remove(row)
        elif what == 2:
            k = rng.randrange(max(map(len, rows)))
            rows = [[cell for n, cell in enumerate(r) if n != k] or [""] for r in rows]
        elif what == 3:
            row.append(rng.choice(["", "x", *TEXTS]))
        elif what == 4 and row:
            row.pop()
        elif row:
            row[rng.randrange(len(row))] = str(
                rng.choice([*TEXTS, *INTEGERS, *NUMBERS, "1.0", "+1", " 1", "１", '"', "#", "X", "."])
            )
    mark = rng.choice([mark, mark, mark, mark, "\t", ";", "|", " "])
    return "\n".join(map(mark.join, rows)).encode("utf-8", "surrogatepass")


def elements(rng: random.Random, text: str) -> bytes:
    """Return an XML map with elements and attributes changed, dropped, doubled, nested."""
    root = ElementTree.fromstring(text)
    for _ in range(rng.choice([1, 1, 2, 3])):
        everything = list(root.iter())
        element = rng.choice(everything)
        parent = next((e for e in everything if element in list(e)), None)
        what = rng.randrange(9)
        odd = str(rng.choice([*(t for t in TEXTS if t.isprintable()), *INTEGERS, *NUMBERS]))
        odd = odd.encode("utf-8", "ignore").decode()
        if what == 0 and parent is not None:
            parent.remove(element)
        elif what == 1 and parent is not None:
            for _ in range(rng.choice([1, 1, 300])):
                parent.append(element)
        elif what == 2 and element.attrib:
            del element.attrib[rng.choice(list(element.attrib))]
        elif what == 3:
            element.set(
                rng.choice(
                    [
                        "BinType",
                        "NullBin",
                        "Rows",
                        "Columns",
                        "Orientation",
                        "OriginLocation",
                        "AxisDirection",
                        "LotId",
                        "x",
                    ]
                ),
                odd,
            )
        elif what == 4:
            element.tag = rng.choice(["Map", "Device", "Data", "Row", "Bin", "x", "{u}Row", "MAP"])
        elif what == 5:
            element.text = rng.choice(["", odd, "001 " * 5000, "001" * 7, "0x1 0x2"])
        elif what == 6:
            ElementTree.SubElement(element, rng.choice(["Row", "Data", "Map", "Bin", "ReferenceDevice"])).text = odd
        elif element.attrib:
            element.set(
                rng.choice(list(element.attrib)),
                rng.choice([odd, "0", "1", "-1", "00042", "1e3", "Ascii", "HexaDecimal", "Integer2"]),
            )
    return ElementTree.tostring(root, encoding=rng.choice(["utf-8", "utf-16", "us-ascii", "iso-8859-1"]))


def too_much(rng: random.Random) -> bytes:
    """Return a map that is out of all proportion."""
    n = rng.choice([1000, 30_000, 300_000])
    makers: tuple[Callable[[], str], ...] = (
        lambda: "x,y\n" + "".join(f"{k % 999},{k // 999}\n" for k in range(n)),
        lambda: "\n".join([",".join("X" * 1000)] * (n // 1000)),
        lambda: ",".join("X" * n),
        lambda: "X\n" * n,
        lambda: "x,y\n0,0\n999999,999999\n-999999,-999999\n",
        lambda: "x,y\n" + "9" * n + ",1\n",
        lambda: 'x,y\n"' + "1" * n,
        lambda: "\n" * n + "x,y\n1,1",
        lambda: "," * n,
        lambda: "x,y,name\n" + "1,1," + "n" * n,
        lambda: "<a>" * n + "</a>" * n,
        lambda: "<Map>" + "<Device/>" * n + "</Map>",
        lambda: "<Map " + " ".join(f'a{k}="1"' for k in range(n)) + "/>",
        lambda: (
            "<!DOCTYPE x [<!ENTITY a '"
            + "x" * 50
            + "'>"
            + "".join(f"<!ENTITY a{k} '&a;&a;&a;'>" for k in range(20))
            + "]><Map>&a1;</Map>"
        ),
        lambda: G85.replace("<Row>255 001 001 255</Row>", "<Row>" + "001 " * n + "</Row>"),
        lambda: G85.replace("<Row>", "<Row>255 001 001 255</Row><Row>" * (n // 10)),
    )
    return rng.choice(makers)().encode()


def mutated(rng: random.Random) -> tuple[str, bytes]:
    """Return what was done to a map file, and the file."""
    base = rng.choice([TABLE, GRID, BINS, G85, G85])
    chance = rng.random()
    if chance < 0.55:
        return "structure", elements(rng, base) if base is G85 else cells(rng, base)
    if chance < 0.85:
        return "bytes", bytes_of(rng, base.encode())
    if chance < 0.90:
        return "encoding", encoded(rng, base)
    if chance < 0.95:
        name = rng.choice(XML_ENCODINGS)
        return "declared", G85.replace("UTF-8", name, 1).encode(
            rng.choice(["utf-8", "utf-16", "latin-1"])
        ) + rng.choice([b"", *BYTES])
    if chance < 0.985:
        return "other file", rng.choice(OTHER_FILES)
    return "too much", too_much(rng)
