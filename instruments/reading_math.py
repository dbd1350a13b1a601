"""Arithmetic around a reading: what a bench allows, what current to expect, what leads take away. Pure."""

import numpy as np

from instruments.bench import BenchLimits, Reads
from labctl.core.bias import Bias
from labctl.core.cell_voltage import refuse_cell_voltages
from labctl.core.errors import BenchError, refuse_beyond
from labctl.core.operations import Reading, Sense
from labctl.core.units import FloatArray, IntArray, Ohm


def judge(bias: Bias, limits: BenchLimits, polarity: int) -> None:
    """Raise LimitError if `bias` is beyond what the bench allows; which voltages count is in `cell_voltage`."""
    refuse_beyond("compliance on this bench", bias.compliance, limits.compliance, "A")
    if not len(bias):
        return
    refuse_cell_voltages(bias, polarity, limits.v_towards_p, limits.v_towards_ap, " on this bench")
    if bias.gate is not None:
        refuse_beyond("gate voltage on this bench", float(np.abs(bias.gate).max()), limits.v_gate, "V")


def expected_current(sense: Sense, g_p: FloatArray, reads: Reads) -> FloatArray:
    """Return (n,) A, the most that a wanted column of nominal P cells, (n,) S each, carries, with headroom."""
    row, n_rows = sense.bias.row, sense.bias.row.shape[1]
    driven = np.ones(row.shape, np.bool_)
    if sense.bias.floating is not None:
        driven = ~sense.bias.floating[:, :n_rows]
    col = np.take_along_axis(sense.bias.col, sense.cols, 1)
    volts = np.abs(row[:, :, None] - col[:, None, :]) * driven[:, :, None]
    expected: FloatArray = volts.sum(1).max(1) * g_p * reads.headroom
    return np.asarray(np.clip(expected, min(reads.floor, sense.bias.compliance), sense.bias.compliance))


def driven_voltage(bias: Bias) -> FloatArray:
    """Return (n,) V, the voltage of the one driven row of each pattern against its columns.

    Raises:
        BenchError: lead resistance cannot be subtracted because more than one row is driven, or columns differ.
    """
    against = bias.row - bias.col[:, :1]
    if ((against != 0).sum(1) > 1).any() or (bias.col != bias.col[:, :1]).any() or bias.floating is not None:
        raise BenchError(
            "lead resistance is subtracted from reads of one driven row only, all other lines at one level"
        )
    return np.asarray(against.sum(1))


def share_columns(reading: Reading, cols: IntArray) -> None:
    """Give every place of a column that a pattern wants several times, `cols` (n, m), its last reading; in place.

    A line is on one channel, whose reading goes to one of these places: the last of those that a route reads.
    """
    n, m = cols.shape
    ordered = np.sort(cols, axis=1)
    if not n or not (ordered[:, 1:] == ordered[:, :-1]).any():
        return
    last = m - 1 - (cols[:, :, None] == cols[:, None, ::-1]).argmax(axis=2)
    reading.current[:], reading.flag[:] = (np.take_along_axis(x, last, 1) for x in (reading.current, reading.flag))


def subtract_leads(reading: Reading, voltage: FloatArray, resistance: Ohm) -> None:
    """Replace currents by those that `voltage` (n,) V would drive without `resistance` in series; in place.

    i / (1 - i R / v), from 1/G_cell = v/i - R; exact for one cell, and first order when other columns share the row.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(voltage[:, None] != 0, reading.current * resistance / voltage[:, None], 0.0)
        reading.current[:] = reading.current / (1 - share)
