"""Limits of the board of a chip: feasible operations, their time, and refusals before anything is energised."""

from typing import Any

import numpy as np

from labctl.core.bias import Bias, Geometry
from labctl.core.errors import BenchError
from labctl.core.operations import Operation, Pulse, Sense, WritePlan
from labctl.core.units import FloatArray, Second, Siemens, Volt
from sim_backend.chip_board import Board
from sim_backend.description import Simulation
from sim_backend.transistor import Transistor

_ROUNDING = 1e-9
"""V beyond a limit that is rounding."""


class BoardLimits:
    """Checks operations; knows only nominal properties of the cells, kernel by kernel.

    Args:
        g_p: (kernels,) S, nominal conductance of the junctions in P, without their transistors.
    """

    def __init__(
        self, geometry: Geometry, g_p: FloatArray, simulation: Simulation, transistor: Transistor, board: Board
    ) -> None:
        self._geometry, self._g_p, self._sim = geometry, g_p, simulation
        self._transistor, self._board = transistor, board

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; see `sim_backend.chip.ChipDie.check`."""
        t = self._sim.timing
        if isinstance(operation, WritePlan):
            self._require_voltages(operation.write, float(operation.ladder.max()))
            self._require_read(operation.verify)
            self._same_kernel(operation.write, operation.verify)
            pulses = np.clip(operation.budget, 0, len(operation.ladder))
            each = t.pattern + self._board.width(operation.width) + self.read_time(operation.verify)
            return float(t.operation * (int(pulses.max()) if len(pulses) else 1) + pulses.sum() * each)
        if isinstance(operation, Pulse):
            self._require_voltages(operation.bias, 1.0)
            total = t.operation + len(operation) * (t.pattern + self._board.width(operation.width))
            if operation.verify is not None:
                self._require_read(operation.verify)
                self._same_kernel(operation.bias, operation.verify)
                total += len(operation) * self.read_time(operation.verify)
            return total
        self._require_read(operation)
        return t.operation + len(operation) * (t.pattern + self.read_time(operation))

    def read_time(self, sense: Sense) -> Second:
        """Return the time that a read bias is up, in s."""
        return self._sim.timing.settle + sense.aperture

    def _same_kernel(self, bias: Bias, verify: Sense) -> None:
        if not np.array_equal(bias.kernel, verify.bias.kernel):
            raise BenchError("a pulse and its verify read are on different kernels; they share one route")

    def _require_voltages(self, bias: Bias, factor: float) -> None:
        """Refuse voltages beyond the board; line voltages count times `factor`."""
        bias.fits(self._geometry)
        if not len(bias):
            return
        board, gate = self._board, bias.gate
        assert gate is not None
        if not (gate.min() >= 0.0 and gate.max() <= board.supply + _ROUNDING):
            wrong = gate.min() if gate.min() < 0.0 else gate.max()
            raise BenchError(f"a gate at {wrong:g} V; the board drives gates from 0 to {board.supply:g} V")
        hull = _hull(bias)
        if self._realisable(factor * min(hull[::2]), factor * max(hull[1::2])):
            return
        row_low, row_high, col_low, col_high = (factor * v for v in _extremes(bias))
        lowest = float(np.fmin.reduce(np.fmin(row_low, col_low)))
        highest = float(np.fmax.reduce(np.fmax(row_high, col_high)))
        if not self._realisable(lowest, highest) and not np.isnan(lowest):
            wrong = lowest if lowest < board.v_min - _ROUNDING else highest
            raise BenchError(
                f"a line at {wrong:g} V; the board drives lines from {board.v_min:g} to {board.v_max:g} V "
                "of the sense reference"
            )

    def _realisable(self, low: float, high: float) -> bool:
        return low >= self._board.v_min - _ROUNDING and high <= self._board.v_max + _ROUNDING

    def _require_read(self, sense: Sense) -> None:
        """Refuse a read whose open cells, all in P at the largest voltage of the batch, exceed the full scale."""
        self._require_voltages(sense.bias, 1.0)
        full_scale = self._sim.converter.full_scale
        if not len(sense) or not np.isfinite(full_scale):
            return
        bias = sense.bias
        assert bias.gate is not None
        gate = bias.gate[:1] if bias.gate.strides[0] == 0 else bias.gate
        cells = int((gate > self._transistor.v_threshold).sum(axis=1).max())
        kernel = bias.kernel[:1] if bias.kernel.strides[0] == 0 else bias.kernel
        hull = _hull(bias)
        top, lowest = float(gate.max()), min(hull[::2])
        if cells * self._conducts(float(self._g_p[kernel].max()), top, lowest) * _across(*hull) <= full_scale:
            return
        row_low, row_high, col_low, col_high = _extremes(bias)
        across = np.nan_to_num(_across(row_low, row_high, col_low, col_high), nan=0.0)
        worst = int(np.argmax(self._g_p[bias.kernel] * across))
        volts, lowest = float(across[worst]), float(np.fmin(row_low, col_low)[worst])
        current = cells * self._conducts(float(self._g_p[bias.kernel[worst]]), top, lowest) * volts
        if current > full_scale:
            raise BenchError(
                f"{cells} open cells in P at {volts:g} V carry {current * 1e3:.3g} mA in one column; the converter's "
                f"full scale is {full_scale * 1e3:.3g} mA: lower the read voltage or open fewer gates"
            )

    def _conducts(self, g_p: Siemens, gate: Volt, lowest: Volt) -> Siemens:
        """Return what a cell in P conducts at most at a gate voltage, no line being below `lowest` V."""
        source = self._board.reference + min(lowest, 0.0)
        return g_p / (1.0 + g_p * self._transistor.on_resistance(gate, source))


def _across(row_low: Any, row_high: Any, col_low: Any, col_high: Any) -> Any:
    """Return the largest voltage between a row and a column."""
    return np.fmax(row_high - col_low, col_high - row_low)


def _hull(bias: Bias) -> tuple[float, float, float, float]:
    """Return lowest and highest voltage of a batch's rows and columns, floating lines included: a quick bound."""
    row, col = (part[:1] if part.strides[0] == 0 else part for part in (bias.row, bias.col))
    return float(row.min()), float(row.max()), float(col.min()), float(col.max())


def _extremes(bias: Bias) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return lowest and highest voltage (n,) V of each pattern's driven rows and columns; NaN where none is driven."""
    n_rows = bias.row.shape[1]
    floating = np.zeros((len(bias), n_rows + bias.col.shape[1]), np.bool_) if bias.floating is None else bias.floating
    bounds = []
    for volts, open_ in ((bias.row, floating[:, :n_rows]), (bias.col, floating[:, n_rows:])):
        none = open_.all(axis=1)
        bounds += [
            np.where(none, np.nan, np.where(open_, np.inf, volts).min(axis=1)),
            np.where(none, np.nan, np.where(open_, -np.inf, volts).max(axis=1)),
        ]
    return bounds[0], bounds[1], bounds[2], bounds[3]
