"""A wafer as a campaign uses it: the wafer file, the map it draws or names, and the dies that are left out."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from instruments.fiducial import Fiducial
from labctl.config.campaign import WaferEntry
from labctl.core.errors import BenchError
from labctl.files import FilePath, current
from labctl.wafer_maps.csv_map import parse_csv
from labctl.wafer_maps.model import MapReading, Place, WaferMap
from labctl.wafer_maps.semi_g85 import parse_g85
from sim_backend.wafer import Wafer


class WaferFile(Wafer):
    """A wafer file: the places of the dies, the fiducials, and how simulated dies differ."""

    map_file: FilePath | None = Field(
        default=None, description="instead of a drawing: a map as CSV (columns x and y, or a grid) or SEMI G85 XML"
    )
    map_reading: MapReading = Field(default=MapReading(), description="what the map file leaves open")
    fiducials: tuple[Fiducial, ...] = Field(
        default=(),
        description="places whose electrical fact is known; the prober proves the map there before it starts",
    )

    @model_validator(mode="after")
    def _has_dies(self) -> Self:
        if self.map_file is None:
            return super()._has_dies()  # type: ignore[operator, no-any-return]
        if self.map or self.dies:
            raise ValueError("a wafer has one map: drawn in 'map', listed in 'dies', or read from 'map_file'")
        return self


@dataclass(frozen=True)
class Layout:
    """The places of the dies of a wafer, and the dies left out.

    Args:
        wafer: with all its dies.
        map: as it was read or drawn.
        excluded: why dies are left out, by name.
        source: path of the map file, None if the map is in the wafer file.
    """

    wafer: Wafer
    map: WaferMap
    excluded: Mapping[str, str]
    source: Path | None


def lay_out(entry: WaferEntry, file: WaferFile) -> Layout:
    """Return the places of the dies of a wafer, and the dies that a campaign leaves out.

    Raises:
        BenchError: the map file is wrong, or an exclusion names what the map does not have.
    """
    if file.map_file is None:
        prefix = len(file.name) + 1
        places = zip(file.names, file.places, strict=True)
        wafer_map = WaferMap(tuple(Place(x, y, name[prefix:]) for name, (x, y) in places), wafer=file.name)
        wafer: Wafer = file
    else:
        wafer_map = read_map(file)
        own = {f: getattr(file, f) for f in Wafer.model_fields if f not in ("map", "dies")}
        wafer = Wafer(**own, dies={p.name: (p.x, p.y) for p in wafer_map.places})
    wafer_map = wafer_map.without(
        [name.removeprefix(f"{file.name}-") for name in entry.exclude],
        None if entry.include_bins is None else [str(b) for b in entry.include_bins],
        [str(b) for b in entry.exclude_bins],
    )
    excluded = {f"{file.name}-{name}": why for name, why in wafer_map.excluded.items()}
    return Layout(wafer, wafer_map, excluded, file.map_file)


_MAP = "a map as CSV in UTF-8 or as SEMI G85 XML"
_START = 256
"""Bytes searched for the first character that is no blank."""


def _wide(raw: bytes) -> str:
    """Return "UTF-16" or "UTF-32" if a text begins with its byte-order mark, else ""."""
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    return "UTF-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else ""


def read_map(file: WaferFile) -> WaferMap:
    """Return the map in a file; XML is recognised by its first character, all else has to be CSV.

    Raises:
        BenchError: naming file and line: what was found and what was expected.
    """
    path = file.map_file
    assert path is not None, "checked by the caller"
    try:
        raw = current().read(path)
    except OSError as error:
        raise BenchError(f"{path}: the map cannot be read: {error.strerror or error}") from error
    wide = _wide(raw)
    start = raw[:_START].decode("utf-16" if wide == "UTF-16" else "latin-1", "ignore").lstrip("\xef\xbb\xbf \t\r\n")
    if wide != "UTF-32" and start.replace("\0", "").startswith("<"):
        return parse_g85(raw, file.map_reading, str(path))
    if wide:
        raise BenchError(f"{path}:1: found a text in {wide}, expected {_MAP}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BenchError(f"{path}:{line}: found the byte 0x{raw[error.start]:02x}, expected {_MAP}") from error
    return parse_csv(text, file.map_reading, str(path))
