"""A place of the wafer with a known electrical property, as a wafer file or a campaign names it.

`instruments.fiducial` goes there and measures it.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from labctl.core.model import Model
from labctl.core.units import Ohm

Spot = tuple[int, int]
"""(column, row) as the prober counts."""


def _spot(value: Any) -> Any:
    """Return (3, 0) for "x3y0", and any other value unchanged."""
    if isinstance(value, str) and value.startswith("x"):
        column, y, row = value[1:].partition("y")
        if y and column.lstrip("-").isdigit() and row.lstrip("-").isdigit():
            return int(column), int(row)
    return value


class Fiducial(Model):
    """A place of the wafer with a known electrical property."""

    at: Annotated[Spot, BeforeValidator(_spot)] = Field(description="the place: x3y0, or [3, 0]")
    pads: tuple[str, str] | None = Field(default=None, description="two pads; all contact structures if left out")
    resistance: tuple[Ohm, Ohm] | None = Field(
        default=None, description="least and most between the pads, at the voltage of the contact check"
    )
    expect: Literal["contact", "no contact"] | None = Field(
        default=None, description="instead of a resistance; 'no contact' is a place that has no die"
    )

    @model_validator(mode="after")
    def _one_fact(self) -> "Fiducial":
        if (self.resistance is None) == (self.expect is None):
            raise ValueError("a fiducial has one property: a 'resistance' [least, most], or what to 'expect'")
        if self.resistance is not None and self.pads is None:
            raise ValueError("a resistance is between two 'pads'; name them")
        if self.resistance is not None and not 0 <= self.resistance[0] < self.resistance[1]:
            least, most = self.resistance
            raise ValueError(f"found a resistance from {least:g} to {most:g} ohm, expected [least, most], least first")
        return self

    @property
    def open(self) -> bool:
        """Whether nothing conducts there."""
        return self.expect == "no contact"

    @property
    def name(self) -> str:
        """The place in words."""
        return f"x{self.at[0]}y{self.at[1]}"
