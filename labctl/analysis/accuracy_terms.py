"""The terms of the accuracies of a die in words: what was known of the die, and what lies between array and classes.

Screens, reports and tables of experiments say it in these words; the terms themselves are `AccuracyTerms`, as a stage
stored them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from labctl.core.figure import Columns, newest
from protocols.die_information import AccuracyTerms

BENCH_LIKE = (0.02, 0.03)
"""Threshold spread, V, and column gain, a ratio, from which the simulated periphery of a chip is called bench-like."""


_TERMS = ("way", "per_die", "trained_with", "remapped", "labelled", "unlabelled")
_NUMBERS = ("accuracy_test", "software_test", "drop_test")
COLUMNS = ("solution", "interval_test", *_TERMS, *_NUMBERS)
"""Columns of a table `accuracy` that are read here."""


def terms_of(accuracy: Columns) -> list[AccuracyTerms]:
    """Return the different terms in the rows of a table `accuracy`, in order."""
    return list(dict.fromkeys(_terms(accuracy, k) for k in range(len(accuracy["way"]))))


def _terms(accuracy: Columns, k: int) -> AccuracyTerms:
    """Return the terms of row k; a run from before there was a second gate has no column of it."""
    names = (*_TERMS, *(name for name in ("second_gate",) if name in accuracy))
    return AccuracyTerms.of_row({name: accuracy[name][k] for name in names})


def accuracies(accuracy: Columns) -> Iterator[dict[str, Any]]:
    """Yield the accuracies on test samples in a table `accuracy` with their terms, as JSON has them."""
    for k in newest(accuracy, "solution", "way").tolist():
        terms = _terms(accuracy, k)
        yield {
            "solution": int(accuracy["solution"][k]),
            **{name: float(accuracy[name][k]) for name in _NUMBERS},
            "interval_test": accuracy["interval_test"][k].tolist(),
            "way": terms.way.value,
            "per_die": terms.per_die,
            "information": terms.information.value,
            "remapped": terms.remapped,
            "labelled": terms.labelled,
            "unlabelled": terms.unlabelled,
            "second_gate": terms.second_gate,
            "digital_help": terms.digital_help,
            "analog": terms.analog,
        }


def periphery(description: Mapping[str, Any]) -> str:
    """Return what lies between the cells of a die and the classes, by the description that its run stored.

    >>> chip = {"simulation": {"transistor": {"v_threshold_spread": 0.02}, "board": {"gain": 0.03}}}
    >>> periphery({"geometry": {"kind": "1T1R"}, **chip})
    'bench-like (threshold spread 20 mV, column gain 3 %)'
    """
    simulation = description.get("simulation")
    if not simulation:
        return "that of the bench"
    if (description.get("geometry") or {}).get("kind") != "1T1R":
        gain = float((simulation.get("noise") or {}).get("gain", 0.0))
        return f"meters with {100 * gain:.3g} % of gain error" if gain else "ideal (meters without gain error)"
    spread = float((simulation.get("transistor") or {}).get("v_threshold_spread", 0.0))
    gain = float((simulation.get("board") or {}).get("gain", 0.0))
    numbers = f"threshold spread {1e3 * spread:.3g} mV, column gain {100 * gain:.3g} %"
    if spread == gain == 0:
        return f"ideal ({numbers})"
    if spread >= BENCH_LIKE[0] and gain >= BENCH_LIKE[1]:
        return f"bench-like ({numbers})"
    return numbers


def texts(dies: Iterable[tuple[str, Columns, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield the different terms of all accuracies of dies in words, those of some dies only with their names.

    Args:
        dies: name, table `accuracy` and stored description of each.
    """
    whose: dict[str, list[str]] = {}
    names = []
    for name, accuracy, description in dies:
        names.append(name)
        for terms in terms_of(accuracy):
            whose.setdefault(f"{terms.text}; periphery: {periphery(description)}", []).append(name)
    for text, some in whose.items():
        few = ", ".join(some[:3]) + (f" and {len(some) - 3} more" if len(some) > 3 else "")
        yield text if some == names else f"{text} ({few})"
