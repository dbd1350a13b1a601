"""How likely cells leave their state at a voltage: the switching law over cells, field, self-heating and hopping."""

import numpy as np

from labctl.core.units import FloatArray, IntArray, Second, Volt
from sim_backend import hopping, mtj
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
        self._hopping, self._telegraph = simulation.back_hopping, simulation.telegraph
        self._repeats = simulation.telegraph or simulation.back_hopping is not None
        """Whether a cell may switch more than once in a condition."""
        every = np.arange(len(cells.g_p))
        self._drive = cells.drive(every, polarity)
        self._drive_back = cells.drive(every, polarity, back=True)
        self._helped = self._towards(every)
        self._made_delta, self._made_g_p = cells.delta.copy(), cells.g_p.copy()
        self._made_v_c0 = np.minimum(cells.v_c0_p, cells.v_c0_ap)

    def _towards(self, index: IntArray) -> FloatArray:
        """Return the field at cells in units of H_k, positive towards their other state."""
        return np.where(self._cells.state[index], -self._field, self._field)

    def changed(self, index: IntArray) -> None:
        """Take over a change of state or defect of the cells at `index`."""
        self._drive[index] = self._cells.drive(index, self._polarity)
        if self._repeats:
            self._drive_back[index] = self._cells.drive(index, self._polarity, back=True)
        if self._field:
            self._helped[index] = self._towards(index)

    def probability(
        self, voltage: FloatArray, time: Second | FloatArray, index: IntArray | slice = slice(None)
    ) -> FloatArray:
        """Return the probability that each of the cells at `index` has left its state after `time`.

        Of an ideal die 0 or 1. Where cells may switch more than once, that of ending in the other state.

        Args:
            voltage: (..., cells) V across the junctions.
            time: s, for all cells, or (..., 1).
            index: cells, by default all.
        """
        if self._repeats:
            out, back = self.events(voltage, time, index)
            reference = self._reference(voltage, time, index)
            return hopping.left(out, back, reference, self._drive[index] * voltage < 0.0)
        once = self._once(self._drive[index], voltage, time, index, self._helped[index] if self._field else 0.0)
        p = np.asarray(-np.expm1(-once))
        return (p >= 0.5).astype(np.float64) if self._ideal else p

    def events(
        self, voltage: FloatArray, time: Second | FloatArray, index: IntArray | slice = slice(None)
    ) -> tuple[FloatArray, FloatArray]:
        """Return rate times `time` of leaving the state that each cell is in, and of leaving the other; as above."""
        field = self._helped[index] if self._field else 0.0
        out = self._once(self._drive[index], voltage, time, index, field)
        return out, self._once(self._drive_back[index], voltage, time, index, -field)

    def _once(
        self,
        per_volt: FloatArray,
        voltage: FloatArray,
        time: Second | FloatArray,
        index: IntArray | slice,
        field: FloatArray | float,
    ) -> FloatArray:
        """Return rate times `time` of leaving a state, the drive being `per_volt`."""
        drive: FloatArray = per_volt * voltage
        delta: FloatArray = self._cells.delta[index]
        if self._thermal.r_th > 0.0:
            drive, delta = self._heated(drive, delta, self._power(voltage, index))
        return self._law.events(drive, delta, time, field)

    def _power(self, voltage: FloatArray, index: IntArray | slice) -> FloatArray:
        """Return W that cells dissipate."""
        g_p, tmr = (own[index] for own in self._cells.electrical(np.arange(len(self._drive))))
        return np.asarray(np.square(voltage) * mtj.conductance(g_p, tmr, voltage, self._v_half))

    def _reference(
        self, voltage: FloatArray, time: Second | FloatArray, index: IntArray | slice, power: FloatArray | None = None
    ) -> FloatArray:
        """Return how often the reference layers would reverse in `time`; `power` is W that the cells dissipate."""
        if self._hopping is None:
            return np.zeros(np.shape(voltage))
        towards = voltage * self._polarity > 0.0
        v_p, v_ap = (np.inf if v is None else v for v in (self._hopping.v_p, self._hopping.v_ap))
        room = float(self._thermal.barrier(self._thermal.temperature))
        critical = np.where(towards, v_p, v_ap) * (self._cells.hop[index] * room)
        drive = np.abs(voltage) / critical
        delta = np.full(np.shape(drive), self._hopping.delta * room * mtj.TEMPERATURE / self._thermal.temperature)
        if self._thermal.r_th > 0.0:
            drive, delta = self._heated(drive, delta, self._power(voltage, index) if power is None else power)
        often = hopping.reference_layer(drive, delta, time, self._hopping.tau0)
        return np.where(self._cells.delta[index] == NEVER, 0.0, often)

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
        if self._hopping is not None:
            power = voltage**2 * self._made_g_p[part]
            often = [self._reference(np.full(len(delta), v), time, part, power) for v in (voltage, -voltage)]
            p = p - np.expm1(-np.maximum(*often))
        return min(1.0, float(p[delta < NEVER].sum()))

    def _heated(self, drive: FloatArray, delta: FloatArray, power: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return drive and thermal stability of cells that dissipate `power`, in W."""
        thermal = self._thermal
        kelvin = thermal.temperature + thermal.r_th * power
        barrier = thermal.barrier(kelvin) / thermal.barrier(thermal.temperature)
        hot = np.where(delta == NEVER, NEVER, delta * barrier * thermal.temperature / kelvin)
        return drive / barrier, hot
