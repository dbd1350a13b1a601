"""State of a cell by a reading: the one definition of P, AP, open and unreadable, for all who judge a current.

A cell that conducts next to nothing is not AP: it is open, or the needles do not touch it.
"""

from enum import IntEnum
from typing import Annotated

import numpy as np
import numpy.typing as npt

from labctl.core.operations import FlagArray
from labctl.core.units import BoolArray, FloatArray, Ratio, Siemens


class CellState(IntEnum):
    """What a cell reads as."""

    AP = 0
    """below the cut, and not open"""
    P = 1
    """above the cut"""
    OPEN = 2
    """conducts so little that it is neither"""
    UNREADABLE = 3
    """the reading is flagged, or no number: nothing is known"""

    @property
    def key(self) -> str:
        """Name in files and in JSON."""
        return self.name.lower()


CellStateArray = Annotated[npt.NDArray[np.uint8], CellState]
"""Codes of `CellState`; one equals a target (True is P) if and only if the cell reads as it was to be."""

OPEN_BELOW: Ratio = 0.1
"""A cell that conducts less than this multiple of the G_AP of its kernel may be open."""
SIGMAS = 5.0
"""Standard deviations above the offset of the meters at which a current is one."""


def is_open(
    conductance: FloatArray,
    g_ap: FloatArray | Siemens,
    *,
    below: Ratio = OPEN_BELOW,
    offset: FloatArray | Siemens = 0.0,
    sigma: FloatArray | Siemens = float("inf"),
) -> BoolArray:
    """Return which of n cells are open: less than `below` times G_AP, and no more than the meters read without current.

    Args:
        conductance: (n,) S.
        g_ap: of their kernels, nominal or measured, (n,) S or one for all.
        offset: mean of readings without a voltage, over the read voltage, (n,) S or one for all.
        sigma: their standard deviation, S; infinite: they were not measured, and the conductance alone decides.

    >>> is_open(np.array([1e-4, 9e-6, 2e-9]), 1e-4).tolist()
    [False, True, True]
    >>> is_open(np.array([1e-4, 9e-6, 2e-9]), 1e-4, offset=1e-9, sigma=1e-9).tolist()
    [False, False, True]
    """
    with np.errstate(invalid="ignore"):
        is_open: BoolArray = (conductance - offset < below * g_ap) & (conductance - offset < SIGMAS * sigma)
    return is_open


def cell_states(
    conductance: FloatArray,
    flag: FlagArray,
    cut: FloatArray | Siemens,
    g_ap: FloatArray | Siemens,
    *,
    offset: FloatArray | Siemens = 0.0,
    sigma: FloatArray | Siemens = float("inf"),
) -> CellStateArray:
    """Return the codes of `CellState` of n cells by their readings; arrays of any shape.

    Args:
        conductance: (n,) S.
        flag: (n,) bits of `Flag`.
        cut: between AP and P, (n,) S or one for all.
        g_ap, offset, sigma: see `is_open`.

    >>> cell_states(np.array([2e-4, 9e-5, 2e-9, np.nan]), np.array([0, 0, 0, 0], np.uint8), 1.5e-4, 1e-4).tolist()
    [1, 0, 2, 3]
    """
    with np.errstate(invalid="ignore"):
        p = conductance > cut
    opened = is_open(conductance, g_ap, offset=offset, sigma=sigma)
    unreadable = (flag != 0) | ~np.isfinite(conductance)
    cases = [(unreadable, CellState.UNREADABLE), (opened, CellState.OPEN), (p, CellState.P)]
    states = np.select([c for c, _ in cases], [int(s) for _, s in cases], int(CellState.AP))
    return states.astype(np.uint8)
