"""One passive array: its cells, and the circuit that its lines make of them.

The network of wires and cells is linear but for the bias dependence of the AP cells. It is kept linearised at
the read voltage as ports (see `sim_backend.ports`): with the line voltages e, the cell voltages are q e, and
a current dI that a cell carries beyond its linear one changes them by -k dI and the line currents by q^T dI.
Operating points iterate v = q e - k dI(v), which contracts by the IR drop; reads need one step only. A cell
that switches is a rank-one change.

All cell arrays here are flat, row by row; all line arrays are rows first, then columns.
"""

from dataclasses import dataclass

import numpy as np

from labctl.core.die import Geometry
from labctl.core.errors import LabError
from labctl.core.units import BoolArray, FloatArray, IntArray, Second
from sim_backend import mtj
from sim_backend.cells import NEVER, Cells, Defect
from sim_backend.description import Simulation
from sim_backend.ports import Ports

_CONVERGED = 1e-9
"""V, the change of a cell voltage that ends an iteration."""
_NO_STRESS = 1e-9
"""Breakdown stress per time, relative to that at the breakdown voltage, that is neglected."""
_GRID = 0.01
"""V, steps in which the bound on read disturb is tabulated."""


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """One static condition.

    Args:
        cell_voltage: (cells,) V, row minus column.
        line_voltage: (lines,) V at the source.
        line_current: (lines,) A into the array.
        limited: (lines,), in current compliance.
    """

    cell_voltage: FloatArray
    line_voltage: FloatArray
    line_current: FloatArray
    limited: BoolArray


class Array:
    """A passive array with memory."""

    def __init__(self, cells: Cells, geometry: Geometry, simulation: Simulation) -> None:
        self.cells, self._sim = cells, simulation
        self._polarity, self._per_v_half = geometry.polarity, 1.0 / simulation.switching.v_half
        self.n_rows, self.n_cols = geometry.n_rows, geometry.n_cols
        self.lines = self.n_rows + self.n_cols
        self._bounds: dict[tuple[int, float], float] = {}
        self._made_delta = cells.delta.copy()
        # below this cell voltage there is no breakdown stress worth counting
        self.unstressed = float(cells.v_bd.min()) * _NO_STRESS ** (1.0 / simulation.breakdown.n)
        self._electrical()
        wires = simulation.lines
        self.ports = Ports(
            self._g_linear.reshape(self.n_rows, self.n_cols),
            r_row=wires.r_row,
            r_col=wires.r_col,
            r_source=wires.r_source,
            r_sense=wires.r_sense,
        )

    # ---------------------------------------------------------------- cells

    def _electrical(self, index: IntArray | slice = slice(None)) -> None:
        """Derive what the circuit and the switching need from the cells at `index`."""
        c = self.cells
        if isinstance(index, slice):
            self._g_p, self._tmr, self._g_linear, self._drive = np.zeros((4, len(c.g_p)))
        state, defect = c.state[index], c.defect[index]
        short = (defect == Defect.SHORT) | (defect == Defect.BROKEN)
        metal = state | short | (defect == Defect.OPEN)
        self._g_p[index] = np.where(short, c.g_short[index], np.where(defect == Defect.OPEN, 0.0, c.g_p[index]))
        self._tmr[index] = np.where(metal, 0.0, c.tmr0[index])
        self._g_linear[index] = self._conductance(self._sim.v_linear, index)
        # per volt, the drive towards the other state in units of its critical voltage
        towards = np.where(state, -1.0 / c.v_c0_ap[index], 1.0 / c.v_c0_p[index]) * self._polarity
        self._drive[index] = np.where(c.delta[index] == NEVER, 0.0, towards)

    def _conductance(self, voltage: float | FloatArray, index: IntArray | slice = slice(None)) -> FloatArray:
        """Return the conductance of cells at a voltage, in S."""
        return mtj.conductance(self._g_p[index], self._tmr[index], voltage, self._sim.switching.v_half)

    def _changed(self, index: IntArray) -> None:
        """Tell the circuit about cells whose state or defect changed."""
        self._electrical(index)
        for cell in index:
            self.ports.change(int(cell), float(self._g_linear[cell]))

    def switch(self, cells: BoolArray) -> bool:
        """Turn the cells of a mask into their other state; say whether there was one."""
        index = np.flatnonzero(cells)
        if len(index):
            self.cells.state[index] ^= True
            self._changed(index)
        return len(index) > 0

    def _wear(self, voltage: FloatArray, time: Second) -> bool:
        """Add the dielectric stress of `time` at the cell voltages; say whether a cell broke down."""
        c, b = self.cells, self._sim.breakdown
        size = np.abs(voltage)
        if size.max() <= self.unstressed:
            return False
        c.stress += np.where(size > self.unstressed, mtj.stress(voltage, time, c.v_bd, b.t_bd, b.n), 0.0)
        index = np.flatnonzero(((c.stress > c.endurance) | (size > c.v_bd)) & np.isfinite(c.v_bd))
        if len(index):
            c.defect[index], c.delta[index], c.v_bd[index] = Defect.BROKEN, NEVER, np.inf
            self._changed(index)
        return len(index) > 0

    def switching(self, voltage: FloatArray, time: Second | FloatArray) -> FloatArray:
        """Return the probability (k, cells) that each cell leaves its state in `time` at (k, cells) V."""
        s = self._sim.switching
        p = mtj.switching_probability(self._drive * voltage, self.cells.delta, time, tau0=s.tau0, tau_d=s.tau_d)
        return (p >= 0.5).astype(np.float64) if self._sim.ideal else p

    # -------------------------------------------------------------- circuit

    def _chord(self, linear: FloatArray, k: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return cell voltages (n, cells) and the currents beyond the linear ones, from linear voltages."""
        v, last = linear, np.inf
        excess = self._excess(v)
        for _ in range(25):
            new = linear - excess @ k
            step = float(np.abs(new - v).max())
            v, excess = new, self._excess(new)
            # steps shrink geometrically, so the next one is foreseen
            if step < _CONVERGED or (2.0 * step < last < np.inf and step * step < _CONVERGED * last):
                return v, excess
            last = step
        return self._newton(linear, v, k)

    def _excess(self, voltage: FloatArray) -> FloatArray:
        """Return the currents (n, cells) beyond the linear ones, in A."""
        # mtj.conductance, spelled out: it is called a million times a run
        w = voltage * self._per_v_half
        w *= w
        w += 1.0
        g = w + self._tmr
        np.divide(w, g, out=g)
        g *= self._g_p
        g -= self._g_linear
        g *= voltage
        return g

    def _newton(self, linear: FloatArray, start: FloatArray, k: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the same where the chord contracts slowly: high bias, long lines or floating ones."""
        s = self._sim.switching
        found = start.copy()
        for v, v0 in zip(found, linear, strict=True):
            if not np.isfinite(v).all():
                v[:] = v0
            for _ in range(50):
                w = 1.0 + np.square(v / s.v_half)
                g = self._conductance(v)
                slope = g + self._g_p * 2.0 * (w - 1.0) * self._tmr / np.square(w + self._tmr) - self._g_linear
                step = np.linalg.solve(np.eye(len(v)) + k * slope, v0 - k @ ((g - self._g_linear) * v) - v)
                v += step
                if np.abs(step).max() < _CONVERGED:
                    break
            else:
                raise LabError("the operating point of the simulated array does not converge at this bias")
        return found, self._excess(found)

    def driven(self, source: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return cell voltages (n, cells) and line currents (n, lines), every line driven at (n, lines) V."""
        v, excess = self._chord(source @ self.ports.q.T, self.ports.k)
        return v, source @ self.ports.y + excess @ self.ports.q

    def _released(self, source: FloatArray, free: BoolArray, forced: FloatArray) -> OperatingPoint:
        """Return the point with the lines `free` at the currents `forced` instead of at their voltages."""
        y, q, k = self.ports.y, self.ports.q, self.ports.k
        f, d = np.flatnonzero(free), np.flatnonzero(~free)
        z = np.linalg.pinv(y[np.ix_(f, f)], rcond=1e-13, hermitian=True)
        e = source.copy()
        e[f] = z @ (forced[f] - y[np.ix_(f, d)] @ source[d])
        v, excess = self._chord((q @ e)[None], k + q[:, f] @ z @ q[:, f].T)
        e[f] -= z @ (excess[0] @ q[:, f])
        current = y @ e + excess[0] @ q
        current[f] = forced[f]
        return OperatingPoint(v[0], e, current, np.zeros(self.lines, np.bool_))

    def operating_point(self, source: FloatArray, driven: BoolArray, compliance: FloatArray) -> OperatingPoint:
        """Return the static condition with the `driven` lines at `source` V or limited to `compliance` A.

        The line whose current is most in excess goes into compliance, until none is left; a line that no
        longer needs its limit is released.
        """
        if driven.all():
            v, current = self.driven(source[None])
            if (np.abs(current[0]) <= compliance).all():
                return OperatingPoint(v[0], source, current[0], np.zeros(self.lines, np.bool_))
        limited: BoolArray = np.zeros(self.lines, np.bool_)
        forced: FloatArray = np.zeros(self.lines)
        for _ in range(2 * self.lines):
            point = self._released(source, ~driven | limited, forced)
            excess = np.where(driven & ~limited, np.abs(point.line_current) / compliance - 1.0, 0.0)
            beyond = np.where(limited, (point.line_voltage - source) * np.sign(forced), 0.0)
            balanced = abs(point.line_current.sum()) <= 1e-6 * np.abs(point.line_current).max()
            if excess.max() <= 1e-9 and beyond.max() <= _CONVERGED and balanced:
                return OperatingPoint(point.cell_voltage, point.line_voltage, point.line_current, limited)
            if excess.max() > 1e-9:
                line = int(np.argmax(excess))
                limited[line], forced[line] = True, np.copysign(compliance[line], point.line_current[line])
            elif beyond.max() > _CONVERGED:
                line = int(np.argmax(beyond))
                limited[line], forced[line] = False, 0.0
            else:
                break
        forced = self._limited(source, driven, compliance)
        limited = forced != 0.0
        point = self._released(source, ~driven | limited, forced)
        return OperatingPoint(point.cell_voltage, point.line_voltage, point.line_current, limited)

    def _limited(self, source: FloatArray, driven: BoolArray, compliance: FloatArray) -> FloatArray:
        """Return the currents (lines,) A of the lines in compliance, 0 for the others, where it is a puzzle.

        Sources of limited current minimise e^T Y e / 2 + sum of compliance |e - source| over the line voltages
        e, which is convex; descent along one line at a time finds the minimum (Tseng, J. Optim. Theory Appl.
        109, 475 (2001)). Used where lines share a current and going one line at a time runs in circles.
        """
        y = self.ports.y
        pull = np.where(driven, compliance, 0.0)
        e = np.where(driven, source, 0.0)
        alive = np.flatnonzero(np.diagonal(y) > 0.0)
        for _ in range(2000):
            before = e.copy()
            for line in alive:
                own = y[line, line]
                rest = e[line] - (y[line] @ e) / own - source[line]
                reach = pull[line] / own
                shift = np.sign(rest) * max(abs(rest) - reach, 0.0)
                e[line] = source[line] + shift if driven[line] else rest + source[line]
            if np.abs(e - before).max() < _CONVERGED:
                break
        away = driven & (np.abs(e - source) > 10.0 * _CONVERGED)
        return np.where(away, np.sign(source - e) * compliance, 0.0)

    # ------------------------------------------------------------ operation

    def act(
        self, source: FloatArray, driven: BoolArray, compliance: FloatArray, time: Second, uniform: FloatArray
    ) -> OperatingPoint:
        """Apply one condition for `time`; return it as it was before anything switched, or after a breakdown.

        Args:
            uniform: (cells,), the luck of each cell; smaller switches.
        """
        point = self.operating_point(source, driven, compliance)
        self.switch(uniform < self.switching(point.cell_voltage, time))
        if self._wear(point.cell_voltage, time):
            return self.operating_point(source, driven, compliance)
        return point

    def suffer(self, point: OperatingPoint, time: Second, uniform: FloatArray) -> bool:
        """Switch and wear the cells by `time` at `point`; say whether anything changed.

        Args:
            uniform: (cells,), the luck of each cell; smaller switches.
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
        """Apply one pulse and say whether a line went into compliance.

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
            v, current = self.driven(np.stack([rest, source]))
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

    def reading_network(self, free: BoolArray) -> tuple[FloatArray, FloatArray]:
        """Return (q, y) with the lines `free` floating: cell volt and line ampere per volt of a source."""
        q, y = self.ports.q, self.ports.y
        if not free.any():
            return q, y
        f = np.flatnonzero(free)
        z = np.linalg.pinv(y[np.ix_(f, f)], rcond=1e-13, hermitian=True)
        to_lines = np.eye(self.lines)
        to_lines[f] = -z @ y[f]
        to_lines[:, f] = 0.0
        return q @ to_lines, to_lines.T @ y @ to_lines

    def read(self, source: FloatArray, network: tuple[FloatArray, FloatArray]) -> FloatArray:
        """Return line currents (..., lines) A of reads, bias dependence taken at the linear cell voltages."""
        q, y = network
        biased = np.flatnonzero(self._tmr) if np.isfinite(self._sim.switching.v_half) else np.zeros(0, np.int64)
        q = q[biased]
        v = source @ q.T
        excess = (self._conductance(v, biased) - self._g_linear[biased]) * v
        return source @ y + excess @ q

    # -------------------------------------------------------------- disturb

    def disturb_bound(self, span: FloatArray, time: Second) -> FloatArray:
        """Return an upper bound, at most 1, on the sum of the switching probabilities of all cells in a read.

        Depends on how the cells were made and not on their state. 1 where breakdown stress may matter.

        Args:
            span: (n,) V, difference of the highest and lowest driven line: no cell sees more.
            time: s.
        """
        step = np.ceil(span / _GRID).astype(np.int64)
        steps, inverse = np.unique(step, return_inverse=True)
        return np.array([self._bound(int(s), time) for s in steps])[inverse]

    def _bound(self, step: int, time: Second) -> float:
        if (step, time) not in self._bounds:
            s, c = self._sim.switching, self.cells
            if step * _GRID > self.unstressed:
                bound = 1.0
            else:
                p = mtj.switching_probability(
                    step * _GRID / np.minimum(c.v_c0_p, c.v_c0_ap),
                    self._made_delta,
                    time,
                    tau0=s.tau0,
                    tau_d=s.tau_d,
                )
                bound = min(1.0, float(p[self._made_delta < NEVER].sum()))
            self._bounds[step, time] = bound
        return self._bounds[step, time]
