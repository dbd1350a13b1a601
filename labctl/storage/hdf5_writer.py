"""Seal a finished die in one HDF5 file and check it.

A file is written once, in bulk, under another name; compared with the journal after it was closed; and only then given
its name. During a run this happens in a process of its own (`sealing`), because a full disk can crash the
library; by hand it is ``python -m labctl.storage.hdf5_writer seal RUN DIE``. Files keep to what HDF5 1.10 can read.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from labctl.core import garbage
from labctl.core.errors import BenchError, LabError, StorageError
from labctl.core.exit_codes import ExitCode
from labctl.core.figure import Figures
from labctl.core.names import inside
from labctl.core.units import Second
from labctl.storage.arrays import quarantine, storage, sync_folder
from labctl.storage.hdf5_content import check, write
from labctl.storage.hdf5_items import (
    Group,
    Item,
    Link,
    dataset,
    default_plot,
    die_plot,
    plots,
    table_items,
)
from labctl.storage.hdf5_layout import die_items
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.journal import Journal
from labctl.storage.locks import hold
from labctl.storage.manifest import known_meta
from labctl.storage.private import rights_of
from labctl.storage.run_log import newest_of, read_state, recorded_digests
from labctl.storage.tables import Table
from labctl.storage.vouching import FORMAT, put_seal, vouch

_PATIENCE: Second = 120.0
"""How long one process waits for another one that seals the same die."""


def seal(run: Path, die: str) -> str:
    """Seal a die whose journal is finished, and return the sha256 of ``RUN/dies/DIE.h5``.

    A file that was sealed before and equals the journal is left alone; any other file of that name, and the
    leftovers of a sealing that was cut off, are moved to ``RUN/quarantine``. Raises StorageError, and BenchError
    for a die whose file would lie outside of the run.
    """
    final, folder = inside(run / "dies", f"{die}.h5"), inside(run / "dies", die)
    if not folder.is_dir():
        Journal.open(folder, of=die).close()  # says what is not there
    # a worker that was killed leaves a process that finishes its order, while the next session seals the same die
    with (
        _alone(folder),
        Journal.open(folder, of=die) as journal,
    ):
        if not journal.finished:
            raise StorageError(f"the journal of die {die} is not finished; it is sealed when its run has ended")
        journal.verify()
        items = die_items(run, die, journal)
        if final.exists():
            try:
                digest = vouch(final)
                check(final, items)
                return digest
            except StorageError:
                quarantine(run, final)
        _replace(run, final, items)
    return vouch(final)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let nobody else seal the die of a journal's folder while the block lasts. Raises StorageError."""
    with ExitStack() as held:
        try:
            held.enter_context(hold(folder, "seal", part="sealing", patience=_PATIENCE))
        except BenchError as error:
            raise StorageError(f"{folder.name} cannot be sealed: {error}") from error
        yield


def write_run_file(run: Path) -> Path:
    """Write ``RUN/run.h5`` anew: a link to every die's newest sealed try, and their plain numbers side by side.

    It holds a copy of the run's journal too, which is the way back if that is damaged. Raises StorageError.
    """
    newest = newest_of(path.stem for path in (run / "dies").glob("*.h5"))
    names, digests = list(newest), recorded_digests(run)
    plain_tables: dict[str, list[Table]] = {}
    for name, file in newest.items():
        with SealedDie(run / "dies" / f"{file}.h5", digests.get(file, ""), file) as die:
            for table in die.tables:
                if not die.columnar(table):
                    plain_tables.setdefault(table, []).append(_plain(die.table(table), name))
    tables = [Table.join(parts) for parts in plain_tables.values()]
    items: list[Item] = [
        dataset("/summary/title", str(known_meta(run).get("title") or run.resolve().name)),
        Group("/summary/records", {"NX_class": "NXcollection"}),
        *(item for table in tables for item in table_items(f"/summary/records/{table.name}", table)),
        *(item for table in tables for item in plots("/summary", table)),
    ]
    dies: list[Item] = []
    if (run / "journal.db").is_file():
        with Journal.open(run) as journal:
            items.append(dataset("/summary/journal", journal.image()))
        state = read_state(run)
        figures = {die.name: dict(die.last.figures) for die in state.subjects if die.last and die.last.figures}
        dies = list(die_plot("/summary/dies", figures, Figures.of_run(state.meta)))
        items += dies
    shown = "dies" if dies else default_plot(items)
    root = {
        "NX_class": "NXroot",
        "creator": "mtj-labctl",
        "format": FORMAT,
        "default": "summary" if shown or not names else names[0],
    }
    links = [Link(f"/{name}", "/entry", f"dies/{file}.h5") for name, file in newest.items()]
    summary = {"NX_class": "NXentry", **({"default": shown} if shown else {})}
    _replace(run, run / "run.h5", [Group("/", root), Group("/summary", summary), *items, *links])
    return run / "run.h5"


def _plain(table: Table, die: str) -> Table:
    columns = {"die": np.full(table.rows, die), **{k: v for k, v in table.items() if v.ndim == 1}}
    return Table(table.name, columns, {"die": "", **table.units})


def _replace(run: Path, final: Path, items: Iterable[Item]) -> None:
    """Write `items` to a file beside `final`, check it, and rename it to `final`."""
    part, items = final.with_name(f"{final.name}.part"), list(items)
    if part.exists():
        quarantine(run, part)
    write(part, items)
    put_seal(part)
    check(part, items)
    with storage(part, "finish the file"):
        os.replace(part, final)
        sync_folder(final.parent)


def main(arguments: list[str]) -> int:
    """Carry out ``seal RUN DIE`` or ``index RUN``, print one line of JSON, and return the exit code.

    With ``serve`` do so for every line of standard input, a list in JSON such as ["seal", RUN, DIE].
    """
    if arguments == ["serve"]:
        return _serve()
    answer, code = _carry_out(arguments)
    print(json.dumps(answer))
    return code


def _carry_out(arguments: list[str]) -> tuple[dict[str, str], int]:
    try:
        match arguments:
            case ["seal", run, die]:
                with rights_of(Path(run)):
                    return {"die": die, "sha256": seal(Path(run), die)}, ExitCode.GOOD
            case ["index", run]:
                with rights_of(Path(run)):
                    return {"path": str(write_run_file(Path(run)))}, ExitCode.GOOD
        raise LabError(f"cannot do {arguments}; expected seal RUN DIE, or index RUN")
    except LabError as error:
        return {"error": str(error)}, error.exit_code


def _serve() -> int:
    garbage.leave_at_exit()
    # the pipe is for answers alone; output of libraries goes to standard error
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            answer, _ = _carry_out(json.loads(line))
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    return ExitCode.GOOD


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
