"""Sets of cells, and reading them with as few patterns as there are rows.

Protocols speak of cells as a batch of (kernel, row, col); a bench reads a row at a time. `CellReader` keeps
the translation, so that it is computed once for a region that is read hundreds of times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.operations import FlagArray, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray
from protocols.bias import row_bias
from protocols.repeat import sense_again
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
    """Reads the same set of cells again and again, one row per pattern, other lines at 0 V.

    Args:
        cells: n different cells.
        settings: at every one of its gates each row is read, and the conductances are added up by their weights.
        both_ways: read every row at +v_read and at -v_read and take the mean, so that offsets cancel.

    Raises:
        BenchError: a cell is named twice, or is not on the die.
    """

    def __init__(self, geometry: Geometry, cells: Cells, settings: ReadSettings, *, both_ways: bool = False) -> None:
        self.cells, self._geometry, self._settings = cells, geometry, settings
        try:
            flat = np.ravel_multi_index(cells.at, geometry.shape)
        except ValueError as error:
            kernels, rows, cols = geometry.shape
            raise BenchError(
                f"a cell is not on this die of {kernels} kernels of {rows} x {cols} cells; expected numbers from 0"
            ) from error
        if len(np.unique(flat)) != len(flat):
            raise BenchError("a cell is named twice in one set of cells")
        # + and - of a row next to each other: on a bench they share a route
        self._ways = np.array([1.0, -1.0])[: 1 + both_ways]
        order = np.argsort(flat)
        lines, counts = np.unique(flat[order] // geometry.n_cols, return_counts=True)
        starts = np.cumsum(counts) - counts
        self._batches: list[tuple[IntArray, float, Sense]] = []
        for m in np.unique(counts):
            chosen = counts == m
            cell = order[starts[chosen][:, None] + np.arange(m)]
            kernel, row = np.divmod(lines[chosen], geometry.n_rows)
            ways = len(self._ways)
            for v_gate, weight in settings.gates:
                bias = row_bias(
                    geometry,
                    np.repeat(kernel, ways),
                    np.repeat(row, ways),
                    np.tile(settings.v_read * self._ways, len(row)),
                    compliance=settings.compliance,
                    v_gate=v_gate,
                )
                sense = Sense(bias, np.repeat(cells.col[cell], ways, axis=0), settings.aperture)
                self._batches.append((cell, weight, sense))

    @cached_property
    def others(self) -> "CellReader":
        """Reader of all other cells of the kernels that hold these."""
        other = np.zeros(self._geometry.shape, np.bool_)
        other[self.cells.kernel] = True
        other[self.cells.at] = False
        return CellReader(self._geometry, Cells(*np.nonzero(other)), self._settings)

    def read(self, die: Die) -> tuple[FloatArray, FlagArray]:
        """Return the (n,) conductances in S and their flags; rows with a flagged reading are read twice."""
        conductance, flag = np.zeros(len(self.cells)), np.zeros(len(self.cells), np.uint8)
        for cell, weight, sense in self._batches:
            reading = sense_again(die, sense, lambda first: first.flag != 0)
            each = (len(cell), len(self._ways), -1)
            signed = reading.current.reshape(each) * self._ways[:, None]
            conductance[cell] += weight * signed.mean(axis=1) / self._settings.v_read
            flag[cell] |= np.bitwise_or.reduce(reading.flag.reshape(each), axis=1)
        return conductance, flag
