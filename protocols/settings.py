"""Parameters that several protocols share: how a cell is read, and how it is pulsed.

Defaults are this project's own choice for its default junction and no published experiment's values.
"""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from labctl.core.bias import Geometry, Kind
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.operations import Sense, WritePlan
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Ratio, Second, Volt
from protocols.bias import COMPLIANCE, V_GATE, Scheme, read_bias, write_bias

MAX_RUNGS = 1000
"""Project limit: a ladder with more rungs is a typing error, and a stiff cell would climb it for minutes."""
GRID: Volt = 1e-9
"""Rungs are rounded to it."""


class ReadSettings(Model):
    """How cells and columns are read."""

    v_read: Annotated[Volt, Field(gt=0, description="cell voltage of every read (project default 100 mV)")] = 0.1
    aperture: Annotated[
        Second, Field(gt=0, le=100, description="integration time per reading (project default 1 ms)")
    ] = 1e-3
    compliance: Annotated[
        Ampere, Field(gt=0, description="current limit of every driven line (project default 5 mA)")
    ] = COMPLIANCE
    v_gate: Annotated[
        Volt, Field(gt=0, description="gate voltage of an open row of a 1T1R die; a passive die has no gates")
    ] = V_GATE

    @property
    def gates(self) -> tuple[tuple[Volt, float], ...]:
        """Gate voltages that everything is read at, each with the weight by which its currents are added up."""
        return ((self.v_gate, 1.0),)


class SecondGate(Model):
    """Another gate voltage that everything is read at as well, to take a share of it off.

    At a low gate the transistor limits what a short adds to its column, to about three weights; at an open one a short
    carries six times what a cell in P does. A small share of the second reading is therefore little of a good cell and
    all that a short has too much, whatever column it is in: docs/decisions/193.
    """

    v_gate: Annotated[Volt, Field(gt=0, description="gate voltage of the second reading, above the first")] = V_GATE
    share: Annotated[Ratio, Field(gt=0, lt=1, description="of the second reading, taken off the first")]


class InferenceReadSettings(ReadSettings):
    """How cells and columns of a chip are read in inference."""

    second_gate: Annotated[
        SecondGate | None,
        Field(
            description="read everything at another gate voltage, too, and take a share of it off, so that shorts in "
            "1T1R cells cancel; twice the patterns"
        ),
    ] = None

    @model_validator(mode="after")
    def _second_gate_opens_further(self) -> Self:
        second = self.second_gate
        if second is not None and second.v_gate <= self.v_gate:
            raise ValueError(
                f"second_gate: v_gate {second.v_gate:g} V is not above v_gate {self.v_gate:g} V, so that shorts do not "
                "cancel; expected more"
            )
        return self

    def refuse_without_gates(self, geometry: Geometry) -> None:
        """Raise BenchError for a second gate voltage of a die that has no gates."""
        if self.second_gate is not None and geometry.kind is Kind.PASSIVE:
            raise BenchError("inference at a second gate voltage, and the die has no gates; expected none")

    @property
    def gates(self) -> tuple[tuple[Volt, float], ...]:
        """Gate voltages that everything is read at, each with the weight by which its currents are added up.

        >>> InferenceReadSettings(v_gate=1.6, second_gate=SecondGate(v_gate=3.3, share=0.08)).gates
        ((1.6, 1.0), (3.3, -0.08))
        """
        second = self.second_gate
        return super().gates if second is None else (*super().gates, (second.v_gate, -second.share))


class WriteSettings(ReadSettings):
    """How cells are pulsed: a ladder of voltages, tried upwards until the cell verifies.

    The default ladder belongs to the default junction (V_c0 0.5 V with 5 % spread, Delta 60) at 1 ms, where
    V_50 = V_c0 (1 - ln(t / (tau0 ln 2)) / Delta) = 0.382 V for the median cell. The first rung, 420 mV, fails
    on it with e^-68 and is above V_50 of 97 % of all cells; half of it flips a half-selected weak cell (V_c0
    -3 sigma, 0.425 V) with 7e-8 per pulse and the median cell with 8e-10. The last, 600 mV, reaches a cell
    with V_c0 +4 sigma (V_50 0.458 V) behind 20 % of drop along the lines and is half of the breakdown
    voltage; its half would flip that weak cell with 2e-2 per pulse, which is why the ladder starts low and
    only stiff cells climb it. With the exponent 2 of the switching law the rungs write as well, and the three
    figures of half-selected cells are 4e-6, 7e-8 and 7e-2.
    """

    scheme: Annotated[Scheme, Field(description="unselected lines of a passive write: half, third or grounded")] = (
        Scheme.HALF
    )
    width: Annotated[Second, Field(gt=0, description="pulse width (project default 1 ms)")] = 1e-3
    v_start: Annotated[Volt, Field(gt=0, description="first rung of the ladder (project default 420 mV)")] = 0.42
    v_max: Annotated[Volt, Field(gt=0, description="cap: no rung is above it (project default 600 mV)")] = 0.6
    v_step: Annotated[Volt, Field(gt=0, description="from rung to rung (project default 20 mV)")] = 0.02
    budget: Annotated[
        int,
        Field(gt=0, le=10**12, description="pulses that one cell may get over the life of the die (default 10000)"),
    ] = 10_000
    short_above: Annotated[
        float,
        Field(gt=1, description="a cell above this multiple of the nominal G_P is a short and is not pulsed"),
    ] = 4.0
    p_switch: Annotated[
        Ratio,
        Field(
            gt=0,
            lt=1,
            description="probability with which every pulse is asked to switch its cell: one that failed so many "
            "pulses in a row that this is refuted at 1e-3, and two whole ladders or more, is given up as stuck "
            "(default 50 %: 10 pulses)",
        ),
    ] = 0.5

    @model_validator(mode="after")
    def _ladder_goes_up(self) -> Self:
        if self.v_max < self.v_start:
            raise ValueError(f"v_max {self.v_max:g} V is below v_start {self.v_start:g} V, expected no less")
        if min(self.v_start, self.v_step) < GRID:
            raise ValueError(f"v_start {self.v_start:g} V and v_step {self.v_step:g} V: at least {GRID:g} V expected")
        rungs = (self.v_max - self.v_start) / self.v_step + 1
        if rungs > MAX_RUNGS:
            raise ValueError(
                f"v_step {self.v_step:g} V makes {rungs:.3g} rungs from v_start {self.v_start:g} V to v_max "
                f"{self.v_max:g} V; at most {MAX_RUNGS} expected"
            )
        if self.v_read >= self.v_start:
            raise ValueError(
                f"v_read {self.v_read:g} V is not below v_start {self.v_start:g} V: reads would write the cells; "
                "expected less"
            )
        return self

    @property
    def ladder(self) -> FloatArray:
        """(k,) V, `v_start` upwards in steps of `v_step`, never above `v_max`.

        >>> WriteSettings(v_start=0.4, v_max=0.5, v_step=0.03).ladder
        array([0.4 , 0.43, 0.46, 0.49])
        """
        rungs = int(np.floor((self.v_max - self.v_start) / self.v_step + 1e-9)) + 1
        # a nanovolt grid: 0.42 + 9 * 0.02 is 600 mV and not a rounding error above the cap
        return np.minimum(np.round(self.v_start + self.v_step * np.arange(rungs), 9), self.v_max)

    def plan(
        self,
        geometry: Geometry,
        cells: tuple[IntArray, IntArray, IntArray],
        target: BoolArray,
        cut: FloatArray,
        budget: IntArray,
        *,
        rungs: int | None = None,
    ) -> WritePlan:
        """Return the write plan of n cells.

        Args:
            cells: (kernel, row, col), each (n,).
            target: (n,), True is P.
            cut: (n,) S.
            budget: (n,) pulses that each may still get.
            rungs: how many of the ladder; all of them if left out.
        """
        compliance, v_gate = self.compliance, self.v_gate
        write = write_bias(geometry, *cells, target, scheme=self.scheme, compliance=compliance, v_gate=v_gate)
        read = read_bias(geometry, *cells, self.v_read, compliance=compliance, v_gate=v_gate)
        verify = Sense(read, cells[2][:, None], self.aperture)
        return WritePlan(write, verify, target, cut, self.v_read, self.ladder[:rungs], budget, self.width)
