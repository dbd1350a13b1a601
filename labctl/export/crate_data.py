"""What of a run is published: data of its dies, inputs and figures of merit, without what names a computer.

The sealed files of a run have its command line, paths and the name of the computer in them, so they are not published
as they are: a published file has the tables, the operations and an allowlist of what is known of run and die, in the
layout of a sealed file, and opens like one.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from labctl.core.errors import BenchError, StorageError
from labctl.core.figure import Figures
from labctl.core.secrets import secret_in
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
_ABSOLUTE = re.compile(r"(?<![\w.:/@~-])(?:~[\w.-]*/|/(?:[\w.+-]+/)+|[A-Za-z]:[\\/]|\\\\[\w.-]+\\)[\w.+-]*")
"""A path that begins at the root of a file system, in the home of somebody, or on a drive or a share."""


class Private:
    """What must not leave: folders of this run and its computer, and the account with that computer's name."""

    def __init__(self, run: Path, meta: Mapping[str, Any]) -> None:
        folders = {str(meta.get("cwd", "")), str(run.absolute()), str(Path.home()), os.getcwd()}
        folders |= {str(Path(str(meta.get("executable", ""))).parent)}
        folders |= {str(Path(str(kept.get("path", ""))).parent) for kept in dict(meta.get("files") or {}).values()}
        self._words = sorted((f for f in folders if len(Path(f).parts) > 1), key=len, reverse=True)
        self._words += [f"@{meta['host']}"] if meta.get("host") else []

    def found_in(self, text: str) -> str:
        """Return what of a text must not leave, in words; "" if nothing."""
        if any(word in text for word in self._words) or _ABSOLUTE.search(text):
            return "a path of a computer"
        return secret_in(text)[1]

    def refuse(self, text: str, where: str) -> str:
        """Return `text`. Raises BenchError, naming `where`, if something of it must not leave."""
        if what := self.found_in(text):
            raise BenchError(f"{where} has {what} in it, which is not published; expected a run without it")
        return text


def write_die(run: Path, name: str, file: str, sha256: str, meta: Mapping[str, Any], target: Path) -> list[Table]:
    """Write the published file of a die, and return its tables; the new file has been compared with them.

    Args:
        file: try of the die, as its sealed file is called.
        sha256: of that, as the run's journal has it.
        meta: of the run.

    Raises:
        BenchError: a column has a path or a secret in it.
        StorageError: the sealed file is damaged, or the new one cannot be written.
    """
    private, source = Private(run, meta), run / "dies" / f"{file}.h5"
    with SealedDie(source, sha256, file) as die:
        tables = [die.table(table) for table in sorted(die.tables)]
        for table in tables:
            for column, cells in table.items():
                if cells.dtype.kind == "U":
                    for text in np.unique(cells).tolist():
                        private.refuse(text, f"{source}: the column {column} of {table.name}")
        own = {key: die.meta[key] for key in _DIE if key in die.meta}
        private.refuse(repr(own), f"{source}: what is known of the die")
        published = {key: meta[key] for key in _RUN if key in meta}
        private.refuse(repr(published), f"{run / 'run.json'}")
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
    return tables


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
        text = [private.refuse(word, f"die {die.name}") for word in (die.state.value, die.bin)]
        file = f"data/{die.name}.h5" if die.name in published else ""
        about = [die.name, wafers.get(die.name, ""), *die.at, int(die.golden), *text, last.hard if last else 0]
        yield [*about, int(bool(die.suspect)), file, *(figures.get(name, "") for name in names)]


def inputs_of(run: Path, meta: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the input files that are published, by name, and why others are left out, by name.

    Raises:
        StorageError: a file is not the one that the run was started with.
    """
    from labctl.files import digest

    private, roles = Private(run, meta), {str(name): role for role, name in dict(meta.get("roles") or {}).items()}
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
        elif what := private.found_in(content.decode("utf-8", "replace")):
            left[name] = f"it has {what} in it"
        else:
            kept[name] = content
    return kept, left
