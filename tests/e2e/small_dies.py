"""A campaign so small that it can be resumed from every row of its journals: three dies of 3 x 4 cells, and one chip.

Survey, write, inference. One die has a short, whose row meets compliance; one has stuck cells, which use up a small
budget; one is sound.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from instruments.bench import Bench
from instruments.board_bench import AnyBench, BoardBench
from labctl.config.campaign import Accept
from labctl.core.body import Body, ReadyDie
from labctl.core.limits import Limits
from labctl.core.procedure import Procedure
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.execution.die_job import DieResult, Job, run_die
from labctl.execution.stop import Stop
from labctl.station.bench_setup import on_bench
from labctl.station.simulated import Simulated
from labctl.storage.journal import Journal
from protocols.chip_inference import ChipInference, ChipReadout
from protocols.network import Network
from protocols.readout import InferenceSettings
from protocols.samples import Dataset
from protocols.stage_inputs import Networks
from protocols.survey import Survey
from protocols.weights import Layer, Placement, Solution
from protocols.write_verify import WriteVerify
from sim_backend.description import DieDescription

M, N = 3, 4
LIMITS = Limits(
    v_towards_p=0.7, v_towards_ap=0.7, width=1e-2, compliance=1e-2, v_gate=3.5, v_count=0.35, pulses_per_cell=200
)
PADS = [*(f"r{i}" for i in range(M)), *(f"c{j}" for j in range(N))]
BENCH = {
    "name": "small",
    "instruments": {
        "smu1": {"driver": "keithley2600b", "resource": "1"},
        "smu2": {"driver": "keithley2600b", "resource": "2"},
        "matrix": {"driver": "keithley707b", "resource": "3"},
        "prober": {"driver": "mpi_sentio", "resource": "4", "overtravel_ceiling": "50 um"},
    },
    "wiring": {
        "channels": {"smu1.smua": "A", "smu1.smub": "B", "smu2.smua": "C", "smu2.smub": "D"},
        "ground": "H",
        "pads": {pad: f"1-{1 + j:02d}" for j, pad in enumerate(PADS)},
        "kernels": [{"rows": PADS[:M], "cols": PADS[M:]}],
    },
    "limits": {
        "v_towards_p": "0.7 V", "v_towards_ap": "0.7 V", "width": "10 ms", "compliance": "10 mA",
        "ramp_rate": "1000 V/s",
    },
    "contact": {"structures": [["r0", "c0"]], "retouches": 1, "touches_per_die": 3},
    "twin": {"line_resistance": "0 ohm"},  # ladders of 4 rungs end in the same way, whatever a fault draws anew
}  # fmt: skip
WRITE = {"v_start": 0.36, "v_max": 0.6, "v_step": 0.06, "budget": 14, "aperture": 1e-3, "compliance": 5e-4}


def description(kind: str = "passive", **defects: float) -> DieDescription:
    """Return a die of 3 x 4 cells; a chip has two such kernels."""
    said = {
        "name": "small",
        "geometry": {"kind": kind, "kernels": 1 if kind == "passive" else 2, "n_rows": M, "n_cols": N},
        "junction": {"diameter": "80 nm"},
        "simulation": {"defects": defects},
    }
    return DieDescription.model_validate(said, context={"file": True})


def solution(index: int, rng: np.random.Generator) -> Solution:
    """Return random weights of a network of 3 inputs, 2 neurons and 2 classes."""
    return Solution(index, tuple(Layer(rng.random((n, 4)) < 0.5, rng.normal(0, 0.3, 2)) for n in (M, 2)))


def samples(rng: np.random.Generator) -> Dataset:
    """Return a few samples of two classes."""
    x = rng.uniform(-1, 1, (9, M))
    y = (x @ [1.0, -0.5, 0.3] > 0).astype(np.int64)
    return Dataset(x[:6], y[:6], x[6:], y[6:])


def passive_stages() -> tuple[Procedure, ...]:
    """Return survey, write and inference of a passive die, the layers one after the other on the same cells."""
    rng = np.random.default_rng(3)
    network = Network(
        placement=(Placement(), Placement()),
        write_verify=WriteVerify(**WRITE, repair_rounds=1),
        inference=InferenceSettings(scales=3),
        solutions=Networks((solution(0, rng),)),
        data=samples(rng),
    )
    return Survey(**WRITE), network


def chip_stages(networks: int = 1, keep: str = "all") -> tuple[Procedure, ...]:
    """Return the same for a chip, the layers on kernels of their own, written in open loop and then repaired."""
    rng = np.random.default_rng(4)
    inference = ChipInference(
        write_verify=WriteVerify(**WRITE | {"compliance": 5e-3}, mode="open_loop", repair_rounds=1),
        readout=ChipReadout(scales=3, samples_kept=3, keep=keep),
        solutions=Networks(tuple(solution(k, rng) for k in range(networks))),
        data=samples(rng),
    )
    return Survey(**WRITE | {"compliance": 5e-3}), inference


@dataclass(frozen=True)
class Campaign:
    """Dies, stages, and where the dies come from."""

    subjects: tuple[Site, ...]
    stages: tuple[Procedure, ...]
    bench: AnyBench | None = None

    @contextmanager
    def body(self) -> Iterator[Body]:
        """Yield a body with new dies, as a new process has."""
        if self.bench is None:
            yield Simulated()
            return
        with on_bench(self.bench, list(self.subjects), "bytes") as body:
            yield body

    @contextmanager
    def kept(self) -> Iterator[Body]:
        """Yield a body whose dies keep their cells from one session to the next, as those of a real bench do."""
        with self.body() as body:
            yield Kept(body)

    def job(self, run: Path, subject: Site, **more: Any) -> Job:
        """Return the job of a die."""
        return Job(run, subject, LIMITS, Accept(fidelity=0.9, accuracy=0.3).rules, **more)

    def carry_out(self, job: Job, body: Body, stop: Stop | None = None) -> DieResult:
        """Run one die."""
        return run_die(job, self.stages, lambda *message: None, stop or Stop(), body)


class Kept:
    """A bench that has been there all the time, while those who drove it came and went."""

    rebuild = Rebuild.NOTHING
    patience = 60.0

    def __init__(self, body: Body) -> None:
        self._body = body

    def approach(self, subject: Site, say: Any) -> ReadyDie:
        """Approach the die on the bench."""
        return self._body.approach(subject, say)

    def leave(self) -> None:
        """Leave it."""
        self._body.leave()


KINDS = ({}, {"short": 0.1}, {"stuck_p": 0.1, "stuck_ap": 0.1})


def simulated() -> Campaign:
    """Return the campaign on simulated dies."""
    made = [description(**kind) for kind in KINDS]
    return Campaign(tuple(Site(f"D{k}", d, 5, (k, 0)) for k, d in enumerate(made)), passive_stages())


def on_twin() -> Campaign:
    """Return the campaign on the emulated bench."""
    bench = Bench.model_validate(BENCH, context={"file": True})
    return Campaign(simulated().subjects, passive_stages(), bench)


def on_twin_of(subjects: tuple[Site, ...], programming: str, *, linked: bool = False, joined: bool = False) -> Campaign:
    """Return the campaign on the emulated bench, its cells written by the host or inside the sources.

    Args:
        linked: the matrix is on TSP-Link.
        joined: one source drives the channels of both.
    """
    nodes = {"smu1": 1, "smu2": 2, "matrix": 3} if linked else {}
    instruments = {
        name: entry | ({"tsplink": nodes[name]} if name in nodes else {})
        for name, entry in BENCH["instruments"].items()
    }
    keys = BENCH | {"programming": programming, "instruments": instruments, "joined": joined}
    return Campaign(subjects, passive_stages(), Bench.model_validate(keys, context={"file": True}))


def chip() -> Campaign:
    """Return the campaign on a simulated chip with a short and a stuck cell."""
    made = description("1T1R", short=0.05, stuck_ap=0.05)
    return Campaign((Site("C0", made, 5),), chip_stages())


def chip_of_figures() -> Campaign:
    """Return the same with two networks, of whose samples only figures are kept."""
    return replace(chip(), stages=chip_stages(networks=2, keep="figures"))


def on_board(programming: str, **simulation: Any) -> Campaign:
    """Return the campaign of a chip on an emulated Daffodil board, its cells written by the host or by the board.

    Args:
        simulation: keys of the chip's simulation.
    """
    keys = {
        "name": "board",
        "body": {"driver": "daffodil", "resource": "1", "kernels": 2, "n_rows": M, "n_cols": N},
        "limits": {
            "v_towards_p": "0.7 V", "v_towards_ap": "0.7 V", "width": "10 ms", "compliance": "10 mA",
            "v_gate": "3.29 V", "ramp_rate": "1000 V/s",
        },
        "programming": programming,
        "twin": {"ideal_instruments": True},
    }  # fmt: skip
    made = description("1T1R").model_dump()
    made["simulation"] = simulation
    subject = Site("C0", DieDescription.model_validate(made), 5)
    return Campaign((subject,), chip_stages(), BoardBench.model_validate(keys, context={"file": True}))


@dataclass(frozen=True)
class Ended:
    """What a die is compared by."""

    bin: str
    figures: dict[str, float]
    truth: dict[str, Any]
    counts: Any
    tables: dict[str, Any]
    rows: int

    @classmethod
    def of(cls, folder: Path, result: DieResult) -> "Ended":
        """Return how the die whose journal is in `folder` ended."""
        with Journal.open(folder) as journal:
            last = [e.body for e in journal.events() if e.kind == "stage_ended"][-1]
            tables = {name: journal.table(name) for name in journal.tables}
            rows = journal.last.seq
        return cls(result.bin, dict(result.figures), last["truth"], last["pulses_per_cell"], tables, rows)

    def differences(self, other: "Ended") -> set[str]:
        """Return what is not the same to the bit: "bin", names of figures and truths, "table.column"."""
        found = {"bin"} if self.bin != other.bin else set()
        if not np.array_equal(self.counts, other.counts):
            found.add("counts")
        names = self.figures.keys() | other.figures.keys()
        found |= {n for n in names if self.figures.get(n) != other.figures.get(n)}
        found |= {f"truth.{n}" for n, value in self.truth.items() if not _same(value, other.truth[n])}
        found |= {"tables"} if self.tables.keys() != other.tables.keys() else set()
        for name in self.tables.keys() & other.tables.keys():
            one, two = self.tables[name], other.tables[name]
            found |= {f"{name}.{c}" for c in one if c not in ("seq", "utc") and not _same(one[c], two[c])}
        return found


def _same(one: Any, two: Any) -> bool:
    return bool(one.shape == two.shape and one.dtype == two.dtype and one.tobytes() == two.tobytes())


def rows(folder: Path) -> list[tuple[Any, ...]]:
    """Return every row of a journal, as it is stored."""
    with closing(sqlite3.connect(folder / "journal.db")) as db:
        return db.execute("SELECT * FROM log ORDER BY seq").fetchall()


def cut(folder: Path, copy: Path, after: int) -> tuple[str, str]:
    """Copy a journal up to one row, as if its writer had been killed then; return what that row is and its kind."""
    shutil.copytree(folder, copy)
    with closing(sqlite3.connect(copy / "journal.db")) as db:
        db.execute("DELETE FROM log WHERE seq > ?", (after,))
        db.commit()
        what, kind = db.execute("SELECT what, kind FROM log WHERE seq = ?", (after,)).fetchone()
    return what, kind
