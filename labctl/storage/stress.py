"""Stress of cells from the voltages in a die's journal: pulses that count, and peaks of either sign.

The rules are those of `labctl.core.limits`: any voltage that a cell can see counts, transients included.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from labctl.core.bias import Bias
from labctl.core.cell_voltage import extremes, pulses_per_cell
from labctl.core.units import IntArray
from labctl.storage.arrays import Stored
from labctl.storage.journal_reader import JournalReader

_VOLTAGES = 1 << 22
"""Cell voltages that are evaluated in one batch."""
Volts32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stress:
    """Stress of the cells of a die, (kernels, n_rows, n_cols) each.

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
    """Return the stress that n patterns put on the cells of a die of `shape`.

    While lines go up and come down 0 V counts as a level of every line, as for the limits. A cell on a floating
    line may see the worst driven pair; one behind a closed gate sees nothing.

    Args:
        v_count: voltage from which a pulse counts, V; None for a read, which is no pulse.
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
        envelope = extremes(bias)
        loose = bias.floating[:, :n_rows, None] | bias.floating[:, None, n_rows:]
        worst = np.maximum(envelope.positive, envelope.negative)[:, None, None]
        up, down = np.where(loose, worst, up), np.where(loose, worst, down)
    if bias.gate is not None:
        opened = (bias.gate > 0)[:, :, None]
        up, down = up * opened, down * opened
    return up.max(0).astype(np.float32), down.max(0).astype(np.float32)


@dataclass(frozen=True)
class DieInfo:
    """The die of a journal, as its meta describes it.

    Args:
        wafer: name of its wafer, "" if it has none.
        shape: (kernels, n_rows, n_cols).
        real: False for a simulated die.
        v_count: voltage from which a pulse counts, V.
    """

    wafer: str
    name: str
    shape: tuple[int, int, int]
    real: bool
    v_count: float

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> "DieInfo":
        """Return the die that the meta of a journal describes."""
        geometry = meta["description"]["geometry"]
        shape = (int(geometry["kernels"]), int(geometry["n_rows"]), int(geometry["n_cols"]))
        # a run that does not say from which voltage its pulses count has all of them counted
        v_count = float(meta.get("limits", {}).get("v_count", 0.0))
        return cls(
            meta.get("wafer", ""), meta.get("serial", meta["die"]), shape, bool(meta.get("real", False)), v_count
        )


def journal_identity(journal: JournalReader) -> str:
    """Return a digest that is unique to a journal and stays when its folder is moved or copied."""
    text = json.dumps([list(journal.created), journal.meta], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def stress_of_journal(journal: JournalReader, info: DieInfo, after: int, upto: int) -> Stress:
    """Return the stress on the cells by the operations of a journal numbered above `after` and up to `upto`.

    Raises:
        StorageError: the journal is damaged.
    """
    stress = Stress.none(info.shape)
    for operation in journal.operations(after=after, load=False):
        if operation.seq > upto:
            break
        for bias, pulse in _biases(journal, operation.intent, operation.kind == "pulse"):
            stress += stress_of(bias, info.shape, info.v_count if pulse else None)
    return stress


def _biases(journal: JournalReader, body: Any, pulse: bool) -> Iterator[tuple[Bias, bool]]:
    """Yield every bias in the intent of an operation, and whether it is the pulse itself."""
    if not isinstance(body, dict):
        return
    for key, value in body.items():
        if key == "bias":
            loaded: dict[str, Any] = {k: journal.load(v) if isinstance(v, Stored) else v for k, v in value.items()}
            yield Bias(**loaded), pulse
        elif isinstance(value, dict):
            yield from _biases(journal, value, False)
