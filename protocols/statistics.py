"""Confidence intervals of counts, and errors of classifications.

Every ratio in a result stands beside its interval: 30 test samples, or 3 failed pulses, do not carry three
digits.
"""

from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from labctl.core.units import FloatArray, IntArray


def binomial_interval(
    successes: npt.ArrayLike,
    trials: npt.ArrayLike,
    *,
    confidence: float = 0.95,
    method: Literal["wilson", "exact"] = "wilson",
) -> FloatArray:
    """Return the confidence interval of a ratio, shape (..., 2); no trial gives (0, 1).

    `wilson` is the score interval (Wilson, J. Am. Stat. Assoc. 22, 209 (1927)): right on average, narrow;
    `exact` is Clopper and Pearson's (Biometrika 26, 404 (1934)): never covers less than it says.

    >>> binomial_interval(141, 148).round(4)
    array([0.9056, 0.9769])
    >>> binomial_interval(0, 10, method="exact").round(4)
    array([0.    , 0.3085])
    """
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    if (k < 0).any() or (k > n).any():
        raise ValueError("a count of successes lies between 0 and the number of trials")
    if method == "exact":
        tail = (1 - confidence) / 2
        low = np.where(k > 0, scipy.special.betaincinv(np.maximum(k, 1), n - k + 1, tail), 0.0)
        high = np.where(k < n, scipy.special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail), 1.0)
        return np.stack([low, high], axis=-1)
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    m = np.maximum(n, 1)
    centre = (k + z2 / 2) / (m + z2)
    half = np.sqrt(z2 * (k * (m - k) / m + z2 / 4)) / (m + z2)
    low = np.where((k == 0) | (n == 0), 0.0, centre - half)
    high = np.where((k == n) | (n == 0), 1.0, centre + half)
    return np.stack([low, high], axis=-1)


def cross_entropy(activation: FloatArray, label: IntArray) -> FloatArray:
    """Return the mean over samples of -ln softmax(activation)[label], in nats.

    Args:
        activation: (..., n, classes).
        label: (n,) class numbers.
    """
    z = activation - activation.max(axis=-1, keepdims=True)
    index = np.broadcast_to(label[:, None], (*z.shape[:-1], 1))
    picked = np.take_along_axis(z, index, axis=-1)[..., 0]
    entropy: FloatArray = np.mean(np.log(np.exp(z).sum(axis=-1)) - picked, axis=-1)
    return entropy


def confusion_matrix(label: IntArray, predicted: IntArray, classes: int) -> IntArray:
    """Return (classes, classes) counts, `[label, predicted]`.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    counts = np.bincount(label * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)
