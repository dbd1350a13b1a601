"""The board that drives an integrated chip: the range and steps of its converters, its amplifiers, its clock.

The numbers are those of 12-bit converters over 5 V and of a chip that floats at 1.7 V; all of them are configuration.
Gate voltages count from the chip's own ground. Line voltages count from the columns' sense reference, which is where
lines rest and columns are held while they are read; it stands above the chip's ground, so that inputs may be negative.
"""

from typing import Annotated, Self

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import Ampere, Ratio, Second, Volt

_OURS = " Project default, not a published value."
_COUNTER = 2**32 - 1
"""Clocks that the board's counter of a pulse can hold."""


class Board(Model):
    """The board between program and chip."""

    dac_lsb: Annotated[Volt, Ge(0)] = Field(
        5.0 / 4096, description="one step of the lines' voltages, 12 bits over 5 V." + _OURS
    )
    reference: Annotated[Volt, Ge(0)] = Field(
        0.8,
        description="the columns' sense reference above the chip's ground: 2.5 V less the 1.7 V of the chip." + _OURS,
    )
    supply: Annotated[Volt, Gt(0)] = Field(
        3.3, description="highest voltage of lines and gates above the chip's ground: 5 V less 1.7 V." + _OURS
    )
    offset: Annotated[Ampere, Ge(0)] = Field(
        1e-6, description="offset of the columns' amplifiers, standard deviation." + _OURS
    )
    gain: Annotated[Ratio, Ge(0), Le(1)] = Field(
        0.01,
        description="mismatch of the gain of the columns' amplifiers, standard deviation of its logarithm." + _OURS,
    )
    clock: Annotated[Second, Ge(0)] = Field(
        46.875e-9, description="step of a pulse's width; 0 is a board without steps." + _OURS
    )

    @model_validator(mode="after")
    def _reference_is_within(self) -> Self:
        if self.reference >= self.supply:
            raise ValueError(
                f"reference {self.reference:g} V is not below supply {self.supply:g} V, expected less: "
                "no line could be above it"
            )
        return self

    @property
    def v_min(self) -> Volt:
        """Lowest line voltage: the chip's ground."""
        return -self.reference

    @property
    def v_max(self) -> Volt:
        """Highest line voltage."""
        return self.supply - self.reference

    def width(self, wanted: Second) -> Second:
        """Return the width of a pulse as the board makes it, in whole clocks.

        Raises:
            BenchError: less than one clock, or more than its counter holds.

        >>> round(Board().width(1e-6) * 1e9, 3)
        984.375
        """
        if self.clock == 0.0:
            return wanted
        clocks = float(np.rint(wanted / self.clock))
        if not 1.0 <= clocks <= _COUNTER:
            raise BenchError(
                f"a pulse of {wanted:g} s; the board makes pulses of {self.clock:g} s to {_COUNTER * self.clock:.4g} s"
            )
        return clocks * self.clock


IDEAL_BOARD = Board(dac_lsb=0.0, offset=0.0, gain=0.0, clock=0.0)
"""No steps, offsets and mismatch; the range of voltages stays."""
