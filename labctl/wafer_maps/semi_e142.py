"""SEMI E142 substrate maps, read: the XML of E142.1 with the bin codes of one wafer.

MapData has Layouts, Substrates with their LotId, and SubstrateMaps. One BinCodeMap of a wafer is a wafer map: an array,
with a BinCode for each row from the top as the map is seen, or a list, with a BinCode with X and Y for each die. The
format is read as in public descriptions and files. Devices within devices, strips, trays and transfers between
substrates are other maps and are refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from labctl.core.errors import BenchError
from labctl.wafer_maps.bin_codes import BinCodes
from labctl.wafer_maps.model import MapReading, Place, WaferMap, refuse_beyond, whole_number
from labctl.wafer_maps.raster import Raster, rectangle
from labctl.wafer_maps.xml_map import Element, attributes, tag, within

ROOTS = ("mapdata",)
"""Root elements, in lower case."""
NAME = "a SEMI E142 substrate map"


def read_e142(root: Element, reading: MapReading, where: str) -> WaferMap:
    """Return the map of a wafer in a SEMI E142 XML, turned and moved as `Raster.placed` says.

    Raises:
        BenchError: with `where`, what was found and what was expected.
    """
    maps = list(within(root, "substratemap"))
    if len(maps) != 1:
        raise BenchError(f"{where}: found XML of MapData with {len(maps)} SubstrateMap, expected {NAME} with one")
    substrate, about = maps[0], attributes(maps[0])
    kind = about.get("substratetype", "wafer")
    if kind.lower() != "wafer":
        raise BenchError(f"{where}: found the map of a {kind.lower()}, expected one of a wafer (SubstrateType)")
    found = list(within(substrate, "bincodemap"))
    if len(found) != 1:
        others = sorted(
            {e.tag.rpartition("}")[2] for e in substrate.iter() if tag(e).endswith("map")} - {"SubstrateMap"}
        )
        raise BenchError(
            f"{where}: found {len(found)} BinCodeMap ({', '.join(others) or 'no map'}), expected {NAME} with one"
        )
    codes_map, about = found[0], {**about, **attributes(found[0]), **_dimension(root, about, where)}
    codes = BinCodes.of(about, where)
    quality = dict(_qualities(codes_map, codes, where))
    null = {codes.null, *(c for c, q in quality.items() if q == "null")}
    elements = [e for e in codes_map if tag(e) == "bincode"]
    what = about.get("maptype", "2darray").lower()
    if what in ("2darray", "array"):
        if listed := [e for e in elements if "x" in attributes(e)]:
            raise BenchError(f"{where}: found {len(listed)} BinCode with X in a map of MapType 2DArray, expected rows")
        raster = _array(elements, codes, null, about, where)
    elif what == "coordinate":
        raster = _list(elements, codes, null, about, where)
    else:
        raise BenchError(f"{where}: MapType is '{what[:20]}', expected 2DArray or Coordinate")
    raster = replace(raster, references=list(_references(substrate)))
    return replace(
        raster.placed(reading, "SEMI E142", where),
        wafer=about.get("substrateid", ""),
        lot=_lot(root, about.get("substrateid", "")),
        quality=quality,
    )


def _array(elements: list[Element], codes: BinCodes, null: set[str], about: Mapping[str, str], where: str) -> Raster:
    lines = [line for e in elements for line in "".join(e.itertext()).strip("\r\n\t ").splitlines() or [""]]
    rows = []
    for k, line in enumerate(lines, start=1):
        rows.append(codes.row(line, f"{where}: row {k}"))
        refuse_beyond(len(rows[0]), len(lines), where)
    extent = rectangle(rows, about, where)
    places = [Place(x, y, "", c) for y, row in enumerate(rows) for x, c in enumerate(row) if c not in null]
    return Raster(places, extent, about)


def _list(elements: list[Element], codes: BinCodes, null: set[str], about: Mapping[str, str], where: str) -> Raster:
    places = []
    numbers: dict[str, int] = {}
    known: dict[str, str] = {}
    for k, element in enumerate(elements, start=1):
        at, spot = attributes(element), []
        for axis in "xy":
            if (text := at.get(axis, "")) not in numbers:
                numbers[text] = whole_number(text, axis.upper(), f"{where}: BinCode {k}")
            spot.append(numbers[text])
        if (text := "".join(element.itertext()).strip()) not in known:
            known[text] = codes.code(text, f"{where}: BinCode {k}")
        if known[text] not in null:
            places.append(Place(spot[0], spot[1], "", known[text]))
    if not places:
        raise BenchError(f"{where}: the map has no die, expected at least one")
    across, down = [p.x for p in places], [p.y for p in places]
    extent = max(across) - min(across) + 1, max(down) - min(down) + 1
    refuse_beyond(*extent, where)
    return Raster(places, extent, about, listed=True)


def _dimension(root: Element, about: Mapping[str, str], where: str) -> dict[str, str]:
    """Return columns and rows of the layout that the map names; BenchError if devices lie within devices."""
    layouts = {attributes(e).get("layoutid", ""): e for e in within(root, "layout")}
    path = [part for part in about.get("layoutspecifier", "").split("/") if part in layouts]
    sizes = [attributes(d) for part in path for d in layouts[part] if tag(d) == "dimension"]
    for size in sizes[:-1]:
        if (size.get("x"), size.get("y")) != ("1", "1"):
            raise BenchError(
                f"{where}: found devices within {size.get('x')} x {size.get('y')} others (Layout), "
                "expected one array of dies"
            )
    if not sizes or sizes[-1].get("x", "1") == sizes[-1].get("y", "1") == "1":
        return {}
    return {"columns": sizes[-1].get("x", ""), "rows": sizes[-1].get("y", "")}


def _qualities(codes_map: Element, codes: BinCodes, where: str) -> Iterator[tuple[str, str]]:
    for element in within(codes_map, "bindefinition"):
        about = attributes(element)
        yield codes.code(about.get("bincode", ""), f"{where}: BinCode"), about.get("binquality", "").lower()


def _references(substrate: Element) -> Iterator[tuple[str, str]]:
    for device in within(substrate, "referencedevice"):
        for at in within(device, "coordinates"):
            about = attributes(at)
            yield about.get("x", ""), about.get("y", "")


def _lot(root: Element, substrate_id: str) -> str:
    """Return the lot of a substrate, "" if the file names none."""
    for element in within(root, "substrate"):
        if attributes(element).get("substrateid", "") == substrate_id:
            return next(("".join(e.itertext()).strip() for e in within(element, "lotid")), "")
    return ""
