"""Bias patterns: the voltage of every line, as pure functions of the selected cells.

Every pattern that a protocol applies is built here, so that signs, polarities and schemes are in one place. All
functions are batches: one pattern per cell, row or input vector, in the order given. Write patterns are for 1 V across
the selected cell; a ladder scales them.

Passive writes are shifted so that **unselected rows are at 0 V**. The selected row, the only pulsed line,
then waits at the potential of its neighbours, and while it waits (other lines up, row not yet) no cell sees
more than the share of the write voltage that the scheme names. With the textbook potentials (V and 0 on the
selected lines) the waiting row would see the share backwards, or with V/3 twice the share.

| scheme | selected row, column | other rows, columns | half-selected cells see | levels besides ground |
|---|---|---|---|---|
| half | +V/2, -V/2 | 0, 0 | V/2 on the two selected lines, 0 elsewhere | 2 |
| third | +2V/3, -V/3 | 0, +V/3 | V/3 on the row and column, -V/3 elsewhere | 3 |
| grounded | +V, 0 | 0, 0 | V on the whole row, 0 elsewhere: it writes a row, never one cell | 1 |
| 1T1R | V, 0 to write P; 0, V to write AP | 0 and closed, left open | nothing | 1 and the gate |

A cell read drives one row and holds all columns at 0 V, by virtual ground or by a ground relay: 1 level. An
input vector needs as many levels as it has distinct values, so at most one channel per row of the layer.
"""

from enum import StrEnum

import numpy as np

from labctl.core.bias import Bias, Geometry, Kind
from labctl.core.errors import BenchError
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Volt

COMPLIANCE: Ampere = 5e-3
"""Project default: above the 3.2 mA that V/2 draws from a row of 15 cells in P of 1.5 kohm at 0.6 V."""
V_GATE: Volt = 3.29
"""Project default of an open gate of a 1T1R kernel, which its board reaches; passive kernels have none."""


class Scheme(StrEnum):
    """Potentials of the unselected lines in a passive write."""

    HALF = "half"
    THIRD = "third"
    GROUNDED = "grounded"


class Unselected(StrEnum):
    """State of the unselected lines in a cell read."""

    GROUNDED = "grounded"
    FLOATING = "floating"


LEVELS = {Scheme.HALF: 2, Scheme.THIRD: 3, Scheme.GROUNDED: 1}
"""Distinct levels other than ground that each write scheme needs at once."""

# share of the cell voltage on (selected row, selected column, other columns); other rows are at 0 V
_SHARES = {
    Scheme.HALF: (1 / 2, -1 / 2, 0.0),
    Scheme.THIRD: (2 / 3, -1 / 3, 1 / 3),
    Scheme.GROUNDED: (1.0, 0.0, 0.0),
}


def _on_die(geometry: Geometry, kernel: IntArray, row: IntArray, col: IntArray | None = None) -> None:
    for name, index, size in zip(("kernel", "row", "column"), (kernel, row, col), geometry.shape, strict=True):
        if index is not None and not isinstance(index, np.ndarray):
            raise BenchError(f"{name} is {index!r}; expected arrays of whole numbers, (n,), one entry per cell")
        if index is not None and index.size and (int(index.min()) < 0 or int(index.max()) >= size):
            raise BenchError(
                f"{name} {int(index.max() if index.max() >= size else index.min())} is not on this die, "
                f"which has {size} (numbered from 0)"
            )


def _gates(geometry: Geometry, n: int, row: IntArray, v_gate: Volt) -> FloatArray | None:
    if geometry.kind is Kind.PASSIVE:
        return None
    gate = np.zeros((n, geometry.n_rows))
    gate[np.arange(n), row] = v_gate
    return gate


def write_bias(
    geometry: Geometry,
    kernel: IntArray,
    row: IntArray,
    col: IntArray,
    to_p: BoolArray,
    *,
    scheme: Scheme = Scheme.HALF,
    compliance: Ampere = COMPLIANCE,
    v_gate: Volt = V_GATE,
) -> Bias:
    """Return n patterns that put 1 V across the selected cells in the direction that writes `to_p`.

    Args:
        kernel, row, col: (n,) selected cells.
        to_p: (n,), True writes P: V_row - V_col > 0 on a die of polarity 1.
        scheme: of a passive die; a 1T1R die has its own, see the table above.

    Raises:
        BenchError: a cell is not on the die.
    """
    _on_die(geometry, kernel, row, col)
    n = len(row)
    each = np.arange(n)
    sign = np.where(to_p, 1.0, -1.0) * geometry.polarity
    v_row, v_col = np.zeros((n, geometry.n_rows)), np.zeros((n, geometry.n_cols))
    if geometry.kind is Kind.ONE_T_ONE_R:
        v_row[each, row], v_col[each, col] = np.maximum(sign, 0.0), np.maximum(-sign, 0.0)
        floating = np.zeros((n, geometry.n_rows + geometry.n_cols), np.bool_)
        floating[:, geometry.n_rows :] = True
        floating[each, geometry.n_rows + col] = False
        pulsed = np.where(sign > 0, row, geometry.n_rows + col)
        gate = _gates(geometry, n, row, v_gate)
        return Bias(v_row, v_col, gate, floating, kernel=kernel, compliance=compliance, pulsed=pulsed)
    on_row, on_col, others = _SHARES[scheme]
    v_col += (others * sign)[:, None]
    v_row[each, row], v_col[each, col] = on_row * sign, on_col * sign
    return Bias(v_row, v_col, kernel=kernel, compliance=compliance, pulsed=np.asarray(row))


def row_bias(
    geometry: Geometry,
    kernel: IntArray,
    row: IntArray,
    v_read: Volt | FloatArray,
    *,
    compliance: Ampere = COMPLIANCE,
    v_gate: Volt = V_GATE,
) -> Bias:
    """Return n patterns with one row at `v_read` (V, one number or (n,)) and all other lines at 0 V.

    The current of every column is then the one of its cell in that row, but for the wires.

    Raises:
        BenchError: a row is not on the die.
    """
    _on_die(geometry, kernel, row)
    if isinstance(v_read, str):
        raise BenchError(f"the voltage of a read is {v_read!r}; expected a number of volts, such as 0.1")
    n = len(row)
    v_row = np.zeros((n, geometry.n_rows))
    v_row[np.arange(n), row] = v_read
    gate = _gates(geometry, n, row, v_gate)
    return Bias(v_row, np.zeros((n, geometry.n_cols)), gate, kernel=kernel, compliance=compliance)


def read_bias(
    geometry: Geometry,
    kernel: IntArray,
    row: IntArray,
    col: IntArray,
    v_read: Volt,
    *,
    unselected: Unselected = Unselected.GROUNDED,
    compliance: Ampere = COMPLIANCE,
    v_gate: Volt = V_GATE,
) -> Bias:
    """Return n patterns that read one cell each: `v_read` V on its row, its column at 0 V.

    Args:
        kernel, row, col: (n,) selected cells.
        unselected: `grounded` keeps sneak paths out of the reading; `floating` leaves every other line open, which
            needs no further relay and adds the sneak paths of a passive array to the current.

    Raises:
        BenchError: a cell is not on the die.
    """
    _on_die(geometry, kernel, row, col)
    bias = row_bias(geometry, kernel, row, v_read, compliance=compliance, v_gate=v_gate)
    if unselected is Unselected.GROUNDED:
        return bias
    n = len(row)
    floating = np.ones((n, geometry.n_rows + geometry.n_cols), np.bool_)
    floating[np.arange(n), row] = floating[np.arange(n), geometry.n_rows + col] = False
    return Bias(bias.row, bias.col, bias.gate, floating, kernel=kernel, compliance=compliance)


def vector_bias(
    geometry: Geometry,
    kernel: int,
    first_row: int,
    v_row: FloatArray,
    *,
    compliance: Ampere = COMPLIANCE,
    v_gate: Volt = V_GATE,
) -> Bias:
    """Return n patterns that apply whole input vectors at once: parallel read-out.

    Args:
        v_row: (n, n_in) V, on rows `first_row` to `first_row + n_in`; every other line is at 0 V, other gates
            closed.

    Raises:
        BenchError: the rows are not on the die.
    """
    n, n_in = v_row.shape
    _on_die(geometry, np.array(kernel), np.array([first_row, first_row + n_in - 1]))
    rows = slice(first_row, first_row + n_in)
    volts = np.zeros((n, geometry.n_rows))
    volts[:, rows] = v_row
    gate: FloatArray | None = None
    if geometry.kind is Kind.ONE_T_ONE_R:
        gate = np.zeros((1, geometry.n_rows))
        gate[:, rows] = v_gate
        gate = np.broadcast_to(gate, volts.shape)
    return Bias(
        volts,
        np.broadcast_to(np.zeros((1, geometry.n_cols)), (n, geometry.n_cols)),
        gate,
        kernel=np.array(kernel),
        compliance=compliance,
    )
