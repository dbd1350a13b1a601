"""Open a run for analysis: the sealed file of each die, or its journal while there is none.

A run that was killed, or is under way, therefore opens like any other. Files are open only while being read.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from labctl.core.errors import StorageError
from labctl.core.events import DieEvent
from labctl.core.figure import Figures
from labctl.storage.event_rows import event_rows, is_void
from labctl.storage.journal import Journal
from labctl.storage.journal_reader import Entry, Operation
from labctl.storage.manifest import checked, refuse_nameless, run_meta
from labctl.storage.no_run import is_ours, is_run, no_run, require_open
from labctl.storage.pruned import dropped
from labctl.storage.run_file import require_run_file
from labctl.storage.run_log import newest_of, read_state, recorded_digests
from labctl.storage.tables import Table

_EXPECTED = "a run folder, or the sealed file of a die, NAME.h5"


@dataclass(frozen=True)
class DieData:
    """The data of one die.

    Args:
        path: its sealed file, or the folder of its journal.
        sealed: whether `path` is a sealed file.
        file: name that its files must have in themselves, as `folder_of` writes it; "" of a file by itself.
        sha256: of its sealed file, as the run's journal has it; "" if it has none.
    """

    name: str
    path: Path
    sealed: bool
    file: str = ""
    sha256: str = ""

    @classmethod
    def of_run(cls, run: Path, name: str, file: str, sha256: str = "") -> "DieData":
        """Return the try `file` of the die `name`: its sealed file, or its journal while there is none."""
        sealed = run / "dies" / f"{file}.h5"
        there = sealed.is_file()
        return cls(name, sealed if there else run / "dies" / file, there, file, sha256)

    def open(self) -> AbstractContextManager[Any]:
        """Open it once for several reads; the source has `meta`, `tables`, `table`, `events` and `operations`.

        Raises:
            StorageError: it cannot be read, is damaged, or is of another die.
        """
        if self.sealed:
            from labctl.storage.hdf5_reader import SealedDie

            return SealedDie(self.path, self.sha256, self.file)
        if self.sha256 and not (self.path / "journal.db").is_file():
            why = dropped(self.path.parent.parent, self.path.name)
            raise StorageError(
                f"{self.path}.h5 is gone, and so is its journal, though the run has it as sealed"
                f"{f': {why}' if why else ''}; take it from a backup"
            )
        journal = Journal.open(self.path, of=self.file)
        with journal.abandoned_on_error():
            journal.verify_rows()
        return journal

    def __repr__(self) -> str:
        return f"<die '{self.name}' in {self.path}{'' if self.sealed else ', not sealed'}>"

    def _repr_html_(self) -> str:
        """Return what there is of the die, for notebooks."""
        with self.open() as source:
            tables = {name: source.table(name).rows for name in sorted(source.tables)}
        lines = "".join(f"<tr><td>{escape(name)}</td><td>{rows:,}</td></tr>" for name, rows in tables.items())
        head = "<thead><tr><th>table</th><th>rows</th></tr></thead>"
        return (
            f"<p><b>{escape(self.name)}</b> in {escape(str(self.path))}</p><table>{head}<tbody>{lines}</tbody></table>"
        )

    @property
    def meta(self) -> dict[str, Any]:
        """The meta that the journal was started with."""
        with self.open() as source:
            return dict(source.meta)

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        with self.open() as source:
            return tuple(sorted(source.tables))

    def table(self, name: str) -> Table:
        """Return a table as columns. Raises KeyError, naming the tables of the die, if it has none of that name."""
        table = self.table_or_none(name)
        if table is None:
            raise KeyError(f"die {self.name} has no table '{name}'; it has {', '.join(self.tables)}")
        return table

    def table_or_none(self, name: str) -> Table | None:
        """Return a table as columns, None if the die has none of that name."""
        with self.open() as source:
            table: Table | None = source.table(name) if name in source.tables else None
            return table

    def operations(self) -> Iterator[Operation]:
        """Yield every operation with its arrays, in order."""
        with self.open() as source:
            yield from source.operations()

    def events(self) -> Iterator[Entry]:
        """Yield every event, in order."""
        with self.open() as source:
            yield from source.events()

    @property
    def void(self) -> bool:
        """Whether what its tables hold may be no measurement: it was not driven, or not touched."""
        return is_void(list(event_rows(DieEvent, self.events())))


@dataclass(frozen=True)
class Run:
    """A run on disk, finished or not.

    Args:
        dies: names of its dies that have been begun.
        meta: content of ``run.json``.
        tries: by die, the folder of its newest try, which counts.
        digests: sha256 of sealed files as the run's journal has them, by folder.
    """

    path: Path
    dies: tuple[str, ...]
    meta: dict[str, Any]
    tries: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def die(self, name: str) -> DieData:
        """Return one die. Raises KeyError, naming the dies of the run, if there is none of that name."""
        if name not in self.dies:
            raise KeyError(f"{self.path} has no die '{name}'; it has {', '.join(self.dies)}")
        if self.path.is_file():
            file = self.tries.get(name, "")
            return DieData(name, self.path, True, file, self.digests.get(file, ""))
        file = self.tries.get(name, name)
        return DieData.of_run(self.path, name, file, self.digests.get(file, ""))

    @property
    def planned(self) -> tuple[str, ...]:
        """Names of the dies that the run is to work on, in the order of the campaign; begun or not."""
        return tuple(die["name"] for die in self.meta.get("dies", ()) if not die["excluded"])

    @property
    def figures(self) -> Table:
        """The figures of merit of every die that was begun, in SI units; a figure that a die does not have is NaN.

        The columns `die`, `state` and `bin` name a die and say what became of it. Of a run by hand, or of a sealed file
        by itself, KeyError: nobody has judged its dies.
        """
        if not self.path.is_dir() or not is_run(self.path):
            raise KeyError(f"{self.path} has no figures: its dies were not judged")
        dies = [die for die in read_state(self.path).dies.values() if die.last is not None]
        declared = Figures.of_run(self.meta)
        of_dies = [die.last.figures if die.last else {} for die in dies]
        names = declared.in_order(name for figures in of_dies for name in figures)
        columns: dict[str, Any] = {"seq": np.arange(len(dies)), "die": np.array([die.name for die in dies], str)}
        columns |= {key: np.array([str(getattr(die, key)) for die in dies], str) for key in ("state", "bin")}
        columns |= {name: np.array([figures.get(name, np.nan) for figures in of_dies]) for name in names}
        return Table("figures", columns, {name: declared[name].unit if name in names else "" for name in columns})

    def __repr__(self) -> str:
        dies = f"{len(self.dies)} die{'' if len(self.dies) == 1 else 's'}"
        return f"<run '{self.meta.get('name', '')}' in {self.path}: {dies}>"

    def _repr_html_(self) -> str:
        """Return what the run is and how its dies ended, for notebooks."""
        try:
            figures = self.figures._repr_html_()
        except KeyError:
            figures = f"<p>{escape(', '.join(self.dies))}</p>"
        return f"<p><b>{escape(str(self.meta.get('name', '')))}</b> in {escape(str(self.path))}</p>{figures}"

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that at least one die has."""
        return tuple(sorted({table for name in self.dies for table in self.die(name).tables}))

    def table(self, name: str, die: str | None = None) -> Table:
        """Return a table of one die, or of all that have it; the column `die` names the die of a row.

        Raises KeyError if no die has it, ValueError if its arrays have several shapes: then ask for one die.
        """
        if die is not None:
            tables = [(die, self.die(die).table(name))]
        else:
            sources = ((n, self.die(n).table_or_none(name)) for n in self.dies)
            tables = [(n, table) for n, table in sources if table is not None]
        if not tables:
            raise KeyError(f"no die of {self.path} has a table '{name}'; there are {', '.join(self.tables)}")
        return Table.join(
            replace(t, columns={"die": np.full(t.rows, n), **t.columns}, units={"die": "", **t.units})
            for n, t in tables
        )


def open_run(path: str | Path) -> Run:
    """Open a run: its folder, its ``run.h5``, or the sealed file of one die, wherever that is.

    >>> open_run("no such run")
    Traceback (most recent call last):
    labctl.core.errors.NotThereError: no such run: there is no run here; expected ...
    >>> open_run(None)
    Traceback (most recent call last):
    labctl.core.errors.StorageError: open_run(None): this is no path; expected that of a run folder, or ...

    Raises:
        StorageError: there is no run (`NotThereError`), it is damaged, or `path` is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise StorageError(f"open_run({path!r:.80}): this is no path; expected that of {_EXPECTED}")
    path = Path(path)
    require_open(path)
    if path.is_file() and path.name == "run.h5" and (path.parent / "dies").is_dir():
        require_run_file(path.parent)
        path = path.parent
    if (path / "dies").is_dir():
        folder = path / "dies"
        journals = {p.parent.name for p in folder.glob("*/journal.db")}
        there = journals | {p.stem for p in folder.glob("*.h5")}
        if not there and not any((path / name).is_file() for name in ("run.json", "journal.db", "run.h5")):
            raise no_run(path, _EXPECTED)
        meta, digests = run_meta(path), recorded_digests(path)
        if not meta and there:
            refuse_nameless(path)
        newest = newest_of(there | digests.keys())
        return Run(path, tuple(newest), meta, newest, digests)
    if path.is_file() and _is_die(path):
        from labctl.storage.hdf5_reader import SealedDie

        digest = _recorded(path)
        file = path.stem if digest else ""
        with SealedDie(path, digest, file) as die:
            meta = checked(die.run_meta, path) if die.run_meta else {}
            name = str(die.meta.get("die", path.stem))
            return Run(path, (name,), meta, {name: file}, {file: digest})
    raise no_run(path, _EXPECTED)


def _recorded(path: Path) -> str:
    """Return the sha256 of a sealed file as the journal of its run has it; "" outside of a run, or if it is damaged."""
    folder = path.absolute().parent
    if folder.name != "dies":
        return ""
    try:
        return recorded_digests(folder.parent).get(path.stem, "")
    except StorageError:  # each sealed file opens by itself, whatever became of that journal
        return ""


def _is_die(path: Path) -> bool:
    """Return whether a file is the sealed file of a die, whole or damaged."""
    from labctl.storage.hdf5_reader import A_DIE, sealed_as

    try:
        if not is_ours(path):
            return False
        return sealed_as(path).startswith(A_DIE)
    except StorageError:  # whoever opens it is told why it cannot be believed
        return True
    except OSError:
        return False
