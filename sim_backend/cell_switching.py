"""How likely cells leave their state at a voltage: the switching law over cells, field and self-heating."""

import numpy as np

from labctl.core.units import FloatArray, IntArray, Second, Volt
from sim_backend import mtj
from sim_backend.cells import NEVER, JunctionCells
from sim_backend.description import Simulation


class CellSwitching:
    """The switching of cells in the states that they are in.

    Args:
        cells: as fabricated; bounds are those of the cells as they are now.
        polarity: 1 if a positive voltage writes P, else -1.
    """

    def __init__(self, cells: JunctionCells, simulation: Simulation, polarity: int) -> None:
        self._cells, self._polarity, self._ideal = cells, polarity, simulation.ideal
        self._v_half, self._thermal = simulation.switching.v_half, simulation.thermal
        self._law, self._field = simulation.switching.law, simulation.switching.reduced_field
        every = np.arange(len(cells.g_p))
        self._drive = cells.drive(every, polarity)
        self._helped = self._towards(every)
        self._made_delta, self._made_g_p = cells.delta.copy(), cells.g_p.copy()
        self._made_v_c0 = np.minimum(cells.v_c0_p, cells.v_c0_ap)

    def _towards(self, index: IntArray) -> FloatArray:
        """Return the field at cells in units of H_k, positive towards their other state."""
        return np.where(self._cells.state[index], -self._field, self._field)

    def changed(self, index: IntArray) -> None:
        """Take over a change of state or defect of the cells at `index`."""
        self._drive[index] = self._cells.drive(index, self._polarity)
        if self._field:
            self._helped[index] = self._towards(index)

    def probability(
        self, voltage: FloatArray, time: Second | FloatArray, index: IntArray | slice = slice(None)
    ) -> FloatArray:
        """Return the probability that each of the cells at `index` leaves its state in `time`; of an ideal die 0 or 1.

        Args:
            voltage: (..., cells) V across the junctions.
            time: s, for all cells, or (..., 1).
            index: cells, by default all.
        """
        drive: FloatArray = self._drive[index] * voltage
        delta: FloatArray = self._cells.delta[index]
        if self._thermal.r_th > 0.0:
            g_p, tmr = (own[index] for own in self._cells.electrical(np.arange(len(self._drive))))
            power = np.square(voltage) * mtj.conductance(g_p, tmr, voltage, self._v_half)
            drive, delta = self._heated(drive, delta, power)
        p = self._law.probability(drive, delta, time, self._helped[index] if self._field else 0.0)
        return (p >= 0.5).astype(np.float64) if self._ideal else p

    def bound(self, voltage: Volt, time: Second, part: slice = slice(None)) -> float:
        """Return an upper bound, at most 1, on the sum of the probabilities of the cells of `part`, whatever they hold.

        Args:
            voltage: V that no cell exceeds, in either direction.
            time: s.
        """
        delta, drive = self._made_delta[part], voltage / self._made_v_c0[part]
        field = abs(self._field)
        p = self._law.probability(drive, delta, time, field)
        if self._thermal.r_th > 0.0:
            hot = self._heated(drive, delta, voltage**2 * self._made_g_p[part])
            p = np.maximum(p, self._law.probability(*hot, time, field))
        return min(1.0, float(p[delta < NEVER].sum()))

    def _heated(self, drive: FloatArray, delta: FloatArray, power: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return drive and thermal stability of cells that dissipate `power`, in W."""
        thermal = self._thermal
        kelvin = thermal.temperature + thermal.r_th * power
        barrier = thermal.barrier(kelvin) / thermal.barrier(thermal.temperature)
        hot = np.where(delta == NEVER, NEVER, delta * barrier * thermal.temperature / kelvin)
        return drive / barrier, hot
