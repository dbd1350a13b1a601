"""The kernels of a die as one picture."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from labctl.core.picture import CellMap
from labctl.report import kernel_grid
from labctl.report.die_pictures import KernelPicture, marks_of
from labctl.report.kernel_grid import Grid

G_P = CellMap("survey", "g_p", "G_P as surveyed", "uS", 1e6, marks="defect")


def kernels(number: int, n_rows: int = 6, n_cols: int = 4) -> list[KernelPicture]:
    made = []
    for k in range(number):
        codes = np.zeros((n_rows, n_cols), np.int64)
        codes[k % n_rows, 1] = 1 + k % 2
        values = np.full((n_rows, n_cols), 300.0 + k)
        values[k % n_rows, 1] = 5000.0
        made.append(KernelPicture(k, values, codes, marks_of({1 + k % 2: ("short", "open")[k % 2]})))
    return made


@pytest.mark.parametrize(
    ("number", "n_rows", "n_cols", "down", "across"),
    [(32, 25, 25, 4, 8), (1, 15, 13, 1, 1), (2, 15, 15, 1, 2), (5, 3, 40, 3, 2), (3, 64, 2, 1, 3)],
)
def test_a_grid_has_the_shape_of_a_page(number: int, n_rows: int, n_cols: int, down: int, across: int) -> None:
    grid = Grid.of(kernels(number, n_rows, n_cols), 16.2)
    assert (grid.n_down, grid.n_across) == (down, across)
    assert grid.width <= 16.2 + 1e-9
    corners = {grid.corner(k) for k in range(number)}
    assert len(corners) == number
    assert max(row for row, _ in corners) + n_rows == grid.shape[0]


def test_kernels_have_one_scale_by_their_good_cells_and_every_marked_cell_is_drawn() -> None:
    figure, some = Figure(figsize=(16.2, 9)), kernels(7)
    grid = Grid.of(some, 16.2)
    kernel_grid.draw(figure, 0.0, grid, G_P, some)
    axes, _bar = figure.axes
    low, high = axes.images[0].get_clim()
    assert 300 <= low < high <= 306
    image = np.asarray(axes.images[0].get_array())
    assert np.isfinite(image).sum() == 7 * 24
    shorts, opens = axes.lines
    assert [line.get_label() for line in axes.lines] == ["short (4)", "open (3)"]
    row, col = grid.corner(3)
    assert (col + 1, row + 3) in zip(opens.get_xdata(), opens.get_ydata(), strict=True)
    assert all(image[int(y), int(x)] == 5000 for x, y in zip(shorts.get_xdata(), shorts.get_ydata(), strict=True))
    assert [text.get_text() for text in axes.texts] == [f"kernel {k}" for k in range(7)]
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["0", "5"]
    assert "7 kernels, one scale" in axes.get_title(loc="left")


def test_one_kernel_has_the_numbers_of_its_rows_and_columns() -> None:
    figure, some = Figure(figsize=(8, 6)), kernels(1, 15, 13)
    kernel_grid.draw(figure, 0.0, Grid.of(some, 8.0), G_P, some)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [str(n) for n in range(0, 15, 2)]
    assert figure.axes[0].get_title(loc="left") == "G_P as surveyed: kernel 0"
