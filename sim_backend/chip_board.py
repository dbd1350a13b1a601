"""The parts that an integrated chip has beyond a passive die: a transistor in every cell, and the driving board.

The numbers of the board are those of 12-bit converters over 5 V and of a chip that floats at 1.7 V; all of them are
configuration. Line voltages count from the columns' sense reference, gate voltages from the chip's own ground.
"""

from typing import Annotated, Self

import numpy as np
from annotated_types import Ge, Gt
from pydantic import Field, model_validator

from labctl.core.model import Model
from labctl.core.units import Ampere, FloatArray, Ohm, Volt

_OURS = " Project default, not a published value."


class Transistor(Model):
    """The access transistor of a cell: a resistor that saturates.

    Above its threshold the on-resistance goes as 1 / (V_gate - V_threshold) and the saturation current as the square of
    the overdrive (the square law of long channels); it is the same in both directions.
    """

    r_on: Annotated[Ohm, Ge(0)] = Field(300.0, description="on-resistance at `v_gate`." + _OURS)
    i_sat: Annotated[Ampere, Gt(0)] = Field(1e-3, description="saturation current at `v_gate`." + _OURS)
    v_gate: Annotated[Volt, Gt(0)] = Field(3.3, description="gate voltage at which the two are given." + _OURS)
    v_threshold: Annotated[Volt, Ge(0)] = Field(0.6, description="gate voltage up to which it is closed." + _OURS)

    @model_validator(mode="after")
    def _opens(self) -> Self:
        if self.v_threshold >= self.v_gate:
            raise ValueError(f"v_threshold {self.v_threshold:g} V is not below v_gate {self.v_gate:g} V, expected less")
        return self

    def overdrive(self, gate: FloatArray) -> FloatArray:
        """Return the overdrive at `gate` V as a ratio of the one at `v_gate`; 0 is closed.

        >>> Transistor(v_gate=3.3, v_threshold=0.5).overdrive(np.array([0.0, 0.5, 1.9, 3.3])).round(3).tolist()
        [0.0, 0.0, 0.5, 1.0]
        """
        return np.asarray(np.maximum((gate - self.v_threshold) / (self.v_gate - self.v_threshold), 0.0))

    def resistance(self, gate: FloatArray) -> FloatArray:
        """Return the on-resistance at `gate` V, in ohm; infinite where it is closed."""
        over = self.overdrive(gate)
        return np.asarray(np.where(over > 0, self.r_on / np.where(over > 0, over, 1.0), np.inf))

    def saturation(self, gate: FloatArray) -> FloatArray:
        """Return the saturation current at `gate` V, in A."""
        over = self.overdrive(gate)
        return np.asarray(np.where(over > 0, self.i_sat * np.where(over > 0, over, 1.0) ** 2, 0.0))


class Board(Model):
    """The board between program and chip: the converters that drive the lines, and the offsets of the read-out."""

    dac_lsb: Annotated[Volt, Ge(0)] = Field(
        5.0 / 4096, description="one step of the lines' voltages, 12 bits over 5 V." + _OURS
    )
    v_min: Volt = Field(
        -0.8, le=0, description="lowest line voltage: chip ground 1.7 V below a sense reference of 2.5 V." + _OURS
    )
    v_max: Annotated[Volt, Gt(0)] = Field(2.5, description="highest line voltage: 5 V less the reference." + _OURS)
    supply: Annotated[Volt, Gt(0)] = Field(3.3, description="most that may stand across the array." + _OURS)
    offset: Annotated[Ampere, Ge(0)] = Field(
        1e-6, description="offset of the columns' amplifiers, standard deviation." + _OURS
    )


IDEAL_TRANSISTOR = Transistor(r_on=0.0).model_copy(update={"i_sat": np.inf})
"""A switch."""
IDEAL_BOARD = Board(dac_lsb=0.0, offset=0.0)
"""No steps and no offsets; the range of voltages stays."""
