"""Colours of maps and charts, chosen so that they can be told apart by everybody, on paper and on a dark screen.

Scales run from light to dark steadily, so they read in grey too: one for figures whose high values are good, a warm one
for figures whose high values are bad. Bins have colours of the Okabe-Ito palette and a letter each.
"""

from collections.abc import Iterable
from itertools import cycle

from labctl.core.figure import Better

COOL = ("#eef0dc", "#b5d8c3", "#68b3b8", "#30799f", "#20457c", "#15214d")
WARM = ("#f6eedd", "#f0cd9b", "#dd9860", "#b75f40", "#7e302f", "#431722")
CHANGE = ("#1d4f73", "#5d9ab8", "#c9dfe4", "#f7f5ee", "#f0cf9f", "#cf7f45", "#8f3b1e")
"""Of differences, from the most negative to the most positive; no difference is in the middle."""
GOOD, MEASURED, NEUTRAL, BUSY = "#2f8f6b", "#6f93b8", "#c9c9c4", "#8f7fc0"
_BINS = ("#d55e00", "#e69f00", "#56b4e9", "#cc79a7", "#0072b2", "#f0e442", "#7f7f7f", "#8c510a")


def scale(better: Better) -> tuple[str, ...]:
    """Return the colours of a figure, from its least value to its greatest."""
    return WARM if better is Better.LOW else COOL


def of_bins(bins: Iterable[str], good: str, busy: Iterable[str] = ()) -> dict[str, tuple[str, str]]:
    """Return colour and letter of every bin; letters all differ, and are the first of the last word where they can be.

    Args:
        good: the bin of good dies, "" if there is none.
        busy: states of dies that are not done with.

    >>> of_bins(["good", "low-fidelity", "fast", "pending"], "good")
    {'good': ('#2f8f6b', 'G'), 'low-fidelity': ('#d55e00', 'F'), 'fast': ('#e69f00', 'A'), 'pending': ('#c9c9c4', '')}
    """
    assigned: dict[str, tuple[str, str]] = {}
    taken: set[str] = set()
    colours = cycle(_BINS)
    for name in bins:
        if name == "pending" or name in busy:
            assigned[name] = (NEUTRAL, "") if name == "pending" else (BUSY, "…")
            continue
        if name == "left out":
            assigned[name] = (NEUTRAL, "–")
            continue
        words = "".join(reversed(name.upper().split("-")))
        letter = next((c for c in words if c.isalnum() and c not in taken), "?")
        taken.add(letter)
        assigned[name] = _colour(name, good) or next(colours), letter
    return assigned


def _colour(name: str, good: str) -> str:
    """Return the colour of a bin that has one of its own, "" for any other."""
    return {good: GOOD, "measured": MEASURED, "skipped": NEUTRAL}.get(name, "")
