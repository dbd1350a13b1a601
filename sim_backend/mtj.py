"""Physics of magnetic tunnel junctions as pure functions of arrays; no state, no random numbers. Their switching
is in `sim_backend.switching`.

Every function broadcasts. Parameters of a junction are arguments; this project's defaults are in
`sim_backend.description`, none are here."""

import numpy as np
import numpy.typing as npt

from labctl.core.die_file import parallel_conductance as parallel_conductance
from labctl.core.units import Ampere, BoolArray, FloatArray, Kelvin, Ratio, Second, Volt

TEMPERATURE = 300.0
"""Room temperature, K."""


def spread(nominal: npt.ArrayLike, sigma: Ratio, normal: FloatArray) -> FloatArray:
    """Return log-normal values: `nominal` is the median, `sigma` the standard deviation of the logarithm.

    For the spreads of a wafer (below 10 %) this is the normal spread, and a large one never turns negative.
    """
    return np.asarray(np.asarray(nominal, np.float64) * np.exp(sigma * normal))


def tmr_at(tmr0: npt.ArrayLike, voltage: npt.ArrayLike, v_half: Volt) -> FloatArray:
    """Return TMR(V) = TMR0 / (1 + (V / V_h)^2), a ratio."""
    return np.asarray(tmr0, np.float64) / (1.0 + np.square(np.asarray(voltage, np.float64) / v_half))


def conductance(
    g_p: FloatArray | float, tmr: FloatArray | float, voltage: FloatArray | float, v_half: Volt
) -> FloatArray:
    """Return G_P / (1 + TMR(V)), in S: the conductance of AP cells at `voltage`; with `tmr` 0 of P cells.

    G_P is taken as independent of the voltage. `v_half` infinity switches the bias dependence off.
    """
    # g_p / (1 + tmr_at(...)) with one division less; this is the inner loop of every operating point
    w = 1.0 + np.square(np.asarray(voltage, np.float64) * (1.0 / v_half))
    return np.asarray(g_p * (w / (w + tmr)))


def barrier_at(kelvin: npt.ArrayLike, t_star: Kelvin, power: float) -> FloatArray:
    """Return the energy barrier at a temperature over that at `TEMPERATURE`.

    E_b goes as M_s^power, M_s as 1 - (T / T*)^1.5. From T* on there is none; a millionth is left, since it divides.
    """
    # both by one function of arrays, so that the ratio at the reference is 1 to the bit
    m_s, reference = (np.maximum(1.0 - (np.asarray(t, np.float64) / t_star) ** 1.5, 0.0) for t in (kelvin, TEMPERATURE))
    return np.asarray(np.maximum((m_s / reference) ** power, 1e-6))


def stress(voltage: npt.ArrayLike, time: npt.ArrayLike, v_bd: npt.ArrayLike, t_bd: Second, n: float) -> FloatArray:
    """Return the dielectric stress of `time` at `voltage`; 1 breaks 63 % of the cells.

    Power law in voltage: (t / t_bd) (|V| / V_bd)^n; the stresses of successive pulses add up.
    """
    ratio = np.abs(np.asarray(voltage, np.float64)) / v_bd
    return np.asarray(np.asarray(time, np.float64) / t_bd * ratio**n)


def endurance(uniform: FloatArray, shape: float) -> FloatArray:
    """Return the stress that each cell survives, Weibull distributed with shape `shape` and scale 1."""
    return np.asarray((-np.log(uniform)) ** (1.0 / shape))


def quantise(current: FloatArray, lsb: Ampere, full_scale: Ampere) -> tuple[FloatArray, BoolArray]:
    """Return currents as a converter reads them, in A, and where they exceed its full scale (full scale there).

    `lsb` 0 is a converter without steps.
    """
    code = np.round(current / lsb) * lsb if lsb > 0 else current
    over = np.abs(code) > full_scale
    return np.clip(code, -full_scale, full_scale), over
