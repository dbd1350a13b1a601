"""Read a wafer map in any of the formats: it is told by what it positively is, and else refused by what it seems to be.

The first bytes are judged before anything is read as text, the root element before anything is read as XML, and the
first lines before anything is read as CSV, which is the most permissive format and the last one.
"""

import re
from collections.abc import Callable

from labctl.core.errors import BenchError
from labctl.core.known_files import by_bytes, by_root, by_text, root_of
from labctl.core.texts import visible
from labctl.wafer_maps import semi_e142, semi_g85
from labctl.wafer_maps.csv_map import parse_csv
from labctl.wafer_maps.model import MAX_BYTES, MAX_PLACES, MapReading, ReadingError, WaferMap
from labctl.wafer_maps.xml_map import Element, decoded, encoding_of, parsed, tag

EXPECTED = "a wafer map as SEMI G85 or E142 XML, or as CSV in UTF-8"
_OURS = re.compile(r"^(map_file|map_reading|fiducials|stages|limits|geometry|junction|instruments):", re.MULTILINE)
"""Keys of the files that people write for this suite."""
_LONGEST = 1200
"""Characters of a message."""
_Reader = Callable[[Element, MapReading, str], WaferMap]
_XML: dict[str, _Reader] = {
    **dict.fromkeys(semi_g85.ROOTS, semi_g85.read_g85),
    **dict.fromkeys(semi_e142.ROOTS, semi_e142.read_e142),
}
"""Reader of each root element."""


def read_map(raw: bytes, reading: MapReading | None = None, where: str = "map") -> WaferMap:
    """Return the map in the bytes of a file.

    Args:
        reading: what the file leaves open.
        where: its name in messages.

    Raises:
        BenchError: naming file and line: what was found and what was expected; `ReadingError` if a setting of `reading`
            does not apply or is missing.
    """
    try:
        wafer_map = _read(raw, reading or MapReading(), where)
        _require_short(wafer_map, where)
    except BenchError as error:
        error.args = (_printable(str(error)),)
        raise
    return wafer_map


def _read(raw: bytes, reading: MapReading, where: str) -> WaferMap:
    if len(raw) > MAX_BYTES:
        raise BenchError(f"{where}: found {len(raw):,} bytes, expected {EXPECTED} of at most {MAX_BYTES:,}")
    if not raw.strip(b"\xef\xbb\xbf \t\r\n\0"):
        raise BenchError(f"{where}:1: the map is empty; expected {EXPECTED}")
    if what := by_bytes(raw):
        raise BenchError(f"{where}: found {what}, expected {EXPECTED}")
    wafer_map = _xml(raw, reading, where) if _is_xml(raw) else _csv(raw, reading, where)
    for key in ("wafer", "lot"):
        said, named = getattr(reading, key), getattr(wafer_map, key)
        if said is not None and said != named:
            has = f"names '{named}'" if named else f"names no {key}"
            raise ReadingError(
                key, f"found '{said}', and the map {where} {has}; expected the {key} that it names, or none"
            )
    return wafer_map


def _require_short(wafer_map: WaferMap, where: str) -> None:
    """Refuse texts that no journal, screen or other format holds: what a map says goes into all of them."""
    texts = [("wafer", wafer_map.wafer, 64), ("lot", wafer_map.lot, 64)]
    texts += [("bin", name, 32) for name in sorted({p.bin for p in wafer_map.places})]
    texts += [("exclude", p.excluded, 200) for p in wafer_map.places if p.excluded]
    for what, text, most in texts:
        if len(text) > most or not text.isprintable():
            raise BenchError(
                f"{where}: found {what} '{text[:most]}' of {len(text):,} characters, expected at most {most} that can "
                "be printed"
            )


def _printable(text: str) -> str:
    """Return a message in one line that a terminal can show, which `visible` alone is not; what is very long is cut."""
    plain = visible(text[:_LONGEST]).replace("\n", "\\n").replace("\t", "\\t")
    return plain if len(text) <= _LONGEST else plain + " ..."


def _is_xml(raw: bytes) -> bool:
    encoding, skip = encoding_of(raw)
    start = raw[skip : skip + 4096].decode(encoding or "latin-1", "replace")
    return start.lstrip().startswith("<")


def _xml(raw: bytes, reading: MapReading, where: str) -> WaferMap:
    text = decoded(raw, where)
    for mark, most in (("<", 3 * MAX_PLACES), ("=", 5 * MAX_PLACES)):
        if text.count(mark) > most:
            raise BenchError(
                f"{where}: found XML with more than {most:,} '{mark}', expected a map of at most {MAX_PLACES:,} places"
            )
    if root_of(text) not in _XML and (what := by_root(text)):
        raise BenchError(f"{where}: found {what}, expected {EXPECTED}")
    root = parsed(text, EXPECTED, where)
    reader = _XML.get(tag(root))
    if reader is None:
        raise BenchError(f"{where}: found XML of {root.tag.rpartition('}')[2][:60]}, expected {EXPECTED}")
    return reader(root, reading, where)


def _csv(raw: bytes, reading: MapReading, where: str) -> WaferMap:
    encoding, _ = encoding_of(raw)
    encoding = encoding or _unmarked(raw)
    if encoding not in ("", "utf-8"):
        raise BenchError(f"{where}:1: found a text in {encoding[:6].upper()}, expected {EXPECTED}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BenchError(
            f"{where}:{line}: found the byte 0x{raw[error.start]:02x}: a binary file, or a text in another encoding "
            f"than UTF-8; expected {EXPECTED}"
        ) from error
    if what := by_text(text) or ("a YAML file of this suite" if _OURS.search(text) else ""):
        raise BenchError(f"{where}: found {what}, expected {EXPECTED}")
    return parse_csv(text, reading, where)


def _unmarked(raw: bytes) -> str:
    """Return "utf-16" for a text whose every second byte is 0, as that of ASCII characters in UTF-16 is, else ""."""
    head = raw[:64]
    return (
        "utf-16" if len(head) > 1 and any(set(head[k::2]) == {0} and 0 not in head[1 - k :: 2] for k in (0, 1)) else ""
    )
