"""Carry out one procedure by hand, on the die under the needles: rehearsed, within limits, journalled, sealed.

The limits are those of the bench file, because there is no campaign file.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from instruments.bench import Bench
from instruments.manual_prober import Ask
from instruments.open_bench import planned_die
from labctl import files
from labctl.core.exit_codes import Status
from labctl.core.limits import Limits
from labctl.core.procedure import Procedure
from labctl.core.site import Site
from labctl.core.units import Volt
from labctl.execution import plan
from labctl.execution.die_job import DieResult, Job
from labctl.station import bench_setup, run_folder
from labctl.station.declared_figures import described
from labctl.station.doctor import require_own_names, versions
from labctl.station.run_jobs import execute, verdict
from labctl.station.stand_ins import twin_text
from labctl.storage.arrays import storage
from labctl.storage.latch import refuse_latched, switched_off
from labctl.storage.locks import bench_lock
from labctl.storage.sealing import write_run_file_in_subprocess
from sim_backend.description import DieDescription

DIE = "die"
"""Name of the die under the needles, which a procedure by hand does not name."""
V_COUNT: Volt = 0.35
"""A pulse counts for every cell that sees more than this; project default, as in the example campaign."""
PULSES_PER_CELL = 100
"""Pulses that one command may give to one cell."""


@dataclass(frozen=True)
class HandSession:
    """One procedure by hand, with its files read, rehearsed and within the limits."""

    bench: files.Loaded[Bench]
    die: files.Loaded[DieDescription]
    procedure: Procedure
    limits: Limits
    sim: str | None
    seed: int
    files: Mapping[Path, bytes]

    @property
    def body(self) -> str:
        """The source of the die: a bench, or its twin."""
        return f"bench '{self.bench.value.name}'" + (f", {twin_text(self.bench.value, self.sim)}" if self.sim else "")


def bench_limits(bench: Bench) -> Limits:
    """Return the limits of a bench file as those of a run."""
    own = bench.limits
    return Limits(
        v_towards_p=own.v_towards_p,
        v_towards_ap=own.v_towards_ap,
        width=own.width,
        compliance=own.compliance,
        v_gate=own.v_gate,
        v_count=V_COUNT,
        pulses_per_cell=PULSES_PER_CELL,
    )


def prepare(bench: Path, die: Path, procedure: Procedure, sim: str | None, seed: int) -> HandSession:
    """Read the files and rehearse `procedure`, before anything is energised.

    Raises:
        BenchError: a file is wrong, or the bench cannot carry out the procedure.
        LimitError: the procedure exceeds the bench's limits.
    """
    require_own_names()
    with files.through(files.Door()) as door:
        loaded_bench, loaded_die = files.read(bench, Bench), files.read(die, DieDescription)
    limits = bench_limits(loaded_bench.value)
    loaded_bench.value.wiring.fits(loaded_die.value.shape)
    predictor = planned_die(loaded_bench.value, loaded_die.value.nominal, loaded_die.value.polarity)
    plan.rehearse(DIE, predictor, limits, [procedure])
    return HandSession(loaded_bench, loaded_die, procedure, limits, sim, seed, dict(door.kept))


def carry_out(
    hand: HandSession, folder: Path | None, argv: Sequence[str], ask: Ask
) -> tuple[Path, DieResult, Status, int]:
    """Carry the procedure out; return the folder of the run, the result, its status, and the exit code.

    Raises:
        BenchError: the bench is held, is switched off, or has an output on; no folder was made.
        StorageError: the folder cannot be made.
        LabError: the bench cannot be opened or made safe.
    """
    folder = folder or Path("runs") / f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}-{hand.procedure.name.replace('_', '-')}"
    run_folder.refuse_existing(folder)
    subject, bench = Site(DIE, hand.die.value, hand.seed), hand.bench.value
    real = hand.sim is None
    with (
        _held(hand, argv) if real else nullcontext(),
        bench_setup.on_bench(bench, [subject], hand.sim, ask=ask if real else None, by_hand=True) as body,
    ):
        job = Job(folder, subject, hand.limits, meta=_make_folder(folder, hand, argv))
        off = partial(switched_off, bench) if real else lambda: None
        results = execute([job], (hand.procedure,), lambda *message: None, body, off)
    write_run_file_in_subprocess(folder)
    status, code = verdict(results, 1)
    return folder, results[0], status, code


@contextmanager
def _held(hand: HandSession, argv: Sequence[str]) -> Iterator[None]:
    """Hold the locks of a bench, of its run and of its worker, while the block lasts.

    Raises:
        BenchError: its latch is set, or another process holds one of its instruments.
    """
    bench, what = hand.bench.value, " ".join(["labctl", *argv[1:]])
    refuse_latched(bench, hand.bench.path)
    with bench_lock(bench, what), bench_lock(bench, what, part="worker", patience=5.0):
        yield


def _make_folder(folder: Path, hand: HandSession, argv: Sequence[str]) -> dict[str, Any]:
    """Make the run folder with verbatim inputs and `run.json`; return the contents of `run.json`."""
    with storage(folder, "make a run folder"):
        (folder / "dies").mkdir(parents=True)
        (folder / "files").mkdir()
        kept = files.keep(folder / "files", hand.files)
        meta: dict[str, Any] = {
            "format": 1,
            "name": hand.procedure.name,
            "title": f"by hand on {hand.body}",
            "seed": hand.seed,
            "dies": [DIE],
            "body": hand.body,
            "real": hand.sim is None,
            "files": kept,
            "argv": list(argv),
            "versions": versions(),
            "git_commit": run_folder.git_commit(),
            **described([hand.procedure]),
            "utc": datetime.now(UTC).isoformat(),
            "monotonic": time.monotonic(),
        }
        part = folder / "run.json.part"
        with part.open("w", encoding="utf-8") as f:
            json.dump(meta, f, indent=1)
            f.flush()
            os.fsync(f.fileno())
        part.replace(folder / "run.json")
    return meta
