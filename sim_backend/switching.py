"""The switching law of a junction: how likely it has left its state after a time, in field and voltage.

One law with the exponent n of the barrier as a parameter,

    E / kT = Delta (1 - h)^(2 - n) max(0, 1 - h - v)^n,   v = V / V_c0,   h = (H - H_off) / H_k,

v and h positive where they help to leave the state. For n below 2 it is empirical: tau = tau0 exp(E / kT). For n = 2
it is the macrospin with its easy axis and the spins of its current along one line, which is also the model of Butler
et al., IEEE Trans. Magn. 48, 4684 (2012). The angle then obeys a Fokker-Planck equation in one dimension, and what
stands here are closed forms for its solution below, at and above the critical voltage. They are monotone in V and in
t for Delta from 3 on.

Every function broadcasts; no state, no random numbers. The numbers of a die are in `sim_backend.description`."""

from dataclasses import dataclass

import numpy as np
import scipy

from labctl.core.units import FloatArray, Ratio, Second

MACROSPIN = 2.0
"""The exponent n of a macrospin with axial symmetry; every smaller one is empirical."""

# Lowest eigenvalue of d/dw [w ((2 s - 2 w) p + dp/dw)], absorbing at infinity: the Fokker-Planck equation near the
# pole, w = sqrt(Delta) (1 - cos theta). Below the critical voltage (s > 0) exp(-s^2) times a quotient of polynomials
# that ends in Kramers' 2 s^2 / sqrt(pi), fitted within 0.4 %; above it 2 |s| plus a quotient, within 0.1 %.
_AT_CRITICAL = 1.571584
_BELOW = (
    (2.0 / np.sqrt(np.pi) * 0.075222, -0.022628, -0.527244, 1.649309, -1.772998, _AT_CRITICAL),
    (0.075222, -0.019561, -0.364105, 1.0),
)
_ABOVE = ((0.408691, _AT_CRITICAL), (0.408691 / 2.0, 0.697952, 1.0))

# Growth from thermal agitation to the barrier: fitted to Fokker-Planck solutions for Delta 20 to 100 and voltages from
# 0.6 to 2 V_c0, whose probabilities are met within 0.04.
_WIDTH, _WIDTH_POWER = 0.425, 0.072
_LEAD = 0.185
_START = 0.58
_RARE = -18.0
"""ln q below which -ln(1 - exp(-q)) is -ln q to double precision."""


@dataclass(frozen=True)
class Law:
    """A switching law.

    Args:
        exponent: n, from 1 to 2.
        tau0: attempt time, s; unused for n = 2.
        tau_d: relaxation time of the precession, s; unused below n = 2.
    """

    exponent: float
    tau0: Second
    tau_d: Second

    def barrier(
        self, drive: FloatArray | float, delta: FloatArray | float, field: FloatArray | float = 0.0
    ) -> FloatArray:
        """Return E / kT; arguments as in `probability`.

        >>> Law(2.0, 1e-9, 2e-9).barrier(0.25, 60.0, field=0.25).tolist()
        15.0
        """
        left = np.maximum(1.0 - np.asarray(field), 0.0)
        return np.asarray(delta * left ** (2.0 - self.exponent) * np.maximum(left - drive, 0.0) ** self.exponent)

    def probability(
        self,
        drive: FloatArray | float,
        delta: FloatArray | float,
        time: FloatArray | float,
        field: FloatArray | float = 0.0,
    ) -> FloatArray:
        """Return the probability that a cell has left its state after `time`, monotone in drive, field and time.

        Args:
            drive: v = V / V_c0, positive in the direction that switches the cell; negative holds it.
            delta: thermal stability.
            time: s.
            field: h = (H - H_off) / H_k, positive towards the other state.
        """
        return np.asarray(-np.expm1(-self.events(drive, delta, time, field)))

    def events(
        self,
        drive: FloatArray | float,
        delta: FloatArray | float,
        time: FloatArray | float,
        field: FloatArray | float = 0.0,
    ) -> FloatArray:
        """Return -ln(1 - P), with all its digits: the rate of leaving times `time`. Arguments as in `probability`."""
        t = np.asarray(time, np.float64)
        if self.exponent == MACROSPIN:
            return _macrospin(np.asarray(drive, np.float64) + field, delta, t / self.tau_d, field)
        if self.exponent == 1.0 and isinstance(field, float) and field == 0.0:
            exponent = np.maximum(np.asarray(delta * (1.0 - np.asarray(drive, np.float64))), 0.0)
        else:
            exponent = self.barrier(drive, delta, field)
        return np.asarray((t / self.tau0) * np.exp(-exponent))

    def median(self, time: Second, delta: Ratio, field: Ratio = 0.0) -> Ratio:
        """Return V_50 / V_c0 of pulses of `time`; negative where half of the cells switch without a voltage.

        Of a macrospin found by bisection, otherwise in closed form; with n = 1 as if the barrier fell on beyond V_c0,
        where pulses shorter than tau0 ln 2 would have it.

        >>> round(Law(1.0, 1e-9, 2e-9).median(1e-3, 60.0), 3), round(Law(2.0, 1e-9, 2e-9).median(1e-3, 60.0), 3)
        (0.764, 0.52)
        """
        if self.exponent == MACROSPIN:
            top = 2.0 - field + 50.0 * self.tau_d / time  # the angle grows by exp((v - 1) t / tau_d)

            def beyond_half(drive: float) -> float:
                return float(self.probability(drive, delta, time, field)) - 0.5

            return float(scipy.optimize.brentq(beyond_half, -1.0 - field, top, xtol=1e-12))
        wanted = float(np.log(time / (self.tau0 * np.log(2.0))))
        if self.exponent == 1.0 and field == 0.0:
            return 1.0 - wanted / delta
        left = max(1.0 - field, 1e-12)
        return float(left - (max(wanted, 0.0) / (delta * left ** (2.0 - self.exponent))) ** (1.0 / self.exponent))


def eigenvalue(s: FloatArray) -> FloatArray:
    """Return the rate of leaving, times tau_d sqrt(Delta), of a macrospin of large Delta at s = sqrt(Delta) (1 - v)."""
    below, above = np.maximum(s, 0.0), np.maximum(-np.asarray(s), 0.0)
    activated = np.polyval(_BELOW[0], below) / np.polyval(_BELOW[1], below) * np.exp(-np.square(below))
    return np.where(s > 0.0, activated, 2.0 * above + np.polyval(_ABOVE[0], above) / np.polyval(_ABOVE[1], above))


def _macrospin(drive: FloatArray, delta: FloatArray | float, time: FloatArray, field: FloatArray | float) -> FloatArray:
    """Return -ln(1 - P) of a macrospin; `drive` is v + h, `field` the h in it, `time` in units of tau_d.

    What is left is (1 - exp(-q))^(lambda / kappa), q = c Delta kappa / (exp(kappa (t + t_0)) - 1). Far above V_c0,
    kappa and lambda are 2 (v - 1) and this is the law of Butler et al.: the angle grows from thermal agitation by
    exp((v - 1) t). Their angle of pi / 2, reached by linear growth, is c = pi^2 / 8; c is smaller, since growth is
    faster than linear. Far below V_c0 it is exp(-lambda (t - t_i)), lambda being the rate over the barrier and t_i the
    time that the climb takes.
    """
    drive = np.maximum(drive, -1.0)  # there the other state ceases to be one, and the rate is 0
    root = np.sqrt(delta)
    rate = eigenvalue(root * (1.0 - drive)) * np.clip(0.5 * (1.0 + drive), 0.0, 1.0) / root
    width = _WIDTH * np.asarray(delta, np.float64) ** -_WIDTH_POWER
    growth = 2.0 * width * np.logaddexp(0.0, (drive - 1.0) / width)
    # the softer a state is in the field, the farther a cell is from its axis when the pulse begins
    grown = growth * (time + _LEAD * np.maximum(1.0 - np.asarray(field), 0.05) ** -3.0)
    log_q = np.log(_START * delta * growth) - grown - np.log(-np.expm1(-grown))
    q = np.exp(np.clip(log_q, _RARE - 1.0, 6.0))
    left = np.where(log_q < _RARE, -log_q, -np.log(-np.expm1(-q)))
    return np.where(time > 0.0, rate / growth * left, 0.0)
