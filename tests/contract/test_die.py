"""What every die promises, simulated, rehearsed or behind its limits; a line in `DIES` tests another one.

A factory makes a new die of 2 kernels of 4 x 3 cells with the polarity given to it, identical every time. Its
cells hold their state at 0.25 V, switch in 1 ms at 0.5 V, and are read at 0.1 V.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from instruments.bench import Bench
from instruments.open_bench import open_bench
from instruments.probed_die import ProbedDie
from labctl.core.bias import Bias, Geometry, Kind, Nominal
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Flag, Pulse, Reading, Sense, WritePlan
from labctl.core.units import BoolArray, IntArray
from labctl.execution.nominal_die import NominalDie
from labctl.station.twin import Twin
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

KERNELS, M, N = 2, 4, 3
V_READ, V_WRITE = 0.1, 0.5


def simulated(polarity: int, **simulation: object) -> SimDie:
    file = {
        "name": "contract",
        "geometry": {"kernels": KERNELS, "n_rows": M, "n_cols": N},
        "polarity": polarity,
        "junction": {"diameter": "80 nm"},
        "simulation": simulation,
    }
    return SimDie(DieDescription.model_validate(file, context={"file": True}), seed=11, name="die")


def probed(polarity: int) -> ProbedDie:
    """A die under needles: three 2602B, the first of which makes every visit with its two channels, a 707B, all
    emulated without error, and an ideal die."""
    sources = {f"smu{k}": {"driver": "keithley2600b", "resource": str(k)} for k in range(3)}
    return under_needles(polarity, {**sources, "matrix": {"driver": "keithley707b", "resource": "matrix"}})


def generic(polarity: int) -> ProbedDie:
    """The same on generic instruments, whose levels stand from one call to the next."""
    source = {
        "driver": "generic_source", "channels": ["smua", "smub"], "ranges_v": ["1 V", "10 V"],
        "ranges_i": ["1 uA", "10 uA", "100 uA", "1 mA", "10 mA"], "shortest_pulse": "200 us",
        "shortest_aperture": "100 us", "longest_aperture": "1 s",
    }  # fmt: skip
    sources = {f"smu{k}": {**source, "resource": str(k)} for k in range(3)}
    return under_needles(polarity, {**sources, "matrix": {"driver": "generic_matrix", "resource": "matrix"}})


def under_needles(polarity: int, instruments: dict[str, dict[str, Any]]) -> ProbedDie:
    """A die on the twin of a bench with these instruments."""
    pads = [f"{axis}{k}{i}" for k in range(KERNELS) for axis, n in (("r", M), ("c", N)) for i in range(n)]
    file = {
        "name": "contract",
        "instruments": instruments,
        "wiring": {
            "channels": {f"smu{k // 2}.smu{'ab'[k % 2]}": row for k, row in enumerate("ABCDEF")},
            "ground": "H",
            "pads": {pad: f"{1 + j // 12}-{1 + j % 12:02d}" for j, pad in enumerate(pads)},
            "kernels": [
                {"rows": [f"r{k}{i}" for i in range(M)], "cols": [f"c{k}{i}" for i in range(N)]} for k in range(KERNELS)
            ],
        },
        "limits": {
            "v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "10 ms", "compliance": "10 mA",
            "ramp_rate": "1000 V/s",
        },
        "twin": {"ideal_instruments": True},
    }  # fmt: skip
    bench = Bench.model_validate(file, context={"file": True})
    load = simulated(polarity, ideal=True)
    twin = Twin(bench, {(0, 0, 0): load})
    opened = open_bench(bench, load.nominal, connect=twin.connect, polarity=polarity, wait=twin.wait)
    opened.die.idle()
    return opened.die


WIDE = Limits(
    v_towards_p=1.0, v_towards_ap=1.0, width=10e-3, compliance=10e-3, v_gate=5.0, v_count=0.3, pulses_per_cell=1000
)

DIES: dict[str, Callable[[int], Die]] = {
    "simulated": lambda polarity: simulated(polarity),
    "simulated ideal": lambda polarity: simulated(polarity, ideal=True),
    "rehearsed": lambda polarity: NominalDie(
        Geometry(KERNELS, M, N, polarity=polarity),
        Nominal([4e-4, 1.1e-3], [2e-4, 5e-4]),
        timing=lambda o: len(o) * (2e-3 if isinstance(o, Sense) else 4e-3),
    ),
    "on a bench": probed,
    "on generic instruments": generic,
    "behind limits": lambda polarity: Limited(simulated(polarity), WIDE),
}

ROWS, COLS = (index.ravel() for index in np.indices((M, N)))
"""The cells of a kernel, row by row."""


@pytest.fixture(params=DIES.values(), ids=DIES.keys())
def factory(request: pytest.FixtureRequest) -> Callable[[int], Die]:
    made: Callable[[int], Die] = request.param
    return made


@pytest.fixture
def die(factory: Callable[[int], Die]) -> Die:
    return factory(1)


def reads(rows: IntArray, cols: IntArray, kernel: IntArray | int = 0, volts: float = V_READ) -> Sense:
    """Read one cell per pattern: its row driven, all other lines at 0 V."""
    row = np.zeros((len(rows), M))
    row[np.arange(len(rows)), rows] = volts
    return Sense(Bias(row, np.zeros((len(rows), N)), kernel=np.asarray(kernel)), np.asarray(cols)[:, None])


def writes(rows: IntArray, cols: IntArray, volts: IntArray | float, kernel: IntArray | int = 0) -> Bias:
    """V/2 writes of `volts` row minus column; the row makes the width."""
    n = len(rows)
    v = np.broadcast_to(np.asarray(volts, np.float64), (n,))
    row, col, at = np.zeros((n, M)), np.zeros((n, N)), np.arange(n)
    row[at, rows], col[at, cols] = v / 2, -v / 2
    return Bias(row, col, kernel=np.asarray(kernel), pulsed=np.asarray(rows))


def states(die: Die, kernel: int = 0) -> BoolArray:
    reading = die.sense(reads(ROWS, COLS, kernel))
    return np.asarray(reading.current[:, 0] / V_READ > die.nominal.cut(kernel))


def write(die: Die, target: BoolArray, polarity: int = 1, kernel: int = 0) -> Reading:
    """Write every cell until it reads right, at most five times over."""
    for _ in range(5):
        wrong = np.flatnonzero(states(die, kernel) != target)
        rows, cols = ROWS[wrong], COLS[wrong]
        volts = polarity * np.where(target[wrong], V_WRITE, -V_WRITE)
        reading = die.pulse(Pulse(writes(rows, cols, volts, kernel), 1e-3, reads(rows, cols, kernel)))
        if not len(wrong):
            return reading
    raise AssertionError(f"cells {wrong} were not written")


def same(a: Reading, b: Reading) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("current", "flag", "pulse_flag"))


CHECKERBOARD = (ROWS + COLS) % 2 == 0


def test_it_is_a_die(die: Die) -> None:
    assert isinstance(die, Die)
    assert die.geometry.shape == (KERNELS, M, N)
    for k in range(KERNELS):
        assert 0 < die.nominal.g_ap(k) < die.nominal.cut(k) < die.nominal.g_p(k)


def test_readings_are_finite_numbers_of_the_shape_asked_for(die: Die) -> None:
    bias = Bias(np.full((5, M), V_READ), np.zeros((5, N)), kernel=np.array([0, 1, 1, 0, 1]))
    for cols in (np.array([2, 0]), np.tile([1, 2], (5, 1)), np.zeros(0, np.int64)):
        found = die.sense(Sense(bias, cols))
        m = cols.shape[-1]
        assert (found.current.shape, found.flag.shape, found.pulse_flag.shape) == ((5, m), (5, m), (5,))
        assert (found.flag.dtype, found.pulse_flag.dtype) == (np.uint8, np.uint8)
        assert np.isfinite(found.current).all()
        assert not found.flag.any()
        assert not found.pulse_flag.any()


def test_a_pulse_without_a_read_has_no_columns(die: Die) -> None:
    found = die.pulse(Pulse(writes(ROWS[:3], COLS[:3], V_WRITE), 1e-3))
    assert (found.current.shape, found.flag.shape, found.pulse_flag.shape) == ((3, 0), (3, 0), (3,))
    assert (found.flag.dtype, found.pulse_flag.dtype) == (np.uint8, np.uint8)


def test_empty_batches_are_allowed(die: Die) -> None:
    none = np.zeros(0, np.int64)
    assert die.sense(reads(none, none)).current.shape == (0, 1)
    assert die.pulse(Pulse(writes(none, none, V_WRITE), 1e-3, reads(none, none))).current.shape == (0, 1)


@pytest.mark.parametrize("cut", [1, 3, 8, 11])
def test_a_batch_may_be_cut_anywhere(factory: Callable[[int], Die], cut: int) -> None:
    kernel, at = np.arange(M * N) % KERNELS, np.arange(M * N)
    pulse = Pulse(writes(ROWS, COLS, np.where(at % 3, V_WRITE, -V_WRITE), kernel), 1e-3, reads(ROWS, COLS, kernel))
    rng = np.random.default_rng(0)
    # one level per pattern, on any rows: with the sensed column that is what two channels make
    rows = rng.uniform(0, V_READ, (M * N, 1)) * rng.integers(0, 2, (M * N, M))
    bias = Bias(rows, np.zeros((M * N, N)), kernel=kernel)
    sense = Sense(bias, np.arange(N))
    whole, pieces = factory(1), factory(1)
    for part in (slice(0, cut), slice(cut, None)):
        assert len(pulse.take(part)) < len(pulse)
    assert same(whole.sense(sense), Reading.join([pieces.sense(sense.take(s)) for s in (slice(cut), slice(cut, None))]))
    assert same(whole.pulse(pulse), Reading.join([pieces.pulse(pulse.take(s)) for s in (slice(cut), slice(cut, None))]))
    assert same(whole.sense(sense), pieces.sense(sense))


def test_idle_may_be_called_any_time_and_twice(factory: Callable[[int], Die]) -> None:
    die, other = factory(1), factory(1)
    die.idle()
    die.idle()
    write(die, CHECKERBOARD)
    die.idle()
    die.idle()
    write(other, CHECKERBOARD)
    assert np.array_equal(states(die), states(other))


def test_check_predicts_a_time_and_does_nothing(factory: Callable[[int], Die]) -> None:
    die, untouched = factory(1), factory(1)
    sense = reads(ROWS, COLS)
    pulse = Pulse(writes(ROWS, COLS, V_WRITE), 1e-3, sense)
    short, long = die.check(sense.take(slice(2))), die.check(sense)
    assert 0 < short < long
    assert die.check(pulse) >= long + len(pulse) * pulse.width
    assert die.check(plan(die, CHECKERBOARD)) >= 0
    assert same(die.sense(sense), untouched.sense(sense))
    assert same(die.pulse(pulse), untouched.pulse(pulse))


def plan(die: Die, target: BoolArray, budget: int = 5) -> WritePlan:
    n = len(target)
    return WritePlan(
        write=writes(ROWS, COLS, die.geometry.polarity * np.where(target, 1.0, -1.0)),
        verify=reads(ROWS, COLS),
        target=target,
        cut=np.full(n, die.nominal.cut(0)),
        v_read=V_READ,
        ladder=np.full(5, V_WRITE),
        budget=np.full(n, budget),
        width=1e-3,
    )


GATE = Bias(np.zeros((1, M)), np.zeros((1, N)), gate=np.zeros((1, M)))
WRONG = {
    "a row too many": Bias(np.zeros((1, M + 1)), np.zeros((1, N))),
    "rows for columns": Bias(np.zeros((1, N)), np.zeros((1, M))),
    "a kernel too far": Bias(np.zeros((1, M)), np.zeros((1, N)), kernel=np.array(KERNELS)),
    "a kernel below 0": Bias(np.zeros((1, M)), np.zeros((1, N)), kernel=np.array(-1)),
    "a pulsed line too far": Bias(np.zeros((1, M)), np.zeros((1, N)), pulsed=np.array(M + N)),
    "gates of a passive die": GATE,
}


@pytest.mark.parametrize("bias", WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_refused_before_anything_happens(factory: Callable[[int], Die], bias: Bias) -> None:
    die, untouched = factory(1), factory(1)
    assert die.geometry.kind is Kind.PASSIVE
    sense, pulse = Sense(bias, np.array([0])), Pulse(bias, 1e-3)
    for refused in (
        lambda: die.check(sense),
        lambda: die.check(pulse),
        lambda: die.sense(sense),
        lambda: die.pulse(pulse),
        lambda: die.check(Pulse(reads(ROWS[:1], COLS[:1]).bias, 1e-3, sense)),
    ):
        with pytest.raises(BenchError):
            refused()
    assert same(die.sense(reads(ROWS, COLS)), untouched.sense(reads(ROWS, COLS)))


def test_program_writes_and_verifies(die: Die) -> None:
    target = ~states(die)
    target[:4] ^= True  # some are right already
    attempts = die.program(plan(die, target))
    assert attempts.verified.all()
    assert not attempts.short.any()
    assert np.array_equal(states(die), target)
    assert attempts.attempt.min() == 1
    last = {int(c): float(i) for c, i in zip(attempts.cell, attempts.current, strict=True)}
    for cell, current in last.items():
        assert (current / V_READ > die.nominal.cut(0)) == target[cell]


def test_program_keeps_to_the_budget(die: Die) -> None:
    attempts = die.program(plan(die, CHECKERBOARD, budget=0))
    assert len(attempts.cell) == 0
    assert not attempts.verified.any()


@pytest.mark.parametrize("polarity", [1, -1])
def test_polarity_says_which_sign_writes_p(factory: Callable[[int], Die], polarity: int) -> None:
    die = factory(polarity)
    assert die.geometry == Geometry(KERNELS, M, N, polarity=polarity)
    for target in (CHECKERBOARD, ~CHECKERBOARD):
        write(die, target, polarity)
        assert np.array_equal(states(die), target)


def test_a_pattern_sees_what_the_one_before_did(die: Die) -> None:
    write(die, np.zeros(M * N, np.bool_))
    rows, cols = np.array([1, 1, 1, 1]), np.array([2, 2, 2, 2])
    found = die.pulse(Pulse(writes(rows, cols, np.array([1, -1, -1, 1]) * V_WRITE), 1e-3, reads(rows, cols)))
    assert (found.current[:, 0] / V_READ > die.nominal.cut(0)).tolist() == [True, False, False, True]
    assert states(die)[1 * N + 2]


def test_kernels_are_independent(die: Die) -> None:
    write(die, CHECKERBOARD, kernel=0)
    write(die, ~CHECKERBOARD, kernel=1)
    assert np.array_equal(states(die, 0), CHECKERBOARD)
    assert np.array_equal(states(die, 1), ~CHECKERBOARD)


def test_currents_are_positive_out_of_the_column(die: Die) -> None:
    write(die, CHECKERBOARD)
    up = Bias(np.full((1, M), V_READ), np.zeros((1, N)))
    down = Bias(np.zeros((1, M)), np.full((1, N), V_READ))
    into = die.sense(Sense(up, np.arange(N))).current
    assert (into > 0.9 * M * V_READ * die.nominal.g_ap(0)).all()
    assert die.sense(Sense(down, np.arange(N))).current == pytest.approx(-into, rel=0.05)


def test_columns_come_in_the_order_asked_for(die: Die) -> None:
    target = np.zeros((M, N), np.bool_)
    target[:, 1] = True
    write(die, target.ravel())
    bias = Bias(np.full((2, M), V_READ), np.zeros((2, N)))
    found = die.sense(Sense(bias, np.array([[1, 0], [2, 1]]))).current
    assert found[0, 0] > 1.5 * found[0, 1]
    assert found[1, 1] > 1.5 * found[1, 0]


def test_a_floating_column_has_no_reading(die: Die) -> None:
    floating = np.zeros((1, M + N), np.bool_)
    floating[0, M + 1] = True
    bias = Bias(np.full((1, M), V_READ), np.zeros((1, N)), floating=floating)
    found = die.sense(Sense(bias, np.arange(N)))
    assert found.flag[0].tolist() == [0, Flag.INVALID, 0]
    assert np.isfinite(found.current).all()
    assert found.current[0, 1] == pytest.approx(0.0, abs=1e-7)
