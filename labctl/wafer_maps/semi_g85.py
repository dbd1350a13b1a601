"""SEMI G85 wafer maps, read: XML of Map, Device, Bin, Data and Row, in the revisions of 2001 and 2003.

What differs: files of G85-1101 name a wafer by WaferId and may leave out BinType, those of G85-0303 and G85-0703 name a
substrate by SubstrateId. The formats are read as in public descriptions and files; rows are in the file as the map is
seen, and OriginLocation is the origin of X and Y of the reference device alone.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from labctl.core.errors import BenchError
from labctl.wafer_maps.bin_codes import BinCodes
from labctl.wafer_maps.model import MapReading, Place, WaferMap, refuse_beyond
from labctl.wafer_maps.raster import Raster, rectangle
from labctl.wafer_maps.xml_map import Element, attributes, tag, within

ROOTS = ("map", "maps")
"""Root elements, in lower case."""
NAME = "a SEMI G85 map"
_REVISIONS = ("1101", "0303", "0703")
OURS = "mtj-labctl"
"""ToolType of SupplierData in the files that this suite writes."""


def read_g85(root: Element, reading: MapReading, where: str) -> WaferMap:
    """Return the map in a SEMI G85 XML.

    Codes are Ascii, Decimal, HexaDecimal or Integer2. The result is turned so that the notch lies at `reading.notch`,
    and moved so that the reference device has the coordinates `reading.reference`; a file that this suite has written
    says these coordinates itself.

    Raises:
        BenchError: with `where`, what was found and what was expected.
    """
    maps = list(within(root, "map"))
    devices = [e for m in maps for e in m if tag(e) == "device"]
    if len(maps) != 1 or len(devices) != 1:
        raise BenchError(
            f"{where}: found XML of {tag(root)} with {len(maps)} Map and {len(devices)} Device, expected {NAME}: one "
            "Map of one Device"
        )
    device, about = devices[0], {**attributes(maps[0]), **attributes(devices[0])}
    substrate = about.get("substratetype", "wafer").lower()
    if substrate != "wafer":
        raise BenchError(f"{where}: found the map of a {substrate}, expected one of a wafer (SubstrateType)")
    revision = about.get("formatrevision", "")
    if revision and not any(r in revision for r in _REVISIONS):
        raise BenchError(
            f"{where}: FormatRevision is '{revision[:40]}', expected G85 in the revision "
            f"{', '.join(_REVISIONS)}, or none"
        )
    data = list(within(device, "data"))
    if len(data) != 1:
        raise BenchError(f"{where}: found {len(data)} Data, expected one")
    codes = BinCodes.of(about, where)
    lines = ["".join(e.itertext()) for e in data[0] if tag(e) == "row"]
    rows = []
    for k, line in enumerate(lines, start=1):
        rows.append(codes.row(line, f"{where}: row {k}"))
        refuse_beyond(len(rows[0]), len(lines), where)
    extent = rectangle(rows, about, where)
    quality = dict(_qualities(device, codes, where))
    null = {codes.null, *(c for c, q in quality.items() if q == "null")}
    places = [Place(x, y, "", c) for y, row in enumerate(rows) for x, c in enumerate(row) if c not in null]
    found = [attributes(e) for e in device if tag(e) == "referencedevice"]
    references = [(a.get("referencedevicex", ""), a.get("referencedevicey", "")) for a in found]
    if reading.reference is None and (own := _own_reference(device, where)) is not None:
        reading = reading.model_copy(update={"reference": own})
    year = next((r for r in _REVISIONS if r in revision), "")
    wafer_map = Raster(places, extent, about, references, first=1).placed(
        reading, f"SEMI G85-{year}" if year else "SEMI G85", where
    )
    return replace(
        wafer_map,
        wafer=about.get("waferid") or about.get("substrateid", ""),
        lot=about.get("lotid", ""),
        quality=quality,
    )


def _qualities(device: Element, codes: BinCodes, where: str) -> Iterator[tuple[str, str]]:
    for element in device:
        if tag(element) == "bin":
            about = attributes(element)
            yield codes.code(about.get("bincode", ""), f"{where}: BinCode"), about.get("binquality", "").lower()


def _own_reference(device: Element, where: str) -> tuple[int, int] | None:
    """Return (column, row) of the reference device as the prober counts, in a file that this suite has written."""
    for element in device:
        about = attributes(element) if tag(element) == "supplierdata" else {}
        if about.get("tooltype") == OURS and "referencecolumn" in about:
            texts = about.get("referencecolumn", ""), about.get("referencerow", "")
            if not all(re.fullmatch(r"-?[0-9]{1,6}", text) for text in texts):
                raise BenchError(
                    f"{where}: SupplierData has ReferenceColumn and ReferenceRow {texts}, expected whole numbers"
                )
            return int(texts[0]), int(texts[1])
    return None
