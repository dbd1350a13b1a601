"""What stays where it was left: the last value that is known of it."""

import numpy as np

from labctl.core.units import BoolArray


def last_known(values: np.ndarray, known: BoolArray, first: np.ndarray) -> np.ndarray:
    """Return values (n, k) with the last known one, or the `first` (k,), where they are not `known`, (n, k).

    >>> values, known = np.array([[1, 0], [2, 5], [0, 0]]), np.array([[True, False], [True, True], [False, False]])
    >>> last_known(values, known, np.array([7, 9])).tolist()
    [[1, 9], [2, 5], [2, 5]]
    """
    if known.all():
        return values
    before = np.concatenate([first[None], values[:-1]])
    result = np.where(known, values, before)
    # two unknown ones that follow each other, in these columns
    gaps = np.flatnonzero((~known[1:] & ~known[:-1]).any(0))
    if len(gaps):
        known, values = known[:, gaps], values[:, gaps]
        last = np.where(known, np.arange(len(values))[:, None], -1)
        np.maximum.accumulate(last, axis=0, out=last)
        there = np.take_along_axis(values, np.maximum(last, 0), axis=0)
        result[:, gaps] = np.where(last >= 0, there, first[gaps])
    return result
