"""A Daffodil board, emulated: the server that runs on a real one, over an emulated board.

Source: `labctl.boards.daffodil`, the server itself, and `sim_backend.emulators.daffodil_board` for what is below it.
"""

from typing import Any

import numpy as np

from labctl.boards.daffodil import registers as reg
from labctl.boards.daffodil.service import numbered
from labctl.core.errors import BenchError
from labctl.core.units import Volt
from sim_backend.chip import ChipDie
from sim_backend.die import SimDie
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.daffodil_analog import Analog
from sim_backend.emulators.daffodil_batch import BatchEngine, BatchService
from sim_backend.emulators.daffodil_board import EmulatedBoard
from sim_backend.emulators.daffodil_leftovers import leftovers
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.link import Instrument
from sim_backend.emulators.safety_audit import HOT_VOLTAGE
from sim_backend.emulators.world import World

SERIAL = "70001"


class DaffodilServer(Instrument):
    """The server of a board, over an emulated one.

    Args:
        name: on the bench.
        board: the emulated board, which is initialised.
    """

    on_needles = False

    def __init__(self, name: str, board: EmulatedBoard, world: World) -> None:
        super().__init__(name, "daffodil", world)
        self.board, self.engine = board, BatchEngine(board)
        self.engine.initialise()
        self.service = BatchService(self.engine, SERIAL, board.now)

    def execute(self, message: str) -> str:
        """Answer one line."""
        self.board.unpair()
        return self.service.handle(message) + "\n" if message.strip() else ""

    def ends_busy(self, line: bytes) -> bool:
        """Whatever runs ends when the board is told to be safe."""
        return numbered(line.decode("latin-1"))[1].startswith("SAFE")

    def interrupt(self) -> None:
        """End a batch before its next pattern."""
        self.engine.abort = True

    def power_off(self) -> None:
        """The board forgets everything."""
        self.board.power_off()

    def put(self, die: SimDie | ChipDie) -> None:
        """Have another chip in the socket; BenchError if it is none, or of another shape."""
        self.board.put(chip_for(self.board, die, self.name))

    def touch(self, die: SimDie | ChipDie | None) -> None:
        """Have needles on a chip, or on none; BenchError if it is none, or of another shape."""
        self.on_needles = True
        self.board.touch(None if die is None else chip_for(self.board, die, self.name))

    def hot(self) -> str:
        """Return what is live at the lines, in words."""
        return hot(self.board, self.name)

    def outputs(self) -> dict[str, Volt]:
        """Return the lines that are away from the reference, and the gates that are away from closed, with their V.

        None of a board whose chip has no power.
        """
        return live_lines(self.board)

    def leftovers(self) -> dict[str, Leave]:
        """Return how each part of the board and of its server is left, as by another program."""
        return {**super().leftovers(), **leftovers(self.board, self.service)}


def live_lines(board: EmulatedBoard) -> dict[str, Volt]:
    """Return the lines of a board that are away from the reference, and the gates that are away from closed, V."""
    if board.defects.unsupplied or not all(board.data >> bit & 1 for bit in reg.POWER):
        return {}
    _, n_rows, n_cols = board.chip.geometry.shape
    rest, ground = board.out[reg.REFERENCE], board.analog.ground
    lines = {f"row{i}": board.out[reg.column_dac(i)] - rest for i in range(n_rows)}
    lines |= {f"col{i}": board.out[reg.row_dac(i)] - rest for i in range(n_cols)}
    gates = {f"gate{i}": board.out[reg.gate_dac(i, board.swapped)] - ground for i in range(n_rows)}
    live = {line: volts for line, volts in lines.items() if abs(volts) > HOT_VOLTAGE}
    return live | {gate: volts for gate, volts in gates.items() if volts > board.chip.opens_above}


def hot(board: EmulatedBoard, name: str) -> str:
    """Return what is live at the lines of a board, supplies of the chip among it, in words; "" if nothing is."""
    live = [f"{line} at {volts:.4g} V" for line, volts in live_lines(board).items()]
    live += ["supplies of the chip"] * board.powered
    return f"{name}: {', '.join(live)}" if live else ""


def chip_for(board: EmulatedBoard, die: SimDie | ChipDie, name: str) -> ChipDie:
    """Return a die for a board; BenchError if it is no chip, or of another shape."""
    if not isinstance(die, ChipDie) or die.geometry.shape != board.chip.geometry.shape:
        raise BenchError(f"{name} has chips like {board.chip.name}; die {die.name} is none")
    return die


def board_of(name: str, options: Any, context: EmulatorContext) -> EmulatedBoard:
    """Return the emulated board of an entry of the bench file, initialised, with the chip of the bench on it.

    Raises:
        BenchError: the die of the bench is no integrated chip of the board's shape.
    """
    chip = context.die
    if not isinstance(chip, ChipDie):
        raise BenchError(f"{name} drives integrated chips; the die of this bench is none")
    kernels, n_rows, n_cols = chip.geometry.shape
    if kernels > reg.KERNELS or max(n_rows, n_cols) > reg.LINES:
        raise BenchError(f"{name} drives {reg.KERNELS} kernels of {reg.LINES} x {reg.LINES} at most")
    first, second = options.potentiometer_codes
    nominal = [(50.0 + 100e3 * first / 256, 50.0 + 100e3 * second / 256)] * reg.LINES
    points = np.array(options.potentiometers or nominal)
    rails = {"low": options.amplifier_low, "high": options.amplifier_high, "ground": options.ground}
    if context.ideal:
        analog = Analog(points, (first, second), np.ones(reg.LINES), np.zeros(reg.LINES), **rails)
    else:
        analog = Analog.drawn(chip, name, options.feedback, points, (first, second), **rails)
    return EmulatedBoard(
        chip,
        analog,
        context.world,
        clock=options.clock,
        conversion=options.conversion / 2,
        dac_write=options.dac_write,
        swapped=options.swapped_gates,
    )


def emulate(name: str, options: Any, context: EmulatorContext) -> DaffodilServer:
    """Return the emulated board of an entry of the bench file.

    Raises:
        BenchError: the die of the bench is no integrated chip of the board's shape.
    """
    board = board_of(name, options, context)
    return DaffodilServer(name, board, context.world)
