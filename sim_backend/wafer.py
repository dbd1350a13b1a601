"""A wafer: the places of its dies, and their variation beyond the spread of their cells.

The medians of a die are the nominal ones times a smooth trend across the wafer times a random factor of the die. They
are stored as multiples of the nominal values that protocols may know, so no hidden value leaks into them; and a die is
made from (wafer seed, name) alone, independent of other dies.
"""

from functools import cached_property
from typing import Annotated, Self

import numpy as np
from annotated_types import Gt
from pydantic import Field, model_validator

from labctl.core.die_file import Fraction
from labctl.core.errors import BenchError
from labctl.core.model import DieIndex, Model, Name
from labctl.core.units import Ratio
from labctl.wafer_maps.model import MAX_PLACES
from sim_backend._cellspace import FloatArray
from sim_backend.description import FRACTIONS, Defects, DieDescription, Medians
from sim_backend.rng import Stream

_OURS = " Project default, not a published value."


_PLACE = Field(description="column and row of the die, such as [3, 0]")


class Variation(Model):
    """Variation of one property from die to die, as ratios of it; logarithms add."""

    sigma: Fraction = Field(0.0, description="random part of a die, standard deviation of the logarithm." + _OURS)
    radial: Ratio = Field(0.0, ge=-10, le=10, description="at the edge against the centre, quadratic between." + _OURS)
    tilt_x: Ratio = Field(0.0, ge=-10, le=10, description="at the right edge against the centre, linear." + _OURS)
    tilt_y: Ratio = Field(0.0, ge=-10, le=10, description="at the lower edge against the centre, linear." + _OURS)

    def factor(self, x: float, y: float, normal: float) -> float:
        """Return the multiple of the nominal value at (x, y), the edge being at distance 1.

        >>> round(Variation(radial=0.1).factor(0.6, 0.8, 0.0), 3)
        1.105
        """
        trend = self.radial * (x * x + y * y) + self.tilt_x * x + self.tilt_y * y
        return float(np.exp(trend + self.sigma * normal))


class Variations(Model):
    """Properties that vary from die to die."""

    ra: Variation = Field(Variation(sigma=0.02, radial=0.04), description="resistance-area product." + _OURS)
    tmr: Variation = Field(Variation(sigma=0.02, radial=-0.03), description="TMR." + _OURS)
    v_c0: Variation = Field(Variation(sigma=0.01, radial=0.01), description="both critical voltages." + _OURS)
    defects: Variation = Field(
        Variation(sigma=0.3, radial=0.5), description="fractions of all kinds of defects." + _OURS
    )


class Wafer(Model):
    """A wafer file: its map, and how its dies vary.

    `map` is drawn, one text per row of dies from the top; every character but a dot or a space is a die. Column and row
    of the drawing, counted from 0, are the coordinates x and y of a die; its name is "NAME-x3y0". Where the prober
    counts otherwise, or dies have names of their own, `dies` says so instead: {x3y0: [3, 0]}.
    """

    name: Annotated[Name, Field(description="name of the wafer; with the seed it makes all its dies")]
    map: Annotated[tuple[str, ...], Field(max_length=1000, description="rows of dies, from the top")] = ()
    dies: dict[Name, Annotated[tuple[DieIndex, DieIndex], _PLACE]] = Field(
        default_factory=dict, description="instead of a drawing: (column, row) of each die by its name on the wafer"
    )
    pitch_x: Annotated[Ratio, Gt(0)] = Field(1.0, description="width of a die, in any unit, for the trend")
    pitch_y: Annotated[Ratio, Gt(0)] = Field(1.0, description="height of a die, in the same unit")
    vary: Variations = Variations()

    @model_validator(mode="after")
    def _has_dies(self) -> Self:
        if self.map and self.dies:
            raise ValueError("found dies drawn in 'map' and listed in 'dies', expected one of them, not both")
        if not self.places:
            raise ValueError("found a map without a die, expected an X for each, and a dot where there is none")
        if len(set(self.places)) < len(self.places):
            raise ValueError("two dies are at the same place, expected one at each")
        across, down = ({place[k] for place in self.places} for k in (0, 1))
        columns, rows = max(across) - min(across) + 1, max(down) - min(down) + 1
        if columns * rows > MAX_PLACES:
            raise ValueError(f"the dies span {columns:,} x {rows:,} places, expected at most {MAX_PLACES:,} in all")
        return self

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """(x, y) of every die, row by row from the top, or as they are listed."""
        if self.dies:
            return tuple(self.dies.values())
        return tuple((x, y) for y, row in enumerate(self.map) for x, mark in enumerate(row) if mark not in ". ")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the dies, in the order of `places`."""
        return tuple(f"{self.name}-{die}" for die in self.dies or (f"x{x}y{y}" for x, y in self.places))

    def place(self, name: str) -> tuple[int, int]:
        """Return (x, y) of a die; BenchError if it is not on this wafer."""
        if name not in self._by_name:
            raise BenchError(f"die {name} is not on wafer {self.name}, which has {self.names[0]} to {self.names[-1]}")
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, tuple[int, int]]:
        return dict(zip(self.names, self.places, strict=True))

    @cached_property
    def _circle(self) -> tuple[FloatArray, float]:
        """Middle of the map and distance of the farthest die from it, both in pitches."""
        places = np.array(self.places, np.float64) * [self.pitch_x, self.pitch_y]
        middle = (places.min(axis=0) + places.max(axis=0)) / 2
        return middle, float(np.hypot(*(places - middle).T).max())

    def position(self, name: str) -> tuple[float, float]:
        """Return (x, y) of a die from the centre of the map, the farthest die being at distance 1."""
        middle, far = self._circle
        x, y = self.place(name)
        here = (np.array([x * self.pitch_x, y * self.pitch_y]) - middle) / (far if far > 0 else 1.0)
        return float(here[0]), float(here[1])

    def die(self, name: str, kind: DieDescription, *, seed: int) -> DieDescription:
        """Return the description of one die: `kind` with the medians and defects of this very die.

        The same wafer, kind, seed and name give the same description to the bit; give seed and name to
        `sim_backend.make.make_die` with it.

        Raises:
            BenchError: if there is no such die, the kind is ideal, or a fraction of defects is more than all cells.
        """
        if kind.simulation.ideal:
            raise BenchError(f"the die file '{kind.name}' says ideal: true; ideal dies do not vary across a wafer")
        at, vary, sim = self.position(name), self.vary, kind.simulation
        normal = Stream(seed, name, "wafer", stride=4).normals(0)[0]
        ra, tmr, v_c0, defects = (
            v.factor(*at, float(z)) for v, z in zip((vary.ra, vary.tmr, vary.v_c0, vary.defects), normal, strict=True)
        )
        medians = Medians(ra=sim.medians.ra * ra, tmr=sim.medians.tmr * tmr, v_c0=sim.medians.v_c0 * v_c0)
        scaled = {f: getattr(sim.defects, f) * defects for f in FRACTIONS}
        if sum(scaled.values()) - scaled["broken_line"] > 1.0 or scaled["broken_line"] > 1.0:
            raise BenchError(
                f"die {name} would have {defects:.3g} times the defects of its kind, more than every cell; expected "
                "at most all"
            )
        changed = {"medians": medians, "defects": Defects(**{**sim.defects.model_dump(), **scaled})}
        return kind.model_copy(update={"simulation": sim.model_copy(update=changed)})
