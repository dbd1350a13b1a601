"""Data of the models 2450, 2460 and 2461.

From the reference manuals (2450-901-01, 2461-901-01) and data sheets; not checked on an instrument. The pulse mode of a
2461, which measures with its digitiser, is not used.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from labctl.core.model import Model, one_of
from labctl.core.source import OffState
from labctl.core.units import Ampere, Second, Volt

SHORTEST_PULSE: Second = 10e-3
"""[?] Of one reading between two levels: what comes on top of its integration is taken for 1 ms, and not known."""
SHORTEST_TSP_PULSE: Second = 2e-3
"""[?] Of two levels and a wait in a script: public notes have 1.2 ms without a reading."""
LONGEST_PULSE: Second = 10.0
"""That is left to the instrument: while it lasts, a link without a device clear cannot end it."""


@dataclass(frozen=True)
class SourceModel:
    """Data of one model.

    Args:
        ranges_v, ranges_i: V and A, ascending.
        protection: settings of the voltage protection that are used, ascending, V.
    """

    ranges_v: tuple[Volt, ...]
    ranges_i: tuple[Ampere, ...]
    protection: tuple[Volt, ...] = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0)


_HIGH = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 4.0, 5.0, 7.0)
_V100 = (0.2, 2.0, 7.0, 10.0, 20.0, 100.0)

MODELS: dict[str, SourceModel] = {
    "2450": SourceModel((0.02, 0.2, 2.0, 20.0, 200.0), (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0)),
    "2460": SourceModel(_V100, _HIGH),
    "2461": SourceModel(_V100, _HIGH),
}


class Keithley2450Options(Model):
    """Options of a 2450, 2460 or 2461 in the bench file."""

    model: Annotated[str, AfterValidator(one_of("keithley2450: model", MODELS))] = Field(
        default="2450", json_schema_extra={"x-form": f"one of {', '.join(MODELS)}"}
    )
    terminals: Annotated[str, AfterValidator(one_of("terminals", ("front", "rear")))] = Field(
        default="front", json_schema_extra={"x-form": "front or rear"}, description="jacks that the cables are on"
    )
    session_off: OffState = Field(default=OffState.HIGH_Z, description="off state left behind at the end")
