"""The circuit of an array: its cells joined by its lines.

Wires and cells are linear but for the bias dependence of the AP cells. The network is kept linearised at the read
voltage as ports (see `sim_backend.ports`): with the line voltages e, the cell voltages are q e, and a current dI that a
cell carries beyond its linear one changes them by -k dI and the line currents by q^T dI. Operating points iterate
v = q e - k dI(v), which contracts by the IR drop; reads need one step only. A cell that switches is a rank-one change.

All cell arrays here are flat, row by row; all line arrays are rows first, then columns.
"""

from dataclasses import dataclass

import numpy as np

from labctl.core.errors import LabError
from labctl.core.units import BoolArray, FloatArray, IntArray, Kelvin, Volt
from sim_backend import mtj
from sim_backend.description import Lines
from sim_backend.noise import bias_noise, bias_noise_of
from sim_backend.ports import Ports

_CONVERGED = 1e-9
"""V, the change of a cell voltage that ends an iteration."""


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


class Circuit:
    """Lines and cells, non-linear.

    Args:
        shape: rows, columns.
        g_p: (cells,) S, conductance in P or of the defect; 0 is an open.
        tmr: (cells,), TMR at low bias of cells in AP, 0 for all others.
        wires: resistances of the lines.
        v_half: bias at which the TMR is half, V.
        v_linear: read voltage around which the network is linearised, V.
        leads: (lines,) ohm between each line and its source, beside those of `wires`.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        g_p: FloatArray,
        tmr: FloatArray,
        wires: Lines,
        *,
        v_half: Volt,
        v_linear: Volt,
        leads: FloatArray | float = 0.0,
    ) -> None:
        self.n_rows, self.n_cols = shape
        self.lines = self.n_rows + self.n_cols
        self._v_half, self._per_v_half, self._v_linear = v_half, 1.0 / v_half, v_linear
        self._g_p, self._tmr = g_p.copy(), tmr.copy()
        self._g_linear = self._conductance(v_linear)
        self.version = 0
        """Number of changes of cells; what was found at another version does not hold any more."""
        of_row, of_col = np.split(np.broadcast_to(leads, self.lines), [self.n_rows])
        self.ports = Ports(
            self._g_linear.reshape(shape),
            r_row=wires.r_row,
            r_col=wires.r_col,
            r_source=wires.r_source + of_row,
            r_sense=wires.r_sense + of_col,
        )

    def change(self, index: IntArray, g_p: FloatArray, tmr: FloatArray) -> None:
        """Set other conductances of the cells at `index`."""
        self.version += 1
        self._g_p[index], self._tmr[index] = g_p, tmr
        self._g_linear[index] = self._conductance(self._v_linear, index)
        for cell in index:
            self.ports.change(int(cell), float(self._g_linear[cell]))

    def _conductance(self, voltage: float | FloatArray, index: IntArray | slice = slice(None)) -> FloatArray:
        """Return the conductance of cells at a voltage, in S."""
        return mtj.conductance(self._g_p[index], self._tmr[index], voltage, self._v_half)

    def _chord(self, linear: FloatArray, k: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return cell voltages (n, cells) and the currents beyond the linear ones, from linear voltages."""
        v, last = linear, np.inf
        excess = self._excess(v)
        for _ in range(25):
            new = linear - excess @ k
            step = float(np.abs(new - v).max())
            v, excess = new, self._excess(new)
            # steps shrink geometrically, so the next one is predicted
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
        """Return the same by Newton steps, if the chord contracts slowly: high bias, long lines or floating ones."""
        voltage = start.copy()
        for v, v0 in zip(voltage, linear, strict=True):
            if not np.isfinite(v).all():
                v[:] = v0
            for _ in range(50):
                w = 1.0 + np.square(v / self._v_half)
                g = self._conductance(v)
                slope = g + self._g_p * 2.0 * (w - 1.0) * self._tmr / np.square(w + self._tmr) - self._g_linear
                step = np.linalg.solve(np.eye(len(v)) + k * slope, v0 - k @ ((g - self._g_linear) * v) - v)
                v += step
                if np.abs(step).max() < _CONVERGED:
                    break
            else:
                raise LabError("the operating point of the simulated array does not converge at this bias")
        return voltage, self._excess(voltage)

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
        """Return the currents (lines,) A of the lines in compliance, 0 for the others, where lines share a limit.

        Sources of limited current minimise e^T Y e / 2 + sum of compliance |e - source| over the line voltages
        e, which is convex; descent along one line at a time finds the minimum (Tseng, J. Optim. Theory Appl.
        109, 475 (2001)). Used where lines share a current and limiting one line at a time cycles.
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
        return np.where(away, np.copysign(compliance, source - e), 0.0)

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

    def read(
        self, source: FloatArray, network: tuple[FloatArray, FloatArray], fluctuation: FloatArray | None = None
    ) -> FloatArray:
        """Return line currents (..., lines) A of reads, bias dependence taken at the linear cell voltages.

        Args:
            source: (..., lines) V.
            network: as of `reading_network`.
            fluctuation: (..., cells), by how much of its conductance each cell conducts more.
        """
        q, y = network
        if fluctuation is not None:
            v = source @ q.T
            excess = (self._conductance(v) * (1.0 + fluctuation) - self._g_linear) * v
            return np.asarray(source @ y + excess @ q)
        biased = np.flatnonzero(self._tmr) if np.isfinite(self._v_half) else np.zeros(0, np.int64)
        q = q[biased]
        v = source @ q.T
        excess = (self._conductance(v, biased) - self._g_linear[biased]) * v
        return source @ y + excess @ q

    def noise_conductance(
        self, source: FloatArray, network: tuple[FloatArray, FloatArray], kelvin: Kelvin
    ) -> FloatArray:
        """Return (..., n_cols) S, whose Johnson noise is the thermal and shot noise of the current out of each column.

        At 0 V it is the admittance of the column's terminal, wires included (Nyquist). A cell of the column adds
        G (u coth u - 1) at its voltage, of which the square of its transfer to the terminal arrives: a noise current
        beside a cell is a current that it carries beyond its linear one. What arrives from other columns' cells, by
        the square of a sneak path, is in the first part only.

        Args:
            source: (..., lines) V.
            network: as of `reading_network`.
            kelvin: temperature of the cells.
        """
        q, y = network
        # in single precision: it is the size of a noise
        v = source.astype(np.float32) @ q.astype(np.float32).T
        added = bias_noise(v, kelvin)
        v *= np.float32(self._per_v_half)
        v *= v
        v += np.float32(1.0)
        added *= v
        v += self._tmr.astype(np.float32)
        added /= v
        own = q.reshape(self.n_rows, self.n_cols, -1)[:, np.arange(self.n_cols), self.n_rows + np.arange(self.n_cols)]
        added = added.reshape(*added.shape[:-1], self.n_rows, self.n_cols)
        weight = (self._g_p.reshape(own.shape) * np.square(own)).astype(np.float32)
        return np.asarray(np.diagonal(y)[self.n_rows :] + np.einsum("...ij,ij->...j", added, weight))

    def noise_of_column(
        self, source: FloatArray, network: tuple[FloatArray, FloatArray], col: int, kelvin: Kelvin
    ) -> float:
        """Return the same of one column with one pattern (lines,), where a row alone may be at another voltage."""
        q, y = network
        line = self.n_rows + col
        live = np.flatnonzero(source[: self.n_rows] != source[line])
        if len(live) != 1:
            return float(self.noise_conductance(source, network, kelvin)[col])
        cell = int(live[0]) * self.n_cols + col
        v = float(q[cell] @ source)
        w = 1.0 + (v * self._per_v_half) ** 2
        g = float(self._g_p[cell]) * w / (w + float(self._tmr[cell]))
        return float(y[line, line]) + g * bias_noise_of(v, kelvin) * float(q[cell, line]) ** 2

    @property
    def in_ap(self) -> BoolArray:
        """(cells,), cells that conduct as in AP."""
        return self._tmr > 0.0
