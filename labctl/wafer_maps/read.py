"""Read a wafer map in any of the formats: it is told by what it positively is, and else refused by what it seems to be.

The first bytes are judged before anything is read as text, the root element before anything is read as XML, and the
first lines before anything is read as CSV, which is the most permissive format and the last one.
"""

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from labctl.core.errors import BenchError
from labctl.core.known_files import by_bytes, by_root, by_text, encoding_of, root_of, what_is
from labctl.core.texts import visible
from labctl.wafer_maps import semi_e142, semi_g85
from labctl.wafer_maps.csv_map import parse_csv
from labctl.wafer_maps.model import MAX_BYTES, MAX_PLACES, MapReading, ReadingError, WaferMap
from labctl.wafer_maps.xml_map import Element, decoded, parsed, shown_encoding, tag

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
        with _uncollected():
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


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no circles of objects meanwhile: a map makes none, and a million objects are looked at often."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


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
    encoding, skip = shown_encoding(raw)
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
    if encoding := encoding_of(raw):
        raise BenchError(f"{where}:1: found a text in {encoding}, expected {EXPECTED}")
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
    try:
        return parse_csv(text, reading, where)
    except ReadingError:
        raise
    except BenchError as error:
        what = what_is(raw)
        if not what or what.endswith("(CSV)"):
            raise
        separators = " with commas, semicolons or tabs between its cells" if what.startswith("a table") else ""
        raise BenchError(f"{where}: found {what}, expected {EXPECTED}{separators}") from error
