"""A box of resistors in place of a die, to check a bench before a die is at risk.

Exact linear circuit: `n_rows + n_cols` lines, a conductance at every crossing, wires without resistance.
"""

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.errors import BenchError
from labctl.core.units import BoolArray, FloatArray, Second


class ResistorBox:
    """A load with fixed conductances.

    Args:
        conductance: (kernels, n_rows, n_cols) S.
    """

    def __init__(self, conductance: FloatArray) -> None:
        if conductance.ndim != 3 or not (np.isfinite(conductance).all() and (conductance >= 0).all()):
            raise BenchError(
                f"conductances of shape {conductance.shape}; expected (kernels, rows, columns), not negative"
            )
        self.conductance = conductance
        self.geometry = Geometry(*conductance.shape)
        self.held: list[tuple[int, FloatArray, Second]] = []

    def hold(
        self, kernel: int, voltage: FloatArray, driven: BoolArray, compliance: FloatArray, duration: Second
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return line voltages in V, currents into the lines in A and the lines at their compliance.

        Lines over their compliance become current sources one after the other, the worst first; `held` keeps
        the voltages applied and their times.
        """
        g = self.conductance[kernel]
        n_rows, lines = g.shape[0], sum(g.shape)
        nodes = np.zeros((lines, lines))
        nodes[:n_rows, n_rows:] = -g
        nodes[n_rows:, :n_rows] = -g.T
        nodes[np.diag_indices(lines)] = -nodes.sum(axis=1)
        fixed, limited, injected = driven.copy(), np.zeros(lines, np.bool_), np.zeros(lines)
        for _ in range(lines + 1):
            free = ~fixed
            volts = np.where(fixed, voltage, 0.0)
            if free.any():
                right = injected[free] - nodes[np.ix_(free, fixed)] @ volts[fixed]
                volts[free] = np.linalg.lstsq(nodes[np.ix_(free, free)], right, rcond=None)[0]
            current = np.where(driven, nodes @ volts, 0.0)
            over = np.where(fixed, np.abs(current) - compliance, -np.inf)
            worst = int(np.argmax(over))
            if over[worst] <= 1e-12 * max(float(np.abs(current[worst])), 1e-12):
                break
            fixed[worst], limited[worst] = False, True
            injected[worst] = np.copysign(compliance[worst], current[worst])
        if duration > 0:
            self.held.append((kernel, volts.copy(), duration))
        return volts, current, limited

    def version(self, kernel: int) -> int:
        """Return 0: its conductances never change."""
        return 0
