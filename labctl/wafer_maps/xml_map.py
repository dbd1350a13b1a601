"""XML of wafer maps: any declared encoding, no document type, no entities; elements and attributes as writers differ.

The declared encoding is decoded here and not by the parser, which knows few. A byte order mark, the declaration and
the bytes have to agree: a text that is decoded wrongly has other codes.
"""

import codecs
import re
from collections.abc import Iterator
from functools import lru_cache
from xml.etree import ElementTree

from labctl.core.errors import BenchError
from labctl.core.known_files import root_at

Element = ElementTree.Element

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_STARTS = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
"""How an XML begins that has no byte order mark."""
_DECLARED = re.compile(r"""\A<\?xml\b[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_NO_CHARACTERS = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)
"""Codecs of Python that are no encodings of files."""


def shown_encoding(raw: bytes) -> tuple[str, int]:
    """Return the encoding that the first bytes of a text show, "" if they show none, and the length of their mark.

    >>> shown_encoding(b"\\xff\\xfe<\\x00"), shown_encoding(b"\\x00<\\x00M"), shown_encoding(b"<Map/>")
    (('utf-16-le', 2), ('utf-16-be', 0), ('', 0))
    """
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return name, len(mark)
    return next(((name, 0) for start, name in _STARTS if raw.startswith(start)), ("", 0))


def decoded(raw: bytes, where: str) -> str:
    """Return the characters of an XML file, in the encoding of its byte order mark or its declaration.

    Raises:
        BenchError: the encoding is unknown, another than the bytes show, or does not fit them.
    """
    shown, skip = shown_encoding(raw)
    declared = _DECLARED.match(raw[skip:1024].decode(shown or "latin-1", "replace"))
    name = declared[1] if declared else shown or "utf-8"
    try:
        codec = codecs.lookup(name)
    except LookupError:
        raise BenchError(f"{where}:1: found XML in '{name}', which is no known encoding; expected UTF-8") from None
    canonical = codec.name.replace("_", "-")
    if not codec._is_text_encoding or canonical in _NO_CHARACTERS:
        raise BenchError(f"{where}:1: found XML in '{name}', which is no encoding of a file; expected UTF-8")
    wide = canonical.startswith(("utf-16", "utf-32"))
    if (shown or wide) and not (shown or "utf-8").startswith(canonical.removesuffix("-sig")):
        in_fact = shown.upper() if shown else "an encoding with a byte for each ASCII character"
        raise BenchError(f"{where}:1: found XML that says '{name}' and is in {in_fact}; expected one of both")
    try:
        return raw[skip:].decode(shown or name)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BenchError(
            f"{where}:{line}: found the byte 0x{raw[skip + error.start]:02x}, expected characters of '{name}', the "
            "encoding that this XML says"
        ) from error


def parsed(text: str, what: str, where: str) -> Element:
    """Return the root element of an XML text.

    Raises:
        BenchError: it has a document type, whose entities can name files and grow without bound; or it is no XML.
    """
    if re.match(r"<!doctype\s+([^\s>\[]{1,60})", text[(at := root_at(text)) : at + 100], re.IGNORECASE):
        raise BenchError(f"{where}: found XML with a document type (DTD), expected {what}, which needs none")
    try:
        return ElementTree.fromstring(text, ElementTree.XMLParser(target=_NoDoctype()))
    except ElementTree.ParseError as error:
        raise BenchError(f"{where}:{error.position[0]}: found no XML: {error}; expected {what}") from error
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{where}: found XML that cannot be read: {error}; expected {what}") from error


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type wherever it stands."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"it has the document type (DTD) of {name}")


def tag(element: Element) -> str:
    """Return the name of an element in lower case, without its namespace."""
    return _local(str(element.tag))


@lru_cache(1024)
def _local(name: str) -> str:
    """Return a name in lower case, without its namespace; a map has few names, each a quarter of a million times."""
    return name.rpartition("}")[2].lower()


def attributes(element: Element) -> dict[str, str]:
    """Return the attributes by name in lower case, without namespaces: writers differ in both."""
    return {_local(key): value.strip() or value for key, value in element.attrib.items()}


def within(element: Element, name: str) -> Iterator[Element]:
    """Yield the elements of a name at any depth, in order."""
    tags = [one for one in {e.tag for e in element.iter()} if _local(str(one)) == name]
    if len(tags) > 1:
        return (e for e in element.iter() if tag(e) == name)
    return element.iter(tags[0]) if tags else iter(())
