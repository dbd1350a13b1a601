"""The voltages that the cells of a die see under a bias: the one envelope for limits, bench, stress ledger and audit.

Judged are the voltages a cell can see at any moment, not only the settled ones: while lines go up and come down, one
end of a cell may already be at its level and the other still at 0 V, so 0 V counts as a level of every line. A floating
line may take any potential between the driven ones, so one floating line makes the worst driven pair count for all.
"""

from dataclasses import dataclass

import numpy as np

from labctl.core.bias import Bias
from labctl.core.units import BoolArray, FloatArray, IntArray, Volt


@dataclass(frozen=True)
class Extremes:
    """Highest cell voltage of each pattern in either sign, in V, transients included; (n,) each."""

    positive: FloatArray
    negative: FloatArray


def _span(lines: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return lowest and highest value (n,) of each pattern's `lines` (n, k), 0 counting as one of them."""
    n, k = lines.shape
    flat = np.ascontiguousarray(_different(lines)).ravel()
    starts = np.arange(0, len(flat), k)
    low, high = np.minimum.reduceat(flat, starts).clip(max=0), np.maximum.reduceat(flat, starts).clip(min=0)
    return np.broadcast_to(low, n), np.broadcast_to(high, n)


def _different(lines: FloatArray) -> FloatArray:
    """Return `lines` (n, k), or one pattern of them if all are views of one."""
    return lines[:1] if len(lines) > 1 and lines.strides[0] == 0 else lines


def _reach(bias: Bias) -> Volt:
    """Return V that no cell of any pattern can exceed: the highest of all lines less the lowest, 0 V among them."""
    lines = [_different(volts) for volts in (bias.row, bias.col)]
    high, low = max(0.0, *(v.max() for v in lines)), min(0.0, *(v.min() for v in lines))
    return float(high - low)


def extremes(bias: Bias) -> Extremes:
    """Return the highest voltages that any cell of each pattern can see, transients and floating lines included."""
    row, col = bias.row, bias.col
    if bias.floating is not None:
        driven = ~bias.floating
        row, col = row * driven[:, : row.shape[1]], col * driven[:, row.shape[1] :]
    (row_lo, row_hi), (col_lo, col_hi) = _span(row), _span(col)
    positive, negative = row_hi - col_lo, col_hi - row_lo
    if bias.floating is not None:
        worst = np.maximum(row_hi, col_hi) - np.minimum(row_lo, col_lo)
        open_line = bias.floating.any(1)
        positive, negative = np.where(open_line, worst, positive), np.where(open_line, worst, negative)
    return Extremes(positive, negative)


def stressed(bias: Bias, v_count: Volt) -> BoolArray:
    """Return the (n, n_rows, n_cols) cells that see more than `v_count` V in each pattern.

    A cell on a floating line counts when the worst driven pair exceeds `v_count`; behind a closed gate none counts.
    """
    cell = np.abs(bias.row[:, :, None] - bias.col[:, None, :]) > v_count
    if bias.floating is not None:
        n_rows = bias.row.shape[1]
        found = extremes(bias)
        worst = np.maximum(found.positive, found.negative) > v_count
        loose = bias.floating[:, :n_rows, None] | bias.floating[:, None, n_rows:]
        cell = np.where(loose, worst[:, None, None], cell)
    if bias.gate is not None:
        cell &= (bias.gate > 0)[:, :, None]
    return np.asarray(cell)


def pulses_per_cell(bias: Bias, v_count: Volt, shape: tuple[int, int, int]) -> IntArray:
    """Return how many patterns stress each cell of a die of `shape` (kernels, n_rows, n_cols).

    The sum of `stressed` over the patterns of each kernel. With one gate open, which is how cells are written, only
    the cells of that row are looked at: a write of thousands of cells would otherwise be millions of voltages.
    """
    found = np.zeros(shape, np.int64)
    n, n_rows = bias.row.shape
    rest = np.arange(n)
    if bias.gate is not None:
        pattern, row = np.divmod(np.flatnonzero(bias.gate > 0), n_rows)
        opened = np.bincount(pattern, minlength=n)
        one = opened[pattern] == 1
        pattern, row = pattern[one], row[one]
        cell = np.abs(bias.row[pattern, row][:, None] - bias.col[pattern]) > v_count
        if bias.floating is not None:
            highest = extremes(bias)
            worst = np.maximum(highest.positive, highest.negative) > v_count
            loose = bias.floating[pattern, row][:, None] | bias.floating[pattern, n_rows:]
            cell = np.where(loose, worst[pattern][:, None], cell)
        first = (bias.kernel[pattern] * n_rows + row) * shape[2]
        number = (first[:, None] + np.arange(shape[2]))[cell]
        found += np.bincount(number, minlength=found.size).reshape(shape)
        rest = np.flatnonzero(opened > 1)
    if len(rest):
        several = bias.take(rest)
        hit = stressed(several, v_count)
        for kernel in np.unique(several.kernel):
            found[kernel] += hit[several.kernel == kernel].sum(0)
    return found
