"""What the parameters of a command may be: from an element of a message to a value, and back to a response.

Source: SCPI-1999, volume 1, chapter 7 (numeric value, boolean, character data, lists), and IEEE 488.2, 7.7.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.message import Element, Kind, quoted

NAN, INFINITY = 9.91e37, 9.9e37
"""Numbers that stand for "not a number" and infinity in responses."""
MULTIPLIERS = {
    "EX": 1e18, "PE": 1e15, "T": 1e12, "G": 1e9, "MA": 1e6, "K": 1e3,
    "": 1.0, "M": 1e-3, "U": 1e-6, "N": 1e-9, "P": 1e-12, "F": 1e-15, "A": 1e-18,
}  # fmt: skip
"""Factors before a unit (488.2, table 7-1)."""
MEGA = ("OHM", "HZ")
"""Units before which M is mega, as the standard has it."""

_WRONG = {
    Kind.NUMBER: -128,
    Kind.CHARACTERS: -148,
    Kind.STRING: -158,
    Kind.BLOCK: -168,
    Kind.EXPRESSION: -178,
}


def matches(word: str, spelled: str) -> bool:
    """Return whether a word is the short or the long form of a mnemonic, whose short form is in capitals.

    >>> matches("VOLT", "VOLTage"), matches("VOLTAGE", "VOLTage"), matches("VOLTA", "VOLTage")
    (True, True, False)
    """
    return word.upper() in (spelled.upper(), short(spelled))


@lru_cache(maxsize=8192)
def short(spelled: str) -> str:
    """Return the short form of a mnemonic.

    >>> short("NPLCycles"), short("MODE"), short("SOURce2")
    ('NPLC', 'MODE', 'SOUR2')
    """
    return "".join(letter for letter in spelled if not letter.islower())


class Parameter(ABC):
    """One parameter of a command."""

    @abstractmethod
    def value(self, element: Element) -> Any:
        """Return the value of an element; ScpiError if it is none of this parameter."""

    @abstractmethod
    def text(self, value: Any) -> str:
        """Return a value as in a response."""

    @abstractmethod
    def some(self, rng: Random) -> Any:
        """Return a random value that it takes."""

    def bound(self, word: str) -> Any:
        """Return the value of `MINimum`, `MAXimum` or `DEFault` in a query; ScpiError if it has none."""
        raise ScpiError(-108)


def shown(value: float) -> str:
    """Return a number as these instruments do: sign, six digits behind the point, two of the exponent.

    >>> shown(1e-6), shown(-21.0), shown(math.nan)
    ('+1.000000E-06', '-2.100000E+01', '+9.910000E+37')
    """
    if math.isnan(value):
        value = NAN
    elif math.isinf(value):
        value = math.copysign(INFINITY, value)
    return f"{value:+.6E}"


@dataclass(frozen=True)
class Number(Parameter):
    """A number within bounds.

    Args:
        least, most: or functions that return them, where they depend on other settings.
        default: of `DEFault`; None if there is none.
        unit: suffix that it takes, in capitals; "" takes none.
        whole: it is rounded to a whole number.
        words: names of other values, by their spelling: `{"INFinity": math.inf}`.
        show: writes it in a response.
    """

    least: float | Callable[[], float] = -math.inf
    most: float | Callable[[], float] = math.inf
    default: float | None = None
    unit: str = ""
    whole: bool = False
    words: dict[str, float] = field(default_factory=dict)
    show: Callable[[float], str] | None = None

    def value(self, element: Element) -> float:
        """Return the number; -222 beyond its bounds."""
        if element.kind is Kind.CHARACTERS:
            return self._named(element.text)
        if element.kind is not Kind.NUMBER:
            raise ScpiError(_WRONG[element.kind])
        number = element.value * self._factor(element.suffix)
        if self.whole and math.isfinite(number):
            number = math.floor(number + 0.5)
        return self.within(number)

    def within(self, number: float) -> float:
        """Return a number; -222 if it is beyond the bounds."""
        low, high = self.bounds
        if not low - 1e-12 * abs(low) <= number <= high + 1e-12 * abs(high):
            raise ScpiError(-222)
        return number

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value now."""
        low, high = (end() if callable(end) else end for end in (self.least, self.most))
        return low, high

    def text(self, value: Any) -> str:
        """Return it as a response."""
        if self.show is not None:
            return self.show(value)
        return f"{value:.0f}" if self.whole and math.isfinite(value) else shown(value)

    def some(self, rng: Random) -> float:
        """Return one within the bounds: an end, or one of any size."""
        low, high = (max(-1e6, min(1e6, end)) for end in self.bounds)
        if rng.random() < 0.3:
            return rng.choice((low, high))
        number = rng.uniform(low, high) * 10 ** rng.uniform(-6, 0)
        number = min(high, max(low, float(f"{number:.4g}")))
        return float(math.floor(number + 0.5)) if self.whole else number

    def bound(self, word: str) -> float:
        """Return a bound, or the default."""
        return self._named(word)

    def _named(self, word: str) -> float:
        low, high = self.bounds
        names = {"MINimum": low, "MAXimum": high, **self.words}
        if self.default is not None:
            names["DEFault"] = self.default
        for spelled, number in names.items():
            if matches(word, spelled):
                return number
        raise ScpiError(-141)

    def _factor(self, suffix: str) -> float:
        """Return the factor of a suffix: a multiplier and the unit, or one of them."""
        if not suffix:
            return 1.0
        if not self.unit:
            raise ScpiError(-138)
        if not suffix.endswith(self.unit):
            raise ScpiError(-131)
        multiplier = suffix.removesuffix(self.unit)
        if multiplier == "M" and self.unit in MEGA:
            return 1e6
        if multiplier not in MULTIPLIERS:
            raise ScpiError(-131)
        return MULTIPLIERS[multiplier]


@dataclass(frozen=True)
class Boolean(Parameter):
    """`ON`, `OFF`, or a number: 0 is off, and every other one on.

    Args:
        words: other words, such as ONCE, which are returned as they are spelled.
    """

    words: tuple[str, ...] = ()

    def value(self, element: Element) -> Any:
        """Return True, False or one of the words."""
        if element.kind is Kind.NUMBER:
            if element.suffix:
                raise ScpiError(-138)
            return math.floor(element.value + 0.5) != 0
        if element.kind is not Kind.CHARACTERS:
            raise ScpiError(_WRONG[element.kind])
        if element.text in ("ON", "OFF"):
            return element.text == "ON"
        return _named(element.text, self.words)

    def text(self, value: Any) -> str:
        """Return 1 or 0."""
        return str(int(value))

    def some(self, rng: Random) -> bool:
        """Return one of both."""
        return rng.random() < 0.5


@dataclass(frozen=True)
class Choice(Parameter):
    """One of some words, each as it is spelled: short form in capitals; a response has the short form.

    Args:
        strings: the words stand in quotes, in responses too.
    """

    words: tuple[str, ...]
    strings: bool = False

    def value(self, element: Element) -> str:
        """Return the word as it is spelled here."""
        wanted = (Kind.STRING,) if self.strings else (Kind.CHARACTERS,)
        if element.kind not in wanted:
            raise ScpiError(_WRONG[element.kind])
        return _named(element.text, self.words)

    def text(self, value: Any) -> str:
        """Return the short form."""
        return quoted(short(value)) if self.strings else short(value)

    def some(self, rng: Random) -> str:
        """Return one of them."""
        return rng.choice(self.words)


@dataclass(frozen=True)
class Text(Parameter):
    """A string in quotes, of at most `most` characters."""

    most: int = 1 << 16

    def value(self, element: Element) -> str:
        """Return its content."""
        if element.kind is not Kind.STRING:
            raise ScpiError(_WRONG[element.kind])
        if len(element.text) > self.most:
            raise ScpiError(-223)
        return element.text

    def text(self, value: Any) -> str:
        """Return it in quotes."""
        return quoted(value)

    def some(self, rng: Random) -> str:
        """Return some letters."""
        return "".join(rng.choice("abc ") for _ in range(rng.randint(0, min(self.most, 8))))


@dataclass(frozen=True)
class NumberList(Parameter):
    """A list of numbers and ranges in brackets, `(1,3:5)`; with an at-sign a channel list, `(@1,2:4)`."""

    channels: bool = False

    def value(self, element: Element) -> tuple[tuple[int, int], ...]:
        """Return the ranges, each with both its ends."""
        if element.kind is not Kind.EXPRESSION:
            raise ScpiError(_WRONG[element.kind])
        text = "".join(element.text.split())
        if self.channels != text.startswith("@"):
            raise ScpiError(-171)
        text = text.removeprefix("@")
        if not text:
            return ()
        ranges = []
        for part in text.split(","):
            match = re.fullmatch(r"([+-]?\d+)(?::([+-]?\d+))?", part, re.ASCII)
            if match is None:
                raise ScpiError(-171)
            first = int(match[1])
            ranges.append((first, first if match[2] is None else int(match[2])))
        return tuple(ranges)

    def text(self, value: Any) -> str:
        """Return the list."""
        parts = ",".join(str(first) if first == last else f"{first}:{last}" for first, last in value)
        return f"({'@' if self.channels else ''}{parts})"

    def some(self, rng: Random) -> tuple[tuple[int, int], ...]:
        """Return a few numbers."""
        return tuple((number, number) for number in rng.sample(range(1, 9), rng.randint(1, 3)))


def _named(word: str, words: Sequence[str]) -> str:
    for spelled in words:
        if matches(word, spelled):
            return spelled
    raise ScpiError(-141)
