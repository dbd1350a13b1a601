"""A finished run of two dies, one of which needed two tries: small enough to be damaged and mended many times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from labctl.core.die_state import State
from labctl.core.events import DieEnded, RunEnded
from labctl.core.exit_codes import Status
from labctl.core.record import Record
from labctl.core.units import Conductances, Ratio
from labctl.files import digest
from labctl.report.html import write_report
from labctl.storage.hdf5_writer import seal, write_run_file
from labctl.storage.journal import Journal
from labctl.storage.manifest import FORMAT, text_of
from labctl.storage.run_log import Runlog

INPUT = b"v_write: 420 mV\n"


@dataclass(frozen=True, eq=False, kw_only=True)
class Map(Record):
    table: ClassVar[str] = "map"
    axes: ClassVar[dict[str, tuple[str, ...]]] = {"g": ("row", "col")}

    solution: int
    fidelity: Ratio
    g: Conductances


def write_die(run: Path, name: str, value: float, *, finished: bool = True, records: Sequence[Record] = ()) -> None:
    """Write the journal of a try: an array file of its own, two records of 2 x 3 cells, and what else is given."""
    with Journal.create(run / "dies" / name, {"die": name.partition("~")[0], "seed": 7}) as journal:
        seq = journal.intend("read", "sense", {"bias": {"row": np.arange(9000.0) + value}})
        journal.result(seq, {"current": np.full((4, 3), value / 7)})
        for k in range(2):
            journal.record("read", Map(solution=k, fidelity=value / 8, g=np.arange(6.0).reshape(2, 3) * value))
        for record in records:
            journal.record("read", record)
        if finished:
            journal.event(DieEnded(bin="good", outcome=Status.SUCCESS, state=State.DONE))
            journal.finish()


def write_run(run: Path, *, fidelity: float = 0.9, **more: Any) -> Path:
    """Write the run, whose dies have this write fidelity; `more` is added to its ``run.json``."""
    (run / "dies").mkdir(parents=True)
    (run / "files").mkdir()
    (run / "files" / "00-small.yaml").write_bytes(INPUT)
    meta: Mapping[str, Any] = {
        "format": FORMAT,
        "name": "small",
        "title": "two dies",
        "seed": 7,
        "versions": {"mtj-labctl": "1"},
        "files": {"00-small.yaml": {"path": "small.yaml", "sha256": digest(INPUT)}},
        "dies": [{"name": name, "at": [k, 0], "excluded": ""} for k, name in enumerate("AB")],
        **more,
    }
    (run / "run.json").write_text(text_of(meta), encoding="utf-8")
    with Runlog.create(run, {**meta, "order": "given"}) as log:
        for name, number in (("A", 1), ("B", 1), ("B", 2)):
            if number > 1:
                log.set_state(name, State.PENDING, number)
            log.set_state(name, State.RUNNING, number)
            folder = name if number == 1 else f"{name}~{number}"
            bad = (name, number) == ("B", 1)
            write_die(run, folder, ord(name) + number, finished=not bad)
            if bad:
                log.set_state(name, State.ERROR, number, "the worker died", bin="error", hard=7)
                continue
            log.set_state(name, State.SEALING, number)
            done = {"bin": "good", "hard": 1, "rule": "none", "figures": {"fidelity": fidelity}}
            log.set_state(name, State.DONE, number, seconds=2.5, sha256=seal(run, folder), **done)
        log.write(RunEnded(outcome=Status.SUCCESS, exit_code=0, reason="", seconds=5.0, bytes=1000))
        log.finish()
    write_run_file(run)
    write_report(run)
    return run
