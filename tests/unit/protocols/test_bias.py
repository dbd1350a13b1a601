"""Bias patterns: what every cell sees, in which direction, and while the pulsed line waits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.core.bias import Bias, Geometry, Kind
from labctl.core.errors import BenchError
from protocols.bias import LEVELS, Scheme, Unselected, read_bias, row_bias, vector_bias, write_bias

PASSIVE = Geometry(2, 5, 4)
CHIP = Geometry(3, 4, 6, Kind.ONE_T_ONE_R)


def cell_voltage(bias: Bias) -> np.ndarray:
    return bias.row[:, :, None] - bias.col[:, None, :]


def one(*values: int) -> list[np.ndarray]:
    return [np.array([v]) for v in values]


@pytest.mark.parametrize(("scheme", "share"), [(Scheme.HALF, 1 / 2), (Scheme.THIRD, 1 / 3)])
@given(row=st.integers(0, 4), col=st.integers(0, 3), to_p=st.booleans(), polarity=st.sampled_from([1, -1]))
def test_selected_cell_alone_sees_the_write_voltage(
    scheme: Scheme, share: float, row: int, col: int, to_p: bool, polarity: int
) -> None:
    geometry = Geometry(2, 5, 4, polarity=polarity)
    bias = write_bias(geometry, *one(1, row, col), np.array([to_p]), scheme=scheme)
    bias.fits(geometry)
    volts = cell_voltage(bias)[0]
    assert volts[row, col] == pytest.approx((1 if to_p else -1) * polarity)
    others = np.delete(np.abs(volts).ravel(), row * 4 + col)
    assert others.max() == pytest.approx(share)
    assert bias.kernel.tolist() == [1]


@pytest.mark.parametrize(("scheme", "share"), [(Scheme.HALF, 1 / 2), (Scheme.THIRD, 1 / 3), (Scheme.GROUNDED, 0)])
def test_no_cell_sees_more_than_the_share_while_the_pulsed_row_waits(scheme: Scheme, share: float) -> None:
    bias = write_bias(PASSIVE, *one(0, 3, 1), np.array([True]), scheme=scheme)
    assert bias.pulsed.tolist() == [3]
    waiting = bias.row.copy()
    waiting[0, bias.pulsed[0]] = 0.0
    assert np.abs(waiting[:, :, None] - bias.col[:, None, :]).max() == pytest.approx(share)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_levels_are_those_stated(scheme: Scheme) -> None:
    bias = write_bias(PASSIVE, *one(0, 2, 2), np.array([False]), scheme=scheme)
    levels = set(np.round(np.concatenate([bias.row[0], bias.col[0]]), 12).tolist()) - {0.0}
    assert len(levels) == LEVELS[scheme]


def test_grounded_puts_the_write_voltage_on_the_whole_row() -> None:
    bias = write_bias(PASSIVE, *one(0, 2, 1), np.array([True]), scheme=Scheme.GROUNDED)
    volts = cell_voltage(bias)[0]
    assert (volts[2] == 1.0).all()
    assert not np.delete(volts, 2, axis=0).any()


def test_1t1r_write_is_a_single_path_of_positive_voltages() -> None:
    cells = np.array([0, 2]), np.array([1, 3]), np.array([5, 0])
    bias = write_bias(CHIP, *cells, np.array([True, False]), v_gate=2.5)
    bias.fits(CHIP)
    assert bias.gate is not None
    assert bias.floating is not None
    assert bias.row[0, 1] == 1.0
    assert bias.col[0, 5] == 0.0
    assert (bias.row[1, 3], bias.col[1, 0]) == (0.0, 1.0)
    assert np.argwhere(bias.gate).tolist() == [[0, 1], [1, 3]]
    assert bias.gate.max() == 2.5
    assert np.argwhere(~bias.floating[:, 4:]).tolist() == [[0, 5], [1, 0]]
    assert not bias.floating[:, :4].any()
    assert bias.pulsed.tolist() == [1, 4 + 0]


def test_reads_drive_one_row() -> None:
    bias = row_bias(PASSIVE, np.array([0, 1]), np.array([4, 0]), np.array([0.1, -0.1]))
    assert np.argwhere(bias.row).tolist() == [[0, 4], [1, 0]]
    assert (bias.row[0, 4], bias.row[1, 0]) == (0.1, -0.1)
    assert not bias.col.any()
    assert bias.floating is None


def test_floating_read_leaves_two_lines_driven() -> None:
    bias = read_bias(PASSIVE, *one(0, 4, 2), 0.1, unselected=Unselected.FLOATING)
    assert bias.floating is not None
    assert np.flatnonzero(~bias.floating[0]).tolist() == [4, 5 + 2]


def test_vector_goes_to_the_rows_of_the_layer() -> None:
    v = np.array([[0.1, 0.0, -0.05], [0.02, 0.03, 0.04]])
    bias = vector_bias(PASSIVE, 1, 2, v)
    bias.fits(PASSIVE)
    np.testing.assert_array_equal(bias.row[:, 2:5], v)
    assert not bias.row[:, :2].any()
    chip = vector_bias(CHIP, 1, 1, v, v_gate=3.0)
    assert chip.gate is not None
    assert chip.gate[0].tolist() == [0, 3, 3, 3]


@pytest.mark.parametrize(
    ("cell", "message"),
    [((2, 0, 0), "kernel 2"), ((0, 5, 0), "row 5"), ((0, 0, 4), "column 4"), ((0, -1, 0), "row -1")],
)
def test_cells_that_are_not_on_the_die_are_refused(cell: tuple[int, int, int], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        write_bias(PASSIVE, *one(*cell), np.array([True]))


def test_layer_that_leaves_the_die_is_refused() -> None:
    with pytest.raises(BenchError, match="row 5 is not on this die, which has 5"):
        vector_bias(PASSIVE, 0, 3, np.zeros((2, 3)))
