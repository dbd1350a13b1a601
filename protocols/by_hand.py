"""Procedures for work by hand at the bench: read a cell, pulse a cell, read a whole kernel.

Each is a procedure like any other, so that work by hand keeps to the same limits and leaves the same journal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from labctl.core.cell_state import CellState, CellStateArray, cell_states
from labctl.core.die import Die
from labctl.core.operations import Flag, FlagArray, Pulse, Reading, Sense
from labctl.core.procedure import Procedure
from labctl.core.record import History, Record
from labctl.core.units import Conductances, FloatArray, IntArray, Second, Siemens, Volt
from protocols.bias import Scheme, read_bias, write_bias
from protocols.cells import CellReader, Cells
from protocols.figures import READ_PICTURES, RESISTANCES
from protocols.settings import ReadSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class CellReading(Record):
    """One cell read."""

    table: ClassVar[str] = "cell_reading"

    kernel: int
    row: int
    col: int
    v_read: Volt
    conductance: Siemens
    """current / v_read; NaN if nothing is known"""
    flag: Annotated[int, Flag]
    """bits of `Flag`"""
    state: Annotated[int, CellState]
    """code of `CellState`, by the nominal cut and G_AP of the kernel"""


@dataclass(frozen=True, eq=False, kw_only=True)
class CellPulse(Record):
    """One pulse on one cell and the read on the same route; `target` is True for P."""

    table: ClassVar[str] = "cell_pulse"

    kernel: int
    row: int
    col: int
    target: bool
    voltage: Volt
    """magnitude at the selected cell"""
    width: Second
    v_read: Volt
    conductance: Siemens
    flag: Annotated[int, Flag]
    """of the read"""
    pulse_flag: Annotated[int, Flag]
    """of the force side during the pulse"""
    state: Annotated[int, CellState]
    """code of `CellState`, by the nominal cut and G_AP of the kernel"""
    verified: bool
    """the state is the target, which it is not of a cell that is open or flagged"""


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelMap(Record):
    """Every cell of one kernel as read; arrays (n_rows, n_cols)."""

    table: ClassVar[str] = "kernel_map"

    kernel: int
    v_read: Volt
    conductance: Conductances
    flag: FlagArray
    state: CellStateArray
    """codes of `CellState`, by the nominal cut and G_AP of the kernel"""


class OneCell(ReadSettings):
    """One cell, and how it is read."""

    kernel: Annotated[int, Field(ge=0, description="kernel of the cell, numbered from 0")]
    row: Annotated[int, Field(ge=0, description="its row")]
    col: Annotated[int, Field(ge=0, description="its column")]

    @property
    def at(self) -> tuple[IntArray, IntArray, IntArray]:
        """(kernel, row, column), one cell each."""
        return np.array([self.kernel]), np.array([self.row]), np.array([self.col])

    def sense(self, die: Die) -> Sense:
        """Return the read of the cell, other lines at 0 V; BenchError if it is not on the die."""
        bias = read_bias(die.geometry, *self.at, self.v_read, compliance=self.compliance, v_gate=self.v_gate)
        return Sense(bias, self.at[2], self.aperture)

    def judge(self, die: Die, reading: Reading) -> tuple[float, int, int]:
        """Return conductance in S, flag, and state of the one cell of `reading`."""
        conductance, flag = reading.current[0] / self.v_read, reading.flag[0]
        state = cell_states(conductance, flag, die.nominal.cut(self.kernel), die.nominal.g_ap(self.kernel))
        return float(conductance[0]), int(flag[0]), int(state[0])


class ReadCell(OneCell, Procedure):
    """Read one cell."""

    name: ClassVar[str] = "hand_read"

    def run(self, die: Die, history: History) -> Iterator[Record]:
        """Yield one `CellReading`."""
        conductance, flag, state = self.judge(die, die.sense(self.sense(die)))
        yield CellReading(
            kernel=self.kernel,
            row=self.row,
            col=self.col,
            v_read=self.v_read,
            conductance=conductance,
            flag=flag,
            state=state,
        )


class PulseCell(OneCell, Procedure):
    """Pulse one cell once and read it on the same route."""

    name: ClassVar[str] = "hand_pulse"

    to_p: Annotated[bool, Field(description="towards P, otherwise towards AP")]
    voltage: Annotated[Volt, Field(gt=0, description="magnitude at the cell")]
    width: Annotated[Second, Field(gt=0, description="pulse width")] = 1e-3
    scheme: Annotated[Scheme, Field(description="unselected lines of a passive write: half, third or grounded")] = (
        Scheme.HALF
    )

    def run(self, die: Die, history: History) -> Iterator[Record]:
        """Yield one `CellPulse`."""
        write = write_bias(
            die.geometry,
            *self.at,
            np.array([self.to_p]),
            scheme=self.scheme,
            compliance=self.compliance,
            v_gate=self.v_gate,
        ).scaled(self.voltage)
        reading = die.pulse(Pulse(write, self.width, self.sense(die)))
        conductance, flag, state = self.judge(die, reading)
        yield CellPulse(
            kernel=self.kernel,
            row=self.row,
            col=self.col,
            target=self.to_p,
            voltage=self.voltage,
            width=self.width,
            v_read=self.v_read,
            conductance=conductance,
            flag=flag,
            pulse_flag=int(reading.pulse_flag[0]),
            state=state,
            verified=state == self.to_p,
        )


class MapCells(ReadSettings, Procedure):
    """Read every cell of one kernel or of all."""

    name: ClassVar[str] = "hand_map"
    figures = RESISTANCES
    pictures = READ_PICTURES

    kernel: Annotated[int | None, Field(ge=0, description="one kernel; all of them if left out")] = None

    def run(self, die: Die, history: History) -> Iterator[Record]:
        """Yield one `KernelMap` per kernel."""
        geometry = die.geometry
        for kernel in range(geometry.kernels) if self.kernel is None else (self.kernel,):
            shape = geometry.shape[1:]
            reader = CellReader(geometry, Cells.block(kernel, 0, 0, shape), self)
            conductance, flag = reader.read(die)
            as_map: FloatArray = conductance.reshape(shape)
            yield KernelMap(
                kernel=kernel,
                v_read=self.v_read,
                conductance=as_map,
                flag=flag.reshape(shape),
                state=cell_states(as_map, flag.reshape(shape), die.nominal.cut(kernel), die.nominal.g_ap(kernel)),
            )
