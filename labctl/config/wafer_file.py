"""A wafer as a campaign uses it: the wafer file, the map it draws or names, and the dies that are left out."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from labctl.config.campaign import WaferEntry
from labctl.core.errors import BenchError
from labctl.core.fiducial import Fiducial
from labctl.files import FilePath, Loaded, current
from labctl.wafer_maps.model import MAX_BYTES, MapReading, Place, ReadingError, WaferMap
from labctl.wafer_maps.read import read_map
from sim_backend.wafer import Wafer


class WaferFile(Wafer):
    """A wafer file: the places of the dies, the fiducials, and how simulated dies differ."""

    lot: str = Field(
        default="",
        max_length=64,
        pattern=r"^[ -~]*$",
        description="lot of the wafer, for STDF and G85; ASCII",
        json_schema_extra={"x-form": "ASCII letters, digits and signs, which STDF and G85 can hold"},
    )
    map_file: FilePath | None = Field(
        default=None,
        description="instead of a drawing: a map as CSV (columns x and y, or a grid) or as SEMI G85 or E142 XML",
    )
    notch: Literal[0, 90, 180, 270] | None = Field(
        default=None,
        description="the notch on the chuck, degrees clockwise from the bottom, where no map file has it",
    )
    map_reading: MapReading = Field(default=MapReading(), description="what the map file leaves open")
    fiducials: tuple[Fiducial, ...] = Field(
        default=(),
        description="places whose electrical fact is known; the prober proves the map there before it starts",
    )

    @model_validator(mode="after")
    def _has_dies(self) -> Self:
        if self.map_file is None:
            if self.map_reading != MapReading():
                raise ValueError("'map_reading' is about a 'map_file', and there is none; expected both or neither")
            return super()._has_dies()  # type: ignore[operator, no-any-return]
        if self.map or self.dies:
            raise ValueError(
                "found 'map_file' beside 'map' or 'dies', expected one map: drawn in 'map', listed in 'dies', or read "
                "from 'map_file'"
            )
        return self


@dataclass(frozen=True)
class Layout:
    """The places of the dies of a wafer, and the dies left out.

    Args:
        wafer: with all its dies.
        map: as it was read or drawn.
        wafer_id: the wafer as other people's files name it: what the map says, unless that is in doubt; lot: the same.
        excluded: why dies are left out, by name.
        source: path of the map file, None if the map is in the wafer file.
        conflicts: key of `map_reading` and text for what the map file and the wafer file say differently.
    """

    wafer: Wafer
    map: WaferMap
    excluded: Mapping[str, str]
    source: Path | None
    wafer_id: str
    lot: str
    conflicts: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what a run stores of its map, for export."""
        return {"wafer": self.wafer_id, "lot": self.lot, **self.map.to_json()}


def lay_out(entry: WaferEntry, loaded: Loaded[WaferFile]) -> Layout:
    """Return the places of the dies of a wafer, and the dies that a campaign leaves out.

    Raises:
        BenchError: the map file is wrong, or an exclusion names what the map does not have.
    """
    file = loaded.value
    conflicts: tuple[tuple[str, str], ...] = ()
    if file.map_file is None:
        prefix = len(file.name) + 1
        places = zip(file.names, file.places, strict=True)
        wafer_map = WaferMap(tuple(Place(x, y, name[prefix:]) for name, (x, y) in places))
        wafer: Wafer = file
    else:
        wafer_map = _read(file.map_file, loaded)
        own = {f: getattr(file, f) for f in Wafer.model_fields if f not in ("map", "dies")}
        wafer = Wafer(**own, dies={p.name: (p.x, p.y) for p in wafer_map.places})
        conflicts = tuple(_conflicts(file, wafer_map))
    if file.notch is not None and wafer_map.notch not in (None, file.notch):
        text = f"found {file.notch}, and the map has its notch at {wafer_map.notch} degrees; expected the same, or none"
        raise loaded.error(text, "notch")
    wafer_map = replace(wafer_map, notch=wafer_map.notch if file.notch is None else file.notch)
    wafer_map = wafer_map.without(
        [name.removeprefix(f"{file.name}-") for name in entry.exclude],
        None if entry.include_bins is None else [str(b) for b in entry.include_bins],
        [str(b) for b in entry.exclude_bins],
    )
    excluded = {f"{file.name}-{name}": why for name, why in wafer_map.excluded.items()}
    doubts = {key for key, _ in conflicts}
    wafer_id = file.name if "wafer" in doubts else wafer_map.wafer or file.name
    lot = file.lot if "lot" in doubts else wafer_map.lot or file.lot
    return Layout(wafer, wafer_map, excluded, file.map_file, wafer_id, lot, conflicts)


def _read(path: Path, loaded: Loaded[WaferFile]) -> WaferMap:
    """Return the map in a file; BenchError with its line, or with that of a wrong setting of `map_reading`."""
    try:
        raw = current().read(path, MAX_BYTES)
    except OSError as error:
        reason = f"{path}: the map cannot be read: {error.strerror or error}; expected a map file"
        raise loaded.error(reason, "map_file") from error
    try:
        return read_map(raw, loaded.value.map_reading, str(path))
    except ReadingError as error:
        raise loaded.error(str(error), "map_reading", error.key) from error
    except BenchError as error:
        raise loaded.error(str(error), "map_file") from error


def _conflicts(file: WaferFile, wafer_map: WaferMap) -> Iterator[tuple[str, str]]:
    """Yield key and text for wafer and lot that the map file and the wafer file say differently."""
    reading = file.map_reading
    same = {_plain(wafer_map.wafer), _plain(f"{wafer_map.lot}-{wafer_map.wafer}")}
    if wafer_map.wafer and reading.wafer is None and _plain(file.name) not in same:
        yield "wafer", _differs("wafer", wafer_map.wafer, "name", file.name)
    if wafer_map.lot and file.lot and reading.lot is None and _plain(file.lot) != _plain(wafer_map.lot):
        yield "lot", _differs("lot", wafer_map.lot, "lot", file.lot)


def _differs(what: str, in_map: str, key: str, in_file: str) -> str:
    return (
        f"the map is of {what} '{in_map[:64]}' and the wafer file says {key}: {in_file}; expected the map of this "
        f"{what}. If it is, say so by name: map_reading: {{{what}: {in_map[:64]!r}}}"
    )


def _plain(name: str) -> str:
    """Return a name for comparing: names of wafer files have no slash or blank, and machines differ in case.

    >>> _plain("Lot42/07") == _plain("LOT42-07")
    True
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
