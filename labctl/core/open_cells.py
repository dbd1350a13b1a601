"""Open cells: the one definition by which a cell is open and not AP, for all who judge a current."""

import numpy as np

from labctl.core.units import BoolArray, FloatArray, Ratio, Siemens

OPEN_BELOW: Ratio = 0.1
"""A cell that conducts less than this multiple of the G_AP of its kernel may be open."""
SIGMAS = 5.0
"""Standard deviations above the offset of the meters at which a current is one."""


def is_open(
    conductance: FloatArray,
    g_ap: FloatArray | Siemens,
    *,
    below: Ratio = OPEN_BELOW,
    offset: Siemens = 0.0,
    sigma: Siemens = float("inf"),
) -> BoolArray:
    """Return which of n cells are open: less than `below` times G_AP, and no more than the meters read without current.

    Args:
        conductance: (n,) S.
        g_ap: of their kernels, nominal or measured, (n,) S or one for all.
        offset: mean of readings without a voltage, over the read voltage, S.
        sigma: their standard deviation, S; infinite: they were not measured, and the conductance alone decides.

    >>> is_open(np.array([1e-4, 9e-6, 2e-9]), 1e-4).tolist()
    [False, True, True]
    >>> is_open(np.array([1e-4, 9e-6, 2e-9]), 1e-4, offset=1e-9, sigma=1e-9).tolist()
    [False, False, True]
    """
    with np.errstate(invalid="ignore"):
        is_open: BoolArray = (conductance - offset < below * g_ap) & (conductance - offset < SIGMAS * sigma)
    return is_open
