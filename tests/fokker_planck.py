"""The macrospin with its easy axis and the spins of its current along one line, solved without approximation.

With x = cos theta the probability density obeys dp/dt = d/dx [D (1 - x^2) (U' p + dp/dx)], D = 1 / (2 Delta tau_d),
U / kT = Delta (1 - x^2) + 2 Delta (v + h) x; the cell begins near x = 1. It is discretised in theta by fluxes that are
exact for a linear potential (Scharfetter and Gummel), so that equilibrium is met by itself. Rates of a chain of cells
and powers of its matrix of transitions have positive terms only: nothing cancels, however rare switching is.

Times are in units of tau_d. Nothing here is taken from the law that it judges."""

import numpy as np
from scipy.linalg import expm

from labctl.core.units import FloatArray

_FAR = -0.9
"""cos theta from which a cell does not come back."""


def _chain(drive: float, delta: float, points: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return cos theta and width of each cell, and the rates to the next and from the next one."""
    x = np.cos(np.linspace(0.0, np.pi, points + 1))
    middle, width = np.cos((np.arange(points) + 0.5) * np.pi / points), -np.diff(x)
    potential = delta * (1.0 - middle**2) + 2.0 * delta * drive * middle
    diffusion = (1.0 - x[1:-1] ** 2) / (2.0 * delta) / -np.diff(middle)
    rise = np.diff(potential)
    rise = np.where(np.abs(rise) < 1e-9, 1e-9, rise)
    return (
        middle,
        width,
        diffusion * rise / np.expm1(rise) / width[:-1],
        -diffusion * rise / np.expm1(-rise) / width[1:],
    )


def rate(drive: float, delta: float, points: int = 2000) -> float:
    """Return the rate, per tau_d, at which cells leave once the density keeps its shape: the lowest eigenvalue.

    Args:
        drive: v + h.
    """
    x, _, onward, back = _chain(drive, delta, points)
    n = int(np.searchsorted(-x, -_FAR))
    weight = np.concatenate([[0.0], np.cumsum(np.log(onward[: n - 1] / back[: n - 1]))])  # of equilibrium, logarithm
    weight = np.exp(weight - weight[0])
    density, inverse = np.ones(n), 1.0
    for _ in range(60):
        # the time until it has left, for cells that begin as the density says: the inverse of the matrix
        time = np.cumsum((np.cumsum(weight * density) / (weight * onward[:n]))[::-1])[::-1]
        previous, inverse = inverse, float(time[0] / density[0])
        density = time / time.max()
        if abs(inverse / previous - 1.0) < 1e-10:
            break
    return 1.0 / inverse


def switched(
    drive: float, delta: float, first: float, doublings: int, field: float = 0.0, points: int = 160
) -> tuple[FloatArray, FloatArray]:
    """Return times first * 2^k, in tau_d, and the share of pulses of these times that switch.

    Args:
        drive: v + h.
        field: h, in which the cell has come to equilibrium before the pulse.
    """
    x, width, onward, back = _chain(drive, delta, points)
    k = np.arange(points - 1)
    matrix = np.zeros((points, points))
    matrix[k + 1, k], matrix[k, k + 1] = onward, back
    matrix[np.arange(points), np.arange(points)] = -matrix.sum(axis=0)
    density = np.where(x > field, np.exp(delta * (x**2 - 1.0) - 2.0 * delta * field * (x - 1.0)), 0.0) * width
    density /= density.sum()
    transition, share = expm(matrix * first), []
    for _ in range(doublings):
        share.append(float((transition @ density)[x < field].sum()))
        transition = transition @ transition
    return first * 2.0 ** np.arange(doublings), np.array(share)
