"""A die file: what is known of a die before anything is measured. How to simulate it is a section of `sim_backend`.

Where a field has a default it is this project's own, and its description says so; none of these numbers is published
for the dies of the literature.
"""

from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from labctl.core.bias import Geometry, Kind, Nominal
from labctl.core.model import Line, Model
from labctl.core.units import FloatArray, Metre, Ohm, OhmMetre2, Ratio

# Bounds stand in the annotation, after the unit, where they judge the value in SI units. The upper ones are far outside
# of what anybody makes: a number beyond them is a slip, such as mm for nm.
Positive = Gt(0)
NotNegative = Ge(0)
Fraction = Annotated[Ratio, Ge(0), Le(1)]
Diameter = Annotated[Metre, Ge(1e-9), Le(100e-6)]
MAX_LINES = 4096
MAX_CELLS = 10_000_000

_OURS = " Project default, not a published value."


class DieGeometry(Model):
    """How many crossbars of what shape."""

    kind: Kind = Field(Kind.PASSIVE, description="passive or 1T1R")
    kernels: int = Field(1, ge=1, description="crossbars on the die")
    n_rows: int = Field(ge=1, le=MAX_LINES, description="driven lines of each kernel")
    n_cols: int = Field(ge=1, le=MAX_LINES, description="sensed lines of each kernel")

    @model_validator(mode="after")
    def _can_be_held(self) -> Self:
        cells = self.kernels * self.n_rows * self.n_cols
        if cells > MAX_CELLS:
            raise ValueError(
                f"{self.kernels} kernels of {self.n_rows} x {self.n_cols} are {cells:,} cells; "
                f"expected at most {MAX_CELLS:,} on a die"
            )
        return self


class Junction(Model):
    """What is known of the junctions before anything is measured: the mask and the stack."""

    diameter: Diameter | None = Field(None, description="electrical diameter of all kernels, such as 80 nm")
    kernel_diameters: tuple[Diameter, ...] = Field(
        (), description="instead of `diameter`, where the kernels of a die differ: one diameter per kernel"
    )
    ra: Annotated[OhmMetre2, Positive, Le(1e-3)] = Field(12e-12, description="resistance-area product in P." + _OURS)
    tmr: Annotated[Ratio, NotNegative, Le(100)] = Field(
        1.2, description="tunnel magnetoresistance at low bias, such as 120 %." + _OURS
    )

    @model_validator(mode="after")
    def _of_one_size_or_one_per_kernel(self) -> Self:
        if self.diameter is None and not self.kernel_diameters:
            raise ValueError(
                "the key 'diameter' is missing, expected the diameter of all kernels, such as 80 nm; "
                "or 'kernel_diameters', one per kernel"
            )
        if self.diameter is not None and self.kernel_diameters:
            raise ValueError(
                "found both 'diameter' and 'kernel_diameters', expected one of them: "
                "a single diameter means nothing beside one per kernel"
            )
        return self


def parallel_conductance(diameter: npt.ArrayLike, ra: npt.ArrayLike) -> FloatArray:
    """Return G_P = pi D^2 / (4 RA) of round junctions, in S.

    Args:
        diameter: m.
        ra: resistance-area product in the parallel state, ohm m^2.

    >>> round(1 / float(parallel_conductance(80e-9, 12e-12)))
    2387
    """
    return np.pi / 4 * np.square(np.asarray(diameter, np.float64)) / np.asarray(ra, np.float64)


class DieFile(Model):
    """A die file: what is known of a die."""

    name: Line = Field(min_length=1, description="kind of die; every die of the kind has its own seed and name")
    geometry: DieGeometry
    polarity: Literal[1, -1] = Field(1, description="1 if V_row - V_col > 0 writes P, -1 if it writes AP")
    junction: Junction
    simulation: Any = None

    @model_validator(mode="after")
    def _one_diameter_per_kernel(self) -> Self:
        given = len(self.junction.kernel_diameters)
        if given not in (0, self.geometry.kernels):
            raise ValueError(
                f"{given} kernel_diameters for {self.geometry.kernels} kernels; expected one each, or none"
            )
        return self

    @property
    def shape(self) -> Geometry:
        """The geometry that protocols see."""
        g = self.geometry
        return Geometry(g.kernels, g.n_rows, g.n_cols, g.kind, self.polarity)

    @property
    def series(self) -> Ohm:
        """Resistance in series with each junction while it is read, ohm."""
        return 0.0

    @property
    def nominal(self) -> Nominal:
        """The nominal conductances of each kernel, from diameter, RA and TMR, and the resistance in series."""
        g_p = parallel_conductance(self.diameters, self.junction.ra)
        g_ap = g_p / (1.0 + self.junction.tmr)
        return Nominal((g_p / (1.0 + g_p * self.series)).tolist(), (g_ap / (1.0 + g_ap * self.series)).tolist())

    @property
    def diameters(self) -> FloatArray:
        """The nominal diameter of each kernel, (kernels,) m."""
        if self.junction.diameter is not None:
            return np.full(self.geometry.kernels, self.junction.diameter)
        return np.array(self.junction.kernel_diameters)

    @property
    def pace(self) -> str:
        """What the times of a plan depend on beside shape and nominal conductances; "" if nothing is simulated."""
        return ""
