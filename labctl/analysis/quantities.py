"""The figures of a die that maps, tables and charts show: title, unit and format of each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One figure of a die.

    Args:
        key: its name in ``report.json``, where it is in SI units.
        title: its name for people.
        unit: unit in which it is shown; `factor` converts the SI value.
        digits: decimals shown.
        note: its definition.
    """

    key: str
    title: str
    unit: str
    factor: float
    digits: int
    note: str

    def number(self, value: float | None) -> str:
        """Return the value without its unit, a dash if there is none.

        >>> BY_KEY["fidelity"].number(0.98214), BY_KEY["r_p"].number(None)
        ('98.21', '–')
        """
        if value is None or not math.isfinite(value):
            return "–"
        return f"{value * self.factor:,.{self.digits}f}"

    def text(self, value: float | None) -> str:
        """Return the value with its unit.

        >>> BY_KEY["r_p"].text(2390.0), BY_KEY["fidelity"].text(0.98214), BY_KEY["defects"].text(3)
        ('2.39 kΩ', '98.21 %', '3')
        """
        number = self.number(value)
        return number if number == "–" or not self.unit else f"{number} {self.unit}"


QUANTITIES = (
    Quantity("fidelity", "write fidelity", "%", 100, 2, "placed cells that read back as written; mean over networks"),
    Quantity("accuracy_test", "accuracy", "%", 100, 1, "test samples, network scale tuned; mean over networks"),
    Quantity("accuracy_train", "training accuracy", "%", 100, 1, "training samples, tuned on them; mean over networks"),
    Quantity(
        "r_p", "R_P", "kΩ", 1e-3, 2, "middle half of the good cells, mean, as they read in the array, wires included"
    ),
    Quantity(
        "r_ap", "R_AP", "kΩ", 1e-3, 2, "middle half of the good cells, mean, as they read in the array, wires included"
    ),
    Quantity("tmr", "TMR", "%", 100, 1, "middle half of the good cells, mean"),
    Quantity(
        "v_switch", "switching voltage", "mV", 1e3, 1, "mean voltage of the pulses after which the cell was verified"
    ),
    Quantity("defects", "defects", "", 1, 0, "cells that a survey calls anything but good"),
    Quantity("contact", "contact resistance", "Ω", 1, 1, "median of the contact structures at the last touch"),
    Quantity("touches", "touches", "", 1, 0, "touches over the die's life, as far as they are known"),
    Quantity("seconds", "time", "min", 1 / 60, 2, "worked on it, all tries together, interruptions left out"),
)
"""In the order in which they are shown."""

BY_KEY: Mapping[str, Quantity] = {q.key: q for q in QUANTITIES}
ON_MAPS = ("fidelity", "accuracy_test", "r_p", "tmr", "v_switch", "defects", "contact", "seconds")
"""Figures that have a map of the wafer, beside the bin."""
