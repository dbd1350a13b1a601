"""Small integrated chips, and Daffodil boards that drive them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from instruments.daffodil import Daffodil
from instruments.daffodil_plan import Options
from instruments.transport import BytesTransport
from labctl.core.operations import Pulse, Sense
from labctl.core.units import BoolArray, IntArray
from protocols.bias import read_bias, write_bias
from sim_backend.chip import ChipDie
from sim_backend.description import DieDescription
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.daffodil import DaffodilServer, emulate
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.world import Cables, World

V_GATE = 3.29
"""V, the highest gate that the board's converters reach, to 10 mV."""
STILL = {
    "disturb": False,
    "spread": {"diameter": 0.0, "ra": 0.0, "tmr": 0.0, "v_c0": 0.0, "delta": 0.0},
    "noise": {"relative": 0.0, "absolute": 0.0, "flicker": 0.0},
}
"""A chip without spread; its Johnson and shot noise are far below a code."""


def chip(
    kernels: int = 2, n_rows: int = 5, n_cols: int = 4, *, seed: int = 3, polarity: int = 1, **sim: Any
) -> ChipDie:
    """Return a chip of cells of 80 nm, whose simulation has the keys `sim`."""
    description = DieDescription.model_validate(
        {
            "name": "chip",
            "geometry": {"kind": "1T1R", "kernels": kernels, "n_rows": n_rows, "n_cols": n_cols},
            "junction": {"diameter": 80e-9, "ra": 12e-12, "tmr": 1.2},
            "polarity": polarity,
            "simulation": sim,
        }
    )
    return ChipDie(description, seed=seed, name="W1-x0y0")


def write(die: Any, kernel: IntArray, row: IntArray, col: IntArray, to_p: BoolArray, volts: float = 0.9) -> Pulse:
    """Return pulses of 1 ms on cells (n,), without their reads."""
    return Pulse(write_bias(die.geometry, kernel, row, col, to_p, v_gate=V_GATE).scaled(volts), 1e-3)


def read(die: Any, kernel: IntArray, row: IntArray, col: IntArray, volts: float = 0.1) -> Sense:
    """Return reads of cells (n,)."""
    return Sense(read_bias(die.geometry, kernel, row, col, volts, v_gate=V_GATE), np.asarray(col)[:, None])


def set_states(die: Any, kernel: int, states: BoolArray) -> None:
    """Write every cell of a kernel, P where `states` (n_rows, n_cols)."""
    row, col = (index.ravel() for index in np.indices(states.shape))
    die.pulse(write(die, np.full(row.shape, kernel), row, col, states.ravel()))


@dataclass(frozen=True)
class OnBoard:
    """A chip on an emulated board.

    Args:
        board: the driver. server: the emulated board. world: its clock and its audit of energised times.
    """

    board: Daffodil
    server: DaffodilServer
    world: World
    options: Options

    def another(self, name: str = "another") -> Daffodil:
        """Return another client of the board."""
        return Daffodil(name, self.options, BytesTransport(self.server.session(), name))


def on_board(die: ChipDie, *, ideal: bool = True, options: Mapping[str, Any] = {}, at_once: bool = True) -> OnBoard:
    """Return a chip on a board; `ideal` amplifiers have no offsets.

    Args:
        at_once: batches are computed at once where that is the same; False is event by event.
    """
    kernels, n_rows, n_cols = die.geometry.shape
    chosen = Options.model_validate({"kernels": kernels, "n_rows": n_rows, "n_cols": n_cols, **options})
    world = World(Cables({}, {}), lambda x, y, site: None)
    server = emulate("board", chosen, EmulatorContext(world, StationMap(((0, 0),)), die=die, ideal=ideal))
    server.engine.at_once = at_once
    board = Daffodil("board", chosen, BytesTransport(server.session(), "board"))
    board.turn_to(die.nominal, die.geometry.polarity)
    return OnBoard(board, server, world, chosen)
