"""All cells of an integrated chip in one set of arrays: conductance, switching, wear and disturb.

A write-verify run of a chip writes thousands of cells of all kernels at once; so they are kept together and numbered
consecutively, kernel by kernel and row by row. `version` changes with a kernel, to invalidate cached results.
"""

from collections.abc import Callable

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.units import BoolArray, FloatArray, IntArray, Ratio, Second
from sim_backend import mtj, telegraph
from sim_backend.cell_switching import CellSwitching
from sim_backend.cells import NEVER, FabricatedDefect, JunctionCells
from sim_backend.description import Simulation
from sim_backend.telegraph import Draw

_NO_STRESS = 1e-9
"""Breakdown stress per time, relative to that at the breakdown voltage, that is neglected."""
_GRID = 0.01
"""V, steps in which the bound on read disturb is tabulated."""


class ChipCells:
    """The cells of a chip with memory.

    Args:
        cells: of all kernels, one kernel after the other.
    """

    def __init__(self, cells: JunctionCells, geometry: Geometry, simulation: Simulation) -> None:
        self.cells, self._sim = cells, simulation
        self._of_kernel = geometry.n_rows * geometry.n_cols
        self.version: IntArray = np.zeros(geometry.kernels, np.int64)
        every = np.arange(len(cells.g_p))
        self.g_p, self.tmr = cells.electrical(every)
        """(cells,) S, conductance at high bias; (cells,) TMR where AP, else 0."""
        self._switching = CellSwitching(cells, simulation, geometry.polarity)
        self._bounds: dict[tuple[int, int, float], float] = {}
        self.unstressed = float(cells.v_bd.min()) * _NO_STRESS ** (1.0 / simulation.breakdown.n)
        """V, below which breakdown stress is negligible."""

    def _changed(self, index: IntArray) -> None:
        self.g_p[index], self.tmr[index] = self.cells.electrical(index)
        self._switching.changed(index)
        self.version[np.unique(index // self._of_kernel)] += 1

    def suffer(self, index: IntArray, voltage: FloatArray, time: Second, uniform: FloatArray) -> BoolArray:
        """Switch and wear different cells by `time` at their voltages; return the mask of those that broke down.

        Args:
            index: (k,) cells, each once.
            voltage: (k,) V across their junctions.
            uniform: (k,), random number of each; it switches if that is below its probability.
        """
        switched = uniform < self._switching.probability(voltage, time, index)
        self.cells.state[index[switched]] ^= True
        broken = self._wear(index, voltage, time)
        changed = index[switched | broken]
        if len(changed):
            self._changed(changed)
        return broken

    def _wear(self, index: IntArray, voltage: FloatArray, time: Second) -> BoolArray:
        """Add the dielectric stress of `time`; return the mask of cells that broke down, not changed yet."""
        b, c = self._sim.breakdown, self.cells
        size, broken = np.abs(voltage), np.zeros(len(index), np.bool_)
        worn = np.flatnonzero(size > self.unstressed)
        if len(worn):
            at = index[worn]
            c.stress[at] += mtj.stress(size[worn], time, c.v_bd[at], b.t_bd, b.n)
            gone = ((c.stress[at] > c.endurance[at]) | (size[worn] > c.v_bd[at])) & np.isfinite(c.v_bd[at])
            broken[worn[gone]] = True
            at = at[gone]
            c.defect[at], c.delta[at], c.v_bd[at] = FabricatedDefect.BROKEN, NEVER, np.inf
        return broken

    def follow(
        self, index: IntArray, voltage: FloatArray, time: Second, opens: Ratio, uniform: FloatArray, draw: Draw
    ) -> Callable[[], None] | None:
        """Let different cells switch back and forth during a read; `index`, `voltage` as above, the rest as in `Array`.

        Returns None if none leaves its state. Otherwise cells conduct as in the mean of the aperture until what is
        returned is called.
        """
        c = self.cells
        seen = telegraph.follow(*self._switching.events(voltage, time, index), opens, uniform, draw)
        if (broken := self._wear(index, voltage, time)).any():
            self._changed(index[broken])
        at, v = index[seen.cells], voltage[seen.cells]
        if not len(at):
            return None
        v_half = self._sim.switching.v_half
        self.tmr[at] = telegraph.mean_tmr(c.g_p[at], ~c.state[at], c.tmr0[at], seen.share, v, v_half)
        self.version[np.unique(at // self._of_kernel)] += 1

        def end() -> None:
            c.state[at] ^= seen.switched
            self._changed(at)

        return end

    def disturb_bound(self, kernel: IntArray, span: FloatArray, time: Second) -> FloatArray:
        """Return (n,) upper bounds, at most 1, on the sum of the switching probabilities of all cells in a read.

        Args:
            kernel: (n,).
            span: (n,) V, difference of the highest and lowest driven line: no cell sees more.
            time: s.
        """
        step = np.ceil(span / _GRID).astype(np.int64)
        most = int(step.max(initial=0)) + 1
        keys, inverse = np.unique(kernel * most + step, return_inverse=True)
        return np.array([self._bound(*divmod(int(key), most), time) for key in keys])[inverse.reshape(-1)]

    def _bound(self, kernel: int, step: int, time: Second) -> float:
        key = (kernel, step, time)
        if key not in self._bounds:
            own, span = slice(kernel * self._of_kernel, (kernel + 1) * self._of_kernel), step * _GRID
            self._bounds[key] = 1.0 if span > self.unstressed else self._switching.bound(span, time, own)
        return self._bounds[key]
