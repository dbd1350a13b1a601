"""Noise of readings that is another one in every reading, as pure functions of arrays; no state, no random numbers.

1/f noise that runs on in time is in `sim_backend.flicker`, telegraph noise in `sim_backend.telegraph`."""

import math

import numpy as np
import numpy.typing as npt
import scipy

from labctl.core.units import Ampere, FloatArray, Kelvin, Ratio, Second, Volt
from sim_backend.mtj import TEMPERATURE

_SMALLEST = 1e-4
"""u below which u coth u - 1, which is u^2 / 3 there, is 0 in single precision."""


def bias_noise(voltage: FloatArray, kelvin: Kelvin = TEMPERATURE) -> FloatArray:
    """Return u coth(u) - 1, u = q V / 2 k T: what a voltage adds to the thermal noise of a tunnel junction, over it.

    Thermal and shot noise of a tunnel junction are one noise, of the electrons that tunnel either way: with the rates
    I / q / (1 - exp(-+ q V / kT)) of both directions, each Poisson, the power is

        S_I = 2 q I coth(q V / 2 k T) = 4 k T G u coth(u),    I = G V

    (Rogovin and Scalapino, Ann. Phys. 86, 1 (1974)): 4 k T G at V = 0, and 2 q |I| far above 2 k T / q = 52 mV.
    """
    u = np.abs(voltage)
    u *= u.dtype.type(_per_volt(kelvin))
    np.maximum(u, u.dtype.type(_SMALLEST), out=u)
    u /= np.tanh(u)
    u -= u.dtype.type(1.0)
    return u


def bias_noise_of(voltage: Volt, kelvin: Kelvin = TEMPERATURE) -> float:
    """Return the same of one voltage."""
    u = max(abs(voltage) * _per_volt(kelvin), _SMALLEST)
    return u / math.tanh(u) - 1.0


def _per_volt(kelvin: Kelvin) -> float:
    return scipy.constants.elementary_charge / (2.0 * scipy.constants.Boltzmann * kelvin)


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
