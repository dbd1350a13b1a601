"""The benches of the fault harness, and what is measured on each.

One has its sources over a matrix, and a station that steps; the others differ from it in what a fault may meet: cells
that are written inside the sources, levels that stand between two calls, drivers of every kind that stand in for
others, two matrices, sources over matrices of others, units that share a converter, a station of another maker, one
channel on two needles, a pulse that is a list of levels, a source that the host times, a pulse source beside the
source that reads, an object of PyMeasure, where that is installed, and boards, in whose socket a person puts dies, or
whose needles a prober puts on them.
Instruments that are driven by calls of their makers' libraries have no messages to which anything could happen.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from e2e.small_dies import BENCH, LIMITS, PADS, M, N
from faults.boards import BOARD, ON_NEEDLES
from faults.kinds import KINDS

from instruments.bench import Bench
from labctl.core.limits import Limits
from protocols.network import Network
from protocols.readout import InferenceSettings
from protocols.samples import Dataset
from protocols.stage_inputs import Networks
from protocols.survey import Survey
from protocols.weights import Layer, Placement, Solution
from protocols.write_verify import WriteVerify
from sim_backend.description import DieDescription
from sim_backend.faults.boards import KINDS_OF_BOARDS

WRITE = {"v_start": 0.44, "v_max": 0.56, "v_step": 0.06, "budget": 4, "aperture": 1e-3, "compliance": 5e-4}
LINES = ["r0", "r1", "c0", "c1"]
NEEDLES = {
    "kernels": [{"rows": ["top"], "cols": ["bottom"]}],
    "contact": [["top", "bottom"]],
}
SOURCE = {
    "driver": "generic_source", "channels": ["smua", "smub"], "stands": True, "ranges_v": ["0.1 V", "1 V", "6 V"],
    "ranges_i": ["1 uA", "10 uA", "100 uA", "1 mA", "10 mA", "100 mA"], "shortest_pulse": "200 us",
    "shortest_aperture": "20 us", "longest_aperture": "0.4 s",
}  # fmt: skip


@dataclass(frozen=True)
class FaultBench:
    """A bench, and what is measured on it.

    Args:
        keys: of the bench file.
        shape: rows and columns of its dies.
        dies: number of dies, which are 1 where nothing moves.
        write: settings of write-verify.
        limits: of the campaign.
        network: whether a network is written and read after the survey.
    """

    keys: dict[str, Any]
    shape: tuple[int, int] = (M, N)
    dies: int = 2
    write: dict[str, Any] = field(default_factory=lambda: WRITE)
    limits: Limits = LIMITS
    network: bool = True

    rows_share = False

    @property
    def kinds(self):
        """Kinds of faults that can happen to it."""
        return tuple(kind for kind in KINDS if kind not in KINDS_OF_BOARDS)

    def model(self):
        """Return the bench as its file is read."""
        return Bench.model_validate(self.keys, context={"file": True})

    def names(self):
        """Return the names of instruments and pads, of which messages are to name one."""
        return (*self.keys["instruments"], *self.keys["wiring"]["pads"])

    def description(self):
        """Return a sound die."""
        keys = {
            "name": "small",
            "geometry": {"kernels": 1, "n_rows": self.shape[0], "n_cols": self.shape[1]},
            "junction": {"diameter": "80 nm"},
        }
        return DieDescription.model_validate(keys, context={"file": True})

    @property
    def most(self):
        """Highest voltage that its campaign asks of a cell, V."""
        return WRITE["v_max"]

    def stages(self):
        """Return a survey, and on more than one cell write and inference of a network of 3 inputs and 2 classes."""
        survey, (m, n) = Survey(**self.write), self.shape
        if m * n == 1 or not self.network:
            return (survey,)
        dice = np.random.default_rng(3)
        x, y = dice.uniform(-1, 1, (3, m)), np.array([0, 1, 0])
        network = Network(
            placement=(Placement(),),
            write_verify=WriteVerify(**self.write, repair_rounds=1),
            inference=InferenceSettings(scales=1),
            solutions=Networks((Solution(0, (Layer(dice.random((m, n)) < 0.5, dice.normal(0, 0.3, 2)),)),)),
            data=Dataset(x[:2], y[:2], x[2:], y[2:]),
        )
        return survey, network


def _on_two_needles(driver, channel, width, **options):
    """Return one channel on two needles, one cell between them."""
    keys = {
        "name": driver,
        "instruments": {"smu": {"driver": driver, "resource": "1", **options}},
        "wiring": {"pads": {"top": f"smu.{channel}", "bottom": "ground"}, "kernels": NEEDLES["kernels"]},
        "limits": BENCH["limits"],
        "outputs": {"off_state": "high_z"},
        "contact": {"structures": NEEDLES["contact"]},
    }
    return FaultBench(keys, (1, 1), 1, WRITE | {"width": width})


def _pulsed():
    """Return one channel on two needles, whose pulses are those of a pulse source.

    Its first rung switches for sure, as that of 10 ms on other benches does: 1 us takes more.
    """
    slow = _on_two_needles("keithley2400", "out", 1e-6)
    tee = {"pulses": "pulser.out1", "shortest": "5 ns", "longest": "1 us", "junction": ["1 kohm", "10 kohm"]}
    keys = slow.keys | {
        "name": "pulse source",
        "instruments": slow.keys["instruments"] | {"pulser": {"driver": "keysight81160a", "resource": "2"}},
        "wiring": slow.keys["wiring"] | {"tees": {"smu.out": tee}},
        "limits": slow.keys["limits"] | {"pulse_current": "20 mA"},
    }
    return FaultBench(keys, slow.shape, slow.dies, slow.write | {"v_start": 0.53, "v_step": 0.03})


def _adapted():
    """Return an object of PyMeasure in the place of our driver of a 2400; it takes longer over a pulse."""
    slow = 50e-3
    path = {"class": "pymeasure.instruments.keithley.Keithley2400"}
    bench = _on_two_needles("pymeasure", "out", slow, **path)
    keys = bench.keys | {"limits": bench.keys["limits"] | {"width": "50 ms"}}
    return FaultBench(keys, bench.shape, bench.dies, bench.write, LIMITS.model_copy(update={"width": slow}))


def _two_matrices():
    """Return the rows over one matrix and the columns over another, each reached by the same sources."""
    instruments = {name: entry for name, entry in BENCH["instruments"].items() if name != "matrix"}
    instruments |= {name: {"driver": "keithley707b", "resource": name} for name in ("left", "right")}
    channels = {channel: [f"left.{row}", f"right.{row}"] for channel, row in BENCH["wiring"]["channels"].items()}
    pads = {
        pad: f"{'left' if pad in PADS[:M] else 'right'}.{column}" for pad, column in BENCH["wiring"]["pads"].items()
    }
    wiring = BENCH["wiring"] | {"channels": channels, "pads": pads, "ground": ["left.H", "right.H"]}
    return FaultBench(BENCH | {"name": "two matrices", "instruments": instruments, "wiring": wiring})


def _apart():
    """Return three sources of one channel, whose levels stand, over a matrix of another maker."""
    sources = {f"smu{k}": {"driver": "keithley2450", "resource": str(k)} for k in (1, 2, 3)}
    keys = BENCH | {
        "name": "2450 and B2200",
        "instruments": sources | {"matrix": {"driver": "keysightb2200", "resource": "matrix"}},
        "wiring": BENCH["wiring"] | {
            "channels": {f"{name}.out": f"in{k}" for k, name in enumerate(sources, 1)},
            "ground": "in14",
            "pads": {pad: f"out{11 + j}" for j, pad in enumerate(LINES)},
            "kernels": [{"rows": LINES[:2], "cols": LINES[2:]}],
        },
        "contact": {"structures": [[LINES[0], LINES[2]]]},
    }  # fmt: skip
    return FaultBench(keys, (2, 2), dies=1, write=WRITE | {"width": 10e-3}, network=False)


def _mainframe():
    """Return the units of a B1500A, which share a converter, over the cards of a 7002."""
    bench = _over_cards()
    keys = bench.keys | {
        "name": "B1500A and 7002",
        "instruments": {
            "smu": {"driver": "keysightb1500", "resource": "1", "slots": [1, 2]},
            "matrix": {"driver": "keithley7001", "model": "7002", "resource": "matrix"},
        },
        "wiring": bench.keys["wiring"] | {"channels": {"smu.smu1": "row1", "smu.smu2": "row2"}},
    }
    return FaultBench(keys, bench.shape, dies=1, write=WRITE | {"width": 10e-3}, network=False)


def _over_cards():
    """Return a source of two channels over the cards of a 7001."""
    keys = BENCH | {
        "name": "7001",
        "instruments": {
            "smu": {"driver": "keithley2600b", "resource": "1"},
            "matrix": {"driver": "keithley7001", "resource": "matrix"},
        },
        "wiring": BENCH["wiring"] | {
            "channels": {"smu.smua": "row1", "smu.smub": "row2"},
            "ground": "row4",
            "pads": {pad: f"{1 + j // 2}-{9 + j % 2:02d}" for j, pad in enumerate(LINES)},
            "kernels": [{"rows": LINES[:2], "cols": LINES[2:]}],
        },
        "contact": {"structures": [[LINES[0], LINES[2]]]},
    }  # fmt: skip
    return FaultBench(keys, (2, 2), dies=1, write=WRITE, network=False)


def _stepped(name, driver, **options):
    """Return a source on two needles of a station that steps to two dies."""
    bench = _on_two_needles("keithley2600b", "smua", 1e-3, model="2601B")
    instruments = bench.keys["instruments"]
    prober = {"driver": driver, "resource": "prober", "overtravel_ceiling": "50 um", **options}
    keys = bench.keys | {"name": name, "instruments": instruments | {"prober": prober}}
    return FaultBench(keys, bench.shape, dies=2, write=bench.write, limits=bench.limits, network=False)


def _inside(*, joined=False):
    """Return the bench over a matrix with sources that write cells by themselves, and move its relays by TSP-Link.

    Args:
        joined: one of them drives the channels of both.
    """
    nodes = {"smu1": 1, "smu2": 2, "matrix": 3}
    instruments = {
        name: entry | ({"tsplink": nodes[name]} if name in nodes else {})
        for name, entry in BENCH["instruments"].items()
    }
    name = "joined" if joined else "in instrument"
    keys = BENCH | {"name": name, "instruments": instruments, "programming": "instrument", "joined": joined}
    # a script that is lost counts as every rung for each of its cells: budgets hold some ladders
    return FaultBench(keys, write=WRITE | {"budget": 16})


def _standing():
    """Return generic instruments of all kinds; levels of the two sources stand between two calls."""
    instruments = {
        **{
            name: SOURCE | {"resource": name, "channels": ["smua", "smub"], "stands": True} for name in ("smu1", "smu2")
        },
        "matrix": {"driver": "generic_matrix", "resource": "matrix"},
        "prober": {"driver": "generic_prober", "resource": "prober"},
    }
    return FaultBench(BENCH | {"name": "standing", "instruments": instruments})


BENCHES = {
    "matrix": FaultBench(BENCH),
    "in instrument": _inside(),
    "joined": _inside(joined=True),
    "standing": _standing(),
    "two matrices": _two_matrices(),
    "2450 and B2200": _apart(),
    "7001": _over_cards(),
    "B1500A and 7002": _mainframe(),
    "velox": _stepped("velox", "velox_server"),
    "cleaned": _stepped("cleaned", "mpi_sentio", clean_every=1, clean_on_bad_contact=True, bins_on_map=True),
    "two needles": _on_two_needles("keithley2600b", "smua", 1e-3, model="2601B"),
    "2400": _on_two_needles("keithley2400", "out", 10e-3),
    "pulse source": _pulsed(),
    "host timed": _on_two_needles("keithley2450", "out", 10e-3),
    "2450 in TSP": _on_two_needles("keithley2450_tsp", "out", 10e-3),
    **({"adapted": _adapted()} if find_spec("pymeasure") else {}),
    "board": BOARD,
    "board on needles": ON_NEEDLES,
}
"""By their names on the command line; most injections happen on the first."""
