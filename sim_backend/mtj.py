"""Physics of magnetic tunnel junctions as pure functions of arrays; no state, no random numbers. Their switching
is in `sim_backend.switching`.

Every function broadcasts. Parameters of a junction are arguments; this project's defaults are in
`sim_backend.description`, none are here."""

import numpy as np
import numpy.typing as npt
import scipy

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


def bias_noise(voltage: npt.ArrayLike, kelvin: Kelvin = TEMPERATURE) -> FloatArray:
    """Return u coth(u) - 1, u = q V / 2 k T: what a voltage adds to the thermal noise of a tunnel junction, over it.

    Thermal and shot noise of a tunnel junction are one noise, of the electrons that tunnel either way: with the rates
    I / q / (1 - exp(-+ q V / kT)) of both directions, each Poisson, the power is

        S_I = 2 q I coth(q V / 2 k T) = 4 k T G u coth(u),    I = G V

    (Rogovin and Scalapino, Ann. Phys. 86, 1 (1974)): 4 k T G at V = 0, and 2 q |I| far above 2 k T / q = 52 mV.
    """
    u = np.abs(np.asarray(voltage, np.float64)) * (
        scipy.constants.elementary_charge / (2.0 * scipy.constants.Boltzmann * kelvin)
    )
    u = np.maximum(u, 1e-9)
    return np.asarray(u / np.tanh(u) - 1.0)


def noise_sigma(
    current: FloatArray,
    conductance: npt.ArrayLike,
    aperture: Second,
    *,
    relative: Ratio,
    absolute: Ampere,
    flicker: npt.ArrayLike,
    f_low: float,
    kelvin: Kelvin = TEMPERATURE,
) -> FloatArray:
    """Return the standard deviation of current readings by what averages, each reading by itself, in A.

    Thermal and shot noise of the junctions, 4 k T times `conductance` in the bandwidth 1 / (2 aperture) of a mean; 1/f
    noise of relative power `flicker` ln(f_high / f_low), taken as if one junction carried the current and every reading
    had its own; the instrument's `relative` of reading plus `absolute`. Independent, so powers add. What does not
    average, errors of gain and offset, is not in it.

    Args:
        current: A.
        conductance: S, whose Johnson noise is that of all junctions of the column, each times u coth(u) of its voltage
            (`bias_noise`).
        aperture: s.
        relative: instrument noise as a ratio of the reading.
        absolute: instrument noise, A.
        flicker: alpha_H / area, the relative power S_I f / I^2 of 1/f noise.
        f_low: Hz, below which the drift counts as a change and not as noise.
        kelvin: of the junctions, for their thermal noise.
    """
    bandwidth = 0.5 / aperture
    power = (4.0 * scipy.constants.Boltzmann * kelvin * bandwidth) * np.asarray(conductance, np.float64)
    slow = np.asarray(flicker) * np.log(max(bandwidth / f_low, 1.0)) + relative**2
    return np.asarray(np.sqrt(power + slow * np.square(current) + absolute**2))


def quantise(current: FloatArray, lsb: Ampere, full_scale: Ampere) -> tuple[FloatArray, BoolArray]:
    """Return currents as a converter reads them, in A, and where they exceed its full scale (full scale there).

    `lsb` 0 is a converter without steps.
    """
    code = np.round(current / lsb) * lsb if lsb > 0 else current
    over = np.abs(code) > full_scale
    return np.clip(code, -full_scale, full_scale), over
