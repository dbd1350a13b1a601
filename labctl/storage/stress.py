"""The stress of cells, from the voltages in a die's journal: pulses that count, and peaks in either sign.

The rules are those of the limits and stand in `labctl.core.cell_voltage`: what a cell can see at any moment counts, not
only what it sees settled.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from labctl.core.bias import Bias
from labctl.core.cell_voltage import peaks_per_cell, pulses_per_cell
from labctl.core.operations import Attempts, Sense, WritePlan
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

    The peaks are those of the limits: see `labctl.core.cell_voltage`.

    Args:
        v_count: voltage from which a pulse counts, V; None for a read, which is no pulse.
    """
    counts = np.zeros(shape, np.int64) if v_count is None else pulses_per_cell(bias, v_count, shape)
    positive, negative = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    size = max(1, _VOLTAGES // (shape[1] * shape[2]))
    for kernel in np.unique(bias.kernel):
        mine = np.flatnonzero(bias.kernel == kernel)
        for start in range(0, len(mine), size):
            up, down = peaks_per_cell(bias.take(mine[start : start + size]))
            np.maximum(positive[kernel], up.astype(np.float32), out=positive[kernel])
            np.maximum(negative[kernel], down.astype(np.float32), out=negative[kernel])
    return Stress(counts, positive, negative)


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
        # without limits in the meta every pulse counts
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
        biases = _biases(journal, operation.intent, operation.kind == "pulse")
        if operation.kind == "program":
            biases = _of_plan(journal, operation.intent, operation.result)
        for bias, pulse in biases:
            stress += stress_of(bias, info.shape, info.v_count if pulse else None)
    return stress


def _of_plan(journal: JournalReader, intent: Any, result: Any) -> Iterator[tuple[Bias, bool]]:
    """Yield every bias of a write plan that was carried out as one operation, and whether it is its pulses.

    Its attempts are its pulses; without a result it counts as having given all that its budgets allow.
    """
    plan = _plan(_loaded(journal, intent))
    made = Attempts.at_most(plan) if result is None else Attempts(**_loaded(journal, result))
    yield plan.pulses(made.cell, made.attempt), True
    yield plan.verify.bias, False


def _plan(body: Any) -> WritePlan:
    verify = body["verify"]
    sense = Sense(**{**verify, "bias": Bias(**verify["bias"])})
    return WritePlan(**{**body, "write": Bias(**body["write"]), "verify": sense})


def _loaded(journal: JournalReader, body: Any) -> Any:
    """Return a body with its arrays."""
    if isinstance(body, dict):
        return {key: _loaded(journal, value) for key, value in body.items()}
    return journal.load(body) if isinstance(body, Stored) else body


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
