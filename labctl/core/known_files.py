"""What a file seems to be that is none of a kind that is read: by its first bytes, its first lines, its root element.

It only names what is refused. A file that is not known is refused by the line that no reader understood.
"""

import json
import re

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x02\x00\x00\x0a", "an STDF file"),
    (b"\x00\x02\x00\x0a", "an STDF file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"%PDF-", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (xls)"),
    (b"SQLite format 3\x00", "an SQLite data base"),
    (b"\x93NUMPY", "a NumPy array (npy)"),
    (b"PAR1", "a Parquet file"),
    (b"\x00\x06\x00\x02", "a GDSII layout"),
    (b"%SEMI-OASIS\r\n", "an OASIS layout"),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"),
    (b"II*\x00", "a picture (TIFF)"),
    (b"MM\x00*", "a picture (TIFF)"),
    (b"MZ", "a program for Windows"),
    (b"\x7fELF", "a program for Linux"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (rb"{\rtf", "an RTF document"),
    (b"%!PS", "a PostScript file"),
)
_IN_ZIP: tuple[tuple[bytes, str], ...] = (
    (b"xl/", "an Excel workbook (xlsx)"),
    (b"word/", "a Word document (docx)"),
    (b"mimetypeapplication/vnd.oasis.opendocument", "an OpenDocument file (ods)"),
    (b".npy", "NumPy arrays (npz)"),
)
_LINES: tuple[tuple[str, str], ...] = (
    (r"WAFER_MAP\s*=\s*\{", "an ASCII SEMI G85 map"),
    (r"FileVersion\s+\d+\s+\d+\s*;?", "a KLARF of defects"),
    (r'Record\s+FileRecord\s+"[0-9.]+"', "a KLARF of defects"),
    (r"WM - V[0-9.]+ - STMicroelectronics Wafer Map File", "a STIF map"),
    (r"(FNLOC|ROWCT|COLCT|BCEQU):.*", "a SINF map (INF)"),
    (r"(MAPTYP|IDTYP|ORLOC|NULBC)=.*", "a SECS map (E5) as text"),
    (r"(ROWCNT|COLCNT|PASBIN|FNLOC1|ORLOC1)\s+\S+.*", "a prober's map with ROWCNT and COLCNT"),
    (r"Flat_Notch\s*:.*", "a prober's map with Flat_Notch"),
    (r"FILE_VER\s+\d+.*", "a Wentworth map"),
    (r"FAR:A\|.*", "an STDF file as text (ATDF)"),
    (r"\S+\s*:\s*PASS\s*BIN.*", "a tester's summary"),
    (r"-----BEGIN [A-Z ]+-----", "a key or certificate"),
    (r"#!.*", "a script"),
)
"""Lines of which one among the first tells the format."""
_HEAD = 40
"""Lines that are searched."""
_ROOTS = {
    "map": "a SEMI G85 map",
    "maps": "a SEMI G85 map",
    "mapdata": "a SEMI E142 map",
    "html": "an HTML page",
    "svg": "a picture (SVG)",
    "workbook": "an Excel workbook as XML",
    "ibis": "an IBIS map",
    "rss": "an RSS feed",
    "kml": "a KML file",
    "testresults": "a file of test results",
    "envelope": "a SOAP message",
}


def by_bytes(raw: bytes) -> str:
    """Return what a binary file is, with its article; "" if its first bytes tell nothing.

    >>> by_bytes(b"%PDF-1.7"), by_bytes(b"x,y")
    ('a PDF', '')
    """
    if raw.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return next((what for mark, what in _IN_ZIP if mark in raw[:65536]), "a zip archive")
    if raw[257:262] == b"ustar":
        return "a tar archive"
    return next((what for magic, what in _MAGIC if raw.startswith(magic)), "")


def by_text(text: str) -> str:
    """Return what a text file is, with its article; "" if its first lines tell nothing.

    >>> by_text("DEVICE:A1\\nLOT:7\\nFNLOC:180\\nROWCT:9"), by_text("x,y")
    ('a SINF map (INF)', '')
    """
    for line in text.lstrip("\ufeff").split("\n", _HEAD)[:_HEAD]:
        for pattern, what in _LINES:
            if re.fullmatch(pattern, line[:1000].strip(), re.IGNORECASE):
                return what
    return "a JSON file" if _is_json(text) else ""


def root_at(text: str) -> int:
    """Return where the root element or the document type of an XML begins, behind declaration and comments."""
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        for opening, closing in (("<?", "?>"), ("<!--", "-->")):
            if text.startswith(opening, at):
                end = text.find(closing, at)
                at = len(text) if end < 0 else end + len(closing)
                break
        else:
            return at


def root_of(text: str) -> str:
    """Return the name of the root element or document type of an XML or HTML text, in lower case; "" without one.

    >>> root_of("<?xml version='1.0'?><!-- a map --><s:Map>"), root_of("x,y")
    ('map', '')
    """
    at = root_at(text)
    found = re.match(r"<!doctype\s+([a-z]+)|<(?:[\w.-]+:)?([\w.-]+)", text[at : at + 200], re.IGNORECASE)
    return (found[1] or found[2] or "").lower() if found else ""


def by_root(text: str) -> str:
    """Return what an XML or HTML text is, with its article; "" if its root element is not known."""
    return _ROOTS.get(root_of(text), "")


def what_is(raw: bytes) -> str:
    """Return what a file seems to be, with its article; "" if it is not known.

    >>> what_is(b"<?xml version='1.0'?><Maps/>"), what_is(b"name: W1")
    ('a SEMI G85 map', '')
    """
    if what := by_bytes(raw):
        return what
    if raw.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "a text in UTF-32"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a text in UTF-16"
    text = raw.decode("utf-8-sig", "replace")
    return by_root(text) or by_text(text)


def _is_json(text: str) -> bool:
    """Return whether a text is JSON, or begins as an object of it and is too long or too deep to tell."""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return re.match(r'\s*\{\s*"[^"\n]{0,200}"\s*:', text) is not None
    return True
