"""How far a figure of the dies of a run stays from its limits: Cpk, one definition.

    CPU = (upper limit - mean) / (3 sigma)        CPL = (mean - lower limit) / (3 sigma)
    Cpk = the smaller of both; with one limit that one

Mean and standard deviation (n - 1) are those of all dies of the run that have a bin and the figure (NIST/SEMATECH
e-Handbook of Statistical Methods, sec. 6.1.6, which writes Cpu and Cpl). So sigma has everything in it, from die to die
and during the night; where subgroups are kept apart this number is called Ppk. It says something of a share of bad dies
only where the figure is distributed normally, which nobody has tested here: look at its histogram.

The 95 % interval is Bissell's for large numbers (Applied Statistics 39, 331 (1990)):
Cpk +- 1.96 sqrt(1 / (9 n) + Cpk^2 / (2 (n - 1))).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from labctl.config.pass_range import PassRange

_FEWEST = 3
"""Dies from which Cpk is told: the spread of two is a chance of one difference."""

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Capability:
    """A figure of several dies beside its limits; SI units.

    Args:
        low, high: limits, None where there is none.
        dies: with a value; `unknown`: dies whose value is NaN, which pass no limit.
        below, above: dies beyond the limits.
        sigma: standard deviation from die to die, None of one die.
        cpl, cpu: None without that limit, of fewer than three dies, or where sigma is 0.
        interval: 95 %, of Cpk.
    """

    figure: str
    low: float | None
    high: float | None
    dies: int
    unknown: int
    below: int
    above: int
    mean: float | None
    sigma: float | None
    cpl: float | None
    cpu: float | None
    interval: tuple[float, float] | None

    @property
    def cpk(self) -> float | None:
        """The smaller of CPL and CPU, or the only one."""
        known = [value for value in (self.cpl, self.cpu) if value is not None]
        return min(known) if known else None


def capability(figure: str, values: Iterable[float], limits: PassRange) -> Capability:
    """Return how far a figure stays from its limits.

    Args:
        values: of the dies that have it.

    >>> one = capability("r_p", [9.0, 10.0, 11.0], PassRange(low=4.0))
    >>> one.cpl, one.cpu, one.cpk
    (2.0, None, 2.0)
    """
    every = list(values)
    known = [value for value in every if math.isfinite(value)]
    low = limits.low if math.isfinite(limits.low) else None
    high = limits.high if math.isfinite(limits.high) else None
    mean = fmean(known) if known else None
    sigma = stdev(known) if len(known) > 1 else None
    spread = sigma if len(known) >= _FEWEST else None
    cpl = (mean - low) / (3 * spread) if mean is not None and spread and low is not None else None
    cpu = (high - mean) / (3 * spread) if mean is not None and spread and high is not None else None
    sides = [value for value in (cpl, cpu) if value is not None]
    interval = None
    if sides:
        cpk, n = min(sides), len(known)
        half = _Z * math.sqrt(1 / (9 * n) + cpk**2 / (2 * (n - 1)))
        interval = cpk - half, cpk + half
    beyond = [value for value in known if not limits.passes(value)]
    above = sum(high is not None and value >= high for value in beyond)
    return Capability(
        figure, low, high, len(known), len(every) - len(known), len(beyond) - above, above, mean, sigma, cpl, cpu,
        interval,
    )  # fmt: skip
