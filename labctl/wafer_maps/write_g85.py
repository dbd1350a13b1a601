"""SEMI G85 wafer maps, written: the hard bins of a run, of every place of its map.

A die that has no bin is no place without a die: it has a code of its own, so that the next machine has it. G85 counts
places from the upper left corner of its array; the coordinates of the prober are in SupplierData, which is free for
the writer of a file, and are read from there again.
"""

from collections.abc import Collection, Mapping
from xml.etree import ElementTree

from labctl.core.errors import BenchError
from labctl.wafer_maps.model import WaferMap, refuse_beyond
from labctl.wafer_maps.semi_g85 import OURS

NULL, NOT_TESTED = 255, 254
"""Codes of a place without a die, and of a die without a bin."""
GOOD = 1
"""Hard bin of a good die."""


def write_g85(wafer_map: WaferMap, bins: Mapping[str, int], unjudged: Collection[int] = ()) -> str:
    """Return a SEMI G85 XML text with our bins.

    Args:
        wafer_map: the places of the dies.
        bins: hard bin of each die by name, 0 to 253; a die without one is written as not tested, 254.
        unjudged: bins of dies that were measured and that nothing judges, which have no quality; else 1 is of quality
            Pass, and any other of quality Fail.

    Raises:
        BenchError: a bin beyond what three decimal digits of G85 hold beside these codes, or too large a map.
    """
    if wrong := {b for b in bins.values() if not 0 <= b < NOT_TESTED}:
        raise BenchError(
            f"bin {max(wrong)} asked for; a map holds 0 to {NOT_TESTED - 1}, beside {NOT_TESTED} for a die that was "
            f"not tested and {NULL} for no die"
        )
    (left, top), (columns, rows) = wafer_map.corner, wafer_map.extent
    refuse_beyond(columns, rows, "SEMI G85")
    codes = [[NULL] * columns for _ in range(rows)]
    for place in wafer_map.places:
        codes[place.y - top][place.x - left] = bins.get(place.name, NOT_TESTED)
    root = ElementTree.Element("Map", xmlns="http://www.semi.org", SubstrateType="Wafer", SubstrateId=wafer_map.wafer)
    root.set("FormatRevision", "SEMI G85 0703")
    device = ElementTree.SubElement(root, "Device", LotId=wafer_map.lot, BinType="Decimal", NullBin=str(NULL))
    device.attrib |= {"Rows": str(rows), "Columns": str(columns), "OriginLocation": "2", "MapType": "Array"}
    if wafer_map.notch is not None:
        device.set("Orientation", str(wafer_map.notch))
    x, y = wafer_map.reference or (wafer_map.places[0].x, wafer_map.places[0].y)
    reference = {"ReferenceDeviceX": str(x - left + 1), "ReferenceDeviceY": str(y - top + 1)}
    ElementTree.SubElement(device, "ReferenceDevice", reference)
    used = [c for row in codes for c in row if c != NULL]
    for code in sorted(set(used)):
        about = {"BinCode": f"{code:03d}", "BinCount": str(used.count(code))}
        if code == NOT_TESTED:
            about |= {"BinQuality": "Skip", "BinDescription": "not tested"}
        elif code in unjudged:
            about["BinDescription"] = "measured"
        else:
            about["BinQuality"] = "Pass" if code == GOOD else "Fail"
        ElementTree.SubElement(device, "Bin", about)
    ElementTree.SubElement(device, "SupplierData", ToolType=OURS, ReferenceColumn=str(x), ReferenceRow=str(y))
    data = ElementTree.SubElement(device, "Data", MapName="bins", MapVersion="1")
    for row in codes:
        ElementTree.SubElement(data, "Row").text = " ".join(f"{code:03d}" for code in row)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"
