"""Arithmetic around a reading: what a bench allows, what current to expect, what leads take away. Pure."""

import numpy as np

from instruments.bench import BenchLimits, Reads
from labctl.core.bias import Bias
from labctl.core.errors import BenchError, LimitError
from labctl.core.operations import Reading, Sense
from labctl.core.units import FloatArray, Ohm, Siemens


def judge(bias: Bias, limits: BenchLimits, polarity: int) -> None:
    """Raise LimitError if `bias` is beyond what the bench allows.

    0 V counts as a level of every line, which it is on the way up; with a line floating the worst pair counts.
    """
    refuse("compliance on this bench", bias.compliance, limits.compliance, "A")
    if not len(bias):
        return
    row, col, floating = bias.row, bias.col, bias.floating
    if floating is not None:
        n_rows = row.shape[1]
        row, col = np.where(floating[:, :n_rows], 0.0, row), np.where(floating[:, n_rows:], 0.0, col)
    row_high, row_low = row.max(1).clip(min=0), row.min(1).clip(max=0)
    col_high, col_low = col.max(1).clip(min=0), col.min(1).clip(max=0)
    positive, negative = row_high - col_low, col_high - row_low
    if floating is not None:
        worst = np.maximum(row_high, col_high) - np.minimum(row_low, col_low)
        loose = floating.any(1)
        positive, negative = np.where(loose, worst, positive), np.where(loose, worst, negative)
    if polarity < 0:
        positive, negative = negative, positive
    refuse("cell voltage towards P on this bench", float(positive.max()), limits.v_towards_p, "V")
    refuse("cell voltage towards AP on this bench", float(negative.max()), limits.v_towards_ap, "V")
    if bias.gate is not None:
        refuse("gate voltage on this bench", float(np.abs(bias.gate).max()), limits.v_gate, "V")


def refuse(quantity: str, value: float, limit: float, unit: str) -> None:
    """Raise LimitError if `value` is beyond `limit` by more than rounding; NaN is."""
    if not value <= limit * (1 + 1e-12):
        raise LimitError(quantity, value, limit, unit)


def expected_current(sense: Sense, g_p: Siemens, reads: Reads) -> FloatArray:
    """Return (n,) A, the most that a wanted column of nominal P cells carries, with headroom."""
    row, n_rows = sense.bias.row, sense.bias.row.shape[1]
    driven = np.ones(row.shape, np.bool_)
    if sense.bias.floating is not None:
        driven = ~sense.bias.floating[:, :n_rows]
    col = np.take_along_axis(sense.bias.col, sense.cols, 1)
    volts = np.abs(row[:, :, None] - col[:, None, :]) * driven[:, :, None]
    found: FloatArray = volts.sum(1).max(1) * g_p * reads.headroom
    return np.asarray(np.clip(found, min(reads.floor, sense.bias.compliance), sense.bias.compliance))


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


def subtract_leads(reading: Reading, voltage: FloatArray, resistance: Ohm) -> None:
    """Replace currents by those that `voltage` (n,) V would drive without `resistance` in series; in place.

    i / (1 - i R / v), from 1/G_cell = v/i - R; exact for one cell, and first order when other columns share the row.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(voltage[:, None] != 0, reading.current * resistance / voltage[:, None], 0.0)
        reading.current[:] = reading.current / (1 - share)
