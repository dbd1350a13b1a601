"""Maps of the cells that a network is trained for, made from surveys and from nothing else.

A cell is two numbers: its conductance when it was written P and when it was written AP, less the mean G_AP of
the good cells of its die and over their mean G_P - G_AP. A nominal cell is (1, 0). The numbers hold the
defects too: a stuck cell has twice the same number, an open one twice about -1 / TMR, a short twice a large
one, unless a second gate takes it off. That is what a weight sees of them, and it needs no code of a defect:

    z_j = sum_i x_i (c[i, 2j] - c[i, 2j + 1]),    c = (G - G_AP) / (G_P - G_AP)

Dies are normalised one by one, as their network scale is tuned one by one; what is left in the numbers is
the spread within a die, and its defects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from labctl.core.defects import Defect
from labctl.core.errors import BenchError
from labctl.core.units import BoolArray, FloatArray, Ratio
from protocols.cell_knowledge import most_of_shorts
from protocols.tiling import Tiling

CellArray = FloatArray
"""(..., 2): normalised conductance of a cell written P, and written AP."""


@dataclass(frozen=True, eq=False)
class DieSurvey:
    """Survey of a whole die, arrays (kernels, n_rows, n_cols).

    Args:
        g_p: S, after writing P and read as inference reads; NaN or infinite where nothing could be read.
        g_ap: S, after writing AP.
        defect: codes of `labctl.core.defects.Defect`.

    Raises:
        BenchError: shapes that do not belong together, or no good cell, so that there is nothing to compare with.
    """

    name: str
    g_p: FloatArray
    g_ap: FloatArray
    defect: FloatArray

    def __post_init__(self) -> None:
        if self.g_p.ndim != 3 or not self.g_p.shape == self.g_ap.shape == self.defect.shape:
            raise BenchError(
                f"the survey of die {self.name} has g_p {self.g_p.shape}, g_ap {self.g_ap.shape} and defect "
                f"{self.defect.shape}; expected one shape (kernels, rows, columns)"
            )
        if not self.measured.any():
            raise BenchError(f"the survey of die {self.name} found no good cell; there is nothing to train for")

    @property
    def good(self) -> BoolArray:
        """Cells that the survey classified as good."""
        good: BoolArray = self.defect == Defect.GOOD
        return good

    @property
    def measured(self) -> BoolArray:
        """Good cells that were read in both states."""
        measured: BoolArray = self.good & np.isfinite(self.g_p) & np.isfinite(self.g_ap)
        return measured

    @property
    def bad_cells(self) -> int:
        """Number of cells that are not good."""
        return int((~self.good).sum())

    @property
    def cells(self) -> CellArray:
        """(kernels, n_rows, n_cols, 2) normalised conductances.

        A short without a reading conducts as much as the short of the die that conducts most, or the cell if none was
        read; another cell without a reading nothing.

        Raises:
            BenchError: good cells conduct no more in P than in AP.
        """
        good = self.measured
        g_p, g_ap = float(self.g_p[good].mean()), float(self.g_ap[good].mean())
        if g_p <= g_ap:
            raise BenchError(
                f"good cells of die {self.name} conduct {g_p:.3g} S in P and {g_ap:.3g} S in AP, as they were read; "
                "expected more in P"
            )
        both = np.stack([self.g_p, self.g_ap], axis=-1)
        read = np.isfinite(both)
        most = most_of_shorts(self.g_p, self.g_ap, self.defect == Defect.SHORT)
        blank = np.where(self.defect == Defect.SHORT, most, 0.0)[..., None]
        return (np.where(read, both, blank) - g_ap) / (g_p - g_ap)


def layer_cells(cells: CellArray, tiling: Tiling) -> list[CellArray]:
    """Return the cells (n_in, 2 n_out, 2) under each layer of a tiling, of a die's (kernels, n_rows, n_cols, 2)."""
    if cells.shape[:3] != tiling.geometry.shape:
        raise BenchError(f"a survey of {cells.shape[:3]} cells; the network is tiled on {tiling.geometry.shape}")
    return [cells[tiling.cells(k).at].reshape(*shape, 2) for k, shape in enumerate(tiling.shapes)]


def population(surveys: Sequence[DieSurvey], at_most: int = 1 << 20, bad_cells: Ratio = 1.0) -> CellArray:
    """Return the (n, 2) cells of all surveys: the statistics that fresh maps are drawn from.

    Drawing from measured cells draws every defect at its measured rate and every conductance from its measured
    distribution, the correlation of G_P and G_AP included. Cells are drawn one by one: clusters and bad lines keep
    their share of the cells and lose their shape.

    Args:
        at_most: cells kept; of more, every k-th, so that each die has its share.
        bad_cells: share of the cells that are not good which is kept, drawn the same way each time.
    """
    if not surveys:
        raise BenchError("no survey was given; statistics are estimated from surveyed dies")
    cells = np.concatenate([s.cells.reshape(-1, 2) for s in surveys])
    if bad_cells < 1:
        good = np.concatenate([s.good.ravel() for s in surveys])
        cells = cells[good | (np.random.default_rng(0).random(len(good)) < bad_cells)]
    return cells[:: -(-len(cells) // at_most)]


def defect_rates(surveys: Sequence[DieSurvey]) -> dict[str, float]:
    """Return the share of the cells of all surveys that has each defect, by its name."""
    codes = np.concatenate([s.defect.ravel() for s in surveys])
    return {d.key: float((codes == d).mean()) for d in Defect}
