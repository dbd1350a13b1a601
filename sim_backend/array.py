"""One passive array with memory: switching and wear of its cells under the voltages of its circuit.

All cell arrays here are flat, row by row; all line arrays are rows first, then columns.
"""

from collections.abc import Callable

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.units import BoolArray, FloatArray, IntArray, Ratio, Second
from sim_backend import mtj, telegraph
from sim_backend.cell_switching import CellSwitching
from sim_backend.cells import NEVER, FabricatedDefect, JunctionCells
from sim_backend.circuit import Circuit, OperatingPoint
from sim_backend.description import Simulation
from sim_backend.telegraph import Draw

_NO_STRESS = 1e-9
"""Breakdown stress per time, relative to that at the breakdown voltage, that is neglected."""
_GRID = 0.01
"""V, steps in which the bound on read disturb is tabulated."""


class Array:
    """A passive array with memory."""

    def __init__(self, cells: JunctionCells, geometry: Geometry, simulation: Simulation) -> None:
        self.cells, self._sim = cells, simulation
        self._bounds: dict[tuple[int, float], float] = {}
        # below this cell voltage breakdown stress is negligible
        self.unstressed = float(cells.v_bd.min()) * _NO_STRESS ** (1.0 / simulation.breakdown.n)
        self._switching = CellSwitching(cells, simulation, geometry.polarity)
        self._shape = geometry.n_rows, geometry.n_cols
        self.circuit = self.wired(np.zeros(sum(self._shape)))

    def wired(self, leads: FloatArray) -> Circuit:
        """Return the circuit of the cells as they are, with (lines,) ohm more between each line and its source."""
        simulation = self._sim
        return Circuit(
            self._shape,
            *self.cells.electrical(np.arange(len(self.cells.g_p))),
            simulation.lines,
            v_half=simulation.switching.v_half,
            v_linear=simulation.v_linear,
            leads=leads,
        )

    # ---------------------------------------------------------------- cells

    def _changed(self, index: IntArray) -> None:
        """Update the circuit after a change of state or defect of the cells at `index`."""
        self._switching.changed(index)
        self.circuit.change(index, *self.cells.electrical(index))

    def switch(self, cells: BoolArray) -> bool:
        """Switch the cells of a mask to their other state; return whether there was one."""
        index = np.flatnonzero(cells)
        if len(index):
            self.cells.state[index] ^= True
            self._changed(index)
        return len(index) > 0

    def _wear(self, voltage: FloatArray, time: Second) -> bool:
        """Add the dielectric stress of `time` at the cell voltages; return whether a cell broke down."""
        c, b = self.cells, self._sim.breakdown
        size = np.abs(voltage)
        if size.max() <= self.unstressed:
            return False
        c.stress += np.where(size > self.unstressed, mtj.stress(voltage, time, c.v_bd, b.t_bd, b.n), 0.0)
        index = np.flatnonzero(((c.stress > c.endurance) | (size > c.v_bd)) & np.isfinite(c.v_bd))
        if len(index):
            c.defect[index], c.delta[index], c.v_bd[index] = FabricatedDefect.BROKEN, NEVER, np.inf
            self._changed(index)
        return len(index) > 0

    def switching(self, voltage: FloatArray, time: Second | FloatArray) -> FloatArray:
        """Return the probability (k, cells) that each cell leaves its state in `time` at (k, cells) V."""
        return self._switching.probability(voltage, time)

    def follow(
        self, point: OperatingPoint, time: Second, opens: Ratio, uniform: FloatArray, draw: Draw
    ) -> Callable[[], None] | None:
        """Let cells switch back and forth during a read of `time` at `point`; arguments as of `telegraph.follow`.

        Returns None if none leaves its state. Otherwise the circuit is the mean one of the aperture; what is returned
        makes it that of the end.
        """
        c, v = self.cells, point.cell_voltage
        seen = telegraph.follow(*self._switching.events(v, time), opens, uniform, draw)
        self._wear(v, time)
        at = seen.cells
        if not len(at):
            return None
        v_half = self._sim.switching.v_half
        mean = telegraph.mean_tmr(c.g_p[at], ~c.state[at], c.tmr0[at], seen.share, v[at], v_half)
        self.circuit.change(at, c.g_p[at], mean)

        def end() -> None:
            c.state[at] ^= seen.switched
            self._changed(at)

        return end

    # ------------------------------------------------------------ operation

    def act(
        self, source: FloatArray, driven: BoolArray, compliance: FloatArray, time: Second, uniform: FloatArray
    ) -> OperatingPoint:
        """Apply one condition for `time`; return its operating point before any switching, or after a breakdown.

        Args:
            uniform: (cells,), random number of each cell; it switches if that is below its probability.
        """
        point = self.circuit.operating_point(source, driven, compliance)
        self.switch(uniform < self.switching(point.cell_voltage, time))
        if self._wear(point.cell_voltage, time):
            return self.circuit.operating_point(source, driven, compliance)
        return point

    def suffer(self, point: OperatingPoint, time: Second, uniform: FloatArray) -> bool:
        """Switch and wear the cells by `time` at `point`; return whether a cell changed.

        Args:
            uniform: (cells,), random number of each cell; it switches if that is below its probability.
        """
        switched = self.switch(uniform < self.switching(point.cell_voltage, time))
        return self._wear(point.cell_voltage, time) or switched

    def pulse(
        self,
        source: FloatArray,
        driven: BoolArray,
        compliance: FloatArray,
        pulsed: int,
        times: tuple[Second, Second],
        uniform: FloatArray,
    ) -> bool:
        """Apply one pulse and return whether a line went into compliance.

        Args:
            source: (lines,) V.
            driven: (lines,).
            compliance: (lines,) A.
            pulsed: line that makes the width while the others stay up, -1 for all.
            times: dwell of the others before and after it, and width, s.
            uniform: (3, cells).
        """
        dwell, width = times
        if pulsed < 0 or dwell == 0.0:
            return bool(self.act(source, driven, compliance, width, uniform[1]).limited.any())
        rest, rest_driven = source.copy(), driven.copy()
        rest[pulsed], rest_driven[pulsed] = 0.0, True
        if driven.all():
            v, current = self.circuit.driven(np.stack([rest, source]))
            if (np.abs(current) <= compliance).all() and np.abs(v).max() <= self.unstressed:
                p = self.switching(v, np.array([[dwell], [width]]))
                lead = uniform[0] < p[0]
                if not lead.any():
                    during = uniform[1] < p[1]
                    if not during.any():
                        self.switch(uniform[2] < p[0])
                        return False
                    self.switch(during)
                    return bool(self.act(rest, rest_driven, compliance, dwell, uniform[2]).limited.any())
        phases = ((rest, rest_driven, dwell), (source, driven, width), (rest, rest_driven, dwell))
        limited = [self.act(e, d, compliance, t, u).limited.any() for (e, d, t), u in zip(phases, uniform, strict=True)]
        return any(limited)

    # -------------------------------------------------------------- disturb

    def disturb_bound(self, span: FloatArray, time: Second) -> FloatArray:
        """Return an upper bound, at most 1, on the sum of the switching probabilities of all cells in a read.

        Depends on the cells as fabricated and not on their state. 1 where breakdown stress may matter.

        Args:
            span: (n,) V, difference of the highest and lowest driven line: no cell sees more.
            time: s.
        """
        step = np.ceil(span / _GRID).astype(np.int64)
        steps, inverse = np.unique(step, return_inverse=True)
        return np.array([self._bound(int(s), time) for s in steps])[inverse]

    def _bound(self, step: int, time: Second) -> float:
        if (step, time) not in self._bounds:
            span = step * _GRID
            self._bounds[step, time] = 1.0 if span > self.unstressed else self._switching.bound(span, time)
        return self._bounds[step, time]
