"""Colours of maps and charts, chosen so that they can be told apart by everybody, on paper and on a dark screen.

Scales run from light to dark steadily, so they read in grey too: one for figures whose high values are good, a warm one
for figures whose high values are bad. Bins have colours of the Okabe-Ito palette and a letter each.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import cycle

from labctl.core.figure import Better

COOL = ("#eef0dc", "#b5d8c3", "#68b3b8", "#30799f", "#20457c", "#15214d")
WARM = ("#f6eedd", "#f0cd9b", "#dd9860", "#b75f40", "#7e302f", "#431722")
GOOD, MEASURED, NEUTRAL, BUSY = "#2f8f6b", "#6f93b8", "#c9c9c4", "#8f7fc0"
_BINS = ("#d55e00", "#e69f00", "#56b4e9", "#cc79a7", "#0072b2", "#f0e442", "#7f7f7f", "#8c510a")


def scale(better: Better) -> tuple[str, ...]:
    """Return the colours of a figure, from its least value to its greatest."""
    return WARM if better is Better.LOW else COOL


def shade(colours: Sequence[str], level: float) -> str:
    """Return the colour at `level` from 0 to 1 of a scale.

    >>> shade(("#000000", "#ffffff"), 0.5)
    '#808080'
    """
    at = min(max(level, 0.0), 1.0) * (len(colours) - 1)
    k = min(int(at), len(colours) - 2)
    low, high = _rgb(colours[k]), _rgb(colours[k + 1])
    return "#" + "".join(f"{round(a + (b - a) * (at - k)):02x}" for a, b in zip(low, high, strict=True))


def ink(colour: str) -> str:
    """Return black or white, whichever can be read on `colour` (relative luminance as in WCAG 2).

    >>> ink("#15214d"), ink("#f0e442")
    ('#fff', '#1c1c1a')
    """
    red, green, blue = ((c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in _rgb(colour))
    return "#1c1c1a" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.2 else "#fff"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


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


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Return from where to where a scale runs: all values, but for those far beyond the bulk of them.

    Far is three times the distance of the quartiles outside of them, so that one bad die does not hide the others.

    >>> limits([1.0, 2.0, 3.0, 4.0, 500.0])
    (1.0, 10.0)
    """
    ordered = sorted(values)
    if len(ordered) < 4:
        return ordered[0], ordered[-1]
    low, high = (ordered[round(q * (len(ordered) - 1))] for q in (0.25, 0.75))
    far = 3 * (high - low) or math.inf
    return max(ordered[0], low - far), min(ordered[-1], high + far)
