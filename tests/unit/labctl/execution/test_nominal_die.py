"""The nominal die: nominal currents, first pulse switches, patterns act in order."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from labctl.core.bias import Bias, Geometry, Kind, Nominal
from labctl.core.die import Die
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, Sense
from labctl.execution.nominal_die import NominalDie
from protocols.bias import Scheme, Unselected, read_bias, row_bias, vector_bias, write_bias
from protocols.settings import WriteSettings

GEOMETRY = Geometry(2, 5, 4)
NOMINAL = Nominal.alike(4e-4, 2e-4, 2)


def die(geometry: Geometry = GEOMETRY) -> NominalDie:
    return NominalDie(geometry, NOMINAL, timing=lambda operation: 1e-3 * len(operation))


def test_is_a_die_and_tells_time() -> None:
    rehearsed: Die = die()
    assert isinstance(rehearsed, Die)
    sense = Sense(row_bias(GEOMETRY, np.zeros(3, np.int64), np.arange(3), 0.1), np.arange(4))
    assert rehearsed.check(sense) == pytest.approx(3e-3)
    rehearsed.idle()


def test_currents_are_those_of_the_cells() -> None:
    d = die()
    d.state[1] = np.random.default_rng(3).random((5, 4)) < 0.5
    v = np.random.default_rng(4).uniform(-0.1, 0.1, (6, 5))
    bias = vector_bias(GEOMETRY, 1, 0, v)
    expected = v @ np.where(d.state[1], 4e-4, 2e-4)
    cols = np.array([3, 0])
    reading = d.sense(Sense(bias, cols))
    np.testing.assert_allclose(reading.current, expected[:, cols], rtol=1e-12, atol=1e-18)
    assert not reading.flag.any()


def test_floating_read_has_the_sneak_path() -> None:
    geometry = Geometry(1, 2, 3)
    d = NominalDie(geometry, Nominal.alike(4e-4, 2e-4, 1), timing=len)
    cell = [np.array([0])] * 3
    bias = read_bias(geometry, *cell, 0.1, unselected=Unselected.FLOATING)
    current = d.sense(Sense(bias, np.array([0]))).current[0, 0]
    # beside the cell: two columns, each two cells in series, into row 1, then one cell out
    g = 2e-4
    sneak = 1 / (1 / (2 * g / 2) + 1 / g)
    assert current == pytest.approx(0.1 * (g + sneak), rel=1e-9)


@pytest.mark.parametrize("polarity", [1, -1])
@pytest.mark.parametrize("scheme", [Scheme.HALF, Scheme.THIRD])
def test_first_pulse_switches_the_selected_cell_only(polarity: int, scheme: Scheme) -> None:
    geometry = Geometry(2, 5, 4, polarity=polarity)
    d = die(geometry)
    cells = np.array([1, 1, 0]), np.array([4, 0, 2]), np.array([1, 3, 2])
    bias = write_bias(geometry, *cells, np.array([True, True, True]), scheme=scheme).scaled(0.4)
    d.pulse(Pulse(bias, 1e-3))
    assert np.argwhere(d.state).tolist() == [[0, 2, 2], [1, 0, 3], [1, 4, 1]]


def test_patterns_act_in_order_and_a_batch_may_be_cut_anywhere() -> None:
    rng = np.random.default_rng(7)
    n = 1100
    cells = rng.integers(0, 2, n), rng.integers(0, 5, n), rng.integers(0, 4, n)
    bias = write_bias(GEOMETRY, *cells, rng.random(n) < 0.5)
    pulse = Pulse(bias, 1e-3, Sense(row_bias(GEOMETRY, cells[0], cells[1], 0.1), np.arange(4)))
    whole, pieces = die(), die()
    a = whole.pulse(pulse).current
    cuts = [0, 1, 7, 600, n]
    b = np.concatenate([pieces.pulse(pulse.take(slice(i, j))).current for i, j in pairwise(cuts)])
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole.state, pieces.state)
    state = np.zeros(GEOMETRY.shape, np.bool_)
    for i, to_p in enumerate(bias.row[np.arange(n), cells[1]] > 0):
        state[cells[0][i], cells[1][i], cells[2][i]] = to_p
        np.testing.assert_allclose(a[i], 0.1 * np.where(state[cells[0][i], cells[1][i]], 4e-4, 2e-4))


def test_1t1r_write_and_read() -> None:
    geometry = Geometry(2, 3, 4, Kind.ONE_T_ONE_R)
    d = die(geometry)
    cells = np.array([0, 1, 1]), np.array([2, 0, 1]), np.array([3, 1, 0])
    target = np.array([True, True, True])
    plan = WriteSettings().plan(geometry, cells, target, np.full(3, NOMINAL.cut(0)), np.full(3, 10))
    assert d.program(plan).verified.all()
    assert np.argwhere(d.state).tolist() == [[0, 2, 3], [1, 0, 1], [1, 1, 0]]
    back = WriteSettings().plan(geometry, cells, ~target, np.full(3, NOMINAL.cut(0)), np.full(3, 10))
    attempts = d.program(back)
    assert attempts.verified.all()
    assert len(attempts.cell) == 3
    assert not d.state.any()


def test_another_die_s_operation_is_refused() -> None:
    other = Geometry(1, 3, 4)
    bias = row_bias(other, np.array([0]), np.array([0]), 0.1)
    for operation in (Sense(bias, np.array([0])), Pulse(bias, 1e-3)):
        with pytest.raises(BenchError, match="3 x 4 lines"):
            die().check(operation)
    here, there = (Bias(np.full((1, 5), 0.1), np.zeros((1, 4)), kernel=np.array(k)) for k in (0, 1))
    with pytest.raises(BenchError, match="different kernels"):
        die().pulse(Pulse(here, 1e-3, Sense(there, np.array([0]))))


def test_one_open_gate_is_worked_out_by_rows_and_gives_the_same_bits() -> None:
    rng, n = np.random.default_rng(11), 1300
    geometry = Geometry(2, 5, 4, Kind.ONE_T_ONE_R)
    kernel, row, col = rng.integers(0, 2, n), rng.integers(0, 5, n), rng.integers(0, 4, n)
    write = write_bias(geometry, kernel, row, col, rng.random(n) < 0.5).scaled(rng.uniform(0.3, 0.6, n))
    read = row_bias(geometry, kernel, row, rng.uniform(0.05, 0.1, n))
    # a mask that floats nothing takes the way of all other patterns
    nothing = replace(read, floating=np.zeros((n, 9), np.bool_))
    quick, general = die(geometry), die(geometry)
    reading = quick.pulse(Pulse(write, 1e-3, Sense(read, np.arange(4))))
    expected = general.pulse(Pulse(write, 1e-3, Sense(nothing, np.arange(4))))
    np.testing.assert_array_equal(reading.current, expected.current)
    np.testing.assert_array_equal(quick.state, general.state)
    assert 0 < quick.state.sum() < quick.state.size
    cols = rng.integers(0, 4, (n, 2))
    one, other = quick.sense(Sense(read, cols)), general.sense(Sense(nothing, cols))
    np.testing.assert_array_equal(one.current, other.current)
    assert quick.pulse(Pulse(write, 1e-3)).current.shape == (n, 0)
    general.pulse(Pulse(write, 1e-3, Sense(nothing, cols)))
    np.testing.assert_array_equal(quick.state, general.state)


@pytest.mark.parametrize("alike", [True, False])
def test_vectors_on_one_kernel_give_the_same_bits_as_pattern_by_pattern(alike: bool) -> None:
    rng, n = np.random.default_rng(12), 700
    geometry = Geometry(2, 5, 4, Kind.ONE_T_ONE_R)
    d = die(geometry)
    d.state[1] = rng.random((5, 4)) < 0.5
    bias = vector_bias(geometry, 1, 1, rng.uniform(-0.1, 0.1, (n, 3)))
    if not alike:
        bias = replace(bias, gate=np.where(rng.random((n, 5)) < 0.5, 3.3, 0.0), col=rng.uniform(0, 0.1, (n, 4)))
    general = replace(bias, floating=np.zeros((n, 9), np.bool_))
    reading, expected = (d.sense(Sense(b, np.array([2, 0]))) for b in (bias, general))
    np.testing.assert_array_equal(reading.current, expected.current)
