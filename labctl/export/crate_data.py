"""What of a run is published: data of its dies, inputs and figures of merit, without what names a computer.

The sealed files of a run have its command line, paths and the name of the computer in them, so they are not published
as they are: a published file has the tables, the operations and an allowlist of what is known of run and die, in the
layout of a sealed file, and opens like one.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labctl.core.errors import StorageError
from labctl.core.figure import Figures
from labctl.export.private import Private
from labctl.storage.hdf5_content import check, write
from labctl.storage.hdf5_items import Group, Item, dataset, default_plot, plots, table_items, values
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.run_log import RunState
from labctl.storage.tables import Table
from labctl.storage.vouching import FORMAT, put_seal

_RUN = (
    *("format", "kind", "name", "title", "temperature", "seed", "body", "real", "sim", "limits", "stages", "bins"),
    *("wafer_map", "faults", "figures", "pictures", "git_commit", "utc", "time_zone", "utc_offset"),
)
"""Keys of ``run.json`` that are published; what is not named here stays at home."""
_DIE = ("die", "serial", "place", "wafer", "limits", "description")
"""Keys of the meta of a die that are published."""


class PublishedDie(NamedTuple):
    """What of a sealed file a bundle says besides.

    Args:
        instruments: who they said they are at the last approach, by name; `calibrations` likewise.
    """

    tables: list[Table]
    instruments: dict[str, str]
    calibrations: dict[str, str]


def write_die(
    run: Path, name: str, file: str, sha256: str, meta: Mapping[str, Any], target: Path, private: Private
) -> PublishedDie:
    """Write the published file of a die, which has been compared with what was to be written.

    Args:
        file: try of the die, as its sealed file is called.
        sha256: of that, as the run's journal has it.
        meta: of the run.

    Raises:
        BenchError: a column, an instrument or its calibration has a path or a secret in it.
        StorageError: the sealed file is damaged, or the new one cannot be written.
    """
    source = run / "dies" / f"{file}.h5"
    with SealedDie(source, sha256, file) as die:
        tables = [die.table(table) for table in sorted(die.tables)]
        for table in tables:
            for column, cells in table.items():
                if cells.dtype.kind == "U":
                    for text in np.unique(cells).tolist():
                        private.refuse(text, f"{source}: the column {column} of {table.name}")
        own = {key: die.meta[key] for key in _DIE if key in die.meta}
        private.refuse(own, f"{source}: what is known of the die")
        instruments, calibrations = die.noted("instruments"), die.noted("calibration")
        private.refuse([instruments, calibrations], f"{source}: what instruments said of themselves")
        published = {key: meta[key] for key in _RUN if key in meta}
        private.refuse(published, f"{run / 'run.json'}")
        items: list[Item] = [
            dataset("/entry/title", f"{meta.get('title') or meta.get('name', '')}: {name}"),
            Group("/entry/provenance", {"NX_class": "NXcollection"}),
            *values("/entry/provenance/run", published),
            *values("/entry/provenance/die", own),
            Group("/entry/provenance/files", {"NX_class": "NXcollection"}),
            Group("/entry/records", {"NX_class": "NXcollection"}),
            *(item for table in tables for item in table_items(f"/entry/records/{table.name}", table)),
            *(item for table in tables for item in plots("/entry", table)),
            *die.operation_items(),
            *_no_events(),
        ]
        root = {"NX_class": "NXroot", "default": "entry", "creator": "mtj-labctl", "format": FORMAT, "die": name}
        items = [Group("/", root), Group("/entry", {"NX_class": "NXentry", "default": default_plot(items)}), *items]
        write(target, items)
        put_seal(target)
        check(target, items)
    return PublishedDie(tables, instruments, calibrations)


def _no_events() -> Iterator[Item]:
    """Yield a group of no events: theirs are texts about computers and people."""
    yield Group("/entry/events", {"NX_class": "NXcollection"})
    for name, kind in (("seq", int), ("stage", str), ("kind", str), ("utc", float), ("monotonic", float)):
        yield dataset(f"/entry/events/{name}", np.zeros(0, kind), "s" if kind is float else "")
    yield dataset("/entry/events/body", np.zeros(0, str))


def die_lines(state: RunState, published: Collection[str], private: Private) -> Iterator[list[Any]]:
    """Yield the header and a line per die for ``dies.csv``: where it is, what became of it, its figures of merit."""
    declared, wafers = Figures.of_run(state.meta), {str(d["name"]): str(d.get("wafer", "")) for d in state.meta["dies"]}
    names = declared.in_order(name for die in state.dies.values() if die.last for name in die.last.figures)
    titled = [f"{name} [{declared[name].unit}]" if declared[name].unit else name for name in names]
    yield ["die", "wafer", "x", "y", "golden", "state", "bin", "hard_bin", "suspect", "file", *titled]
    for die in state.dies.values():
        last = die.last
        figures = last.figures if last else {}
        text = [die.state.value, die.bin]
        private.refuse(text, f"die {die.name}")
        file = f"data/{die.name}.h5" if die.name in published else ""
        about = [die.name, wafers.get(die.name, ""), *die.at, int(die.golden), *text, last.hard if last else 0]
        yield [*about, int(bool(die.suspect)), file, *(figures.get(name, "") for name in names)]


def inputs_of(run: Path, meta: Mapping[str, Any], private: Private) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the input files that are published, by name, and why others are left out, by name.

    Raises:
        StorageError: a file cannot be read, or is not the one that the run was started with.
    """
    from labctl.files import digest

    roles = {str(name): role for role, name in dict(meta.get("roles") or {}).items()}
    data = {str(d) for stage in meta.get("stages", ()) for d in dict(stage.get("inputs") or {}).get("data", ())}
    kept, left = {}, {}
    for name, about in dict(meta.get("files") or {}).items():
        try:
            content = (run / "files" / name).read_bytes()
        except OSError as error:
            raise StorageError(f"{run / 'files' / name} cannot be read: {error.strerror or error}") from error
        if digest(content) != about["sha256"]:
            raise StorageError(
                f"{run / 'files' / name} is not the file that the run was started with; 'labctl verify {run}' says "
                "what the way back is"
            )
        if roles.get(name) == "bench":
            left[name] = "a bench file, which has addresses of the lab's network"
        elif about["sha256"] in data:
            left[name] = "a data set, which may be under another licence"
        elif why := private.found_in_file(run / "files" / name, content):
            left[name] = why
        else:
            kept[name] = content
    return kept, left
