"""What is done by hand, done like everything else: rehearsed behind the bench's limits, journalled, sealed.

One procedure on the one die under the needles. The limits are the bench file's; nobody has written a campaign.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
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
from labctl.core.limits import Limits
from labctl.core.outcome import Status
from labctl.core.procedure import Procedure
from labctl.core.site import Site
from labctl.core.units import Volt
from labctl.execution import plan
from labctl.execution.die_job import DieResult, Job
from labctl.station import bench_setup, run_folder
from labctl.station.doctor import require_own_names, versions
from labctl.station.run_jobs import execute, verdict
from labctl.storage.arrays import storage
from labctl.storage.latch import refuse_latched, switched_off
from labctl.storage.locks import bench_lock
from labctl.storage.sealing import write_run_file_in_subprocess
from sim_backend.description import DieDescription

DIE = "die"
"""Name of the die under the needles: a person by hand has not said which it is."""
V_COUNT: Volt = 0.35
"""A pulse counts for every cell that sees more than this; project default, that of the example campaign."""
PULSES_PER_CELL = 100
"""Pulses that one command may give to one cell."""


@dataclass(frozen=True)
class HandSession:
    """One procedure by hand, read, rehearsed and found allowed."""

    bench: files.Loaded[Bench]
    die: files.Loaded[DieDescription]
    procedure: Procedure
    limits: Limits
    sim: str | None
    seed: int

    @property
    def body(self) -> str:
        """What the die is: on a bench, or on its twin."""
        return f"bench '{self.bench.value.name}'" + (f", its twin over {self.sim}" if self.sim else "")


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
    """Read the files and rehearse `procedure`; whatever is refused here is refused before anything is energised.

    Raises:
        BenchError: a file is wrong, or the bench cannot do it.
        LimitError: it is beyond the bench's limits.
    """
    require_own_names()
    found, described = files.read(bench, Bench), files.read(die, DieDescription)
    limits = bench_limits(found.value)
    found.value.wiring.fits(described.value.shape)
    predictor = planned_die(found.value, described.value.nominal, described.value.polarity)
    plan.rehearse(DIE, predictor, limits, [procedure])
    return HandSession(found, described, procedure, limits, sim, seed)


def carry_out(
    hand: HandSession, folder: Path | None, argv: Sequence[str], ask: Ask
) -> tuple[Path, DieResult, Status, int]:
    """Do it; return the folder of the run, how it ended, and the exit code.

    Raises:
        BenchError: somebody else has the bench, has switched it off, or left an output on; no folder was made.
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
    """Hold a bench that is not switched off while the block lasts, as its run and as what talks to it.

    Raises:
        BenchError: its latch is set, or somebody else has one of its instruments.
    """
    bench, what = hand.bench.value, " ".join(["labctl", *argv[1:]])
    refuse_latched(bench, hand.bench.path)
    with bench_lock(bench, what), bench_lock(bench, what, part="worker", patience=5.0):
        yield


def _make_folder(folder: Path, hand: HandSession, argv: Sequence[str]) -> dict[str, Any]:
    """Make the run folder with verbatim inputs and `run.json`; return what that says."""
    with storage(folder, "make a run folder"):
        (folder / "dies").mkdir(parents=True)
        (folder / "files").mkdir()
        kept = {}
        sources: tuple[files.Loaded[Any], ...] = (hand.bench, hand.die)
        for number, source in enumerate(sources):
            name = f"{number:02d}-{source.path.name}"
            kept[name] = files.keep(folder / "files" / name, source.path, source.raw)
        said: dict[str, Any] = {
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
            "utc": datetime.now(UTC).isoformat(),
            "monotonic": time.monotonic(),
        }
        part = folder / "run.json.part"
        with part.open("w", encoding="utf-8") as f:
            json.dump(said, f, indent=1)
            f.flush()
            os.fsync(f.fileno())
        part.replace(folder / "run.json")
    return said
