"""A board as another program left it: its registers, converters and potentiometers, an event that lasts, a client.

The same start as of a bench of sources (`faults.dirty_bench`), around a small chip; or around two on a wafer, with the
prober as another program left it as well. An ArC TWO, around a passive die, is one too, as the calls of its library
left it.
"""

import numpy as np

from instruments.board_bench import BoardBench
from labctl.core.bias import Kind
from labctl.core.operations import Pulse, Sense
from labctl.core.site import Site
from labctl.station.bench_setup import on_bench
from labctl.station.simulated import simulated
from labctl.station.twin import Twin
from protocols.bias import read_bias, write_bias
from sim_backend.description import DieDescription

FAMILY, ON_NEEDLES, ARC_TWO = "daffodil", "daffodil on needles", "arc_two"
SEED, V_GATE = 7, 3.29
SHAPE = {"kernels": 2, "n_rows": 3, "n_cols": 2}
KEYS = {
    "name": FAMILY,
    "body": {"driver": "daffodil", "resource": "1", "feedback": "10 kohm", "offset_reads": 2, **SHAPE},
    "limits": {
        "v_towards_p": "1 V", "v_towards_ap": "1 V", "v_gate": f"{V_GATE} V", "width": "10 ms",
        "compliance": "10 mA", "ramp_rate": "1000 V/s",
    },
    "twin": {"ideal_instruments": True},
}  # fmt: skip
PROBER = {"driver": "mpi_sentio", "resource": "2", "overtravel_ceiling": "50 um", "compensation": "100 um"}
WIRED = {"driver": "arc_two", "firmware": "x.bin", "kernels": [{"rows": [0, 1, 2], "cols": [16, 17]}]}
BENCHES = {
    FAMILY: BoardBench.model_validate(KEYS, context={"file": True}),
    ON_NEEDLES: BoardBench.model_validate(KEYS | {"prober": PROBER}, context={"file": True}),
    ARC_TWO: BoardBench.model_validate(KEYS | {"body": WIRED}, context={"file": True}),
}
CHIP = DieDescription.model_validate(
    {
        "name": "chip",
        "geometry": {"kind": "1T1R", **SHAPE},
        "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    },
    context={"file": True},
)
ARRAY = DieDescription.model_validate(
    {
        "name": "array",
        "geometry": {"kernels": 1, "n_rows": 3, "n_cols": 2},
        "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    },
    context={"file": True},
)
CAUSES = {
    r"^dac\.raw|^settings": "is on at",
    r"^output\.(power|power_down|clear_n|sync_n|reset_n|load_n)$": "powers or converters are not as they were",
    r"^output\.(column|row)$": "is on at",
    r"^register\.(direction|pulse_mode|polarity|hardware_control)": "another program drives the board",
    r"^client$": "client 'somebody' has the board",
    r"^busy$": "did not answer",
}
"""Parts, and what a refusal because of them has to say."""


class Board:
    """A board with a chip on it, or on needles: what `Start` needs of a bench.

    Args:
        family: one of `BENCHES`.
    """

    def __init__(self, family):
        self.key, self.bench = family, BENCHES[family]
        self.dirty = tuple(self.bench.instruments)
        self.moves = self.bench.prober is not None
        die = ARRAY if family == ARC_TWO else CHIP
        self.sites = [Site(f"D{k}", die, SEED, (k, 0)) for k in range(1 + self.moves)]
        dies = {site.spot: simulated(site) for site in self.sites}
        self.twin = Twin(self.bench, dies, seed=SEED, in_contact=not self.moves)

    def measure(self):
        """Return a write with its read and two reads, and the time of those, s; LabError if the board refuses."""
        with on_bench(self.bench, self.sites, "bytes", twin=self.twin, by_hand=not self.moves) as body:
            die = body.approach(self.sites[0]).die
            last = die.geometry.kernels - 1
            one = (np.array([last]), np.array([2]), np.array([1]))
            write = write_bias(die.geometry, *one, np.array([True]), v_gate=_gate(die)).scaled(0.9)
            readings = [die.pulse(Pulse(write, 0.999e-3, _read(die, *one)))]
            begin = self.twin.world.now
            readings.append(die.sense(_read(die, np.array([0, last]), np.array([0, 2]), np.array([1, 0]))))
        return readings, self.twin.world.now - begin

    def live(self):
        """Yield every line and gate that is not at rest, in words."""
        if self.key == ARC_TWO:
            live = self.twin.connect("board", self.bench.body).hot()
            yield from [f"board: {live}"] if live else []
            return
        for line, volts in self.twin.instruments["board"].outputs().items():
            yield f"board.{line} is at {volts:.4g} V"


def _gate(die):
    return None if die.geometry.kind is Kind.PASSIVE else V_GATE


def _read(die, kernel, row, col):
    return Sense(read_bias(die.geometry, kernel, row, col, 0.1, v_gate=_gate(die)), col[:, None])
