"""What a file seems to be that is none of a kind that is read: by its first bytes, its first lines, its root element.

It only names what is refused. A file that is not known is refused by the line that no reader understood.
"""

import json
import pickletools
import re

from labctl.core.known_texts import by_form

HDF5 = b"\x89HDF\r\n\x1a\n"
"""How an HDF5 file begins."""
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x02\x00\x00\x0a", "an STDF file"),
    (b"\x00\x02\x00\x0a", "an STDF file"),
    (HDF5, "an HDF5 file"),
    (b"\x0e\x03\x13\x01", "an HDF4 file"),
    (b"CDF\x01", "a NetCDF file"),
    (b"CDF\x02", "a NetCDF file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"TDSm", "a TDMS file"),
    (b"%PDF-", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"!<arch>\n", "an archive (ar)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (xls)"),
    (b"SQLite format 3\x00", "an SQLite data base"),
    (b"\x93NUMPY", "a NumPy array (npy)"),
    (b"ARROW1", "an Arrow file"),
    (b"FEA1", "a Feather file"),
    (b"Obj\x01", "an Avro file"),
    (b"\x00\x06\x00\x02", "a GDSII layout"),
    (b"%SEMI-OASIS\r\n", "an OASIS layout"),
    (b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF87a", "a picture (GIF)"),
    (b"GIF89a", "a picture (GIF)"),
    (b"II*\x00", "a picture (TIFF)"),
    (b"MM\x00*", "a picture (TIFF)"),
    (b"\x7fELF", "a program for Linux"),
    (b"\xca\xfe\xba\xbe", "a program (Java or macOS)"),
    (b"\xcf\xfa\xed\xfe", "a program for macOS"),
    (b"\x00asm", "a WebAssembly program"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"MATLAB 7.3", "a MATLAB file"),
    (b"OggS", "a sound or film (Ogg)"),
    (b"ID3", "a sound (MP3)"),
    (rb"{\rtf", "an RTF document"),
    (b"%!PS", "a PostScript file"),
)
_BINARY: tuple[tuple[bytes, str], ...] = (
    (b"MZ", "a program for Windows"),
    (b"BZh", "a bzip2 archive"),
    (b"BM", "a picture (BMP)"),
    (b"PAR1", "a Parquet file"),
    (b"RIFF", "a sound, film or picture (RIFF)"),
)
"""Beginnings that a text may have as well, so the file has to be no text."""
_IN_ZIP: tuple[tuple[bytes, str], ...] = (
    (b"xl/", "an Excel workbook (xlsx)"),
    (b"word/", "a Word document (docx)"),
    (b"mimetypeapplication/vnd.oasis.opendocument", "an OpenDocument file (ods)"),
    (b"ppt/", "a PowerPoint file (pptx)"),
    (b"META-INF/", "a Java archive (jar)"),
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
    (r"version https://git-lfs\.github\.com/spec/v1", "a pointer of Git LFS, in place of a file that was not fetched"),
    (r"#\s*[kMG]?Hz\s+[SYZGH]\s+(MA|DB|RI)(\s+R\s+\S+)?", "a Touchstone file"),
    (r"SECTION", "a DXF drawing"),
    (r"\(edif\s.*", "an EDIF netlist"),
    (r"MACRO\s+\S+|UNITS DISTANCE MICRONS \d+\s*;", "a layout as text (LEF or DEF)"),
    (r"\.(subckt|tran|model|include|lib)\s+\S.*", "a SPICE netlist"),
    (r"diff --git a/.*|Index: \S+|--- a/.*", "a patch"),
    (r"\\(documentclass|usepackage|begin\{document\}).*", "a LaTeX text"),
    (r"#include\s*[<\"].*", "a program in C"),
    (r"(CREATE TABLE|INSERT INTO|BEGIN TRANSACTION).*", "an SQL script"),
)
"""Lines of which one among the first tells the format."""
_LONGEST_PICKLE = 1 << 16
_LONGEST_TEXT = 1 << 20
"""Bytes of a text that are judged."""
_HEAD = 40
"""Lines that are searched."""
JSON_KINDS = (
    (frozenset({"cells", "metadata", "nbformat"}), "a Jupyter notebook (ipynb)"),
    (frozenset({"format", "versions", "files", "dies"}), "the run.json of a run"),
    (frozenset({"format", "outcome", "exit_code", "redo"}), "the report.json of a run"),
)
"""JSON files by the keys that they have."""
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
    """Return what a binary file is, with its article; "" of a text.

    >>> by_bytes(b"%PDF-1.7"), by_bytes(b"x,y"), by_bytes(bytes(range(256)))
    ('a PDF', '', 'a binary file of an unknown kind')
    """
    if raw.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return next((what for mark, what in _IN_ZIP if mark in raw[:65536]), "a zip archive")
    if raw[257:262] == b"ustar":
        return "a tar archive"
    if known := next((what for magic, what in _MAGIC if raw.startswith(magic)), ""):
        return known
    if any(raw[at : at + 8] == HDF5 for at in (512, 1024, 2048, 4096)):  # behind a block of its writer
        return "an HDF5 file"
    if (raw[:1] == b"\x80" and raw[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or _is_pickle(raw):
        return "a Python pickle"
    if raw[4:8] == b"ftyp":
        return "a film or picture (MP4)"
    if encoding_of(raw) or not _is_binary(raw):
        return ""
    return next((what for magic, what in _BINARY if raw.startswith(magic)), "a binary file of an unknown kind")


def _is_binary(raw: bytes) -> bool:
    """Return whether bytes are no text in any encoding that has ASCII in it: not only a few are control characters."""
    head = raw[:4096]
    return sum(byte < 32 and byte not in b"\t\n\r\f\x1a\x1b" for byte in head) > max(3, len(head) // 50)


def _is_pickle(raw: bytes) -> bool:
    """Return whether bytes are a pickle of the first protocols, which is a text; nothing of it is carried out."""
    if not raw.endswith(b".") or b"\n" not in raw or len(raw) > _LONGEST_PICKLE or raw[:1] not in b"(cIFLSVNd]}":
        return False
    try:
        *_, (last, _, place) = pickletools.genops(raw)
    except Exception:  # of whatever type: it is none
        return False
    return last.name == "STOP" and place == len(raw) - 1


def encoding_of(raw: bytes) -> str:
    """Return "UTF-16" or "UTF-32" of a text in it, with or without byte order mark; "" of any other bytes.

    >>> encoding_of("name: W1".encode("utf-16-le")), encoding_of(b"name: W1")
    ('UTF-16', '')
    """
    if raw.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    head = raw[: min(len(raw), 2048) // 4 * 4]
    for name, width, places in (("UTF-32", 4, (0, 3)), ("UTF-16", 2, (0, 1))):
        for place in places:  # of the byte that ASCII characters have
            characters = head[place::width]
            others = [head[k::width].count(0) for k in range(width) if k != place]
            if characters and characters.count(0) == 0 and min(others) > 0.7 * len(characters):
                return name
    return ""


def by_text(text: str) -> str:
    """Return what a text file is, with its article; "" if its first lines tell nothing.

    >>> by_text("DEVICE:A1\\nLOT:7\\nFNLOC:180\\nROWCT:9"), by_text("x,y")
    ('a SINF map (INF)', '')
    """
    for line in text.lstrip("\ufeff").split("\n", _HEAD)[:_HEAD]:
        for pattern, what in _LINES:
            if re.fullmatch(pattern, line[:1000].strip(), re.IGNORECASE):
                return what
    if _is_json(text):
        kinds = (what for keys, what in JSON_KINDS if all(f'"{key}"' in text for key in keys))
        return next(kinds, "a JSON file")
    return ""


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


def by_mark(raw: bytes) -> str:
    """Return what bytes are by what stands in them in one place, with its article; "" if nothing in them tells.

    >>> by_mark(b"<?xml version='1.0'?><Maps/>"), by_mark(b"name: W1")
    ('a SEMI G85 map', '')
    """
    if what := by_bytes(raw):
        return what
    if encoding := encoding_of(raw):
        return f"a text in {encoding}"
    text = raw[:_LONGEST_TEXT].decode("utf-8-sig", "replace")
    return by_root(text) or by_text(text)


def what_is(raw: bytes) -> str:
    """Return what a file seems to be that no reader has understood, with its article; "" if nothing in it tells.

    >>> what_is(b"<?xml version='1.0'?><Maps/>"), what_is(b"[a]\\nb = 'c'\\n"), what_is(b"7")
    ('a SEMI G85 map', 'a TOML file', '')
    """
    if what := by_mark(raw):
        return what
    text = raw[:_LONGEST_TEXT].decode("utf-8-sig", "replace")
    if (root := root_of(text)) and text.lstrip("\ufeff \t\r\n").startswith("<"):
        return f"XML of {root[:60]}"
    return by_form(text)


def _is_json(text: str) -> bool:
    """Return whether a text is JSON, or begins as an object of it and is too long or too deep to tell."""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return re.match(r'\s*\{\s*"[^"\n]{0,200}"\s*:', text) is not None
    return True
