"""Sets of cells, and reading the kernels that hold them with as few patterns as there are rows.

Protocols speak of cells as a batch of (kernel, row, col); a bench reads a row at a time. `CellReader` keeps
the translation, so that it is worked out once for a region that is read hundreds of times.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labctl.core.die import Die, FlagArray, Geometry, Sense
from labctl.core.errors import BenchError
from labctl.core.units import BoolArray, FloatArray, IntArray
from protocols.bias import row_bias
from protocols.settings import ReadSettings


@dataclass(frozen=True, eq=False)
class Cells:
    """n cells of a die: `kernel`, `row` and `col`, each (n,)."""

    kernel: IntArray
    row: IntArray
    col: IntArray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, index: IntArray | BoolArray) -> "Cells":
        """Return the cells at `index`."""
        return Cells(self.kernel[index], self.row[index], self.col[index])

    @property
    def at(self) -> tuple[IntArray, IntArray, IntArray]:
        """Index into arrays of the shape of the die."""
        return self.kernel, self.row, self.col

    @classmethod
    def block(cls, kernel: int, row: int, col: int, shape: tuple[int, int]) -> "Cells":
        """Return the cells of a rectangle, row by row.

        >>> Cells.block(1, 3, 0, (2, 3)).row
        array([3, 3, 3, 4, 4, 4])
        """
        r, c = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
        return cls(np.full(len(r), kernel), r + row, c + col)

    @classmethod
    def join(cls, parts: "Sequence[Cells]") -> "Cells":
        """Return the cells of all parts, one after the other."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("kernel", "row", "col")))


class CellReader:
    """Reads the kernels that hold a set of cells, whole, again and again: a pattern per row, other lines at 0 V.

    Args:
        cells: n different cells.

    Raises:
        BenchError: a cell is named twice, or is not on the die.
    """

    def __init__(self, geometry: Geometry, cells: Cells, settings: ReadSettings) -> None:
        self.cells, self.v_read = cells, settings.v_read
        try:
            flat = np.ravel_multi_index(cells.at, geometry.shape)
        except ValueError as error:
            raise BenchError(f"a cell is not on this die of (kernels, rows, columns) {geometry.shape}") from error
        if len(np.unique(flat)) != len(flat):
            raise BenchError("a cell is named twice in one set of cells")
        self.kernels, which = np.unique(cells.kernel, return_inverse=True)
        """(k,), the kernels that are read"""
        self.placed = (which.reshape(-1), cells.row, cells.col)
        """index of the n cells into what is read"""
        self.unplaced = np.ones((len(self.kernels), *geometry.shape[1:]), np.bool_)
        """(k, n_rows, n_cols), the other cells of these kernels"""
        self.unplaced[self.placed] = False
        bias = row_bias(
            geometry,
            np.repeat(self.kernels, geometry.n_rows),
            np.tile(np.arange(geometry.n_rows), len(self.kernels)),
            settings.v_read,
            compliance=settings.compliance,
            v_gate=settings.v_gate,
        )
        self._sense = Sense(bias, np.arange(geometry.n_cols), settings.aperture)

    def read(self, die: Die) -> tuple[FloatArray, FlagArray]:
        """Return (k, n_rows, n_cols) conductances in S and flags; rows with a flagged reading are read twice."""
        reading = die.sense(self._sense)
        current, flag = reading.current, reading.flag
        again = np.flatnonzero(flag.any(axis=1))
        if len(again):
            repeated = die.sense(self._sense.take(again))
            current, flag = current.copy(), flag.copy()
            current[again], flag[again] = repeated.current, repeated.flag
        shape = self.unplaced.shape
        return (current / self.v_read).reshape(shape), flag.reshape(shape)
