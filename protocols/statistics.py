"""Confidence intervals and tests of counts, and errors of classifications.

Every ratio in a result stands beside its interval: 30 test samples, or 3 failed pulses, do not carry three
digits.
"""

from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from labctl.core.units import BoolArray, FloatArray, IntArray

SIGNIFICANCE = 1e-3
"""At which a switching probability is refuted."""


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
        tiny = np.finfo(np.float64).tiny
        low = np.where(k > 0, scipy.special.betaincinv(np.maximum(k, tiny), n - k + 1, tail), 0.0)
        high = np.where(k < n, scipy.special.betaincinv(k + 1, np.maximum(n - k, tiny), 1 - tail), 1.0)
        return np.stack([low, high], axis=-1)
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    m = np.maximum(n, 1)
    centre = (k + z2 / 2) / (m + z2)
    half = np.sqrt(z2 * (k * (m - k) / m + z2 / 4)) / (m + z2)
    low = np.where((k == 0) | (n == 0), 0.0, centre - half)
    high = np.where((k == n) | (n == 0), 1.0, centre + half)
    return np.stack([low, high], axis=-1)


def cluster_interval(failures: IntArray, trials: IntArray, *, confidence: float = 0.95) -> FloatArray:
    """Return the confidence interval (2,) of a ratio of counts, sum(failures) / sum(trials), whose m cells may differ.

    The trials of one cell resemble each other, so that a thousand pulses on ten cells say less of such cells than a
    thousand on a thousand. The variance is that of the ratio of two sums over m cells drawn at random (Cochran,
    Sampling Techniques, 3rd ed., sec. 6.3), and the exact binomial interval is taken at the number of independent
    trials with that variance, with Student's quantile instead of the normal one (Korn and Graubard, Survey
    Methodology 24, 193 (1998)). The degrees of freedom are one less than the cells, but no more than the cells that
    failed at all, and the cells that ever did not. Those who failed once or never cannot tell how much cells differ:
    then every cell counts for one trial, or for as many of equal number as (sum n)^2 / sum n^2 if their numbers differ.
    It is never taken narrower than that of independent trials, nor wider than that of one trial for every cell.

    Cells of a switching law with a spread of V_c0 are covered in 92 % of the cases or more, where the binomial interval
    covers 30 to 90 % (`tests/unit/protocols/test_statistics.py`).

    Args:
        failures, trials: (m,), of each cell.

    Raises:
        ValueError: a cell has more failures than trials, or fewer than none.

    >>> cluster_interval(np.array([0, 0, 0, 12]), np.array([12, 12, 12, 12])).round(2)
    array([0.01, 0.81])
    >>> cluster_interval(np.array([3, 3, 3, 3]), np.array([12, 12, 12, 12])).round(2)
    array([0.14, 0.4 ])
    """
    if (failures < 0).any() or (failures > trials).any():
        raise ValueError("a cell has between no failures and as many as trials")
    tried = trials > 0
    f, n = failures[tried].astype(np.float64), trials[tried].astype(np.float64)
    if not len(n):
        return np.array([0.0, 1.0])
    total, p = float(n.sum()), float(f.sum() / n.sum())
    effective = least = total**2 / float((n**2).sum())
    freedom = min(len(n) - 1, int(np.count_nonzero(f)), int(np.count_nonzero(n - f)))
    if freedom:
        variance = len(n) / (len(n) - 1) * float(((f - p * n) ** 2).sum()) / total**2
        student = float(scipy.special.stdtrit(freedom, (1 + confidence) / 2))
        independent = p * (1 - p) * (NormalDist().inv_cdf((1 + confidence) / 2) / student) ** 2
        effective = min(max(least, independent / max(variance, independent / total)), total)
    return binomial_interval(p * effective, effective, confidence=confidence, method="exact")


def refuted(failures: IntArray, p: float) -> BoolArray:
    """Return whether so many failures in a row refute that each trial succeeds with `p` or more, at `SIGNIFICANCE`.

    The binomial test of no success: (1 - p)^failures is at most the significance.

    >>> refuted(np.array([1, 9, 10]), 0.5)
    array([False, False,  True])
    """
    unlikely: BoolArray = (1.0 - p) ** np.minimum(failures, 10**6).astype(np.float64) <= SIGNIFICANCE
    return unlikely


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
