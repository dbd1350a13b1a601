"""The boards of the fault harness: two chips, by hand or under needles, surveyed, written and read out as a network.

The same as a bench of sources, and held to the same; of its own are the chips, the voltages of cells and gates, and
the faults that happen to boards.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from faults.kinds import KINDS

from instruments.board_bench import BoardBench
from labctl.core.limits import Limits
from protocols.chip_inference import ChipInference, ChipReadout
from protocols.samples import Dataset
from protocols.stage_inputs import Networks
from protocols.survey import Survey
from protocols.weights import Layer, Solution
from protocols.write_verify import WriteVerify
from sim_backend.description import DieDescription

NAME = "board"
V_GATE = 3.29
WRITE = {
    "v_start": 0.8, "v_max": 0.95, "v_step": 0.05, "budget": 4, "aperture": 1e-3, "compliance": 5e-3,
    "width": 0.999e-3, "v_gate": V_GATE,
}  # fmt: skip
"""Its first rung switches for sure, so that states are the same whatever a fault draws anew."""
BODY = {
    "driver": "daffodil", "resource": "1", "kernels": 2, "n_rows": 3, "n_cols": 4, "feedback": "10 kohm",
    "offset_reads": 2,
}  # fmt: skip
LIMITS = Limits(
    v_towards_p=1.0, v_towards_ap=1.0, width=1e-2, compliance=1e-2, v_gate=V_GATE, v_count=0.35, pulses_per_cell=200
)
KEYS = {
    "name": "board",
    "body": BODY,
    "exchange": "by hand",
    "limits": {
        "v_towards_p": "1 V", "v_towards_ap": "1 V", "v_gate": f"{V_GATE} V", "width": "10 ms",
        "compliance": "10 mA", "ramp_rate": "1000 V/s",
    },
    "twin": {"ideal_instruments": True},
}  # fmt: skip
OF_NUMBERS = (
    *("a digit changed", "reply of another instrument"),
    *(kind for kind in KINDS if kind.startswith(("every number", "one number"))),
)
"""Kinds that no message of a board alone can meet: it has no other instrument, and no decimal number."""
OF_SOURCES = (
    *("relays stuck", "output trips off", "error queued before", "error queued after"),
    *("a setting ignored", "a ramp, limit or wait ignored"),
)
"""Kinds that no message of a board or a prober can meet: they have no relays, and no queue."""


@dataclass(frozen=True)
class FaultBoard:
    """A board, and what is measured on it; see `faults.benches.FaultBench`."""

    keys: dict[str, Any]
    shape: tuple[int, int] = (3, 4)
    kernels: int = 2
    dies: int = 2
    limits: Limits = LIMITS
    rows_share = True

    @property
    def kinds(self):
        """Kinds of faults that can happen to it."""
        without = OF_SOURCES if "prober" in self.keys else (*OF_SOURCES, *OF_NUMBERS, "needles lift")
        return tuple(kind for kind in KINDS if kind not in without)

    @property
    def most(self):
        """Highest voltage that its campaign asks of a cell, V."""
        return WRITE["v_max"]

    def model(self):
        """Return the bench as its file is read."""
        return BoardBench.model_validate(self.keys, context={"file": True})

    def names(self):
        """Return the names that messages are to name one of."""
        return tuple(self.model().instruments)

    def description(self):
        """Return a sound chip."""
        m, n = self.shape
        keys = {
            "name": "small",
            "geometry": {"kind": "1T1R", "kernels": self.kernels, "n_rows": m, "n_cols": n},
            "junction": {"diameter": "80 nm"},
        }
        return DieDescription.model_validate(keys, context={"file": True})

    def stages(self):
        """Return a survey, write and inference of a network of 3 inputs, 2 neurons and 2 classes on two kernels."""
        dice = np.random.default_rng(4)
        x, y = dice.uniform(-1, 1, (3, 3)), np.array([0, 1, 0])
        layers = tuple(Layer(dice.random((n, 4)) < 0.5, dice.normal(0, 0.3, 2)) for n in (3, 2))
        inference = ChipInference(
            write_verify=WriteVerify(**WRITE, repair_rounds=1),
            readout=ChipReadout(scales=1, samples_kept=1, v_gate=V_GATE),
            solutions=Networks((Solution(0, layers),)),
            data=Dataset(x[:2], y[:2], x[2:], y[2:]),
        )
        return Survey(**WRITE), inference


BOARD = FaultBoard(KEYS)
ON_NEEDLES = FaultBoard(
    {key: value for key, value in KEYS.items() if key != "exchange"}
    | {"prober": {"driver": "mpi_sentio", "resource": "2", "overtravel_ceiling": "50 um"}}
)
