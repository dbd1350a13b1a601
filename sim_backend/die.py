"""The simulated die: physics and circuit behind the interface that protocols see.

It is a pure function of (seed, name, description) and of the patterns it has been given: every pattern has a
running number, and every random number is addressed by it. To give the same bits for any cut of a batch,
nothing here depends on the number of patterns in one call: products of matrices are made in blocks of fixed
shape, in which a pattern's running number gives its place."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.die import DieBody, unknown_operation
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, FlagArray, Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.units import BoolArray, FloatArray, IntArray, Second
from sim_backend.array import Array
from sim_backend.cells import fabricate
from sim_backend.circuit import Circuit
from sim_backend.description import DieDescription
from sim_backend.flicker import cell_flicker
from sim_backend.held_points import HeldPoints
from sim_backend.pattern_time import PatternTime
from sim_backend.readout import Observed, digitise, observe, observe_one
from sim_backend.rng import Stream, first_of

_CHUNK = 512
"""Pulses whose random numbers are drawn together; no result depends on it."""


class SimDie(DieBody):
    """A passive die made from a seed and a description.

    Args:
        description: the die file.
        seed: of the whole simulated world; dies differ by their names.
        name: of this very die, such as "W03-x2y7".

    Raises:
        BenchError: if the description is of a kind that is not simulated.
    """

    def __init__(self, description: DieDescription, *, seed: int, name: str) -> None:
        description.refuse_unsimulated()
        self.description, self.name = description, name
        self._sim = description.simulation.effective
        self._geometry, self._nominal = description.shape, description.nominal
        kernels, n_rows, n_cols = self._geometry.shape
        self._arrays = [Array(fabricate(description, seed, name, k), self._geometry, self._sim) for k in range(kernels)]
        self._cells = cells = n_rows * n_cols
        self._luck = Stream(seed, name, "switching", stride=3 * cells)
        self._chance = Stream(seed, name, "read disturb", stride=1)
        self._victims = Stream(seed, name, "read disturb of cells", stride=cells)
        self._noise = Stream(seed, name, "read noise", stride=n_cols)
        areas, noise = np.pi / 4 * np.square(description.diameters * 1e6), self._sim.noise
        self._flicker = noise.flicker / areas
        self._drift, self._time = cell_flicker(description, seed, name, cells), PatternTime(self._sim.timing.settle)
        gains = Stream(seed, name, "fabrication", "gains of ammeters", stride=kernels * n_cols)
        self._gain = np.exp(noise.gain * gains.normals(0)).reshape(kernels, n_cols)
        self._count = 0
        self._held = HeldPoints(self._arrays, self._geometry)

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        return self._geometry

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances, from the description."""
        return self._nominal

    def truth(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the hidden properties of the cells, each (kernels, n_rows, n_cols); protocols never see it.

        `state` (True is P), `g_p` and `g_ap` (S, at low bias), `tmr0`, `v_c0_p`, `v_c0_ap` and `v_bd` (V),
        `delta`, `endurance`, `stress`, `g_short` (S), `defect` (codes of `sim_backend.cells.FabricatedDefect`); `hop`
        of a die whose cells hop back.
        """
        shape, hops = self._geometry.shape, self._sim.back_hopping is not None
        truth = {
            f.name: np.stack([getattr(a.cells, f.name) for a in self._arrays]).reshape(shape)
            for f in fields(self._arrays[0].cells)
            if hops or f.name != "hop"
        }
        truth["g_ap"] = truth["g_p"] / (1.0 + truth["tmr0"])
        return truth

    # ------------------------------------------------------------- operations

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; of a write plan the longest: every budget used up.

        Raises:
            BenchError: if the lines, kernels or gates are not those of this die, or a read is on another
                kernel than its pulse.
        """
        t = self._sim.timing
        if isinstance(operation, WritePlan):
            self._same_kernel(operation.write, operation.verify)
            pulses = np.clip(operation.budget, 0, len(operation.ladder))
            each = self._pulse_times(operation.write, operation.width) + self._read_time(operation.verify)
            return float(t.operation * (int(pulses.max()) if len(pulses) else 1) + (pulses * each).sum())
        if isinstance(operation, Pulse):
            total = t.operation + float(self._pulse_times(operation.bias, operation.width).sum())
            if operation.verify is not None:
                self._same_kernel(operation.bias, operation.verify)
                total += len(operation) * self._read_time(operation.verify)
            return total
        if not isinstance(operation, Sense):
            raise unknown_operation(self, operation)
        operation.bias.fits(self._geometry)
        return t.operation + len(operation) * (t.pattern + self._read_time(operation))

    def _pulse_times(self, bias: Bias, width: Second) -> FloatArray:
        """Return the (n,) times of pulses."""
        bias.fits(self._geometry)
        t = self._sim.timing
        return t.pattern + width + np.where(bias.pulsed >= 0, 2.0 * t.dwell, 0.0)

    def _read_time(self, sense: Sense) -> Second:
        return self._sim.timing.settle + sense.aperture

    def _same_kernel(self, bias: Bias, verify: Sense) -> None:
        verify.bias.fits(self._geometry)
        if not np.array_equal(bias.kernel, verify.bias.kernel):
            raise BenchError("a pulse and its verify read are on different kernels; they share one route")

    def _sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns; a cell that a read disturbs is seen by the next."""
        self.check(sense)
        n, bias, time = len(sense), sense.bias, self._read_time(sense)
        first, source, driven = self._take(n), *_lines(bias)
        compliance = np.full(source.shape[1], bias.compliance)
        pattern = self._sim.timing.pattern
        seen = Observed.blank(sense, self._time.apertures(np.full(n, pattern), sense), first)
        bound = self._disturb_bounds(sense, source, driven)
        hits = np.flatnonzero(self._chance.uniforms(first, n)[:, 0] < bound)
        for kernel in np.unique(bias.kernel):
            array, index, start = self._arrays[kernel], np.flatnonzero(bias.kernel == kernel), 0
            how = self._reads(int(kernel), seen)

            def read(index: IntArray, circuit: Circuit = array.circuit, how: dict[str, Any] = how) -> None:
                observe(circuit, sense, source, driven, index, seen, **how)

            for hit in hits[bias.kernel[hits] == kernel]:
                stop = int(np.searchsorted(index, hit)) + 1
                read(index[start:stop])
                end = self._disturb(array, source[hit], driven[hit], compliance, time, first + int(hit), bound[hit])
                if end is not None:
                    read(index[stop - 1 : stop])
                    end()
                start = stop
            read(index[start:])
        return self._reading(sense, seen, first, np.zeros(n, np.uint8))

    def _pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses in order, each followed by its verify read."""
        self.check(pulse)
        n, bias, verify = len(pulse), pulse.bias, pulse.verify
        first, source, driven = self._take(n), *_lines(bias)
        compliance = np.full(source.shape[1], bias.compliance)
        times = (self._sim.timing.dwell, pulse.width)
        flag = np.zeros(n, np.uint8)
        begins = self._time.apertures(self._pulse_times(bias, pulse.width), verify)
        reads = None if verify is None else _Reads(self, verify, Observed.blank(verify, begins, first))
        for i in range(n):
            if i % _CHUNK == 0:
                luck = self._luck.uniforms(first + i, min(_CHUNK, n - i)).reshape(-1, 3, self._cells)
            array = self._arrays[bias.kernel[i]]
            if array.pulse(source[i], driven[i], compliance, int(bias.pulsed[i]), times, luck[i % _CHUNK]):
                flag[i] = Flag.COMPLIANCE
            if reads is not None:
                reads.take(array, int(bias.kernel[i]), i)
        if verify is None or reads is None:
            return Reading(np.zeros((n, 0)), np.zeros((n, 0), np.uint8), flag)
        return self._reading(verify, reads.seen, first, flag)

    def probe(self, leads: FloatArray) -> None:
        """Put resistances in series with the lines, as needles, relays and cables do; those of an earlier call go.

        They act within `sense`, `pulse` and `hold`: a voltage is that of a source behind them, and no cell gets more.

        Args:
            leads: (kernels, lines) ohm, rows first, then columns.

        Raises:
            BenchError: of another shape, negative or not finite.
        """
        shape = len(self._arrays), self._geometry.n_rows + self._geometry.n_cols
        if leads.shape != shape or not (np.isfinite(leads).all() and (leads >= 0.0).all()):
            raise BenchError(f"resistances of lines of shape {leads.shape}; expected {shape}, finite and not negative")
        for array, of_lines in zip(self._arrays, leads, strict=True):
            array.circuit = array.wired(of_lines)
        self._held.forget()

    def idle(self) -> None:
        """Make every line safe: between operations this die has no line up, and nothing to take down."""

    def hold(
        self, kernel: int, voltage: FloatArray, driven: BoolArray, compliance: FloatArray, duration: Second
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Apply one static condition to a kernel for `duration` and return the lines as they are at its end.

        The base of emulated instruments, which add ranges, noise and time. It counts as one pattern, unless `duration`
        is 0.

        Args:
            kernel: number of the kernel.
            voltage: (lines,) V at the sources, rows first, then columns.
            driven: (lines,), False is a floating line.
            compliance: (lines,) A, largest magnitude of each source.
            duration: s; 0 returns the condition at once.

        Returns:
            line voltage (lines,) V, line current (lines,) A into the array, mask of lines in compliance.

        Raises:
            BenchError: if the kernel does not exist or an argument has a wrong shape or is not finite.
        """
        point = self._held.point(kernel, voltage, driven, compliance, duration)
        if duration > 0 and self._arrays[kernel].suffer(
            point, duration, self._luck.uniforms(self._take(1))[0, : self._cells]
        ):
            point = self._held.anew(kernel, voltage, driven, compliance, duration)
        return point.line_voltage, point.line_current, point.limited

    def version(self, kernel: int) -> int:
        """Return how often cells of a kernel have changed: at the same version, a hold of no duration answers alike."""
        return self._arrays[kernel].circuit.version

    def seek(self, operation: int) -> None:
        """Set the random stream of `hold` to the position of `operation`, independent of earlier operations.

        A world that is built anew then draws the same random numbers in the same operation.
        """
        self._count = first_of(operation)
        if self._drift is not None:
            self._drift.seek(operation)

    # ---------------------------------------------------------------- helpers

    def _take(self, n: int) -> int:
        """Number n patterns and return the number of the first."""
        first = self._count
        self._count += n
        return first

    def _reads(self, kernel: int, seen: Observed) -> dict[str, Any]:
        """Return the temperature of a kernel's cells and their 1/f noise in the apertures of `seen`."""
        kelvin, drift, circuit = self._sim.thermal.temperature, self._drift, self._arrays[kernel].circuit
        if drift is None:
            return {"kelvin": kelvin}

        return {"kelvin": kelvin, "fluctuation": lambda index: drift.of(kernel, kernel, circuit.in_ap, index, seen)}

    def _disturb_bounds(self, sense: Sense, source: FloatArray, driven: BoolArray) -> FloatArray:
        """Return (n,) upper bounds on the probability that a read disturbs any cell."""
        bound = np.zeros(len(sense))
        if self._sim.disturb and len(sense):
            high = np.where(driven, source, -np.inf).max(axis=1)
            low = np.where(driven, source, np.inf).min(axis=1)
            span = np.where(driven.any(axis=1), high - low, 0.0)
            for kernel in np.unique(sense.bias.kernel):
                here = sense.bias.kernel == kernel
                bound[here] = self._arrays[kernel].disturb_bound(span[here], self._read_time(sense))
        return bound

    def _disturb(
        self,
        array: Array,
        source: FloatArray,
        driven: BoolArray,
        compliance: FloatArray,
        time: Second,
        number: int,
        bound: float,
    ) -> Callable[[], None] | None:
        """Apply the disturb of a read that drew below its bound, each cell with its exact probability.

        With telegraph noise, if a cell left its state, the array is left as the read sees it, and what is returned
        makes it what it is in the end.
        """
        point = array.circuit.operating_point(source, driven, compliance)
        # thinning: this happens with probability `bound`, so each cell switches with bound * (p / bound)
        uniform = self._victims.uniforms(number)[0] * bound
        if self._sim.telegraph:
            opens = self._sim.timing.settle / time
            return array.follow(point, time, opens, uniform, partial(self._victims.sequence, number))
        array.suffer(point, time, uniform)
        return None

    def _reading(self, sense: Sense, seen: Observed, first: int, flag: FlagArray) -> Reading:
        """Return noise-free readings with noise and quantisation added."""
        normal = np.zeros(sense.cols.shape)
        if not self._sim.ideal and len(sense):
            uniform = self._noise.uniforms(first, len(sense))
            normal = np.asarray(scipy.special.ndtri(np.take_along_axis(uniform, sense.cols, axis=1)))
            if self._sim.noise.gain:
                seen.current[:] *= np.take_along_axis(self._gain[sense.bias.kernel], sense.cols, axis=1)
        flicker = self._flicker[sense.bias.kernel][:, None]
        return Reading(*digitise(seen, normal, flicker, self._sim), flag)


class _Reads:
    """The verify reads of a batch of pulses, taken one by one."""

    def __init__(self, die: SimDie, verify: Sense, seen: Observed) -> None:
        self._die, self._verify, self.seen = die, verify, seen
        self._source, self._driven = _lines(verify.bias)
        self._compliance = np.full(self._source.shape[1], verify.bias.compliance)
        self._bound = die._disturb_bounds(verify, self._source, self._driven)
        first = int(seen.number[0]) if len(verify) else 0
        self._hit = die._chance.uniforms(first, len(verify))[:, 0] < self._bound
        self._how = {kernel: die._reads(kernel, seen) for kernel in range(die.geometry.kernels)}

    def take(self, array: Array, kernel: int, i: int) -> None:
        """Take the read of pattern `i`, which is on the array of `kernel`."""
        e, driven, how = self._source[i], self._driven[i], self._how[kernel]
        observe_one(array.circuit, e, driven, self._compliance, self._verify.cols[i], i, self.seen, **how)
        if self._hit[i]:
            time, number = self._die._read_time(self._verify), int(self.seen.number[i])
            end = self._die._disturb(array, e, driven, self._compliance, time, number, self._bound[i])
            if end is not None:
                observe_one(array.circuit, e, driven, self._compliance, self._verify.cols[i], i, self.seen, **how)
                end()


def _lines(bias: Bias) -> tuple[FloatArray, BoolArray]:
    """Return the voltages (n, lines) of the lines, 0 where floating, and which are driven."""
    source = np.concatenate([bias.row, bias.col], axis=1)
    if bias.floating is None:
        return source, np.ones(source.shape, np.bool_)
    return np.where(bias.floating, 0.0, source), ~bias.floating
