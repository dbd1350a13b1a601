"""Layers larger than a kernel, cut into tiles that each fill one kernel.

A layer of `n_in` by `n_out` weights is a block of `n_in` by `2 n_out` cells and takes `ceil(n_in / rows) *
ceil(2 n_out / columns)` kernels. Currents of tiles one below the other are added digitally. A kernel with an
odd number of columns cuts a differential pair in two: that costs nothing, since the difference of the two
columns is taken digitally too, and leaving a column empty would cost kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.units import IntArray
from protocols.cells import Cells


@dataclass(frozen=True)
class Tile:
    """The piece of a layer on one kernel: its `rows` and `cols` of the layer start at cell (0, 0) of `kernel`."""

    kernel: int
    rows: slice
    cols: slice


def kernels_needed(shapes: Sequence[tuple[int, int]], geometry: Geometry) -> tuple[int, ...]:
    """Return how many kernels each layer takes.

    Args:
        shapes: (rows, columns) of the block of cells of each layer, `Solution.shapes`.

    >>> kernels_needed([(196, 100), (50, 20)], Geometry(32, 25, 25))
    (32, 2)
    """
    return tuple(-(-rows // geometry.n_rows) * -(-cols // geometry.n_cols) for rows, cols in shapes)


@dataclass(frozen=True)
class Tiling:
    """Where the cells of every layer lie: layer by layer, a row of tiles after the other.

    Args:
        shapes: (rows, columns) of the block of cells of each layer.
        geometry: of the die.
        kernels: kernels in the order in which they are filled; all of the die, in its order, if left out.

    Raises:
        BenchError: the layers need more kernels than there are, or `kernels` are not on the die or named twice.
    """

    shapes: tuple[tuple[int, int], ...]
    geometry: Geometry
    kernels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        geometry, named = self.geometry, self.kernels
        if named is not None:
            if wrong := [k for k in named if not 0 <= k < geometry.kernels]:
                raise BenchError(f"kernel {wrong[0]} is to be used; the die has {geometry.kernels} (numbered from 0)")
            if len(set(named)) != len(named):
                raise BenchError(f"a kernel is to be used twice: {', '.join(map(str, named))}")
        needed = kernels_needed(self.shapes, geometry)
        there = geometry.kernels if named is None else len(named)
        if sum(needed) > there:
            network = "-".join(str(n) for n in (self.shapes[0][0], *(cols // 2 for _, cols in self.shapes)))
            layers = " + ".join(map(str, needed))
            has = "the die has" if named is None else "the stage may use"
            raise BenchError(
                f"{network} needs {sum(needed)} kernels of {geometry.n_rows} x {geometry.n_cols} "
                f"({layers} for its layers), {has} {there}"
            )

    @property
    def order(self) -> IntArray:
        """(used,), kernels in the order in which they are filled, those left empty not among them."""
        order = np.arange(self.geometry.kernels) if self.kernels is None else np.array(self.kernels, np.int64)
        return order[: sum(kernels_needed(self.shapes, self.geometry))]

    def _first(self, layer: int) -> tuple[int, int]:
        """Return how many kernels lie before `layer` and how many stand side by side in it."""
        before = sum(kernels_needed(self.shapes[:layer], self.geometry))
        return before, -(-self.shapes[layer][1] // self.geometry.n_cols)

    def tiles(self, layer: int) -> tuple[Tile, ...]:
        """Return the tiles of a layer, numbered from 0."""
        (n_rows, n_cols), (before, beside) = self.shapes[layer], self._first(layer)
        rows, cols = self.geometry.n_rows, self.geometry.n_cols
        return tuple(
            Tile(
                int(self.order[before + (row // rows) * beside + col // cols]),
                slice(row, min(row + rows, n_rows)),
                slice(col, min(col + cols, n_cols)),
            )
            for row in range(0, n_rows, rows)
            for col in range(0, n_cols, cols)
        )

    def cells(self, layer: int) -> Cells:
        """Return the cells of a layer, numbered from 0, row by row, as `Layer.devices.ravel()` has them."""
        (n_rows, n_cols), (before, beside) = self.shapes[layer], self._first(layer)
        i, j = np.divmod(np.arange(n_rows * n_cols), n_cols)
        down, row = np.divmod(i, self.geometry.n_rows)
        across, col = np.divmod(j, self.geometry.n_cols)
        return Cells(self.order[before + down * beside + across], row, col)
