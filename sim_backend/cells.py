"""The junctions of one kernel as they were made: every number drawn once, from seed and name of the die."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from labctl.core.units import BoolArray, FloatArray
from sim_backend import mtj
from sim_backend.description import DieDescription
from sim_backend.rng import Stream

NEVER = 1e6
"""Thermal stability of a cell that does not switch."""


class Defect(IntEnum):
    """What is wrong with a cell; BROKEN cells were good once."""

    NONE = 0
    SHORT = 1
    OPEN = 2
    STUCK_P = 3
    STUCK_AP = 4
    LOW_TMR = 5
    BROKEN = 6


@dataclass
class Cells:
    """The n_rows * n_cols junctions of a kernel, row by row; `state`, `defect` and `stress` change with use.

    Args:
        state: True is P.
        g_p: S.
        tmr0: TMR at low bias.
        v_c0_p: critical voltage for writing P, V.
        v_c0_ap: critical voltage for writing AP, magnitude, V.
        delta: thermal stability, `NEVER` for a cell that does not switch.
        v_bd: breakdown voltage, V.
        endurance: dielectric stress that the cell survives.
        g_short: conductance that it has as a short, S.
        defect: codes of `Defect`.
        stress: dielectric stress so far.
    """

    state: BoolArray
    g_p: FloatArray
    tmr0: FloatArray
    v_c0_p: FloatArray
    v_c0_ap: FloatArray
    delta: FloatArray
    v_bd: FloatArray
    endurance: FloatArray
    g_short: FloatArray
    defect: npt.NDArray[np.uint8]
    stress: FloatArray


def fabricate(description: DieDescription, seed: int, name: str, kernel: int) -> Cells:
    """Return the junctions of `kernel` of the die `name` made with `seed`."""
    sim = description.simulation.effective
    junction, switching, spread = description.junction, sim.switching, sim.spread
    cells = description.geometry.n_rows * description.geometry.n_cols

    def stream(what: str) -> Stream:
        return Stream(seed, name, "fabrication", kernel, what, stride=cells)

    def drawn(nominal: float, sigma: float, what: str) -> FloatArray:
        return mtj.spread(nominal, sigma, stream(what).normals(0)[0])

    d, defects = float(description.diameters[kernel]), sim.defects
    critical = drawn(1.0, spread.v_c0, "v_c0")
    log_short = np.log([defects.r_short_min, defects.r_short_max])
    resistance = np.exp(log_short[0] + np.diff(log_short) * stream("short").uniforms(0)[0])
    made = Cells(
        state=stream("state").uniforms(0)[0] < (0.5 if sim.random_state else 0.0),
        g_p=mtj.parallel_conductance(drawn(d, spread.diameter, "diameter"), drawn(junction.ra, spread.ra, "ra")),
        tmr0=drawn(junction.tmr, spread.tmr, "tmr"),
        v_c0_p=switching.v_c0_p * critical,
        v_c0_ap=switching.v_c0_ap * critical,
        delta=drawn(switching.delta, spread.delta, "delta"),
        v_bd=drawn(sim.breakdown.v_bd, sim.breakdown.spread, "breakdown"),
        endurance=mtj.endurance(stream("endurance").uniforms(0)[0], sim.breakdown.shape),
        g_short=1.0 / resistance,
        defect=_defects(defects.fractions, stream("defects").uniforms(0)[0]),
        stress=np.zeros(cells),
    )
    made.tmr0[made.defect == Defect.LOW_TMR] *= defects.low_tmr_factor
    made.state[made.defect == Defect.STUCK_P] = True
    made.state[made.defect == Defect.STUCK_AP] = False
    made.delta[np.isin(made.defect, (Defect.SHORT, Defect.OPEN, Defect.STUCK_P, Defect.STUCK_AP))] = NEVER
    made.v_bd[np.isin(made.defect, (Defect.SHORT, Defect.OPEN))] = np.inf
    return made


def _defects(fractions: FloatArray, uniform: FloatArray) -> npt.NDArray[np.uint8]:
    """Return the codes, `fractions` being those of SHORT .. LOW_TMR."""
    code = np.searchsorted(np.cumsum(fractions), uniform, side="right") + 1
    return np.where(code > len(fractions), Defect.NONE, code).astype(np.uint8)
