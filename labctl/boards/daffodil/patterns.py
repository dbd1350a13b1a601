"""Patterns as they travel: one event each, of one length in bytes, packed into a line of text.

A pattern is in the board's own words: columns are driven and have gates, rows are read. All codes are of 12 bits; KEEP
leaves a converter as it is.
"""

import base64
import binascii
import struct
import zlib
from typing import Iterator, List, NamedTuple, Sequence, Tuple

from . import registers as reg

VERSION = 3
"""Of patterns and of the conversation; another one is refused."""
KEEP = 0xFFFF
"""Code of a converter that is left as it is."""
READ, WRITE = 1, 2
"""Columns driven and rows sensed; both driven."""
REST = 0x80
"""Before this pattern every line is brought to the reference behind closed gates."""
MOST = 4096
"""Patterns in one batch."""

RECORD = struct.Struct("<BBIIII75H")


class Pattern(NamedTuple):
    """One event.

    Args:
        kernel: of 32.
        mode: READ or WRITE, with REST or without.
        clocks: length of the event.
        column_on: bit i connects column i while the event lasts.
        row_on: likewise.
        read: bit i has row i read.
        codes: of 25 columns, 25 rows and 25 gates.
    """

    kernel: int
    mode: int
    clocks: int
    column_on: int
    row_on: int
    read: int
    codes: Sequence[int]


def pack(records: bytes) -> str:
    """Return bytes as a text of one line."""
    return base64.b64encode(zlib.compress(records, 1)).decode("ascii")


def unpack(text: str, most: int) -> bytes:
    """Return the bytes of a text.

    Raises:
        ValueError: it is none of `pack`, or holds more than `most` bytes.
    """
    try:
        inflate = zlib.decompressobj()
        data = inflate.decompress(base64.b64decode(text.encode("ascii"), validate=True), most + 1)
    except (zlib.error, binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"packed bytes are damaged: {error}") from error
    if len(data) > most or not inflate.eof:
        raise ValueError(f"packed bytes are damaged, or more than {most}")
    return data


def patterns_of(text: str) -> List[Pattern]:
    """Return the patterns of a text.

    Raises:
        ValueError: damaged, or too many.
    """
    data = unpack(text, MOST * RECORD.size)
    if len(data) % RECORD.size:
        raise ValueError(f"{len(data)} bytes are no whole patterns")
    return [Pattern._make((*fields[:6], fields[6:])) for fields in RECORD.iter_unpack(data)]


def bits(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set.

    >>> list(bits(0b1010))
    [1, 3]
    """
    at = 0
    while mask:
        if mask & 1:
            yield at
        mask >>= 1
        at += 1


def split(codes: Sequence[int]) -> Tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Return the codes of columns, rows and gates."""
    return codes[: reg.LINES], codes[reg.LINES : 2 * reg.LINES], codes[2 * reg.LINES :]
