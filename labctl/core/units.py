"""Units ride on types.

``Volt`` is a float in volts. A pydantic model with a ``Volt`` field accepts SI floats from Python; read from a file
(validation context ``{"file": True}``) it accepts a text with a unit only, so that nobody writes 450 and means mV.
The same annotation is stamped into HDF5 as ``units``.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
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
}
_QUANTITY = re.compile(
    r"\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>[A-Za-zµμΩ%][\w\s^*/µμΩ%-]*)?\s*"
)


@cache
def _registry() -> Any:
    import pint

    registry: Any = pint.UnitRegistry(cache_folder=None)
    return registry


@cache
def _factor(unit: str, target: str) -> float:
    """Return the factor from `unit` to the SI unit `target`; ValueError if they do not measure the same thing."""
    import pint

    registry = _registry()
    try:
        found = registry.Quantity(1.0, unit.replace(" ", "*") if " " in unit and "*" not in unit else unit)
        return float(found.to(target.replace(" ", "*") or "dimensionless").magnitude)
    except pint.UndefinedUnitError as error:
        raise ValueError(f"unknown unit '{unit}'") from error
    except pint.DimensionalityError as error:
        raise ValueError(f"'{unit}' is not a unit of {target or 'a plain ratio'}") from error


def parse_quantity(text: str, unit: str) -> float:
    """Return the value of `text` ("450 mV") in the SI unit `unit`; ValueError if it has no unit or a wrong one.

    >>> parse_quantity("450 mV", "V")
    0.45
    >>> parse_quantity("120 %", "")
    1.2
    """
    match = _QUANTITY.fullmatch(text)
    example = f'such as "{_EXAMPLES[unit]}"' if unit in _EXAMPLES else f"in {unit}"
    if match is None:
        raise ValueError(f"'{text}' is not a number with a unit; expected a quantity {example}")
    number, name = float(match["number"]), (match["unit"] or "").strip()
    if not name:
        if unit == "":
            return number
        raise ValueError(f"'{text}' has no unit; expected a quantity {example}")
    factor = _factor(name, unit)
    # dividing by the inverse keeps 450 mV at exactly 0.45, which multiplying by 0.001 does not
    inverse = round(1 / factor) if factor < 1 else 0
    return number / inverse if inverse and abs(inverse * factor - 1) < 1e-12 else number * factor


@dataclass(frozen=True)
class Unit:
    """SI unit of a value, as metadata of an annotated type; pydantic reads quantities through it."""

    symbol: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def read(value: Any, info: core_schema.ValidationInfo) -> Any:
            if isinstance(value, str):
                return parse_quantity(value, self.symbol)
            if self.symbol and info.context and info.context.get("file") and isinstance(value, int | float):
                example = _EXAMPLES.get(self.symbol, f"1 {self.symbol}")
                raise ValueError(f"the bare number {value} has no unit; expected a quantity such as {example}")
            return value

        return core_schema.with_info_before_validator_function(
            read,
            core_schema.float_schema(allow_inf_nan=False, strict=True),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda v: v),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        example = _EXAMPLES.get(self.symbol, f"1 {self.symbol}")
        text = {"type": "string", "pattern": r"^\s*[+-]?[0-9.]", "examples": [example]}
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

Volts = Annotated[FloatArray, Unit("V")]
Amperes = Annotated[FloatArray, Unit("A")]
Conductances = Annotated[FloatArray, Unit("S")]
Seconds = Annotated[FloatArray, Unit("s")]
