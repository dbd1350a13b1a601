"""What a B1500A and an E5270B can do, by their options. Sources: `instruments.keysightb1500`."""

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from instruments.flex import CODES, EXTENDED
from labctl.core.model import Model, one_of
from labctl.core.source import SourceCapabilities
from labctl.core.units import Ampere, Second, Volt

MODELS = {"B1500A": EXTENDED, "E5270B": CODES}
"""Models, and how they tell errors."""
UNITS = ("B1510A", "B1511A", "B1511B", "B1517A", "E5280A", "E5280B", "E5281A", "E5281B", "E5287A")
"""Modules that are source-measure units of these ranges."""
RANGES_V: Mapping[Volt, int] = {2.0: 20, 20.0: 200, 40.0: 400}
"""Source ranges that all units have, and their codes; above them the interlock has to be closed."""
RANGES_I: Mapping[Ampere, int] = {
    1e-9: 11, 1e-8: 12, 1e-7: 13, 1e-6: 14, 1e-5: 15, 1e-4: 16, 1e-3: 17, 1e-2: 18, 1e-1: 19,
}  # fmt: skip
"""Measure ranges that all units have, and their codes; a negative code is a fixed range."""
CYCLE: Second = 80e-6
"""[?] Shortest integration of the high-resolution converter; one to 127 of them are an aperture in its manual mode."""
MOST_CYCLES, MOST_PERIODS = 127, 100
SHORTEST_PULSE: Second = 10e-3
"""[?] Of a pulse of one message: level, wait, one or two shortest readings, and the level from before."""
READING: Second = 0.4e-3
"""[?] Time of one such reading, and of what is before it."""
LONGEST_WAIT: Second = 99.0
"""Of `PA`; the host times what is longer."""
STEP_MESSAGES = 3.0
"""Messages of a step, as a mean."""


class KeysightB1500Options(Model):
    """Options of a B1500A or E5270B in the bench file."""

    model: Annotated[str, AfterValidator(one_of("keysightb1500: model", MODELS))] = Field(
        default="B1500A", json_schema_extra={"x-form": f"one of {', '.join(MODELS)}"}
    )
    slots: tuple[int, ...] = Field(
        default=(1, 2, 3, 4), min_length=1, description="slots of the source-measure units in use; each is smuN"
    )
    mains: Annotated[str, AfterValidator(one_of("mains", ("50 Hz", "60 Hz")))] = Field(
        default="50 Hz", json_schema_extra={"x-form": "50 Hz or 60 Hz"}, description="of long integrations"
    )

    @model_validator(mode="after")
    def _slots(self) -> Self:
        if len(set(self.slots)) != len(self.slots) or not all(1 <= slot <= 8 for slot in self.slots):
            raise ValueError(f"slots are {list(self.slots)}; expected different ones of 1 to 8")
        return self


def frequency(options: KeysightB1500Options) -> float:
    """Return the mains frequency, Hz."""
    return float(options.mains.split()[0])


def capabilities(options: KeysightB1500Options) -> SourceCapabilities:
    """Return the capabilities: a channel for each slot."""
    return SourceCapabilities(
        options.model,
        tuple(f"smu{slot}" for slot in options.slots),
        tuple(RANGES_V),
        tuple(RANGES_I),
        SHORTEST_PULSE,
        (CYCLE, MOST_PERIODS / frequency(options)),
        step_messages=STEP_MESSAGES,
    )


def integration(seconds: Second, frequency: float) -> str:
    """Return the command that makes the high-resolution converter integrate for the nearest time that it can.

    >>> integration(1e-3, 50.0), integration(20e-3, 50.0)
    ('AIT1,1,12', 'AIT1,2,1')
    """
    cycles = round(seconds / CYCLE)
    if cycles <= MOST_CYCLES:
        return f"AIT1,1,{max(1, cycles)}"
    return f"AIT1,2,{min(MOST_PERIODS, max(1, round(seconds * frequency)))}"
