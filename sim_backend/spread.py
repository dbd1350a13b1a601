"""How junctions differ from cell to cell: the widths of their distributions, and what varies together."""

from enum import StrEnum
from typing import Annotated, Self

import numpy as np
from annotated_types import Ge, Le
from pydantic import Field, model_validator

from labctl.core.die_file import Fraction, NotNegative
from labctl.core.model import Model
from labctl.core.units import FloatArray, Metre, Ratio

_OURS = " Project default, not a published value."
_SINGULAR = 1e-9
"""Part of a variance below which a parameter has none of its own, and above which less than none is no rounding."""


class Parameter(StrEnum):
    """A drawn property of a cell; `v_c0` stands for both directions."""

    DIAMETER = "diameter"
    RA = "ra"
    TMR = "tmr"
    V_C0 = "v_c0"
    DELTA = "delta"


DRAWS = ("diameter", "ra", "tmr", "v_c0", "v_c0 towards AP", "delta")
"""Purposes of the random numbers that may vary together, in the order in which they are mixed."""
_PLACES = {
    Parameter.DIAMETER: (0,),
    Parameter.RA: (1,),
    Parameter.TMR: (2,),
    Parameter.V_C0: (3, 4),
    Parameter.DELTA: (5,),
}


class Correlation(Model):
    """Two parameters that vary together."""

    of: tuple[Parameter, Parameter] = Field(description="two of diameter, ra, tmr, v_c0, delta")
    value: Annotated[Ratio, Ge(-1), Le(1)] = Field(description="correlation of the two random factors")


class Spread(Model):
    """Cell to cell spread, standard deviations of the logarithm unless a unit says otherwise."""

    diameter: Fraction = Field(0.02, description="of the diameter." + _OURS)
    diameter_absolute: Annotated[Metre, NotNegative, Le(100e-9)] = Field(
        0.0, description="of the diameter as a length, the same at every size; adds in squares to `diameter`." + _OURS
    )
    ra: Fraction = Field(0.03, description="of the resistance-area product." + _OURS)
    tmr: Fraction = Field(0.0, description="of the TMR." + _OURS)
    v_c0: Fraction = Field(0.05, description="of the critical voltages." + _OURS)
    v_c0_correlation: Annotated[Ratio, Ge(-1), Le(1)] = Field(
        1.0, description="between the critical voltages of a cell towards P and AP; 1: they vary together." + _OURS
    )
    delta: Fraction = Field(
        0.05, description="of the thermal stability; 5 % makes a cell of Delta 50 one in 4000." + _OURS
    )
    correlations: tuple[Correlation, ...] = Field(
        (),
        description="between random factors of a cell, such as {of: [delta, v_c0], value: 0.5}; pairs that are not "
        "listed are independent. What one property does to another, as the diameter to G_P, comes on top." + _OURS,
    )

    @property
    def mixing(self) -> FloatArray:
        """Return the (6, 6) lower triangular matrix that makes the normals of `DRAWS` of independent ones.

        It is the Cholesky factor of their correlations; a parameter without a part of its own has a 0 on the diagonal.

        Raises:
            ValueError: no numbers have these correlations.
        """
        wanted = np.eye(len(DRAWS))
        wanted[3, 4] = wanted[4, 3] = self.v_c0_correlation
        for pair in self.correlations:
            for i in _PLACES[pair.of[0]]:
                for j in _PLACES[pair.of[1]]:
                    wanted[i, j] = wanted[j, i] = pair.value
        factor = np.zeros_like(wanted)
        for i in range(len(wanted)):
            for j in range(i):
                rest = wanted[i, j] - float(factor[i, :j] @ factor[j, :j])
                if factor[j, j] > 0.0:
                    factor[i, j] = rest / factor[j, j]
                elif abs(rest) > _SINGULAR:
                    raise ValueError(self._impossible(i))
            own = 1.0 - float(np.square(factor[i, :i]).sum())
            if own < -_SINGULAR:
                raise ValueError(self._impossible(i))
            factor[i, i] = np.sqrt(own) if own > _SINGULAR else 0.0
        return factor

    @staticmethod
    def _impossible(draw: int) -> str:
        return (
            f"no {DRAWS[draw]} has all of these correlations with what it is paired with, and those among "
            "each other; expected correlations that numbers can have, v_c0_correlation included"
        )

    @model_validator(mode="after")
    def _correlations_are_possible(self) -> Self:
        pairs = [frozenset(pair.of) for pair in self.correlations]
        for pair, parts in zip(self.correlations, pairs, strict=True):
            if len(parts) < 2:
                raise ValueError(f"a correlation of {pair.of[0]} with itself; expected two parameters")
            if pairs.count(parts) > 1:
                raise ValueError(f"the correlation of {pair.of[0]} and {pair.of[1]} is there twice; expected once")
        _ = self.mixing
        return self
