"""SEMI G85 wafer maps: read into places as the prober counts them, and written with our bins.

The format is SEMI G85-0703 as in public descriptions and files. Rows are in the file as the map is seen, the first on
top; OriginLocation is the origin of X and Y of the reference device, and Orientation the place of the notch, in degrees
clockwise from the bottom.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from xml.etree import ElementTree

from labctl.core.errors import BenchError
from labctl.wafer_maps.model import Corner, MapReading, Place, Spot, WaferMap, whole, whole_number

_CORNERS: Mapping[str, Corner] = {"1": "upper right", "2": "upper left", "3": "lower left", "4": "lower right"}

_G85 = "a SEMI G85 map"


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuse a document type before its entities are read: they can name files and grow without bound."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise BenchError(f"found the document type (DTD) of {name}, expected {_G85}, which needs none")


def _tag(element: ElementTree.Element) -> str:
    """Return the name of an element in lower case, without its namespace."""
    return element.tag.rpartition("}")[2].lower()


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    """Return the attributes by name in lower case, without namespaces: writers differ in both."""
    return {key.rpartition("}")[2].lower(): value.strip() or value for key, value in element.attrib.items()}


def parse_g85(raw: bytes | str, reading: MapReading | None = None, where: str = "map") -> WaferMap:
    """Return the map in a SEMI G85 XML text: Map, Device, Bin, Data and Row.

    BinType is Ascii, Decimal (three digits), HexaDecimal (two) or Integer2 (four hexadecimal digits), with or without
    spaces between the codes. Rows are as the map is seen, the first on top. The result is turned so that the notch
    lies at `reading.notch`, and moved so that the reference device has the coordinates `reading.reference`.

    Raises:
        BenchError: with `where`, what was found and what was expected.
    """
    reading = reading or MapReading()
    try:
        root = ElementTree.fromstring(raw, ElementTree.XMLParser(target=_NoDoctype()))
    except ElementTree.ParseError as error:
        raise BenchError(f"{where}:{error.position[0]}: found no XML: {error}; expected {_G85}") from error
    except (ValueError, LookupError) as error:  # an encoding that the parser does not know
        raise BenchError(f"{where}:1: found XML that cannot be read: {error}; expected {_G85} in UTF-8") from error
    except BenchError as error:
        raise BenchError(f"{where}: {error}") from None
    maps = [e for e in root.iter() if _tag(e) == "map"]
    devices = [e for m in maps for e in m if _tag(e) == "device"]
    if len(maps) != 1 or len(devices) != 1:
        raise BenchError(
            f"{where}:1: found XML of {root.tag.rpartition('}')[2]} with {len(maps)} Map and {len(devices)} Device, "
            f"expected {_G85}: one Map of one Device"
        )
    device, attributes = devices[0], {**_attributes(maps[0]), **_attributes(devices[0])}
    data = [e for e in device.iter() if _tag(e) == "data"]
    if len(data) != 1:
        raise BenchError(f"{where}: found {len(data)} Data, expected one")
    rows = [
        list(_codes("".join(e.itertext()), attributes, f"{where}: row {k}"))
        for k, e in enumerate(_rows(data[0]), start=1)
    ]
    for what, expected in (("rows", len(rows)), ("columns", len(rows[0]) if rows else 0)):
        if attributes.get(what) and attributes[what] != str(expected):
            raise BenchError(f"{where}: found {expected} {what} in Data, expected {attributes[what]} as Device says")
    for k, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise BenchError(f"{where}: row {k}: found {len(row)} codes, expected {len(rows[0])}")
    if "nullbin" not in attributes:
        raise BenchError(f"{where}: Device says no NullBin, expected the code of places without a die")
    quality = dict(_qualities(device, attributes, where))
    null = {c for c, q in quality.items() if q == "null"}
    if attributes["nullbin"]:
        null.add(_code(attributes["nullbin"], attributes, f"{where}: NullBin"))
    places = [Place(x, y, "", c) for y, row in enumerate(rows) for x, c in enumerate(row) if c not in null]
    notch = _angle(attributes.get("orientation", ""), where)
    extent = len(rows[0]) if rows else 0, len(rows)
    reference = _reference(device, attributes, extent, reading, where)
    if reading.notch is not None:
        if notch is None:
            raise BenchError(
                f"{where}: the map says no Orientation, so it cannot be turned to a notch at {reading.notch}"
            )
        for _ in range((reading.notch - notch) % 360 // 90):
            places = [replace(p, x=extent[1] - 1 - p.y, y=p.x) for p in places]
            reference = reference and (extent[1] - 1 - reference[1], reference[0])
            extent = extent[1], extent[0]
        notch = reading.notch
    if reading.reference is not None and reference is not None:
        right, down = reading.reference[0] - reference[0], reading.reference[1] - reference[1]
        places = [replace(p, x=p.x + right, y=p.y + down) for p in places]
    return replace(
        whole(places, where),
        wafer=attributes.get("waferid") or attributes.get("substrateid", ""),
        lot=attributes.get("lotid", ""),
        notch=notch,
        quality=quality,
    )


def _qualities(device: ElementTree.Element, attributes: Mapping[str, str], where: str) -> Iterator[tuple[str, str]]:
    for element in device:
        if _tag(element) == "bin":
            bin_attributes = _attributes(element)
            yield (
                _code(bin_attributes.get("bincode", ""), attributes, f"{where}: BinCode"),
                bin_attributes.get("binquality", "").lower(),
            )


def _rows(data: ElementTree.Element) -> Iterator[ElementTree.Element]:
    return (e for e in data if _tag(e) == "row")


_WIDTHS = {"ascii": 1, "decimal": 3, "hexadecimal": 2, "integer2": 4}


def _kind(attributes: Mapping[str, str], where: str) -> str:
    kind = attributes.get("bintype", "").lower()
    if kind not in _WIDTHS:
        raise BenchError(f"{where}: BinType is '{kind}', expected Ascii, Decimal, HexaDecimal or Integer2")
    return kind


def _code(text: str, attributes: Mapping[str, str], where: str) -> str:
    """Return a bin code in the one form in which codes are compared: decimal numbers without leading zeros."""
    kind = _kind(attributes, where)
    digits = r"[0-9]+" if kind == "decimal" else r"[0-9A-Fa-f]+"
    if kind != "ascii" and not re.fullmatch(digits, text):
        raise BenchError(f"{where}: found '{text}', expected a bin code that is {kind}")
    return text if kind == "ascii" else str(int(text)) if kind == "decimal" else text.upper().zfill(_WIDTHS[kind])


def _codes(text: str, attributes: Mapping[str, str], where: str) -> Iterator[str]:
    kind = _kind(attributes, where)
    parts = text.split()
    if kind == "ascii":
        yield from text.strip("\r\n\t") if attributes.get("nullbin") == " " else text.strip()
        return
    if len(parts) <= 1:
        joined, width = "".join(parts), _WIDTHS[kind]
        if len(joined) % width:
            raise BenchError(f"{where}: found {len(joined)} digits, expected {width} for each {kind} code")
        parts = [joined[k : k + width] for k in range(0, len(joined), width)]
    for part in parts:
        yield _code(part, attributes, where)


def _angle(text: str, where: str) -> int | None:
    """Return the place of the notch in degrees clockwise from the bottom, None if the file has none."""
    if not text:
        return None
    if text not in ("0", "90", "180", "270"):
        raise BenchError(f"{where}: Orientation is '{text}', expected 0, 90, 180 or 270")
    return int(text)


def _reference(
    device: ElementTree.Element, attributes: Mapping[str, str], extent: Spot, reading: MapReading, where: str
) -> Spot | None:
    """Return the (column, row) of the reference device from the top left; None without `reading.reference`."""
    if reading.reference is None:
        return None
    devices = [_attributes(e) for e in device if _tag(e) == "referencedevice"]
    if not devices:
        raise BenchError(f"{where}: the map has no ReferenceDevice, and the wafer file says where it is")
    x, y = (whole_number(devices[0].get(f"referencedevice{a}", ""), f"ReferenceDevice{a.upper()}", where) for a in "xy")
    origin, axes = _origin(attributes, where)
    if origin == "center":
        if not (extent[0] % 2 and extent[1] % 2):
            raise BenchError(f"{where}: OriginLocation is the centre, and a map of {extent[0]} x {extent[1]} has none")
        at = (extent[0] // 2 + (x if "right" in axes else -x), extent[1] // 2 + (y if "down" in axes else -y))
    else:
        x, y = x - reading.first, y - reading.first
        at = (x if "left" in origin else extent[0] - 1 - x, y if "upper" in origin else extent[1] - 1 - y)
    if not (0 <= at[0] < extent[0] and 0 <= at[1] < extent[1]):
        raise BenchError(
            f"{where}: the reference device is at column {at[0]}, row {at[1]} of a map of {extent[0]} x {extent[1]}; "
            f"its numbers are said to count from {reading.first}"
        )
    return at


def _origin(attributes: Mapping[str, str], where: str) -> tuple[str, str]:
    """Return the origin ("center" or a corner in words) and the directions in which X and Y grow."""
    text = attributes.get("originlocation", "").lower().removeprefix("to")
    words = {c.replace(" ", ""): c for c in _CORNERS.values()}
    origin = "center" if text in ("0", "center", "centre") else _CORNERS.get(text) or words.get(text)
    if origin is None:
        raise BenchError(f"{where}: OriginLocation is '{text}', expected 0 (centre) or 1 to 4 (corners)")
    inward = {"upper right": "downleft", "upper left": "downright", "lower left": "upright", "lower right": "upleft"}
    axes = attributes.get("axisdirection", "").lower() or inward.get(origin, "downright")
    if axes not in inward.values():
        raise BenchError(f"{where}: AxisDirection is '{axes}', expected DownRight, DownLeft, UpRight or UpLeft")
    if origin in inward and axes != inward[origin]:
        raise BenchError(f"{where}: AxisDirection {axes} leads out of a map that begins at its {origin}")
    return origin, axes


def write_g85(wafer_map: WaferMap, bins: Mapping[str, int], good: Iterable[int] = (1,)) -> str:
    """Return a SEMI G85 XML text with our bins.

    Args:
        wafer_map: the places of the dies.
        bins: hard bin of each die by name, 0 to 254; a die without one has the null bin 255.
        good: bins of quality Pass.

    Raises:
        BenchError: a bin beyond what three decimal digits of G85 hold.
    """
    if wrong := {b for b in bins.values() if not 0 <= b < 255}:
        raise BenchError(f"bin {max(wrong)} asked for; a map holds 0 to 254")
    left, top = min(p.x for p in wafer_map.places), min(p.y for p in wafer_map.places)
    columns = max(p.x for p in wafer_map.places) - left + 1
    rows = max(p.y for p in wafer_map.places) - top + 1
    codes = [[255] * columns for _ in range(rows)]
    for place in wafer_map.places:
        codes[place.y - top][place.x - left] = bins.get(place.name, 255)
    root = ElementTree.Element("Map", xmlns="http://www.semi.org", SubstrateType="Wafer", SubstrateId=wafer_map.wafer)
    root.set("FormatRevision", "SEMI G85 0703")
    device = ElementTree.SubElement(root, "Device", LotId=wafer_map.lot, BinType="Decimal", NullBin="255")
    device.attrib |= {"Rows": str(rows), "Columns": str(columns), "OriginLocation": "2", "MapType": "Array"}
    if wafer_map.notch is not None:
        device.set("Orientation", str(wafer_map.notch))
    first = wafer_map.places[0]
    reference = {"ReferenceDeviceX": str(first.x - left + 1), "ReferenceDeviceY": str(first.y - top + 1)}
    ElementTree.SubElement(device, "ReferenceDevice", reference)
    used = [c for row in codes for c in row if c != 255]
    for code in sorted(set(used)):
        quality = "Pass" if code in set(good) else "Fail"
        about = {"BinCode": f"{code:03d}", "BinQuality": quality, "BinCount": str(used.count(code))}
        ElementTree.SubElement(device, "Bin", about)
    data = ElementTree.SubElement(device, "Data", MapName="bins", MapVersion="1")
    for row in codes:
        ElementTree.SubElement(data, "Row").text = " ".join(f"{code:03d}" for code in row)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
