"""Units ride on types.

``Volt`` is a float in volts. A pydantic model with a ``Volt`` field accepts SI floats from Python; read from
a file (validation context ``{"file": True}``) it accepts a text with a unit only, so that nobody writes 450
and means mV. The same annotation is stamped into HDF5 as ``units``.
"""

import math
import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import core_schema

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
BoolArray = npt.NDArray[np.bool_]

_EXAMPLES = {
    "V": "450 mV",
    "A": "100 uA",
    "s": "1 ms",
    "ohm": "2.4 kohm",
    "m": "80 nm",
    "ohm m^2": "12 ohm um^2",
    "S": "200 uS",
    "": "120 %",
    "T": "20 mT",
    "K": "300 K",
    "K/W": "300 K/mW",
    "A/V^2": "1.75 mA/V^2",
}
# What is measured at a bench, as powers of V, A, s, m and K: closed and exact.
_PREFIXES = {"": 0, "f": -15, "p": -12, "n": -9, "u": -6, "μ": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12}
_PREFIXED = {
    **{"V": {"V": 1}, "A": {"A": 1}, "s": {"s": 1}, "m": {"m": 1}, "Hz": {"s": -1}, "W": {"V": 1, "A": 1}},
    **{"T": {"V": 1, "s": 1, "m": -2}, "K": {"K": 1}},
    **{
        "ohm": {"V": 1, "A": -1},
        "Ω": {"V": 1, "A": -1},
        "S": {"V": -1, "A": 1},
        "F": {"V": -1, "A": 1, "s": 1},
    },
}
_UNITS: dict[str, tuple[Fraction, dict[str, int]]] = {
    "%": (Fraction(1, 100), {}),
    "ppm": (Fraction(1, 10**6), {}),
    "cm": (Fraction(1, 100), {"m": 1}),
    "min": (Fraction(60), {"s": 1}),
    "h": (Fraction(3600), {"s": 1}),
    **{p + name: (Fraction(10) ** e, powers) for p, e in _PREFIXES.items() for name, powers in _PREFIXED.items()},
}
_OTHERS: dict[str, tuple[str, Fraction, Fraction]] = {
    **dict.fromkeys(("degc", "°c", "celsius", "deg c", "c"), ("K", Fraction(1), Fraction("273.15"))),
    **dict.fromkeys(("degf", "°f", "fahrenheit", "deg f"), ("K", Fraction(5, 9), Fraction("459.67") * Fraction(5, 9))),
    **dict.fromkeys(("kelvin", "degk", "°k"), ("K", Fraction(1), Fraction(0))),
    **dict.fromkeys(("oe", "oersted", "g", "gs", "gauss"), ("T", Fraction(1, 10**4), Fraction(0))),
    **dict.fromkeys(("koe", "kg"), ("T", Fraction(1, 10), Fraction(0))),
    **dict.fromkeys(("tesla", "teslas"), ("T", Fraction(1), Fraction(0))),
    **dict.fromkeys(("inch", "inches", "in", '"'), ("m", Fraction("0.0254"), Fraction(0))),
    **dict.fromkeys(("mil", "mils", "thou"), ("m", Fraction("0.0000254"), Fraction(0))),
    **dict.fromkeys(("å", "ang", "angstrom", "angstroms"), ("m", Fraction(1, 10**10), Fraction(0))),
    **dict.fromkeys(("micron", "microns", "micrometer", "micrometre"), ("m", Fraction(1, 10**6), Fraction(0))),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), ("s", Fraction(1), Fraction(0))),
    **dict.fromkeys(("msec", "millisecond", "milliseconds"), ("s", Fraction(1, 1000), Fraction(0))),
    **dict.fromkeys(("usec", "microsecond", "microseconds"), ("s", Fraction(1, 10**6), Fraction(0))),
    **dict.fromkeys(("minute", "minutes", "mins"), ("s", Fraction(60), Fraction(0))),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), ("s", Fraction(3600), Fraction(0))),
    **dict.fromkeys(("d", "day", "days"), ("s", Fraction(86400), Fraction(0))),
    **dict.fromkeys(("volt", "volts"), ("V", Fraction(1), Fraction(0))),
    **dict.fromkeys(("millivolt", "millivolts"), ("V", Fraction(1, 1000), Fraction(0))),
    **dict.fromkeys(("amp", "amps", "ampere", "amperes"), ("A", Fraction(1), Fraction(0))),
    **dict.fromkeys(("ohms",), ("ohm", Fraction(1), Fraction(0))),
    **dict.fromkeys(("kohms", "kiloohm", "kiloohms"), ("ohm", Fraction(1000), Fraction(0))),
    **dict.fromkeys(("siemens", "mho"), ("S", Fraction(1), Fraction(0))),
    **dict.fromkeys(("percent", "pct", "point", "points"), ("", Fraction(1, 100), Fraction(0))),
}
"""Units that are no units of ours, in lower case: SI unit, factor, and what is added; to say what a value would be."""
_NUMBER = r"[+-]?(?:[0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?"
_QUANTITY = re.compile(rf"\s*(?P<number>{_NUMBER})\s*(?P<unit>(?:[A-Za-zμΩ%°Å\"].*)?)")
_FACTOR = r"(?P<name>[A-Za-zμΩ%]+)(?:(?:\^|\*\*)?(?P<power>-?[0-9]))?"
_NEXT = re.compile(rf"(?P<sign>\s*[/*·]\s*|\s+|^){_FACTOR}")


@cache
def _unit(text: str) -> tuple[Fraction, dict[str, int]]:
    """Return the factor to SI and the powers of V, A, s, m, K of a unit ("ohm um^2"); ValueError if unknown."""
    factor, powers, at = Fraction(1), dict[str, int](), 0
    while at < len(text):
        match = _NEXT.match(text, at)
        if match is None or match["name"] not in _UNITS or (match["name"] in ("%", "ppm") and text != match["name"]):
            raise ValueError(f"unknown unit '{text}'")
        scale, dimensions = _UNITS[match["name"]]
        power = int(match["power"] or 1) * (-1 if "/" in match["sign"] else 1)
        factor *= scale**power
        powers = {base: powers.get(base, 0) + power * dimensions.get(base, 0) for base in powers | dimensions}
        at = match.end()
    return factor, {base: n for base, n in powers.items() if n}


def parse_quantity(text: str, unit: str) -> float:
    """Return the value of `text` ("450 mV") in the SI unit `unit`, the nearest float to what was written.

    Raises:
        ValueError: no number, no unit, a wrong or an unknown one, or more than a float can hold.

    >>> parse_quantity("450 mV", "V")
    0.45
    >>> parse_quantity("120 %", "")
    1.2
    """
    example = f'{f"in {unit}, " if unit else ""}such as "{_EXAMPLES[unit]}"' if unit in _EXAMPLES else f"in {unit}"
    # NFKC: the micro sign and the Greek mu are one, and so are the ohm sign and Omega; ² becomes 2
    match = _QUANTITY.fullmatch(unicodedata.normalize("NFKC", text)) if text.isprintable() else None
    if match is None:
        raise ValueError(f"{text!r} is not a number with a unit; expected a quantity {example}{_typed(text)}")
    number, name = Fraction(match["number"]), match["unit"].strip()
    if not name and unit:
        raise ValueError(f"'{text}' has no unit; expected a quantity {example}")
    try:
        factor, powers = _unit(name)
    except ValueError as error:
        hint = _in_ours(text.strip(), number, name, unit)
        raise ValueError(f"{error}; expected a quantity {example}{hint}") from None
    if powers != _unit(unit)[1]:
        raise ValueError(f"'{name}' is not a unit of {unit or 'a plain ratio'}; expected a quantity {example}")
    try:
        value = float(number * factor / _unit(unit)[0])
    except OverflowError:
        value = 0.0
    if number and not value:
        raise ValueError(f"'{text}' is more or less than a number can hold; expected a quantity {example}")
    return value


def _in_ours(text: str, number: Fraction, name: str, unit: str) -> str:
    """Return how a quantity in a unit that is none of ours is written, "" if that is not known.

    >>> _in_ours("27 degC", Fraction(27), "degC", "K"), _in_ours("450 mv", Fraction(450), "mv", "V")
    ('; 27 degC is 300.15 K: write that', "; did you mean '450 mV'?")
    """
    symbol, factor, added = _OTHERS.get(name.lower(), ("-", Fraction(1), Fraction(0)))
    if symbol == unit:
        value = float(number * factor + added)
        shown = f"{value * 100:.10g} %" if not unit else f"{value:.10g} {unit}"
        return f"; {text} is {shown}: write that"
    for ours, (_, powers) in _UNITS.items():
        same_prefix = len(ours) == len(name) and (len(ours) < 2 or ours[0] == name[0])
        if same_prefix and ours.lower() == name.lower() and powers == _unit(unit)[1]:
            return f"; did you mean '{text.removesuffix(name)}{ours}'?"
    return ""


def _typed(text: str) -> str:
    """Return what is odd about a quantity that came from a text program, "" if nothing is.

    >>> _typed("0,7 V"), _typed("\u221220 mV")
    (' with a decimal point', " without '\u2212' (U+2212): the minus sign of the keyboard is '-'")
    """
    for mark in text:
        if mark in "\u2212\u2013\u2014":
            return f" without '{mark}' (U+{ord(mark):04X}): the minus sign of the keyboard is '-'"
        if mark in "\u201c\u201d\u201e\u2018\u2019":
            return f" without the typographic mark '{mark}' (U+{ord(mark):04X})"
        if mark.isspace() and mark != " ":
            return f" with an ordinary blank and not U+{ord(mark):04X}"
    return " with a decimal point" if "," in text else ""


def quantity(text: str) -> float:
    """Return the value of `text` in whichever SI unit it has; ValueError if it is no number with a known unit, or none.

    >>> quantity("5 kohm"), quantity("98 %"), quantity("3")
    (5000.0, 0.98, 3.0)
    """
    match = _QUANTITY.fullmatch(unicodedata.normalize("NFKC", text)) if text.isprintable() else None
    if match is None:
        raise ValueError(f'{text!r} is not a number with a unit; expected a quantity such as "450 mV" or "98 %"')
    name = match["unit"].strip()
    try:
        unit = _si_unit(name)
    except ValueError as error:
        hint = _in_ours(text.strip(), Fraction(match["number"]), name, "")
        raise ValueError(f'{error}; expected a quantity such as "450 mV" or "98 %"{hint}') from None
    return parse_quantity(text, unit)


def _si_unit(name: str) -> str:
    """Return a text of the SI unit that has the dimensions of a unit."""
    powers = _unit(name)[1]
    return " ".join(f"{base}^{power}" if power != 1 else base for base, power in powers.items())


@dataclass(frozen=True)
class Unit:
    """SI unit of a value, as metadata of an annotated type; pydantic reads quantities through it."""

    symbol: str

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "core_schema.CoreSchema":
        # imported here: a process that seals reads no file of people, and would wait for the import
        from pydantic_core import core_schema

        example = _EXAMPLES.get(self.symbol, f"1 {self.symbol}")

        def read(value: Any, info: "core_schema.ValidationInfo") -> Any:
            if isinstance(value, str):
                return parse_quantity(value, self.symbol)
            if isinstance(value, bool):
                raise ValueError(f"{str(value).lower()} is not a quantity; expected one such as {example}")
            if not isinstance(value, int | float):
                return value
            if self.symbol and info.context and info.context.get("file"):
                raise ValueError(f"the bare number {value} has no unit; expected a quantity such as {example}")
            if not math.isfinite(value):
                raise ValueError(f"{value} is not a finite number; expected a quantity such as {example}")
            return float(value)

        # handler(source), not a schema of our own: bounds given as `v: Volt = Field(gt=0)` are inside it
        return core_schema.with_info_before_validator_function(read, handler(source))

    def __get_pydantic_json_schema__(self, schema: "core_schema.CoreSchema", handler: "GetJsonSchemaHandler") -> Any:
        example = _EXAMPLES.get(self.symbol, f"1 {self.symbol}")
        text = {"type": "string", "pattern": r"^\s*[+-]?[0-9.]", "examples": [example], "x-unit": self.symbol}
        inside = handler(schema)  # with the bounds of the field, in SI units
        text |= {f"x-{name}": inside[name] for name in ("maximum", "exclusiveMaximum") if name in inside}
        if self.symbol:
            return {**text, "description": f"a quantity in {self.symbol}, such as {example}"}
        return {"anyOf": [{"type": "number"}, {**text, "pattern": r"^\s*[+-]?[0-9.].*%?\s*$"}]}


Volt = Annotated[float, Unit("V")]
Ampere = Annotated[float, Unit("A")]
Second = Annotated[float, Unit("s")]
Ohm = Annotated[float, Unit("ohm")]
Siemens = Annotated[float, Unit("S")]
Metre = Annotated[float, Unit("m")]
OhmMetre2 = Annotated[float, Unit("ohm m^2")]
Ratio = Annotated[float, Unit("")]
Tesla = Annotated[float, Unit("T")]
Kelvin = Annotated[float, Unit("K")]

Volts = Annotated[FloatArray, Unit("V")]
Amperes = Annotated[FloatArray, Unit("A")]
Conductances = Annotated[FloatArray, Unit("S")]
Seconds = Annotated[FloatArray, Unit("s")]
