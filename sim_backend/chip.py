"""The simulated integrated chip: kernels of 1T1R cells and the board that drives them, behind the interface of a die.

Unlike in the passive die, a closed gate takes a row out of the circuit. With one gate open, as in writing and reading
back cells, thousands of cells of all kernels are computed at once (`sim_backend.chip_path`, `chip_row`); pulses on
the same cell act one after the other in rounds. With several gates open, as in inference, read-out is a matrix product
(`chip_kernel`). Any other pattern is solved by itself, exactly and slowly (`chip_point`). The method depends on the
pattern alone, and every random number is addressed by the pattern's running number: results are the same to the bit
for any cut of a batch.

The board sets all lines, then opens the gates, and the gates make the width of a pulse: no line waits half-selected.
"""

from dataclasses import fields
from functools import partial

import numpy as np
import numpy.typing as npt

from labctl.core.bias import Bias, Geometry, Kind, Nominal
from labctl.core.die import DieBody, unknown_operation
from labctl.core.die_file import parallel_conductance
from labctl.core.errors import BenchError
from labctl.core.operations import Flag, FlagArray, Operation, Pulse, Reading, Sense
from labctl.core.units import FloatArray, IntArray, Second, Volt
from sim_backend.cells import JunctionCells, fabricate
from sim_backend.chip_board import Board
from sim_backend.chip_cells import ChipCells
from sim_backend.chip_limits import BoardLimits
from sim_backend.chip_path import Path, series_path
from sim_backend.chip_patterns import Patterns, ranks, snapshots
from sim_backend.chip_readout import ChipCircuit, all_columns
from sim_backend.description import DieDescription
from sim_backend.flicker import cell_flicker
from sim_backend.pattern_time import PatternTime
from sim_backend.readout import Observed, digitise
from sim_backend.rng import Stream, first_of
from sim_backend.transistor import Transistors


class ChipDie(DieBody):
    """An integrated chip made from a seed and a description.

    Args:
        description: the die file, of kind 1T1R.
        seed: of the whole simulated world; dies differ by their names.
        name: of this very die, such as "W03-x2y7".

    Raises:
        BenchError: if the description is of another kind.
    """

    def __init__(self, description: DieDescription, *, seed: int, name: str) -> None:
        sim = description.simulation.effective
        if description.geometry.kind is not Kind.ONE_T_ONE_R or sim.transistor is None or sim.board is None:
            raise BenchError(f"this simulated die is 1T1R; the die file '{description.name}' says passive")
        self.description, self.name, self.seed = description, name, seed
        self._sim, self._board = sim, sim.board
        self._geometry, self._nominal = description.shape, description.nominal
        kernels, n_rows, n_cols = self._geometry.shape
        made = JunctionCells.join([fabricate(description, seed, name, k) for k in range(kernels)])
        self._memory = ChipCells(made, self._geometry, sim)
        cells, reference = kernels * n_rows * n_cols, self._board.reference
        self._transistors = Transistors(sim.transistor, cells, reference, seed=seed, name=name)
        self._drift, self._time = cell_flicker(description, seed, name, n_cols), PatternTime(sim.timing.settle)
        self._circuit = ChipCircuit(self._memory, self._geometry, sim, self._transistors, self._drift)
        bare = parallel_conductance(description.diameters, description.junction.ra)
        self._limits = BoardLimits(self._geometry, bare, sim, sim.transistor, self._board)
        self._switching = Stream(seed, name, "switching", stride=1)
        self._switching_any = Stream(seed, name, "switching of any cell", stride=n_rows * n_cols)
        self._chance = Stream(seed, name, "read disturb", stride=1)
        self._victims = Stream(seed, name, "read disturb of cells", stride=n_rows * n_cols)
        self._noise = Stream(seed, name, "read noise", stride=n_cols)
        offsets = Stream(seed, name, "fabrication", "offsets", stride=kernels * n_cols).normals(0)
        self._offset = self._board.offset * offsets.reshape(kernels, n_cols)
        gains = Stream(seed, name, "fabrication", "gains of amplifiers", stride=kernels * n_cols).normals(0)
        self._gain = np.exp(self._board.gain * gains).reshape(kernels, n_cols)
        self._flicker = sim.noise.flicker / (np.pi / 4 * np.square(description.diameters * 1e6))
        self._count = 0

    def bare(self) -> None:
        """Be the chip alone from now on: converters, amplifiers and clock are those of whatever drives it.

        Line voltages and pulse widths are applied and currents returned as they are, noise included.
        """
        board = self._board.model_copy(update={"dac_lsb": 0.0, "offset": 0.0, "gain": 0.0, "clock": 0.0})
        converter = self._sim.converter.model_copy(update={"lsb": 0.0, "full_scale": np.inf})
        self._sim = self._sim.model_copy(update={"board": board, "converter": converter})
        self._board, self._offset, self._gain = board, 0.0 * self._offset, np.ones_like(self._gain)
        bare = parallel_conductance(self.description.diameters, self.description.junction.ra)
        assert self._sim.transistor is not None
        self._limits = BoardLimits(self._geometry, bare, self._sim, self._sim.transistor, board)

    @property
    def opens_above(self) -> Volt:
        """Gate voltage up to which every transistor is closed."""
        return self._transistors.opens_above

    @property
    def board(self) -> Board:
        """The board as the die file has it, or the part of it that `bare` leaves."""
        return self._board

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        return self._geometry

    @property
    def nominal(self) -> Nominal:
        """Nominal conductances, from the description, the transistor in series."""
        return self._nominal

    def truth(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the hidden properties of the cells, each (kernels, n_rows, n_cols); protocols never see it.

        `state` (True is P), `g_p` and `g_ap` (S, of the junction at low bias), `tmr0`, `v_c0_p`, `v_c0_ap` and `v_bd`
        (V), `delta`, `endurance`, `stress`, `g_short` (S), `defect` (codes of `sim_backend.cells.FabricatedDefect`),
        `v_threshold` (V) and `gain` (A/V^2) of the transistors; `hop` of a die whose cells hop back.
        """
        cells, shape, hops = self._memory.cells, self._geometry.shape, self._sim.back_hopping is not None
        names = [f.name for f in fields(cells) if hops or f.name != "hop"]
        truth = {name: getattr(cells, name).reshape(shape).copy() for name in names}
        truth["g_ap"] = truth["g_p"] / (1.0 + truth["tmr0"])
        every = np.arange(cells.g_p.size)
        truth["v_threshold"] = np.broadcast_to(self._transistors.threshold(every), every.shape).reshape(shape)
        truth["gain"] = np.broadcast_to(1.0 / self._transistors.inverse_gain(every), every.shape).reshape(shape)
        return truth

    # ------------------------------------------------------------- operations

    def check(self, operation: Operation) -> Second:
        """Return the predicted time of `operation`, in s; of a write plan the longest: every budget used up.

        Raises:
            BenchError: if the lines, kernels or gates are not those of this die, a read is on another kernel than
                its pulse, a voltage is beyond the board, or a read could exceed the converter's full scale.
        """
        if not isinstance(operation, Operation):
            raise unknown_operation(self, operation)
        return self._limits.check(operation)

    def _sense(self, sense: Sense) -> Reading:
        """Read the column currents of n patterns; a cell that a read disturbs is seen by the next."""
        self.check(sense)
        n, first = len(sense), self._take(len(sense))
        begins = self._time.apertures(np.full(n, self._sim.timing.pattern), sense)
        at, seen = self._patterns(sense.bias), Observed.blank(sense, begins, first)
        hits, bound = self._hits(sense, at, first)
        start = 0
        for hit in hits:
            self._circuit.observe(sense, at, slice(start, int(hit) + 1), seen)
            self._disturb(sense, at, int(hit), first, bound[hit], seen)
            start = int(hit) + 1
        self._circuit.observe(sense, at, slice(start, n), seen)
        return self._reading(sense, seen, first, np.zeros(n, np.uint8))

    def _pulse(self, pulse: Pulse) -> Reading:
        """Apply n pulses in order, each followed by its verify read."""
        self.check(pulse)
        n, first, verify = len(pulse), self._take(len(pulse)), pulse.verify
        at, flag = self._patterns(pulse.bias), np.zeros(n, np.uint8)
        simple = at.single_path
        reads: Patterns | None = None
        hits: IntArray = np.zeros(0, np.int64)
        bound: FloatArray = np.zeros(n)
        before = np.full(n, self._sim.timing.pattern + self._board.width(pulse.width))
        seen = Observed.blank(verify, self._time.apertures(before, verify), first)
        if verify is not None:
            reads = self._patterns(verify.bias)
            simple = simple & (reads.gates == 1) & (reads.gate == at.gate)
            hits, bound = self._hits(verify, reads, first)
        # cut where a verify read disturbs, and between pulses that are paths and those that are not
        cuts = np.concatenate([[0], hits + 1, np.flatnonzero(np.diff(simple)) + 1, [n]])
        cuts = np.unique(cuts)
        disturbs = set(hits.tolist())
        for start, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            if simple[start]:
                self._write_paths(pulse, at, reads, slice(start, stop), first, seen, flag)
            else:
                for i in range(start, stop):
                    self._write_any(pulse, at, i, first, flag)
                    if verify is not None and reads is not None:
                        self._circuit.observe(verify, reads, slice(i, i + 1), seen)
            if stop - 1 in disturbs and verify is not None and reads is not None:
                self._disturb(verify, reads, stop - 1, first, bound[stop - 1], seen)
        if verify is None:
            return Reading(np.zeros((n, 0)), np.zeros((n, 0), np.uint8), flag)
        return self._reading(verify, seen, first, flag)

    def idle(self) -> None:
        """Make every line safe: between operations this die has no line up, and nothing to take down."""

    # ----------------------------------------------------------------- pulses

    def _write_paths(
        self,
        pulse: Pulse,
        at: Patterns,
        reads: Patterns | None,
        part: slice,
        first: int,
        seen: Observed,
        flag: FlagArray,
    ) -> None:
        """Apply the pulses of `part`, each a single path, and take their verify reads, which are on the same rows."""
        memory, law = self._memory, self._circuit.law
        n, width, most = part.stop - part.start, self._board.width(pulse.width), pulse.bias.compliance
        row, col = at.gate[part], at.col_driven[part]
        cell = self._circuit.cell(at.kernel[part], row, col)
        each, gate = np.arange(n), at.gate_voltage[part]
        source, sink = at.row[part][each, row], at.col[part][each, col]
        beside, below = self._circuit.wires(row, col)
        uniform = self._switching.uniforms(first + part.start, n)[:, 0]
        before = memory.g_p.copy(), memory.tmr.copy()
        after_g, after_tmr, flags = np.empty(n), np.empty(n), np.zeros(n, np.uint8)

        def paths(same: IntArray) -> Path:
            c = cell[same]
            stacks = self._circuit.stacks(c, memory.g_p[c], memory.tmr[c], gate[same])
            return series_path(law, source[same], sink[same], stacks, beside[same], below[same], most)

        for same in ranks(cell):
            path, c = paths(same), cell[same]
            over = path.limited
            broken = memory.suffer(c, path.junction, width, uniform[same])
            after_g[same], after_tmr[same] = memory.g_p[c], memory.tmr[c]
            if broken.any():
                over = over | (broken & paths(same).limited)
            flags[same] = np.where(over, Flag.COMPLIANCE, 0)
        flag[part] = flags
        if pulse.verify is None or reads is None:
            return
        group = at.kernel[part] * self._geometry.n_rows + row
        rows = self._circuit.row_cells(at.kernel[part], row)
        g, tmr = snapshots(group, col, (after_g, after_tmr), (before[0][rows], before[1][rows]))
        self._circuit.observe_rows(pulse.verify, reads, np.arange(part.start, part.stop), g, tmr, seen)

    def _write_any(self, pulse: Pulse, at: Patterns, i: int, first: int, flag: FlagArray) -> None:
        """Apply pulse `i`, of any kind."""
        cells = np.arange(self._geometry.n_rows * self._geometry.n_cols)
        own = int(at.kernel[i]) * len(cells) + cells
        point, _ = self._circuit.operating_point(at, i, pulse.bias.compliance)
        uniform = self._switching_any.uniforms(first + i)[0]
        width = self._board.width(pulse.width)
        if self._memory.suffer(own, point.cell_voltage, width, uniform).any():
            point, _ = self._circuit.operating_point(at, i, pulse.bias.compliance)
        flag[i] = Flag.COMPLIANCE if point.limited.any() else 0

    # ------------------------------------------------------------------ reads

    def _hits(self, sense: Sense, at: Patterns, first: int) -> tuple[IntArray, FloatArray]:
        """Return the reads that may disturb, drawn with upper bounds (n,) of their probability, and the bounds."""
        if not (self._sim.disturb and len(sense)):
            return np.zeros(0, np.int64), np.zeros(len(sense))
        bound = self._memory.disturb_bound(at.kernel, at.span, self._limits.read_time(sense))
        return np.flatnonzero(self._chance.uniforms(first, len(sense))[:, 0] < bound), bound

    def _disturb(self, sense: Sense, at: Patterns, i: int, first: int, bound: float, seen: Observed) -> None:
        """Apply the disturb of a read that drew below its bound, each cell with its exact probability.

        With telegraph noise the read is taken again, of the mean of what the cells were in its aperture.
        """
        uniform, time = self._victims.uniforms(first + i)[0], self._limits.read_time(sense)
        if at.single_row[i]:
            one, here = np.array([i]), slice(int(at.gate[i]) * self._geometry.n_cols, None)
            own = self._circuit.row_cells(at.kernel[one], at.gate[one])
            voltage = self._circuit.open_rows(at, one, self._memory.g_p[own], self._memory.tmr[own]).junction[:, 0]
            own, uniform = own[0], uniform[here][: len(voltage)]
        else:
            voltage = self._circuit.operating_point(at, i, sense.bias.compliance)[0].cell_voltage
            own = int(at.kernel[i]) * len(uniform) + np.arange(len(uniform))
        # thinning: this happens with probability `bound`, so each cell switches with bound * (p / bound)
        if not self._sim.telegraph:
            self._memory.suffer(own, voltage, time, uniform * bound)
            return
        opens, draw = self._sim.timing.settle / time, partial(self._victims.sequence, first + i)
        end = self._memory.follow(own, voltage, time, opens, uniform * bound, draw)
        if end is not None:
            self._circuit.observe(sense, at, slice(i, i + 1), seen)
            end()

    def seek(self, operation: int) -> None:
        """Set the random streams to the position of `operation`, independent of earlier operations."""
        self._count = first_of(operation)
        if self._drift is not None:
            self._drift.seek(operation)

    @property
    def number(self) -> int:
        """Running number of the next pattern, by which its random numbers are addressed."""
        return self._count

    @number.setter
    def number(self, number: int) -> None:
        self._count = number

    # ---------------------------------------------------------------- helpers

    def _take(self, n: int) -> int:
        """Number n patterns and return the number of the first."""
        first = self._count
        self._count += n
        return first

    def _patterns(self, bias: Bias) -> Patterns:
        return Patterns(bias, self._transistors.opens_above, self._board.dac_lsb)

    def _reading(self, sense: Sense, seen: Observed, first: int, flag: FlagArray) -> Reading:
        """Return noise-free readings with the amplifiers' gains and offsets, noise and quantisation put in."""
        n, cols = len(sense), sense.cols
        gain: FloatArray = self._gain[sense.bias.kernel]
        offset: FloatArray = self._offset[sense.bias.kernel]
        normal: FloatArray = np.zeros(cols.shape if self._sim.ideal or not n else 0, np.float32)
        every = all_columns(cols, self._geometry.n_cols)
        if not self._sim.ideal and n:
            drawn = self._noise.quick_normals(first, n)
            normal = drawn if every else np.take_along_axis(drawn, cols, axis=1)
            if self._board.gain:
                seen.current[:] *= gain if every else np.take_along_axis(gain, cols, axis=1)
            seen.current[:] += offset if every else np.take_along_axis(offset, cols, axis=1)
        flicker = self._flicker[sense.bias.kernel][:, None]
        return Reading(*digitise(seen, normal, flicker, self._sim), flag)
