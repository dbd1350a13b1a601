"""The voltages that the cells of a die see under a bias: the one envelope for limits, bench and stress ledger.

Judged are the voltages a cell can see at any moment, not only the settled ones: while lines go up and come down, one
end of a cell may already be at its level and the other still at 0 V, so 0 V counts as a level of every line. A floating
line may take any potential between the driven ones, so one floating line makes the worst driven pair count for all.

Pulses are counted by the settled voltage of a cell (`stressed`), with the same rule for floating lines.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from labctl.core.bias import Bias
from labctl.core.errors import refuse_beyond
from labctl.core.units import BoolArray, FloatArray, IntArray, Volt

Lines = TypeVar("Lines", FloatArray, BoolArray)


@dataclass(frozen=True)
class Extremes:
    """Highest cell voltage of each pattern in either sign, in V, transients included; (n,) each.

    Args:
        positive: of V_row - V_col.
        negative: of V_col - V_row.
        rows: lowest and highest voltage of the rows, 0 V among them. cols: likewise.
    """

    positive: FloatArray
    negative: FloatArray
    rows: tuple[FloatArray, FloatArray]
    cols: tuple[FloatArray, FloatArray]

    @property
    def highest(self) -> FloatArray:
        """Highest magnitude of each pattern, (n,) V."""
        return np.maximum(self.positive, self.negative)


def one_if_all_alike(lines: Lines) -> Lines:
    """Return the first pattern alone of `lines` (n, k) if all are views of it, else `lines`."""
    return lines[:1] if len(lines) > 1 and lines.strides[0] == 0 else lines


def extremes(bias: Bias) -> Extremes:
    """Return the highest voltages that any cell of each pattern can see, transients and floating lines included."""
    row, col = _driven(bias)
    (row_lo, row_hi), (col_lo, col_hi) = rows, cols = _span(row), _span(col)
    positive, negative = row_hi - col_lo, col_hi - row_lo
    if bias.floating is not None:
        worst = np.maximum(row_hi, col_hi) - np.minimum(row_lo, col_lo)
        any_open = bias.floating.any(1)
        positive, negative = np.where(any_open, worst, positive), np.where(any_open, worst, negative)
    return Extremes(positive, negative, rows, cols)


def refuse_cell_voltages(bias: Bias, polarity: int, v_towards_p: Volt, v_towards_ap: Volt, where: str = "") -> None:
    """Raise LimitError if a cell of any pattern can see more than these magnitudes, in V.

    Args:
        polarity: of the die, see `Geometry`.
        where: appended to the quantity in the message.
    """
    # pattern by pattern only what all lines of all patterns together would not pass
    if not len(bias) or _bound(bias) <= min(v_towards_p, v_towards_ap):
        return
    peaks = extremes(bias)
    towards_p, towards_ap = peaks.positive.max(), peaks.negative.max()
    if polarity < 0:
        towards_p, towards_ap = towards_ap, towards_p
    refuse_beyond(f"cell voltage towards P{where}", towards_p, v_towards_p, "V")
    refuse_beyond(f"cell voltage towards AP{where}", towards_ap, v_towards_ap, "V")


def peaks_per_cell(bias: Bias) -> tuple[FloatArray, FloatArray]:
    """Return the highest V_row - V_col and V_col - V_row of each cell over n patterns, (n_rows, n_cols) V each.

    A cell on a floating line may see the worst driven pair; one behind a closed gate sees nothing. All patterns count
    as of one kernel.
    """
    if bias.floating is None and bias.gate is None and not bias.col.any():
        every = np.ones(bias.col.shape[1])
        return np.outer(bias.row.max(0).clip(min=0), every), np.outer(-bias.row.min(0).clip(max=0), every)
    row, col = _driven(bias)
    up = row.clip(min=0)[:, :, None] - col.clip(max=0)[:, None, :]
    down = col.clip(min=0)[:, None, :] - row.clip(max=0)[:, :, None]
    if bias.floating is not None:
        worst, on_open_line = extremes(bias).highest[:, None, None], _on_open_line(bias.floating, row.shape[1])
        up, down = np.where(on_open_line, worst, up), np.where(on_open_line, worst, down)
    if bias.gate is not None:
        gate_open = (bias.gate > 0)[:, :, None]
        up, down = up * gate_open, down * gate_open
    return up.max(0), down.max(0)


def stressed(bias: Bias, v_count: Volt) -> BoolArray:
    """Return the (n, n_rows, n_cols) cells that see more than `v_count` V in each pattern.

    A cell on a floating line counts when the worst driven pair exceeds `v_count`; behind a closed gate none counts.
    """
    cell = np.abs(bias.row[:, :, None] - bias.col[:, None, :]) > v_count
    if bias.floating is not None:
        worst = extremes(bias).highest > v_count
        cell = np.where(_on_open_line(bias.floating, bias.row.shape[1]), worst[:, None, None], cell)
    if bias.gate is not None:
        cell &= (bias.gate > 0)[:, :, None]
    return np.asarray(cell)


def pulses_per_cell(bias: Bias, v_count: Volt, shape: tuple[int, int, int]) -> IntArray:
    """Return how many patterns stress each cell of a die of `shape` (kernels, n_rows, n_cols).

    The sum of `stressed` over the patterns of each kernel. With one gate open, which is how cells are written, only
    the cells of that row are computed: a write of thousands of cells would otherwise be millions of voltages.
    """
    counts = np.zeros(shape, np.int64)
    if not len(bias) or _bound(bias) <= v_count:
        return counts
    n, n_rows = bias.row.shape
    rest = np.arange(n)
    if bias.gate is not None:
        pattern, row = np.divmod(np.flatnonzero(bias.gate > 0), n_rows)
        opened = np.bincount(pattern, minlength=n)
        one = opened[pattern] == 1
        pattern, row = pattern[one], row[one]
        cell = np.abs(bias.row[pattern, row][:, None] - bias.col[pattern]) > v_count
        if bias.floating is not None:
            worst = extremes(bias).highest > v_count
            on_open_line = bias.floating[pattern, row][:, None] | bias.floating[pattern, n_rows:]
            cell = np.where(on_open_line, worst[pattern][:, None], cell)
        first = (bias.kernel[pattern] * n_rows + row) * shape[2]
        number = (first[:, None] + np.arange(shape[2]))[cell]
        counts += np.bincount(number, minlength=counts.size).reshape(shape)
        rest = np.flatnonzero(opened > 1)
    if len(rest):
        several = bias.take(rest)
        cell = stressed(several, v_count)
        for kernel in np.unique(several.kernel):
            counts[kernel] += cell[several.kernel == kernel].sum(0)
    return counts


def _driven(bias: Bias) -> tuple[FloatArray, FloatArray]:
    """Return the voltages of rows (n, n_rows) and columns (n, n_cols) in V, 0 on floating lines."""
    row, col = bias.row, bias.col
    if bias.floating is not None:
        driven = ~bias.floating
        row, col = row * driven[:, : row.shape[1]], col * driven[:, row.shape[1] :]
    return row, col


def _on_open_line(floating: BoolArray, n_rows: int) -> BoolArray:
    """Return the (n, n_rows, n_cols) cells whose row or column floats."""
    return floating[:, :n_rows, None] | floating[:, None, n_rows:]


def _span(lines: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return lowest and highest value (n,) of each pattern's `lines` (n, k), 0 counting as one of them."""
    n, k = lines.shape
    flat = np.ascontiguousarray(one_if_all_alike(lines)).ravel()
    starts = np.arange(0, len(flat), k)
    low, high = np.minimum.reduceat(flat, starts).clip(max=0), np.maximum.reduceat(flat, starts).clip(min=0)
    return np.broadcast_to(low, n), np.broadcast_to(high, n)


def _bound(bias: Bias) -> Volt:
    """Return V that no cell of any pattern can exceed: the highest of all lines less the lowest, 0 V among them."""
    lines = [one_if_all_alike(volts) for volts in (bias.row, bias.col)]
    high, low = max(0.0, *(v.max() for v in lines)), min(0.0, *(v.min() for v in lines))
    return float(high - low)
