"""What patterns of voltages do to cells: pulses that count, and the highest voltages in either sign.

The rules are those of `labctl.limits`: what a cell can see at any moment counts, not only what it sees settled.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from labctl.core.die import Bias
from labctl.core.units import IntArray
from labctl.limits import extremes, pulses_per_cell

_VOLTAGES = 1 << 22
"""Cell voltages that are looked at together."""
Volts32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stress:
    """What the cells of a die have been through, (kernels, n_rows, n_cols) each.

    Args:
        counts: pulses above the campaign's `v_count`.
        positive: highest V_row - V_col, V, transients and reads included.
        negative: highest V_col - V_row, V.
    """

    counts: IntArray
    positive: Volts32
    negative: Volts32

    @classmethod
    def none(cls, shape: tuple[int, int, int]) -> Self:
        """Return the stress of a new die."""
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def __add__(self, more: "Stress") -> "Stress":
        return Stress(
            self.counts + more.counts,
            np.maximum(self.positive, more.positive),
            np.maximum(self.negative, more.negative),
        )


def stress_of(bias: Bias, shape: tuple[int, int, int], v_count: float | None) -> Stress:
    """Return what n patterns do to the cells of a die of `shape`.

    While lines go up and come down 0 V counts as a level of every line, as in `labctl.limits`. A cell on a floating
    line may see the worst driven pair; one behind a closed gate sees nothing.

    Args:
        v_count: from which a pulse counts, V; None for a read, which counts as no pulse.
    """
    counts = np.zeros(shape, np.int64) if v_count is None else pulses_per_cell(bias, v_count, shape)
    positive, negative = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    size = max(1, _VOLTAGES // (shape[1] * shape[2]))
    for kernel in np.unique(bias.kernel):
        mine = np.flatnonzero(bias.kernel == kernel)
        for start in range(0, len(mine), size):
            up, down = _peaks(bias.take(mine[start : start + size]))
            np.maximum(positive[kernel], up, out=positive[kernel])
            np.maximum(negative[kernel], down, out=negative[kernel])
    return Stress(counts, positive, negative)


def _peaks(bias: Bias) -> tuple[Volts32, Volts32]:
    """Return the highest voltages of each cell of one kernel over n patterns, (n_rows, n_cols) V each, both signs."""
    row, col = bias.row, bias.col
    n_rows = row.shape[1]
    if bias.floating is None and bias.gate is None and not col.any():
        ones = np.ones(col.shape[1], np.float32)
        high, low = row.max(0).clip(min=0), -row.min(0).clip(max=0)
        return np.outer(high, ones).astype(np.float32), np.outer(low, ones).astype(np.float32)
    if bias.floating is not None:
        driven = ~bias.floating
        row, col = row * driven[:, :n_rows], col * driven[:, n_rows:]
    up = row.clip(min=0)[:, :, None] - col.clip(max=0)[:, None, :]
    down = col.clip(min=0)[:, None, :] - row.clip(max=0)[:, :, None]
    if bias.floating is not None:
        found = extremes(bias)
        loose = bias.floating[:, :n_rows, None] | bias.floating[:, None, n_rows:]
        worst = np.maximum(found.positive, found.negative)[:, None, None]
        up, down = np.where(loose, worst, up), np.where(loose, worst, down)
    if bias.gate is not None:
        opened = (bias.gate > 0)[:, :, None]
        up, down = up * opened, down * opened
    return up.max(0).astype(np.float32), down.max(0).astype(np.float32)
