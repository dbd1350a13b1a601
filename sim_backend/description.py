"""The file of a simulated die, as people write it.

No numbers of this file are published for the dies of the literature. A default is this project's own, and its
description says so; a campaign records the whole file, defaults included."""

from typing import Annotated, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

from labctl.core.bias import Kind
from labctl.core.defects import FABRICATED
from labctl.core.die_file import DieFile, Fraction, NotNegative, Positive
from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import Ampere, FloatArray, Ohm, Ratio, Second, Unit, Volt
from sim_backend.chip_board import IDEAL_BOARD, Board
from sim_backend.junction_model import BackHopping, Switching, Thermal
from sim_backend.mtj import TEMPERATURE
from sim_backend.spread import Spread
from sim_backend.transistor import IDEAL_TRANSISTOR, Transistor

PerSecond = Annotated[float, Unit("Hz")]

_OURS = " Project default, not a published value."


class Lines(Model):
    """Resistances of the die's wires: rows are driven from the left, columns read at the bottom, far ends are open.

    Leads end at the pads. Needles, relays and cables come on top where a bench is wired (`twin.line_resistance`).
    """

    r_row: Annotated[Ohm, NotNegative] = Field(1.0, description="per row segment." + _OURS)
    r_col: Annotated[Ohm, NotNegative] = Field(1.0, description="per column segment." + _OURS)
    r_source: Annotated[Ohm, NotNegative] = Field(0.0, description="lead of each row, to its pad." + _OURS)
    r_sense: Annotated[Ohm, NotNegative] = Field(0.0, description="lead of each column, to its pad." + _OURS)


class Noise(Model):
    """Errors of readings beyond the thermal and shot noise of the junctions: what averages, and what does not."""

    relative: Fraction = Field(
        0.003, description="of the reading, standard deviation; every reading has its own, which averages." + _OURS
    )
    absolute: Annotated[Ampere, NotNegative] = Field(
        10e-9, description="the same as a current: the floor of the instrument." + _OURS
    )
    gain: Fraction = Field(
        0.0,
        description="of the gain of the columns' ammeters, standard deviation of its logarithm; drawn once for each, "
        "so that it does not average. A passive die; an integrated chip has `board.gain`." + _OURS,
    )
    flicker: float = Field(
        1e-10, ge=0, description="1/f noise, Hooge's alpha in um^2: S_I f / I^2 is alpha / area." + _OURS
    )
    flicker_ap: float | None = Field(
        None, ge=0, description="the same of cells in AP, with `flicker_in_time`; left out, as in P." + _OURS
    )
    flicker_in_time: bool = Field(
        False,
        description="the 1/f noise of each cell runs on in time, so that readings that are close in time share it; "
        "false: every reading of a column draws its own, of the same power, which averages as white noise does."
        + _OURS,
    )
    f_low: Annotated[PerSecond, Positive] = Field(
        0.01, description="frequency below which 1/f noise counts as drift." + _OURS
    )

    @model_validator(mode="after")
    def _states_differ_in_time(self) -> Self:
        if self.flicker_ap is not None and not self.flicker_in_time:
            raise ValueError("flicker_ap without flicker_in_time; expected flicker_in_time: true beside it")
        return self


class Converter(Model):
    """The converter that reads the columns."""

    lsb: Annotated[Ampere, NotNegative] = Field(10e-9, description="one step." + _OURS)
    full_scale: Annotated[Ampere, Positive] = Field(10e-3, description="largest magnitude it can read." + _OURS)


class Breakdown(Model):
    """Dielectric breakdown: at once above a cell's breakdown voltage, or by accumulated stress below it."""

    v_bd: Annotated[Volt, Positive] = Field(1.2, description="breakdown voltage." + _OURS)
    spread: Fraction = Field(0.03, description="of the breakdown voltage, of its logarithm." + _OURS)
    t_bd: Annotated[Second, Positive] = Field(
        1.0, description="time at the breakdown voltage that breaks 63 %." + _OURS
    )
    n: float = Field(40.0, ge=1, description="power of the voltage." + _OURS)
    shape: float = Field(1.5, gt=0, description="Weibull shape in accumulated stress." + _OURS)


FRACTIONS = (*(kind.key for kind in FABRICATED), "broken_line")
"""Fields of `Defects` that say how many cells are defective, which scale together."""


class Defects(Model):
    """Fractions of cells fabricated defective, and the resistance of shorts."""

    short: Fraction = Field(0.0, description="shorts, without TMR." + _OURS)
    open: Fraction = Field(0.0, description="no connection." + _OURS)
    stuck_p: Fraction = Field(0.0, description="always P." + _OURS)
    stuck_ap: Fraction = Field(0.0, description="always AP." + _OURS)
    low_tmr: Fraction = Field(0.0, description="cells whose TMR is low." + _OURS)
    low_tmr_factor: Fraction = Field(0.3, description="their TMR over the nominal one." + _OURS)
    clustered: Fraction = Field(0.0, description="part of the defects that come in clusters of one kind." + _OURS)
    cluster_size: int = Field(4, ge=1, le=1000, description="cells of a cluster, as round as can be." + _OURS)
    broken_line: Fraction = Field(
        0.0, description="rows, and columns, broken somewhere: cells behind the break are open. Comes on top." + _OURS
    )
    r_short_min: Annotated[Ohm, Positive] = Field(30.0, description="shorts are log-uniform from here" + _OURS)
    r_short_max: Annotated[Ohm, Positive] = Field(300.0, description="to here; broken cells too." + _OURS)

    @property
    def fractions(self) -> FloatArray:
        """Return the (5,) fractions of `FABRICATED`, in its order."""
        return np.array([getattr(self, kind.key) for kind in FABRICATED])

    @model_validator(mode="after")
    def _possible(self) -> Self:
        total = float(self.fractions.sum())
        if total > 1:
            raise ValueError(
                f"the fractions of defects add up to {total:.4g}, more than every cell; expected at most 1"
            )
        if self.r_short_min > self.r_short_max:
            raise ValueError(
                f"r_short_min {self.r_short_min:g} ohm is above r_short_max {self.r_short_max:g} ohm, "
                "expected at most as much"
            )
        return self


class Timing(Model):
    """Times of the simulated bench; cells are biased for these times too."""

    dwell: Annotated[Second, NotNegative] = Field(
        0.2e-3, description="half-select lines up before and after the pulse, each." + _OURS
    )
    settle: Annotated[Second, NotNegative] = Field(
        0.2e-3, description="from applying a read bias to the aperture." + _OURS
    )
    pattern: Annotated[Second, NotNegative] = Field(
        0.1e-3, description="overhead of each pattern, lines at 0 V." + _OURS
    )
    operation: Annotated[Second, NotNegative] = Field(1e-3, description="overhead of each operation." + _OURS)


class Medians(Model):
    """Hidden medians of one die as multiples of the nominal ones; a wafer draws them."""

    ra: Annotated[Ratio, Positive] = Field(1.0, description="of the resistance-area product")
    tmr: Annotated[Ratio, Positive] = Field(1.0, description="of the TMR")
    v_c0: Annotated[Ratio, Positive] = Field(1.0, description="of both critical voltages")


class Simulation(Model):
    """Properties of the simulation, unknown to protocols."""

    ideal: bool = Field(
        False,
        description="no spread, noise, wires, write error, disturb, defect, bias dependence or quantisation; "
        "a cell switches when the pulse would switch it in half of the cases; it is born AP",
    )
    random_state: bool = Field(True, description="born P or AP at random, as after fabrication; false: all AP")
    disturb: bool = Field(True, description="reads may switch cells")
    v_linear: Annotated[Volt, NotNegative] = Field(
        0.1,
        description="read voltage around which the network is linearised." + _OURS,
    )
    spread: Spread = Spread()
    switching: Switching = Switching()
    back_hopping: BackHopping | None = Field(
        None, description="pulses far beyond the critical voltage may leave the wrong state; left out, they never do"
    )
    telegraph: bool = Field(
        False,
        description="a reading is the mean over its aperture of a cell that switches back and forth meanwhile, and a "
        "pulse may end where it began; false: a cell switches at most once in a condition, after the reading",
    )
    thermal: Thermal = Thermal()
    lines: Lines = Lines()
    noise: Noise = Noise()
    converter: Converter = Converter()
    breakdown: Breakdown = Breakdown()
    defects: Defects = Defects()
    timing: Timing = Timing()
    medians: Medians = Medians()
    transistor: Transistor | None = Field(None, description="access transistors, 1T1R only")
    board: Board | None = Field(None, description="the board that drives an integrated chip, 1T1R only")

    @model_validator(mode="after")
    def _ideal_is_ideal(self) -> Self:
        extra = sorted(self.model_fields_set - {"ideal", "switching", "timing"})
        if self.ideal and extra:
            raise ValueError(f"an ideal die has no imperfections, expected no {', '.join(extra)}, or no 'ideal: true'")
        return self

    def nominal_switching(self, diameter: FloatArray) -> tuple[Volt, Volt, FloatArray]:
        """Return V_c0 towards P and AP and, of every diameter, Delta: the nominal ones at the die's temperature.

        Args:
            diameter: m, of any shape.
        """
        barrier = float(self.thermal.barrier(self.thermal.temperature))
        delta = self.switching.delta_at(diameter) * (barrier * TEMPERATURE / self.thermal.temperature)
        return self.switching.v_c0_p * barrier, self.switching.v_c0_ap * barrier, delta

    @property
    def effective(self) -> "Simulation":
        """Return the simulated properties: itself, or with `ideal` every imperfection off (infinite means never)."""
        if not self.ideal:
            return self
        return self.model_copy(
            update={
                "random_state": False,
                "disturb": False,
                "spread": Spread(diameter=0.0, ra=0.0, tmr=0.0, v_c0=0.0, delta=0.0),
                "switching": self.switching.model_copy(update={"v_half": np.inf}),
                "lines": Lines(r_row=0.0, r_col=0.0),
                "noise": Noise(relative=0.0, absolute=0.0, flicker=0.0),
                "converter": Converter(lsb=0.0).model_copy(update={"full_scale": np.inf}),
                "breakdown": Breakdown(spread=0.0).model_copy(update={"v_bd": np.inf}),
                "transistor": IDEAL_TRANSISTOR,
                "board": IDEAL_BOARD,
            }
        )


CHIP = {
    "lines": Lines(r_row=0.5, r_col=0.5),
    "converter": Converter(lsb=0.61e-6, full_scale=1.25e-3),
    "defects": Defects(short=0.005, open=0.001, stuck_p=0.001, stuck_ap=0.001),
    "timing": Timing(dwell=0.0, settle=2e-6, pattern=1e-6, operation=1e-4),
    "transistor": Transistor(),
    "board": Board(),
}
"""Project defaults of sections that a 1T1R file leaves out; none is a published value. One step of 0.61 uA is 5 V in 12
bits behind 2 kohm, and the full scale 2048 of them in each direction."""


class DieDescription(DieFile):
    """A die file, and how to simulate the die."""

    simulation: Simulation = Field(Simulation(), validate_default=True)

    @field_validator("simulation")
    @classmethod
    def _with_defaults(cls, value: Simulation, info: ValidationInfo) -> Simulation:
        """Return the simulation of a 1T1R die with the defaults of its kind filled in, so that a record holds them."""
        geometry = info.data.get("geometry")
        if geometry is None or geometry.kind is Kind.PASSIVE or value.ideal:
            return value
        return value.model_copy(
            update={name: part for name, part in CHIP.items() if name not in value.model_fields_set}
        )

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        sim = self.simulation
        if self.geometry.kind is Kind.PASSIVE:
            extra = [name for name in ("transistor", "board") if getattr(sim, name) is not None]
            if extra:
                raise ValueError(
                    f"a passive die has no {' and no '.join(extra)}, expected neither or the geometry.kind 1T1R"
                )
        elif sim.noise.gain:
            raise ValueError(
                "noise.gain is of the ammeters of a passive die; expected board.gain, of the chip's amplifiers"
            )
        elif not np.isfinite(self.series):
            raise ValueError(
                "the gates of the board do not open the transistors: expected a supply above the sum of reference and "
                "threshold"
            )
        return self

    @property
    def series(self) -> Ohm:
        """Resistance in series with each junction while it is read, ohm: of its transistor, the gate fully open."""
        sim = self.simulation.effective
        if self.geometry.kind is Kind.PASSIVE or sim.transistor is None or sim.board is None:
            return 0.0
        return sim.transistor.on_resistance(sim.board.supply, sim.board.reference)

    @property
    def pace(self) -> str:
        """All that is simulated but what a plan does not know, the medians of this die and its defects, as JSON."""
        return self.simulation.model_dump_json(exclude={"medians", "defects"})

    def refuse_unsimulated(self) -> None:
        """Raise BenchError for a kind of die that is not simulated here."""
        if self.geometry.kind is not Kind.PASSIVE:
            raise BenchError(
                f"this simulated die is passive; the die file '{self.name}' says kind: {self.geometry.kind}"
            )
