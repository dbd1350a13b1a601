"""The patterns of a batch on a chip: open gates, driven lines, and the order of their effects."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from labctl.core.bias import Bias
from labctl.core.units import BoolArray, FloatArray, IntArray, Volt


class Patterns:
    """n patterns as the board applies them.

    Args:
        threshold: V, a gate above it counts as open; every transistor is closed up to it.
        lsb: V, one step of the line voltages; 0 is a converter without steps.
    """

    def __init__(self, bias: Bias, threshold: Volt, lsb: Volt) -> None:
        assert bias.gate is not None
        n = len(bias)
        self.kernel = bias.kernel
        self.row, self.col = _steps(bias.row, lsb), _steps(bias.col, lsb)
        """(n, n_rows) and (n, n_cols) V"""
        n_rows, n_cols = self.row.shape[1], self.col.shape[1]
        self._gate = bias.gate
        opened = _once(bias.gate, lambda gate: gate > threshold)
        self._opened = opened
        self.gates: IntArray = _once(opened, lambda o: o.sum(axis=1))
        """(n,) how many gates are open"""
        self.gate: IntArray = _once(opened, lambda o: o.argmax(axis=1))
        """(n,) the first of them"""
        least = _once(bias.gate, lambda gate: np.where(gate > threshold, gate, np.inf).min(axis=1))
        self.gate_voltage: FloatArray = np.where(self.gates > 0, least, 0.0)
        """(n,) V, of the open gates the lowest; 0 if none is open"""
        self._floating = bias.floating is not None
        if bias.floating is None:
            self.driven: BoolArray = np.broadcast_to(np.ones((1, n_rows + n_cols), np.bool_), (n, n_rows + n_cols))
            """(n, n_rows + n_cols)"""
        else:
            self.driven = ~bias.floating
            self.row = np.where(bias.floating[:, :n_rows], 0.0, self.row)
            self.col = np.where(bias.floating[:, n_rows:], 0.0, self.col)
        columns = self.driven[:, n_rows:]
        self.col_driven: IntArray = columns.argmax(axis=1) if self._floating else np.zeros(n, np.int64)
        """(n,) the first driven column"""
        own = self.driven[np.arange(n), self.gate]
        self.single_path: BoolArray = (self.gates == 1) & own & (columns.sum(axis=1) == 1)
        """(n,) one gate open, its row driven, and one column: nothing but a series path"""
        self.single_row: BoolArray = (self.gates == 1) & own
        """(n,) one gate open and its row driven: a ladder"""

    @cached_property
    def level(self) -> BoolArray:
        """(n,) all lines driven and all columns at one potential."""
        level: BoolArray = _once(self.col, lambda col: (col == col[:, :1]).all(axis=1))
        return level & self.driven.all(axis=1) if self._floating else level

    @cached_property
    def span(self) -> FloatArray:
        """(n,) V, from the lowest to the highest driven line."""
        if not self._floating:
            low, high = self._row_range
            high = np.maximum(high, _once(self.col, lambda col: col.max(axis=1)))
            return np.asarray(high - np.minimum(low, _once(self.col, lambda col: col.min(axis=1))))
        source = np.concatenate([self.row, self.col], axis=1)
        high = np.where(self.driven, source, -np.inf).max(axis=1)
        low = np.where(self.driven, source, np.inf).min(axis=1)
        return np.where(self.driven.any(axis=1), high - low, 0.0)

    @cached_property
    def _row_range(self) -> tuple[FloatArray, FloatArray]:
        return self.row.min(axis=1), self.row.max(axis=1)

    @property
    def reach(self) -> FloatArray:
        """(n,) V, the largest between a row and the first column; of `level` patterns."""
        (low, high), base = self._row_range, self.col[:, 0]
        return np.maximum(high - base, base - low)

    def gates_at(self, i: int) -> FloatArray:
        """Return the (n_rows,) V of the gates of pattern `i`."""
        return np.ascontiguousarray(self._gate[i])

    def alike(self, index: IntArray) -> list[IntArray]:
        """Return `index` in groups of one kernel, the same gate voltages and the same potential of column 0."""
        if not len(index):
            return []
        gate, kernel, base = self._gate[index], self.kernel[index], self.col[index, :1]
        if (gate == gate[0]).all() and (kernel == kernel[0]).all() and (base == base[0]).all():
            return [index]
        keys = np.concatenate([kernel[:, None].astype(np.float64), gate, base], axis=1)
        groups, which = np.unique(keys, axis=0, return_inverse=True)
        return [index[which.reshape(-1) == g] for g in range(len(groups))]


def _once(array: npt.NDArray[Any], of: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Return `of` an array, computed for one pattern if all patterns are views of one."""
    if len(array) > 1 and array.strides[0] == 0:
        result = of(array[:1])
        return np.broadcast_to(result, (len(array), *result.shape[1:]))
    return of(array)


def _steps(voltage: FloatArray, lsb: Volt) -> FloatArray:
    """Return voltages rounded to the steps of a converter, in V."""
    if lsb == 0.0:
        return voltage
    return np.asarray(_once(voltage, lambda v: np.rint(v * (1.0 / lsb)) * lsb))


def ranks(cell: IntArray) -> Iterator[IntArray]:
    """Yield indices in rounds: in each round every cell once, a cell's patterns in their order.

    >>> [r.tolist() for r in ranks(np.array([7, 3, 7, 7, 3]))]
    [[0, 1], [2, 4], [3]]
    """
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    rank = np.arange(len(cell)) - np.repeat(begins, np.diff(np.concatenate([begins, [len(cell)]])))
    if not len(cell):
        return
    if int(rank.max()) == 0:
        yield np.arange(len(cell))
        return
    by_rank = np.lexsort((order, rank))
    for stop, size in zip(np.cumsum(np.bincount(rank)), np.bincount(rank), strict=True):
        yield order[by_rank[stop - size : stop]]


def snapshots(
    group: IntArray, col: IntArray, after: tuple[FloatArray, ...], before: tuple[FloatArray, ...]
) -> tuple[FloatArray, ...]:
    """Return the cells of each pattern's row as they are right after that pattern.

    Args:
        group: (n,), patterns of the same number are on the same row.
        col: (n,), the column that each pattern writes.
        after: properties (n,) of that cell after the pattern.
        before: the same properties (n, n_cols) of the whole row before the first pattern.

    >>> row = np.array([[1.0, 1.0], [1.0, 1.0], [5.0, 5.0]])
    >>> snapshots(np.array([0, 0, 1]), np.array([1, 0, 0]), (np.array([2.0, 3.0, 4.0]),), (row,))[0].tolist()
    [[1.0, 2.0], [3.0, 2.0], [4.0, 5.0]]
    """
    n, n_cols = before[0].shape
    order = np.argsort(group, kind="stable")
    each, ordered = np.arange(n), group[order]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    start = np.maximum.accumulate(np.where(begins, each, 0))
    # place in `order` of the pattern that wrote the cell last; one of an earlier row is none
    last = np.full((n, n_cols), -1)
    last[each, col[order]] = each
    np.maximum.accumulate(last, axis=0, out=last)
    written = last >= start[:, None]
    writer = order[np.where(written, last, 0)]
    rows = []
    for new, old in zip(after, before, strict=True):
        row = np.empty_like(old)
        row[order] = np.where(written, new[writer], old[order])
        rows.append(row)
    return tuple(rows)
