"""What a board does to its chip and reads of it, compared with limits and with the chip alone, in any number.

For the tests of the driver and for `benchmarks/board.py`, which differ in how many patterns they take.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from instruments.daffodil import Daffodil
from instruments.daffodil_plan import Options
from instruments.open_board import BareBoard, BoardDie
from labctl.core.bias import Bias, Geometry
from labctl.core.cell_voltage import extremes
from labctl.core.errors import BenchError, LimitError
from labctl.core.limits import Limits
from labctl.core.operations import Operation, Pulse, Reading, Sense, WritePlan
from labctl.core.units import FloatArray, IntArray
from protocols.bias import read_bias, write_bias
from sim_backend.chip import ChipDie
from tests.small_chip import STILL, OnBoard, chip, on_board, read

STEP = 5.0 / 4096
"""V, of the converters."""
NOISY = {**STILL, "noise": {"relative": 0.005, "absolute": 0.6e-6}}

# -- limits, in every mode

LIMITS = Limits(
    v_towards_p=0.6, v_towards_ap=0.5, width=1e-3, compliance=5e-3, v_gate=2.5, v_count=0.5, pulses_per_cell=10**9
)
BATCH = 10
"""Patterns of one operation."""
MODES = ("read", "pulse", "pulse with its read", "write plan on the board")
BOARDS: dict[str, dict[str, Any]] = {
    "all lines good": {},
    "two bad lines": {"options": {"bad_rows": [1], "bad_cols": [0]}},
    "a reference of 2.1 V": {"options": {"reference": 2.1}},
    "a die of polarity -1": {"polarity": -1},
}


@dataclass
class Driven:
    """What became of random patterns about the limits.

    Args:
        done, refused: patterns, by mode.
        towards_p, towards_ap, gate: highest cell and gate voltages in the audit of the emulated board, V, by direction
            of the die, transients between patterns included.
        trouble: what the chip could not do, in words.
    """

    done: dict[str, int]
    refused: dict[str, int]
    towards_p: float
    towards_ap: float
    gate: float
    trouble: list[str]

    @property
    def within(self) -> bool:
        """Whether no cell and no gate has seen more than the limits."""
        most = self.towards_p <= LIMITS.v_towards_p and self.towards_ap <= LIMITS.v_towards_ap
        return most and self.gate <= LIMITS.v_gate and not self.trouble


def random_operation(rng: np.random.Generator, geometry: Geometry, mode: str, good_cols: IntArray) -> Operation:
    """Return an operation of a mode, whose peaks are about the limits, some below and some above.

    Args:
        good_cols: columns whose cells are written by a plan.
    """
    kernels, rows, cols = geometry.shape
    kernel = rng.integers(0, kernels, BATCH)
    up, down = LIMITS.v_towards_p, LIMITS.v_towards_ap
    if geometry.polarity < 0:
        up, down = down, up
    about = rng.uniform(0.6, 1.1)

    def bias(reads: bool) -> Bias:
        shape = (BATCH, rows), (BATCH, cols)
        row, col = (rng.uniform(-1, 1, s) * (rng.random(s) < rng.uniform(0.3, 1)) for s in shape)
        floating = rng.random((BATCH, rows + cols)) < rng.choice([0.0, 0.3])
        gate = rng.uniform(0, 1.005 * LIMITS.v_gate, (BATCH, rows)) * (rng.random((BATCH, rows)) < 0.5)
        one = Bias(row, 0 * col if reads else col, gate, floating, kernel=kernel)
        peaks = extremes(one)
        return one.scaled(about / max(float(peaks.positive.max()) / up, float(peaks.negative.max()) / down, 0.1))

    sense = Sense(bias(True), np.arange(cols), 20e-6)
    if mode == "read":
        return sense
    if mode != "write plan on the board":
        return Pulse(bias(False), 1e-6, sense if mode == "pulse with its read" else None)
    row, col = rng.integers(0, rows, BATCH), rng.choice(good_cols, BATCH)
    target, volts = rng.random(BATCH) < 0.5, rng.uniform(0.05, 0.2)
    gate = {"v_gate": rng.uniform(0.8, 1.02) * LIMITS.v_gate}
    return WritePlan(
        write=write_bias(geometry, kernel, row, col, target, **gate),
        verify=Sense(read_bias(geometry, kernel, row, col, volts, **gate), col[:, None]),
        target=target,
        cut=np.full(BATCH, 2e-4),
        v_read=volts,
        ladder=np.sort(rng.uniform(0.3, 1.0, 3)) * about * min(up, down),
        budget=rng.integers(1, 4, BATCH),
        width=1e-6,
    )


def driven_at_random(on: OnBoard, patterns: int, seed: int = 11) -> Driven:
    """Return what becomes of at least so many random patterns that the limits let through, of all modes alike.

    What the board does to its chip is judged, not what the chip does: it carries no current here.
    """

    def nothing(operation: Sense | Pulse) -> Reading:
        sense = operation if isinstance(operation, Sense) else operation.verify
        n, m = len(operation), 0 if sense is None else sense.cols.shape[1]
        return Reading(np.zeros((n, m)), np.zeros((n, m), np.uint8), np.zeros(n, np.uint8))

    on.server.board.chip.perform = nothing  # type: ignore[method-assign, assignment]
    die, rng = BoardDie(BareBoard(on.board, on.board.nominal), LIMITS), np.random.default_rng(seed)
    on.board.keep_within(LIMITS)
    good_cols = np.setdiff1d(np.arange(die.geometry.n_cols), sorted(on.options.bad_cols))
    done, refused = dict.fromkeys(MODES, 0), dict.fromkeys(MODES, 0)
    while min(done.values()) < patterns / len(MODES):
        mode = min(MODES, key=done.__getitem__)
        operation = random_operation(rng, die.geometry, mode, good_cols)
        try:
            attempts = die.perform(operation)  # type: ignore[call-overload]
            done[mode] += 2 * len(attempts.cell) if isinstance(operation, WritePlan) else len(operation)
        except (LimitError, BenchError):  # beyond a limit, or beyond what the converters reach
            refused[mode] += len(operation)
    audit = on.server.board.audit
    peaks = (audit.towards_p, audit.towards_ap)[:: die.geometry.polarity]
    return Driven(done, refused, *peaks, audit.gate, audit.refused)


def board_of(which: str) -> OnBoard:
    """Return one of `BOARDS` around a small chip."""
    keys = BOARDS[which]
    return on_board(chip(2, 3, 2, polarity=keys.get("polarity", 1), **STILL), options=keys.get("options", {}))


# -- consistency with the chip behind the same converters


@dataclass(frozen=True)
class Consistency:
    """Codes of a board beside those of the chip alone behind the same converters.

    Args:
        readings: how many.
        other: how many have another code.
        apart: most codes between two of them.
        edge: of those of another code, the largest distance from an edge between two codes, V; 0 without one.
    """

    readings: int
    other: int
    apart: int
    edge: float


def codes_of_the_chip(die: ChipDie, sense: Sense, options: Options) -> tuple[FloatArray, FloatArray]:
    """Return the codes of a bare chip behind the same converters, computed here, and how near each is to an edge, V."""
    row = np.trunc(sense.bias.row / STEP + 1e-6 * np.sign(sense.bias.row)) * STEP
    assert sense.bias.gate is not None
    gate = np.floor((sense.bias.gate + 1.7) / STEP + 1e-6) * STEP - 1.7
    bias = Bias(row, sense.bias.col, gate.clip(min=0), kernel=sense.bias.kernel, compliance=40e-3)
    width = np.ceil((20e-6 + max(sense.aperture, 2 * 50e-6 * sense.cols.shape[1])) / options.clock - 1e-6)
    current = die.sense(Sense(bias, sense.cols, width * options.clock)).current
    exact = (2.5 - current * options.pots[1][sense.cols]) / STEP
    return np.rint(exact), np.abs(np.abs(exact - np.floor(exact)) - 0.5) * STEP


def codes_of(reading: Reading, board: Daffodil, sense: Sense) -> FloatArray:
    """Return the codes that a board has read."""
    ohm = board._options.pots[1][sense.cols]
    return np.asarray(np.rint(board._zero[sense.cols] - reading.current * ohm / STEP))


def vectors(die: ChipDie, n: int, seed: int) -> Sense:
    """Return reads of all columns at n random vectors of up to 0.1 V on all rows of random kernels, gates at 1.6 V."""
    rng = np.random.default_rng(seed)
    kernels, rows, cols = die.geometry.shape
    gate = np.broadcast_to(np.full((1, rows), 1.6), (n, rows))
    kernel = np.sort(rng.integers(0, kernels, n))
    bias = Bias(rng.uniform(-0.1, 0.1, (n, rows)), np.zeros((n, cols)), gate, kernel=kernel)
    return Sense(bias, np.broadcast_to(np.arange(cols), (n, cols)))


def _first(on: OnBoard) -> None:
    """Have the board taken and set up."""
    on.board.sense(read(on.board, np.array([0]), np.array([2]), np.array([1])))


def without_noise(readings: int) -> Consistency:
    """Compare at least so many readings of a chip whose noise is far below a code: its cells, and random vectors."""
    shape = (2, 25, 25)
    on, alone = on_board(chip(*shape, **STILL)), chip(*shape, **STILL)
    alone.bare()
    _first(on)
    row, col = (index.ravel() for index in np.indices(shape[1:]))
    total = other = apart = number = 0
    edge = 0.0
    while total < readings:
        sense = vectors(alone, 800, number) if number else read(alone, np.zeros(625, np.int64), row, col)
        sense = sense.take(np.arange(min(len(sense), -(-(readings - total) // sense.cols.shape[1]))))
        on.server.board.chip.seek(number)
        alone.seek(number)
        codes = codes_of(on.board.sense(sense), on.board, sense)
        expected, near = codes_of_the_chip(alone, sense, on.options)
        different = codes != expected
        apart = max(apart, int(np.abs(codes - expected).max()))
        edge = max(edge, float(near[different].max(initial=0.0)))
        total, other, number = total + codes.size, other + int(different.sum()), number + 1
    return Consistency(total, other, apart, edge)


def with_noise(readings: int) -> tuple[int, float, float, float]:
    """Compare readings of one vector of a chip with noise.

    Returns:
        Number of readings; mean of board less chip, in codes; variance of the board over that of the chip; and the
        smallest variance of a column, in codes squared, which shows that there is noise.
    """
    on, alone = on_board(chip(1, 25, 25, **NOISY)), chip(1, 25, 25, **NOISY)
    alone.bare()
    n = -(-readings // 25)
    sense = vectors(alone, 1, 5).take(np.zeros(n, np.int64))
    _first(on)
    on.server.board.chip.seek(1)
    alone.seek(2)
    codes = codes_of(on.board.sense(sense), on.board, sense)
    expected, _ = codes_of_the_chip(alone, sense, on.options)
    variance = codes.var(axis=0)
    ratio = float(variance.mean() / expected.var(axis=0).mean())
    return codes.size, float((codes - expected).mean()), ratio, float(variance.min())
