"""A cell that may switch more than once in one condition: back and forth thermally, or by back-hopping.

Under a voltage that writes F and not U, the cell is one of three: U, F, and F', in which reference and free layer have
both reversed. F' conducts like F, and is U as soon as the voltage is gone and the reference layer has returned. Two
sequential reversals lead from F to F', of the reference layer and then of the free layer (Devolder et al., arXiv
2006.05108, whose pulses towards P end in AP); they lead from F' to F as well, since the same torque acts on it. So

    U <-> F, rates a and b of the switching law;    F <-> F', rate h = 1 / (1 / r + 1 / a),

r being the rate of the reference layer, r = exp(-Delta_r max(0, 1 - |V| / V_r)) / tau0: this project's own choice, for
nobody publishes a law. Each chain of two events in a row takes the sum of their mean times, so that nothing hops where
the free layer would not follow. Long beyond both critical voltages a cell ends in either state half of the time.

The chain has the eigenvalues 0 and -(s +- sqrt(s^2 - 4 d)) / 2, s = a + b + 2 h, d = h (2 a + b). With h = 0 it is that
of two states, out / (out + back) (1 - exp(-(out + back) t))."""

import numpy as np

from labctl.core.units import BoolArray, FloatArray, Second

_TINY = 1e-300


def reference_layer(
    drive: FloatArray, delta: FloatArray | float, time: Second | FloatArray, tau0: Second
) -> FloatArray:
    """Return how often the reference layer would reverse in `time`, r t.

    Args:
        drive: |V| / V_r, 0 where it never does. delta: its thermal stability. time: s. tau0: s.
    """
    often = np.asarray(time, np.float64) / tau0 * np.exp(-delta * np.maximum(1.0 - drive, 0.0))
    return np.where(drive > 0.0, often, 0.0)


def left(out: FloatArray, back: FloatArray, reference: FloatArray, written: BoolArray) -> FloatArray:
    """Return the probability that a cell is in the other state when the voltage is gone.

    All arguments broadcast; the first three are rates times the duration of the condition.

    Args:
        out: of the switching law from the cell's own state. back: from the other one.
        reference: of the reference layer.
        written: whether the voltage writes the state that the cell is in.
    """
    a, b = np.where(written, back, out), np.where(written, out, back)
    h = reference * a / np.maximum(reference + a, _TINY)
    total, product = a + b + 2.0 * h, h * (2.0 * a + b)
    apart = np.sqrt(np.square(a - 2.0 * h) + b * (2.0 * a + b))
    apart = np.maximum(apart, 1e-9 * total + _TINY)
    fast = 0.5 * (total + apart)
    slow = product / np.maximum(fast, _TINY)
    # p = sum of w (1 - exp(-rate)): the weights give its limit and its slope at the beginning
    limit = np.where(written, a + b, a) / np.maximum(2.0 * a + b, _TINY)
    slope = np.where(written, b + h, a)
    weight = (slope - slow * limit) / apart
    p = weight * -np.expm1(-fast) + (limit - weight) * -np.expm1(-slow)
    return np.asarray(np.clip(p, 0.0, 1.0))
