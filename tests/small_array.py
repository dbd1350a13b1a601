"""Small passive dies, and fakes of an ArC TWO board that drives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from instruments.arc_two import ArcTwo
from instruments.arc_two_options import Options
from labctl.core.operations import Pulse, Sense
from labctl.core.units import BoolArray, IntArray
from protocols.bias import read_bias, write_bias
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.emulators.arc_two import FakeBoard, FakeLibrary, emulate
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.sentio_model import StationMap
from sim_backend.emulators.world import Cables, World

ROWS = (15, 32, 14, 33, 13, 34, 12, 35, 11, 36)
COLS = (16, 63, 17, 62, 18, 61, 19, 60, 20, 59)


def array(
    kernels: int = 2, n_rows: int = 4, n_cols: int = 3, *, seed: int = 3, polarity: int = 1, **sim: Any
) -> SimDie:
    """Return a passive die of cells of 80 nm, ideal unless its simulation has the keys `sim`."""
    description = DieDescription.model_validate(
        {
            "name": "array",
            "geometry": {"kind": "passive", "kernels": kernels, "n_rows": n_rows, "n_cols": n_cols},
            "junction": {"diameter": 80e-9, "ra": 12e-12, "tmr": 1.2},
            "polarity": polarity,
            "simulation": sim or {"ideal": True},
        }
    )
    return SimDie(description, seed=seed, name="W1-x0y0")


def write(die: Any, kernel: IntArray, row: IntArray, col: IntArray, to_p: BoolArray, volts: float = 0.5) -> Pulse:
    """Return pulses of 1 ms on cells (n,), without their reads."""
    return Pulse(write_bias(die.geometry, kernel, row, col, to_p).scaled(volts), 1e-3)


def read(die: Any, kernel: IntArray, row: IntArray, col: IntArray, volts: float = 0.1) -> Sense:
    """Return reads of cells (n,)."""
    return Sense(read_bias(die.geometry, kernel, row, col, volts), np.asarray(col)[:, None])


@dataclass(frozen=True)
class OnArcTwo:
    """A die on a fake board.

    Args:
        board: the driver. fake: the board. library: pyarc2's fake. world: its clock and its audit.
    """

    board: ArcTwo
    fake: FakeBoard
    library: FakeLibrary
    world: World
    options: Options


def options_of(die: SimDie, **more: Any) -> Options:
    """Return the options of a board with the lines of a die."""
    kernels, n_rows, n_cols = die.geometry.shape
    wired = [
        {"rows": ROWS[k * n_rows : (k + 1) * n_rows], "cols": COLS[k * n_cols : (k + 1) * n_cols]}
        for k in range(kernels)
    ]
    return Options.model_validate({"firmware": "fw.bin", "kernels": wired, **more})


def on_arc_two(
    die: SimDie, *, ideal: bool = True, seed: int = 1, offset: float = 0.0, options: Mapping[str, Any] = {}
) -> OnArcTwo:
    """Return a die on a fake board; `ideal` converters have no noise and no steps."""
    chosen = options_of(die, **options)
    world = World(Cables({}, {}), lambda x, y, site: None)
    context = EmulatorContext(world, StationMap(((0, 0),)), die=die, ideal=ideal, seed=seed, offset=offset)
    library = emulate("board", chosen, context)
    board = ArcTwo("board", chosen, library)
    board.turn_to(die.nominal, die.geometry.polarity)
    return OnArcTwo(board, library.board, library, world, chosen)
