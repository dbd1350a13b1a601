"""Routes that several cells share: rows and columns of a block on channels of their own, all other lines on ground.

A pattern that drives one row and senses columns at 0 V needs nothing of the other rows than that they are at 0 V, and a
channel at 0 V is as good for that as the ground. So c channels read a block of c // 2 rows by the rest of columns on
one route, row after row: four cells on four channels, where a route for each row and column takes three, and two
channels one. Writes of single cells with half the voltage on each line share routes alike.

A batch of pulses is carried out route by route then, and no longer in its own order: cells that are named twice keep
it, and share nothing. Pure array work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from instruments.assignment import Reach
from labctl.core.bias import Bias
from labctl.core.operations import Pulse, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray

LEAST = 3
"""Channels from which on a route has more than one cell."""


@dataclass(frozen=True, eq=False)
class SharedVisits:
    """v visits on c channels of a kernel with l lines; the fields are those of `routing.RouteVisits`."""

    pattern: IntArray
    kernel: IntArray
    route: IntArray
    pulse: FloatArray
    maker: IntArray
    read: FloatArray
    sense: IntArray


@dataclass(frozen=True)
class _Block:
    """Lines of one kernel that are on channels together: rows from the first channel on, then columns."""

    kernel: int
    rows: tuple[int, ...]
    cols: tuple[int, ...]


def shared(operation: Sense | Pulse, reach: Reach) -> SharedVisits | None:
    """Return the visits of a batch on routes that its cells share; None if its patterns are of another kind.

    Args:
        operation: on kernels that reach the same sources.
    """
    read = operation if isinstance(operation, Sense) else operation.verify
    channels = len(reach.channels)
    if channels < LEAST or not (reach.full and reach.ground) or read is None or not read.cols.shape[1]:
        return None
    n_rows = read.bias.row.shape[1]
    row = _driven_row(read.bias)
    if row is None:
        return None
    if isinstance(operation, Pulse) and not _of_single_cells(operation, row):
        return None
    kernel, cols = read.bias.kernel, read.cols
    visits: list[tuple[int, _Block]] = []
    for block in _blocks(kernel, row, cols, channels):
        inside = (kernel == block.kernel) & np.isin(row, block.rows) & np.isin(cols, block.cols).any(axis=1)
        visits += [(k, block) for k in np.flatnonzero(inside).tolist()]
    v = len(visits)
    lines = n_rows + read.bias.col.shape[1] + (0 if read.bias.gate is None else read.bias.gate.shape[1])
    pattern = np.array([k for k, _ in visits], np.int64)
    route = np.full((v, lines), channels, np.int64)
    pulse, level = np.zeros((v, channels)), np.zeros((v, channels))
    maker, sense = np.full(v, -1, np.int64), np.full((v, channels), -1, np.int64)
    for at, (k, block) in enumerate(visits):
        pads = [*block.rows, *(n_rows + c for c in block.cols)]
        route[at, pads] = np.arange(len(pads))
        source = block.rows.index(int(row[k]))
        level[at, source] = read.bias.row[k, row[k]]
        for slot, col in enumerate(cols[k].tolist()):
            if col in block.cols:
                sense[at, len(block.rows) + block.cols.index(col)] = slot
        if isinstance(operation, Pulse):
            pulse[at, source] = operation.bias.row[k, row[k]]
            pulse[at, len(block.rows) + block.cols.index(int(cols[k, 0]))] = operation.bias.col[k, cols[k, 0]]
            maker[at] = source if operation.bias.pulsed[k] == row[k] else -1
    return SharedVisits(pattern, kernel[pattern], route, np.round(pulse, 12), maker, np.round(level, 12), sense)


def _driven_row(bias: Bias) -> IntArray | None:
    """Return (n,), the one row that each pattern drives; None if a pattern drives anything else, or a line floats."""
    others = bias.col.any() or (bias.gate is not None and bias.gate.any())
    if bias.floating is not None or others or not ((bias.row != 0).sum(axis=1) == 1).all():
        return None
    row: IntArray = (bias.row != 0).argmax(axis=1)
    return row


def _of_single_cells(pulse: Pulse, row: IntArray) -> bool:
    """Return whether each pulse moves the row that its read drives and the column that is sensed, and each its own."""
    bias, verify = pulse.bias, pulse.verify
    assert verify is not None
    if verify.cols.shape[1] != 1 or bias.floating is not None or (bias.gate is not None and bias.gate.any()):
        return False
    if not np.array_equal(bias.kernel, verify.bias.kernel):
        return False
    col, each = verify.cols[:, 0], np.arange(len(row))
    rows, columns = _moved(bias.row, row), _moved(bias.col, col)
    cells = np.column_stack([bias.kernel, row, col])
    once = len(np.unique(cells, axis=0)) == len(cells)
    return once and rows and columns and bool((bias.row[each, row] != 0).all() and (bias.pulsed == row).all())


def _moved(levels: FloatArray, line: IntArray) -> bool:
    """Return whether no other line than the one named of each pattern has a level."""
    rest: BoolArray = levels != 0
    rest[np.arange(len(line)), line] = False
    return not rest.any()


def _blocks(kernel: IntArray, row: IntArray, cols: IntArray, channels: int) -> Iterator[_Block]:
    """Yield the blocks that hold every (row, column) wanted of every kernel, the columns to and fro."""
    for k in np.unique(kernel).tolist():
        of_kernel = kernel == k
        for turn, rows in enumerate(_parts(np.unique(row[of_kernel]).tolist(), channels // 2)):
            wanted = np.unique(cols[of_kernel & np.isin(row, rows)]).tolist()
            parts = list(_parts(wanted, channels - len(rows)))
            for some in parts[::-1] if turn % 2 else parts:
                yield _Block(k, rows, some)


def _parts(lines: Sequence[int], most: int) -> Iterator[tuple[int, ...]]:
    """Yield lines in parts of `most`, the last of them perhaps smaller."""
    for begin in range(0, len(lines), most):
        yield tuple(lines[begin : begin + most])
