"""The junctions of one kernel as fabricated: every number is drawn once, from seed and name of the die."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from labctl.core.defects import Defect
from labctl.core.units import BoolArray, FloatArray, IntArray
from sim_backend import mtj
from sim_backend.description import Defects, DieDescription
from sim_backend.rng import Stream
from sim_backend.spread import DRAWS

NEVER = 1e6
"""Thermal stability of a cell that does not switch."""


class FabricatedDefect(IntEnum):
    """Defect of a cell, by the code that a survey would give it; BROKEN cells broke down in use."""

    NONE = Defect.GOOD
    SHORT = Defect.SHORT
    OPEN = Defect.OPEN
    STUCK_P = Defect.STUCK_P
    STUCK_AP = Defect.STUCK_AP
    LOW_TMR = Defect.LOW_TMR
    BROKEN = 6


@dataclass
class JunctionCells:
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
        g_short: conductance of the cell as a short, S.
        defect: codes of `FabricatedDefect`.
        stress: dielectric stress so far.
        hop: critical voltages of back-hopping over the nominal ones.
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
    hop: FloatArray

    @classmethod
    def join(cls, parts: "Sequence[JunctionCells]") -> "JunctionCells":
        """Return the cells of all parts, one after the other."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def electrical(self, index: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the cells at `index` as conductors: conductance at high bias, S, and TMR where AP, else 0."""
        state, defect = self.state[index], self.defect[index]
        short, opened = (
            (defect == FabricatedDefect.SHORT) | (defect == FabricatedDefect.BROKEN),
            defect == FabricatedDefect.OPEN,
        )
        g = np.where(short, self.g_short[index], np.where(opened, 0.0, self.g_p[index]))
        return g, np.where(state | short | opened, 0.0, self.tmr0[index])

    def drive(self, index: IntArray, polarity: int, *, back: bool = False) -> FloatArray:
        """Return, per volt, the drive of cells towards their other state in units of its critical voltage.

        With `back` that of cells that are in the other state, towards this one.
        """
        drive = np.where(self.state[index] ^ back, -1.0 / self.v_c0_ap[index], 1.0 / self.v_c0_p[index]) * polarity
        return np.where(self.delta[index] == NEVER, 0.0, drive)


def fabricate(
    description: DieDescription, seed: int, name: str, kernel: int, *, draws: type[Stream] = Stream
) -> JunctionCells:
    """Return the junctions of `kernel` of the die `name` made with `seed`.

    Args:
        draws: kind of the streams that properties are drawn from, defects excepted.
    """
    sim = description.simulation.effective
    junction, spread, medians = description.junction, sim.spread, sim.medians
    cells = description.geometry.n_rows * description.geometry.n_cols

    def stream(purpose: str) -> Stream:
        return draws(seed, name, "fabrication", kernel, purpose, stride=cells)

    def drawn(nominal: float | FloatArray, sigma: float, purpose: str) -> FloatArray:
        return mtj.spread(nominal, sigma, stream(purpose).normals(0)[0])

    mixing = spread.mixing

    def mixed(purpose: str) -> FloatArray:
        """Return the normals of one of `DRAWS`, made of its own and of those that it varies with."""
        parts = mixing[DRAWS.index(purpose)]
        normals = (parts[k] * stream(DRAWS[k]).normals(0)[0] for k in np.flatnonzero(parts))
        return np.asarray(functools.reduce(np.add, normals))

    def varied(nominal: float | FloatArray, sigma: float, purpose: str) -> FloatArray:
        return mtj.spread(nominal, sigma, mixed(purpose))

    d, defects = float(description.diameters[kernel]), sim.defects
    absolute = spread.diameter_absolute / d
    diameter = varied(d, float(np.hypot(spread.diameter, absolute)) if absolute else spread.diameter, "diameter")
    v_c0_p, v_c0_ap, delta = sim.nominal_switching(diameter)
    critical = varied(medians.v_c0, spread.v_c0, "v_c0")
    critical_ap = varied(medians.v_c0, spread.v_c0, "v_c0 towards AP")
    ra = varied(junction.ra * medians.ra, spread.ra, "ra")
    hopping = sim.back_hopping
    log_short = np.log([defects.r_short_min, defects.r_short_max])
    resistance = np.exp(log_short[0] + np.diff(log_short) * stream("short").uniforms(0)[0])
    made = JunctionCells(
        state=stream("state").uniforms(0)[0] < (0.5 if sim.random_state else 0.0),
        g_p=mtj.parallel_conductance(diameter, ra),
        tmr0=varied(junction.tmr * medians.tmr * sim.thermal.tmr_factor, spread.tmr, "tmr"),
        v_c0_p=v_c0_p * critical,
        v_c0_ap=v_c0_ap * critical_ap,
        delta=varied(delta, spread.delta, "delta"),
        v_bd=drawn(sim.breakdown.v_bd, sim.breakdown.spread, "breakdown"),
        endurance=mtj.endurance(stream("endurance").uniforms(0)[0], sim.breakdown.shape),
        g_short=1.0 / resistance,
        defect=_defects(defects, (description.geometry.n_rows, description.geometry.n_cols), seed, name, kernel),
        stress=np.zeros(cells),
        hop=np.ones(cells) if hopping is None else drawn(1.0, hopping.spread, "back-hopping"),
    )
    made.tmr0[made.defect == FabricatedDefect.LOW_TMR] *= defects.low_tmr_factor
    made.state[made.defect == FabricatedDefect.STUCK_P] = True
    made.state[made.defect == FabricatedDefect.STUCK_AP] = False
    made.delta[
        np.isin(
            made.defect,
            (FabricatedDefect.SHORT, FabricatedDefect.OPEN, FabricatedDefect.STUCK_P, FabricatedDefect.STUCK_AP),
        )
    ] = NEVER
    made.v_bd[np.isin(made.defect, (FabricatedDefect.SHORT, FabricatedDefect.OPEN))] = np.inf
    return made


def _defects(defects: Defects, shape: tuple[int, int], seed: int, name: str, kernel: int) -> npt.NDArray[np.uint8]:
    """Return the codes of the cells of a kernel: single defects, clusters of one kind over them, broken lines."""

    def uniforms(purpose: str, stride: int) -> FloatArray:
        return np.asarray(Stream(seed, name, "fabrication", kernel, purpose, stride=stride).uniforms(0)[0])

    fractions, cells = defects.fractions, shape[0] * shape[1]
    total = float(fractions.sum())
    clustered = defects.clustered * total
    # defects outside clusters are single, so that each kind has its fraction in total
    single = fractions * ((1.0 - defects.clustered) / (1.0 - clustered) if clustered < 1.0 else 0.0)
    code = _kind(single, uniforms("defects", cells))
    if clustered > 0.0:
        away = _around(defects.cluster_size)
        pad = int(np.abs(away).max())
        padded = (shape[0] + 2 * pad, shape[1] + 2 * pad)  # a cluster may have begun beyond the edge
        # a cell is in a cluster if one of the cells around it is the middle of one
        chance = 1.0 - (1.0 - clustered) ** (1.0 / defects.cluster_size)
        u = uniforms("clusters", padded[0] * padded[1]).reshape(padded)
        middle = _kind(fractions * (chance / total), u)
        for i, j in away[::-1]:  # the nearest middle overrides
            here = middle[pad + i : pad + i + shape[0], pad + j : pad + j + shape[1]].ravel()
            code = np.where(here != FabricatedDefect.NONE, here, code)
    if defects.broken_line > 0.0:
        code = np.where(_behind_breaks(defects.broken_line, shape, uniforms).ravel(), FabricatedDefect.OPEN, code)
    return code.astype(np.uint8)


def _kind(fractions: FloatArray, uniform: FloatArray) -> npt.NDArray[np.uint8]:
    """Return the codes, `fractions` being those of SHORT .. LOW_TMR."""
    code = np.searchsorted(np.cumsum(fractions), uniform, side="right") + 1
    return np.where(code > len(fractions), FabricatedDefect.NONE, code).astype(np.uint8)


def _around(size: int) -> IntArray:
    """Return the `size` offsets (row, column) nearest to a cell, itself first.

    >>> _around(5).tolist()
    [[0, 0], [-1, 0], [0, -1], [0, 1], [1, 0]]
    """
    reach = int(np.ceil(np.sqrt(size)))
    grid = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.array(grid[np.argsort(np.square(grid).sum(axis=1), kind="stable")][:size])


def _behind_breaks(chance: float, shape: tuple[int, int], uniforms: Callable[[str, int], FloatArray]) -> BoolArray:
    """Return the mask of cells of `shape` that a broken row or column cuts off from its source or ammeter."""
    n_rows, n_cols = shape
    row, col = (np.arange(n)[:, None] if k == 0 else np.arange(n)[None] for k, n in enumerate(shape))
    cut_off = np.zeros(shape, np.bool_)
    broken = uniforms("broken rows", 2 * n_rows).reshape(2, n_rows)
    cut_off |= ((broken[0] < chance)[:, None]) & (col >= np.floor(broken[1] * n_cols)[:, None])
    broken = uniforms("broken columns", 2 * n_cols).reshape(2, n_cols)
    cut_off |= ((broken[0] < chance)[None]) & (row <= np.floor(broken[1] * n_rows)[None])
    return cut_off
