"""The maps of all kernels of a die as one picture: a grid with one scale, numbered, with every marked cell.

It is one image and a few collections on one pair of axes, whatever the number of kernels: a pair of axes for each of 32
takes as many seconds as this takes tenths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from labctl.core.picture import CellMap
from labctl.core.units import FloatArray
from labctl.report.die_figures import good_range
from labctl.report.die_pictures import KernelPicture
from labctl.report.die_text import literal

_GAP = 0.16
"""Between two kernels, as a part of the larger side of one."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 1.15, 0.55, 0.95
"""Margins, inches."""
_LOWEST, _HIGHEST, _LARGEST = 3.0, 15.0, 4.2
"""Least and greatest height of a grid, and the most that the longer side of a kernel takes, inches."""
_MOST = 1 << 26
"""Cells of a grid."""
_SHAPE = 0.5
"""Height of a grid as a part of its width, as near as kernels allow."""
_MARK, _INK = "#d1402f", "#333333"


@dataclass(frozen=True)
class Grid:
    """Where the kernels of a die stand, in cells; sizes in inches.

    Args:
        high, wide: rows and columns of cells of the largest kernel.
        down, across: from one kernel to the next, in cells.
        n_across: kernels side by side; `n_down` in rows below one another.
    """

    high: int
    wide: int
    down: int
    across: int
    n_across: int
    n_down: int
    width: float
    height: float

    @classmethod
    def of(cls, kernels: Sequence[KernelPicture], width: float) -> "Grid":
        """Return the grid of some kernels on a picture that is so wide, in inches.

        Raises:
            ValueError: they have too many cells together.
        """
        high, wide = (max(1, *(one.values.shape[axis] for one in kernels)) for axis in (0, 1))
        if (cells := len(kernels) * high * wide) > _MOST:
            raise ValueError(
                f"{len(kernels)} kernels of {high} x {wide} are {cells:,} cells; expected {_MOST:,} at most"
            )
        gap = max(1, math.ceil(_GAP * max(high, wide)))
        n, largest = len(kernels), max(high, wide)

        def size(n_across: int) -> tuple[float, float]:
            cells = n_across * (wide + gap) - gap, -(-n // n_across) * (high + gap) - gap
            cell = min((width - _LEFT - _RIGHT) / cells[0], _LARGEST / largest, _HIGHEST / cells[1])
            return cell * cells[0], cell * cells[1]

        def oddness(n_across: int) -> tuple[float, int]:
            inside = size(n_across)
            return abs(math.log(inside[1] / inside[0] / _SHAPE)), n_across

        n_across = min(range(1, n + 1), key=oddness)
        inside = size(n_across)
        outside = inside[0] + _LEFT + _RIGHT, max(inside[1], _LOWEST if n == 1 else 0.0) + _TOP + _BOTTOM
        return cls(high, wide, high + gap, wide + gap, n_across, -(-n // n_across), *outside)

    def corner(self, number: int) -> tuple[int, int]:
        """Return row and column, in cells, of the first cell of a kernel."""
        return number // self.n_across * self.down, number % self.n_across * self.across

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells of the whole."""
        gap_down, gap_across = self.down - self.high, self.across - self.wide
        return self.n_down * self.down - gap_down, self.n_across * self.across - gap_across


def draw(figure: Figure, bottom: float, grid: Grid, picture: CellMap, kernels: Sequence[KernelPicture]) -> None:
    """Draw the maps of a picture on a figure, `bottom` inches above its lower edge."""
    width, height = figure.get_size_inches()
    frame = (
        _LEFT / width,
        (bottom + _BOTTOM) / height,
        (grid.width - _LEFT - _RIGHT) / width,
        (grid.height - _TOP - _BOTTOM) / height,
    )
    ax = figure.add_axes(frame)
    whole = np.full(grid.shape, np.nan)
    for number, one in enumerate(kernels):
        row, col = grid.corner(number)
        whole[row : row + one.values.shape[0], col : col + one.values.shape[1]] = one.values
    values, codes = (np.concatenate([getattr(one, of).ravel() for one in kernels]) for of in ("values", "codes"))
    low, high = good_range(values, codes == 0)
    image = ax.imshow(whole, cmap="viridis", origin="upper", aspect="equal", vmin=low, vmax=high, interpolation="none")
    _frames(ax, grid, kernels)
    _marks(ax, grid, kernels, cell=72 * (grid.width - _LEFT - _RIGHT) / grid.shape[1])
    _numbers(ax, grid, kernels)
    many = f"{len(kernels)} kernels, one scale" if len(kernels) > 1 else f"kernel {kernels[0].kernel}"
    ax.set_title(f"{literal(picture.title)}: {many}", loc="left", pad=18 if len(kernels) > 1 else 6)
    ax.set(xlabel="column", ylabel="row", xlim=(-0.5, grid.shape[1] - 0.5), ylim=(grid.shape[0] - 0.5, -0.5))
    ax.set_anchor("NW")
    ax.apply_aspect()
    box = ax.get_position()
    bar = figure.add_axes((box.x1 + 0.12 / width, box.y0, 0.14 / width, box.height))
    finite = whole[np.isfinite(whole)]
    figure.colorbar(image, cax=bar, extend=outside(finite, low, high))
    bar.set_ylabel(literal(f"{picture.title.split(' as ')[0]}, {picture.unit}".rstrip(", ")))


def outside(values: FloatArray, low: float, high: float) -> str:
    """Return which ends of a colour bar get an arrow."""
    below, above = bool((values < low).any()), bool((values > high).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def _frames(ax: Axes, grid: Grid, kernels: Sequence[KernelPicture]) -> None:
    """Draw the edge of every kernel, so that cells without a value are seen to be cells."""
    edges = []
    for number, one in enumerate(kernels):
        row, col = grid.corner(number)
        high, wide = one.values.shape
        edges.append(Rectangle((col - 0.5, row - 0.5), wide, high))
        if len(kernels) > 1:
            name, above = f"kernel {one.kernel}", (0, 2)
            ax.annotate(name, (col - 0.5, row - 0.5), xytext=above, textcoords="offset points", fontsize=8, color=_INK)
    ax.add_collection(PatchCollection(edges, facecolor="none", edgecolor="#8a8a84", linewidth=0.6, clip_on=False))
    for side in ax.spines.values():
        side.set_visible(False)


def _marks(ax: Axes, grid: Grid, kernels: Sequence[KernelPicture], cell: float) -> None:
    """Mark cells, all kernels together; `cell` is the width of one in points."""
    at: dict[int, list[tuple[int, int]]] = {}
    kinds = {mark.code: mark for one in kernels for mark in one.marks}
    for number, one in enumerate(kernels):
        row, col = grid.corner(number)
        for code, i, j in zip(one.codes[one.codes != 0].tolist(), *np.nonzero(one.codes), strict=True):
            at.setdefault(code, []).append((col + int(j), row + int(i)))
    size = min(max(0.95 * cell, 4.5), 9.0)
    for code in sorted(at):
        mark = kinds[code]
        ax.plot(
            *zip(*at[code], strict=True),
            mark.marker,
            color=_MARK,
            markeredgecolor="white",
            markeredgewidth=0.09 * size,
            markersize=size,
            linestyle="none",
            clip_on=False,
            label=literal(f"{mark.title} ({len(at[code]):,})"),
        )
    if at:
        inches = 72 * (grid.height - _TOP - _BOTTOM)
        ax.legend(
            loc="upper left",
            bbox_to_anchor=(0, -38 / inches),
            borderaxespad=0,
            ncols=7 if grid.width > 10 else 3,
            frameon=False,
            fontsize=9,
            handletextpad=0.2,
            markerscale=max(1.0, 8 / size),
        )


def _numbers(ax: Axes, grid: Grid, kernels: Sequence[KernelPicture]) -> None:
    """Number rows beside the first kernel of each line of them, and columns below the last of each stack."""
    ticks = [_ends(one) for one in ((grid.wide, grid.across, grid.n_across), (grid.high, grid.down, grid.n_down))]
    size = 9 if len(kernels) == 1 else 7
    ax.set_xticks(*ticks[0], fontsize=size)
    ax.set_yticks(*ticks[1], fontsize=size)
    ax.tick_params(length=2, color="#8a8a84")


def _ends(axis: tuple[int, int, int]) -> tuple[list[int], list[str]]:
    """Return positions and texts of the numbers along an axis: of one kernel every few, of more the first and last."""
    count, pitch, number = axis
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000, 100_000) if count <= 8 * s)
    chosen = list(range(0, count, step)) if number == 1 else sorted({0, count - 1})
    at = [(k * pitch + n, n) for k in range(number) for n in chosen]
    return [position for position, _ in at], [str(n) for _, n in at]
