"""The access transistor of a 1T1R cell: the square law of a long channel, all potentials from the chip's own ground.

The law of SPICE's level 1 without channel-length modulation, which is symmetric: source is whichever terminal is lower.
With the gate at G and the terminals at A and B the current from A to B is

    I = k / 2 [max(G - V_t - B, 0)^2 - max(G - V_t - A, 0)^2],

triode where both terms count and saturation where one does (H. Shichman and D. A. Hodges, IEEE J. Solid-State Circuits
3, 285 (1968)). With the body at ground, V_t = V_t0 + gamma (sqrt(phi + V_S) - sqrt(phi)), V_S being the source's.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

import numpy as np
from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from labctl.core.model import Model
from labctl.core.units import FloatArray, IntArray, Ohm, Ratio, Unit, Volt
from sim_backend.rng import Stream

AmperePerSquareVolt = Annotated[float, Unit("A/V^2")]

_OURS = " Project default, not a published value."
_FAR = 6.0
"""Standard deviations within which a gate at 0 V has to close every transistor."""


class Side(StrEnum):
    """The line that a junction is joined to; its transistor joins it to the other one."""

    ROW = "row"
    COLUMN = "column"


class Transistor(Model):
    """The access transistors of the cells."""

    gain: Annotated[AmperePerSquareVolt, Gt(0)] = Field(
        1.75e-3, description="k, mobility times gate capacitance times width over length." + _OURS
    )
    gain_spread: Annotated[Ratio, Ge(0), Le(1)] = Field(
        0.0, description="of the gain from cell to cell, standard deviation of its logarithm." + _OURS
    )
    v_threshold: Annotated[Volt, Gt(0), Le(50)] = Field(
        0.6, description="threshold with the source at the chip's ground." + _OURS
    )
    v_threshold_spread: Annotated[Volt, Ge(0)] = Field(
        0.0, description="of the threshold from cell to cell, standard deviation." + _OURS
    )
    body_effect: float = Field(
        0.0, ge=0, le=10, description="gamma, rise of the threshold with the source, in square roots of a volt." + _OURS
    )
    surface_potential: Annotated[Volt, Gt(0), Le(10)] = Field(
        0.7, description="phi, twice the Fermi potential; used with a body effect." + _OURS
    )
    junction: Side = Field(
        Side.ROW,
        description="line that the junction is joined to, row or column; the transistor has the other." + _OURS,
    )

    @model_validator(mode="after")
    def _closes(self) -> Self:
        if self.v_threshold <= _FAR * self.v_threshold_spread:
            raise ValueError(
                f"v_threshold {self.v_threshold:g} V is within {_FAR:g} times v_threshold_spread "
                f"{self.v_threshold_spread:g} V of 0 V, so that a gate at 0 V would not close every transistor; "
                "expected more"
            )
        return self

    def on_resistance(self, gate: Volt, source: Volt) -> Ohm:
        """Return the resistance at low voltage, gate and source counted from the chip's ground; infinite if closed.

        >>> round(Transistor(gain=2e-3, v_threshold=0.5).on_resistance(3.3, 0.8))
        250
        """
        at = np.array(source)
        above = float(SquareLaw.of(self, 0.0)(np.array(gate - self.v_threshold), at, at).upper)
        return 1.0 / (self.gain * above) if above > 0.0 else float("inf")


class Channel(NamedTuple):
    """State of channels, all over the gain and of any one shape.

    Args:
        current: V^2, current from the first terminal to the second, over the gain.
        upper: V, its derivative to the potential of the first terminal.
        lower: V, minus its derivative to the potential of the second.
    """

    current: FloatArray
    upper: FloatArray
    lower: FloatArray


@dataclass(frozen=True)
class SquareLaw:
    """The law of all transistors of a die; what differs from cell to cell is handed in.

    Args:
        body_effect: gamma, square roots of a volt.
        surface_potential: phi, V.
        ground: V, where potentials count from, above the chip's ground.
    """

    body_effect: float
    surface_potential: Volt
    ground: Volt

    @classmethod
    def of(cls, transistor: Transistor, ground: Volt) -> Self:
        """Return the law of `transistor`, potentials counted from a point `ground` V above the chip's own."""
        return cls(transistor.body_effect, transistor.surface_potential, ground)

    def __call__(self, above: FloatArray, a: FloatArray, b: FloatArray) -> Channel:
        """Return the state of channels between terminals at `a` and `b`.

        Args:
            above: V, gate less threshold at a grounded source, counted like a and b.
            a: V. b: V.

        >>> law = SquareLaw(0.0, 0.7, 0.8)
        >>> [float(x) for x in law(np.array(2.0), np.array(0.5), np.array(0.0))]
        [0.875, 1.5, 2.0]
        >>> [float(x) for x in law(np.array(2.0), np.array(0.0), np.array(2.5))]  # the other way round, saturated
        [-2.0, 2.0, 0.0]
        """
        if self.body_effect == 0.0:
            upper, lower = np.maximum(above - a, 0.0), np.maximum(above - b, 0.0)
            return Channel(0.5 * (lower - upper) * (lower + upper), upper, lower)
        source = np.minimum(a, b)
        lifted = source + self.ground
        root = np.sqrt(self.surface_potential + np.maximum(lifted, 0.0))
        rise = self.body_effect * (root - np.sqrt(self.surface_potential))
        slope = np.where(lifted > 0.0, 0.5 * self.body_effect / root, 0.0)
        over = np.maximum(above - rise - source, 0.0)
        across = np.minimum(np.abs(a - b), over)
        at_drain, at_source = over - across, over + slope * across
        forward = a >= b
        current = across * (over - 0.5 * across)
        return Channel(
            np.where(forward, current, -current),
            np.where(forward, at_drain, at_source),
            np.where(forward, at_source, at_drain),
        )


class Transistors:
    """The transistors of all cells of a die, as fabricated.

    Args:
        cells: how many, kernel by kernel and row by row.
        reference: V, the columns' sense reference above the chip's ground; line voltages count from it.
    """

    def __init__(self, transistor: Transistor, cells: int, reference: Volt, *, seed: int, name: str) -> None:
        self.law = SquareLaw.of(transistor, reference)
        self.junction, self._reference = transistor.junction, reference
        self._threshold: FloatArray | None = None
        self._inverse_gain: FloatArray = np.array(1.0 / transistor.gain)

        def drawn(purpose: str) -> FloatArray:
            return np.asarray(Stream(seed, name, "fabrication", purpose, stride=cells).normals(0)[0])

        if transistor.v_threshold_spread > 0.0:
            self._threshold = transistor.v_threshold + transistor.v_threshold_spread * drawn("thresholds")
        if transistor.gain_spread > 0.0:
            self._inverse_gain = np.exp(transistor.gain_spread * drawn("gains of transistors")) / transistor.gain
        self._common = transistor.v_threshold
        lowest = self._common if self._threshold is None else float(self._threshold.min())
        self.opens_above = lowest
        """V, gate voltage up to which every transistor is closed, whatever its source"""

    def above(self, gate: FloatArray, cells: IntArray) -> FloatArray:
        """Return gate less threshold of `cells`, V from the sense reference; `gate`, V from ground, broadcasts."""
        return np.asarray(gate - (self._reference + self.threshold(cells)))

    def threshold(self, cells: IntArray) -> FloatArray | float:
        """Return the thresholds of `cells` at a grounded source, V; one number where all are alike."""
        return self._common if self._threshold is None else self._threshold[cells]

    def inverse_gain(self, cells: IntArray) -> FloatArray:
        """Return 1 / k of `cells` in V^2/A; one number where all are alike."""
        return self._inverse_gain[cells] if self._inverse_gain.ndim else self._inverse_gain


IDEAL_TRANSISTOR = Transistor(gain=1e12)
"""A switch: of no resistance to any digit of a current."""
