"""A board that somebody else wrote: lines of 4 rows and 3 columns whose levels and cells outlive the process.

Its hardware is a file, so that another process finds the lines as this one left them.
"""

import json
from pathlib import Path

import numpy as np

from labctl.core.bias import Geometry, Nominal
from labctl.core.die import DieBody
from labctl.core.driver import Driver, DriverKind, Wire
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.model import Model
from labctl.core.operations import Flag, Reading, Sense, WritePlan
from labctl.core.source import ChannelState
from labctl.core.units import Second, Volt

ROWS, COLS = 4, 3
G_P, G_AP, THRESHOLD = 4e-4, 1.8e-4, 0.4


class Options(Model):
    """Options of the board in the bench file."""

    hardware: str
    rail: Volt = 1.0
    fails: str = ""


class Plan(DieBody):
    """What the board can do: levels within its rail, no line floating, no pulse below 1 us."""

    def __init__(self, options, nominal, polarity):
        self.options, self.nominal = options, nominal
        self.geometry = Geometry(1, ROWS, COLS, polarity=polarity)

    def check(self, operation):
        if isinstance(operation, WritePlan):
            return 1e-3 * len(operation)
        bias = operation.bias
        bias.fits(self.geometry)
        top = max(np.abs(bias.row).max(initial=0.0), np.abs(bias.col).max(initial=0.0))
        if top > self.options.rail:
            raise BenchError(f"a level of {top:.3g} V asked for; the board's rail is {self.options.rail:.3g} V")
        if bias.floating is not None and np.any(bias.floating):
            raise BenchError("the board has no floating lines")
        if not isinstance(operation, Sense) and operation.width < 1e-6:
            raise BenchError(f"a pulse of {operation.width:.3g} s asked for; the board makes none below 1 us")
        return 1e-4 * len(operation)

    def idle(self):
        raise InstrumentError("the board is not connected")

    def _sense(self, sense):
        raise InstrumentError("the board is not connected")

    _pulse = _sense


class Board(Plan):
    """The board, over its hardware."""

    def __init__(self, name, options):
        super().__init__(options, Nominal.alike(G_P, G_AP, 1), 1)
        self.name = name
        self._file = Path(options.hardware)

    def connect(self):
        return f"lab board at {self._file.name}, {len(self._read()['state'])} rows"

    def turn_to(self, nominal, polarity):
        self.nominal, self.geometry = nominal, Geometry(1, ROWS, COLS, polarity=polarity)

    def state(self):
        lines = self._read()["lines"]
        return {name: ChannelState(level != 0, level, 1e-3) for name, level in lines.items()}

    def idle(self):
        self._drive([0.0] * ROWS, [0.0] * COLS)

    def off(self):
        if self.options.fails == "off":
            raise OSError("the board does not listen")
        self.idle()

    def verify_off(self):
        on = [name for name, line in self.state().items() if line.output]
        if on:
            raise InstrumentError(f"{self.name}: {', '.join(on)} are NOT off")

    def close(self):
        pass

    def _sense(self, sense):
        currents = [self._apply(sense.bias, k, 0.0)[sense.cols[k]] for k in range(len(sense))]
        shape = np.shape(sense.cols)
        self.idle()
        return Reading(np.reshape(currents, shape), np.zeros(shape, np.uint8), np.zeros(len(sense), np.uint8))

    def _pulse(self, pulse):
        parts = []
        for k in range(len(pulse)):
            self._apply(pulse.bias, k, pulse.width)
            self.idle()
            verify = pulse.verify
            columns = np.zeros(0) if verify is None else self._apply(verify.bias, k, 0.0)[verify.cols[k]]
            flags = np.zeros((1, len(columns)), np.uint8)
            parts.append(Reading(columns[None], flags, np.array([Flag(0)], np.uint8)))
        self.idle()
        return Reading.join(parts)

    def _apply(self, bias, k, width: Second):
        """Drive pattern `k`; return the currents out of the columns, (COLS,) A."""
        row, col = np.asarray(bias.row[k], float), np.asarray(bias.col[k], float)
        self._drive(row.tolist(), col.tolist())
        if self.options.fails == "perform":
            raise ZeroDivisionError("the board forgot its gain")
        hardware = self._read()
        state = np.array(hardware["state"], bool)
        volts = row[:, None] - col
        current = (volts * np.where(state, G_P, G_AP)).sum(axis=0)
        if width > 0:
            switched = np.where(np.abs(volts) >= THRESHOLD, volts * self.geometry.polarity > 0, state)
            self._file.write_text(json.dumps({**hardware, "state": switched.tolist()}))
        return current

    def _read(self):
        return json.loads(self._file.read_text())

    def _drive(self, row, col):
        lines = {f"row{k}": v for k, v in enumerate(row)} | {f"col{k}": v for k, v in enumerate(col)}
        self._file.write_text(json.dumps({**self._read(), "lines": lines}))


BOARD = Driver(
    DriverKind.BOARD,
    Board,
    Options,
    Wire.NONE,
    geometry=lambda options: Geometry(1, ROWS, COLS),
    planned=Plan,
    location=lambda options: options.hardware,
)
