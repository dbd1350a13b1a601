"""The part of a die file that describes simulated junctions: how they switch, hop back, and depend on temperature."""

from enum import StrEnum
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Gt, Le
from pydantic import Field, model_validator

from labctl.core.die_file import Fraction, NotNegative, Positive
from labctl.core.model import Model
from labctl.core.units import FloatArray, Kelvin, Metre, Ratio, Second, Tesla, Unit, Volt
from sim_backend import mtj
from sim_backend.mtj import TEMPERATURE
from sim_backend.switching import Law

KelvinPerWatt = Annotated[float, Unit("K/W")]

_OURS = " Project default, not a published value."


V_C0, REFERENCE_PULSE = 0.5, 1e-3
"""V, critical voltage by default with the exponent 1; s, the pulse at which another exponent has the same V_50."""


class Scaling(StrEnum):
    """How the thermal stability goes with the diameter."""

    NONE = "none"
    MACROSPIN = "macrospin"
    NUCLEATION = "nucleation"


class Switching(Model):
    """Switching of a junction; see `sim_backend.switching`."""

    exponent: Annotated[float, Field(ge=1.0, le=2.0)] = Field(
        1.0,
        description="n of the barrier, which falls with the voltage as (1 - V / V_c0)^n: 2 is the macrospin, with its "
        "own prefactor and ballistic switching; below it is empirical, with a constant attempt time." + _OURS,
    )
    v_c0_p: Annotated[Volt, Positive, Le(50)] = Field(
        V_C0,
        description="critical voltage for writing P; left out, with an exponent other than 1, the one that switches "
        "half of the cells in 1 ms at the voltage at which 0.5 V does it with the exponent 1." + _OURS,
    )
    v_c0_ap: Annotated[Volt, Positive, Le(50)] = Field(
        V_C0, description="critical voltage for writing AP, magnitude; left out as for P." + _OURS
    )
    delta: Annotated[Ratio, Positive, Le(1e4)] = Field(60.0, description="thermal stability E_b / kT." + _OURS)
    scaling: Scaling = Field(
        Scaling.NONE,
        description="of delta with each cell's own diameter. none: the same at every size; macrospin: as the area; "
        "nucleation: flat above `nucleation_diameter`, as the diameter below." + _OURS,
    )
    delta_diameter: Annotated[Metre, Positive, Le(100e-6)] = Field(
        80e-9, description="diameter at which delta holds, of the scaling macrospin." + _OURS
    )
    nucleation_diameter: Annotated[Metre, Positive, Le(100e-6)] = Field(
        45e-9, description="diameter below which delta falls, of the scaling nucleation." + _OURS
    )
    tau0: Annotated[Second, Positive] = Field(1e-9, description="attempt time; unused with the exponent 2." + _OURS)
    tau_d: Annotated[Second, Positive] = Field(
        2e-9, description="relaxation time of the precession; used with the exponent 2 only." + _OURS
    )
    v_half: Annotated[Volt, Positive] = Field(0.5, description="bias at which the TMR is half." + _OURS)
    h_k: Annotated[Tesla, Positive] = Field(0.3, description="anisotropy field." + _OURS)
    h_off: Tesla = Field(
        0.0, description="offset field, at the middle of the hysteresis loop; it makes the two barriers differ." + _OURS
    )
    field: Tesla = Field(0.0, description="external field along the easy axis, positive towards P." + _OURS)

    @property
    def law(self) -> Law:
        """The switching law."""
        return Law(self.exponent, self.tau0, self.tau_d)

    def delta_at(self, diameter: npt.ArrayLike) -> FloatArray:
        """Return the nominal thermal stability of junctions of `diameter`, in m.

        >>> Switching(scaling="macrospin").delta_at([80e-9, 40e-9]).tolist()
        [60.0, 15.0]
        """
        size = np.asarray(diameter, np.float64)
        if self.scaling is Scaling.MACROSPIN:
            return np.asarray(self.delta * np.square(size / self.delta_diameter))
        if self.scaling is Scaling.NUCLEATION:
            return np.asarray(self.delta * np.minimum(size / self.nucleation_diameter, 1.0))
        return np.full(size.shape, self.delta)

    @property
    def reduced_field(self) -> Ratio:
        """The field at the free layer in units of the anisotropy field, positive towards P."""
        return (self.field - self.h_off) / self.h_k

    @model_validator(mode="after")
    def _both_states_are_stable(self) -> Self:
        if abs(self.reduced_field) >= 1.0:
            raise ValueError(
                f"field {self.field:g} T less h_off {self.h_off:g} T is not below h_k {self.h_k:g} T; "
                "expected a field in which both states are stable"
            )
        return self

    @model_validator(mode="after")
    def _keeps_the_median(self) -> Self:
        """Give critical voltages that are left out the value that belongs to the exponent."""
        left_out = {"v_c0_p", "v_c0_ap"} - self.model_fields_set
        if self.exponent != 1.0 and left_out:
            wanted = V_C0 * Law(1.0, 1e-9, self.tau_d).median(REFERENCE_PULSE, self.delta)
            own = self.law.median(REFERENCE_PULSE, self.delta)
            if wanted <= 0.0 or own <= 0.0:
                raise ValueError(
                    f"cells of delta {self.delta:g} switch in {REFERENCE_PULSE:g} s without a voltage; "
                    f"expected {' and '.join(sorted(left_out))} in the file, which no median gives"
                )
            self.__dict__.update(dict.fromkeys(left_out, wanted / own))
        return self


class Thermal(Model):
    """Temperature of the die, and heating of a junction by its own current, in balance at once.

    A pillar takes nanoseconds to warm up. All other values of the file hold at 300 K.
    """

    temperature: Annotated[Kelvin, Gt(0)] = Field(TEMPERATURE, description="of the die." + _OURS)
    t_tmr: Annotated[Kelvin, Gt(TEMPERATURE)] = Field(
        1300.0, description="temperature at which the TMR, falling on a line, is gone; G_P stays." + _OURS
    )
    r_th: Annotated[KelvinPerWatt, NotNegative] = Field(
        0.0, description="thermal resistance; 0 means that critical voltages and Delta are those of a pulse." + _OURS
    )
    t_star: Annotated[Kelvin, Gt(TEMPERATURE)] = Field(
        1120.0, description="T* of M_s = M_s(0) (1 - (T / T*)^1.5)." + _OURS
    )
    barrier_power: float = Field(
        2.0, ge=0, le=4, description="power of M_s with which the energy barrier and V_c0 go." + _OURS
    )

    @model_validator(mode="after")
    def _below_the_curie_point(self) -> Self:
        if self.temperature >= min(self.t_star, self.t_tmr):
            raise ValueError(
                f"temperature {self.temperature:g} K is not below t_star {self.t_star:g} K and t_tmr {self.t_tmr:g} K"
            )
        return self

    def barrier(self, kelvin: npt.ArrayLike) -> FloatArray:
        """Return the energy barrier, and V_c0, at a temperature over those at 300 K."""
        return mtj.barrier_at(kelvin, self.t_star, self.barrier_power)

    @property
    def tmr_factor(self) -> Ratio:
        """The TMR at the temperature of the die over that at 300 K."""
        return (self.t_tmr - self.temperature) / (self.t_tmr - TEMPERATURE)


class BackHopping(Model):
    """A second activated process at high bias: the reference layer reverses in the pulse, the free layer follows.

    When the voltage is gone the reference layer returns, and the cell is in the state that the pulse was to leave.
    See `sim_backend.hopping`.
    """

    v_p: Annotated[Volt, Positive, Le(50)] | None = Field(
        1.0, description="critical voltage of the reference layer in pulses that write P; null: never." + _OURS
    )
    v_ap: Annotated[Volt, Positive, Le(50)] | None = Field(
        1.0, description="the same in pulses that write AP, magnitude; null: never." + _OURS
    )
    delta: Annotated[Ratio, Positive, Le(1e4)] = Field(
        60.0, description="thermal stability of the reference layer." + _OURS
    )
    spread: Fraction = Field(
        0.05, description="of both critical voltages, cell to cell, standard deviation of the logarithm." + _OURS
    )
    tau0: Annotated[Second, Positive] = Field(1e-9, description="attempt time." + _OURS)
