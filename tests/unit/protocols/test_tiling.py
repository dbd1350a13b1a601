"""Layers over kernels: every cell once, in the order of the layer, and a refusal with the numbers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.core.bias import Geometry, Kind
from labctl.core.errors import BenchError
from protocols.tiling import Tiling, kernels_needed

CHIP = Geometry(32, 25, 25, Kind.ONE_T_ONE_R)


def shapes(*sizes: int) -> tuple[tuple[int, int], ...]:
    return tuple((n, 2 * m) for n, m in pairwise(sizes))


@pytest.mark.parametrize(
    ("sizes", "needed"),
    [
        ((169, 50, 10), (28, 2)),
        ((144, 50, 10), (24, 2)),
        ((100, 75, 10), (24, 3)),
        ((196, 37, 10), (24, 2)),
        ((196, 50, 10), (32, 2)),
        ((64, 50, 10), (12, 2)),
        ((64, 40, 30, 10), (12, 6, 2)),
    ],
)
def test_kernels_of_known_networks(sizes: tuple[int, ...], needed: tuple[int, ...]) -> None:
    assert kernels_needed(shapes(*sizes), CHIP) == needed


def test_refusal_says_how_many_kernels_are_missing() -> None:
    expected = r"196-50-10 needs 34 kernels of 25 x 25 \(32 \+ 2 for its layers\), the die has 32"
    with pytest.raises(BenchError, match=expected):
        Tiling(shapes(196, 50, 10), CHIP)
    with pytest.raises(BenchError, match=r"needs 30 kernels .* the stage may use 29"):
        Tiling(shapes(169, 50, 10), CHIP, tuple(range(29)))


@pytest.mark.parametrize(("kernels", "words"), [((0, 32), "kernel 32"), ((3, 1, 3), "twice: 3, 1, 3")])
def test_kernels_named_must_be_there_once(kernels: tuple[int, ...], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        Tiling(shapes(2, 1), CHIP, kernels)


def test_small_layer_by_hand() -> None:
    # 5 x 8 cells on kernels of 3 x 5: two tiles down, two across; the pair in columns 4 and 5 is cut in two
    tiling = Tiling(shapes(5, 4, 1), Geometry(9, 3, 5), (7, 2, 8, 0, 4, 1))
    tiles = tiling.tiles(0)
    assert [t.kernel for t in tiles] == [7, 2, 8, 0]
    assert [(t.rows.start, t.rows.stop, t.cols.start, t.cols.stop) for t in tiles] == [
        (0, 3, 0, 5),
        (0, 3, 5, 8),
        (3, 5, 0, 5),
        (3, 5, 5, 8),
    ]
    cells = tiling.cells(0)
    assert tuple(int(i[3 * 8 + 6]) for i in cells.at) == (0, 0, 1)  # row 3, column 6 of the layer
    assert [t.kernel for t in tiling.tiles(1)] == [4, 1]
    assert tiling.order.tolist() == [7, 2, 8, 0, 4, 1]


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4),
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
)
def test_every_cell_has_its_own_place_and_tiles_agree_with_cells(sizes: list[int], rows: int, cols: int) -> None:
    wanted = shapes(*sizes)
    geometry = Geometry(sum(kernels_needed(wanted, Geometry(1, rows, cols))), rows, cols)
    tiling = Tiling(wanted, geometry)
    seen = np.concatenate([np.ravel_multi_index(tiling.cells(k).at, geometry.shape) for k in range(len(wanted))])
    assert len(np.unique(seen)) == len(seen) == sum(n * m for n, m in wanted)
    for k, shape in enumerate(wanted):
        kernel, row, col = (i.reshape(shape) for i in tiling.cells(k).at)
        for tile in tiling.tiles(k):
            assert (kernel[tile.rows, tile.cols] == tile.kernel).all()
            height, width = kernel[tile.rows, tile.cols].shape
            np.testing.assert_array_equal(row[tile.rows, tile.cols], np.arange(height)[:, None] + np.zeros(width, int))
            np.testing.assert_array_equal(col[tile.rows, tile.cols], np.zeros((height, 1), int) + np.arange(width))
