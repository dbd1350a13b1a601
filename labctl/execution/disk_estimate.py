"""The disk space of a die, predicted from its operations and records."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from labctl.core.operations import Attempts, Pulse, Sense, WritePlan
from labctl.core.record import Record
from labctl.core.units import Second
from labctl.execution.recorded_die import chunk_of
from labctl.storage.arrays import Array, Stored, digest_of, encode
from labctl.storage.deduplicate import SMALLEST, parts_of

# Disk space of a byte or a row, measured on finished runs of the example campaigns.
BYTES_PER_DIE = 800_000  # groups, attributes, scales and provenance: some 430 datasets of 1.8 kB of any content
BYTES_PER_CELL = 120  # of a cell: its pulses, and the true values of a simulated one, in the journal and in HDF5
_ROW = 260  # of an operation: stamps, digests, index pages in the journal; stamps and index in HDF5
_BLOB = 130  # of an array in the journal: its digest, twice, and its shape
_PACKED = 0.75  # of the bytes of an array in the journal, in HDF5
_STAMP = 2  # of every row of a columnar table: number, stage and time, which hardly change and are compressed
_PULSES = 2  # given for each that is rehearsed, where every one succeeds: 85,261 for 43,287 on a chip of the examples
_ATTEMPT = 40  # of an attempt of a plan: five numbers and two flags, and two of its cell
CONVERTER_STEPS = (
    500  # distinct values in a batch of readings of a chip, whose converter has 4096; a bench's do not repeat
)


class DiskEstimate:
    """Adds up the bytes of the journal and the sealed file of a die; arrays that repeat are stored once.

    Operations are cut as the run cuts them, but only the first two chunks are computed: the others are as the second.

    Args:
        steps: distinct values in a batch of readings; None if they do not repeat.
        chunk: bench time of a chunk of the die, s; None: that of any die.
    """

    def __init__(self, steps: int | None, chunk: Second | None = None) -> None:
        self.bytes = 0.0
        self._steps, self._chunk = steps, chunk
        self._known: set[str] = set()

    def operation(self, operation: Sense | Pulse, time: Second, columns: int) -> None:
        """Add an operation predicted to take `time` s, and its readings of `columns` columns; pulses twice."""
        n, times = len(operation), _PULSES if isinstance(operation, Pulse) else 1
        size = chunk_of(n, time, self._chunk)
        pieces = max(1, -(-n // size))
        for k in range(min(pieces, 2)):
            part = operation.take(slice(k * size, (k + 1) * size))
            text, new = self._journal(part)
            kept = new + self._readings(len(part) * columns)
            self.bytes += times * (1 if k == 0 else pieces - 1) * (text + kept * (1 + _PACKED) + 2 * _ROW)

    def plan(self, plan: WritePlan, size: int) -> None:
        """Add a write plan that is carried out inside the instrument, `size` cells at once, one attempt each."""
        for begin in range(0, len(plan), size):
            part = plan.take(slice(begin, begin + size))
            text, new = self._journal(part)
            kept = new + _ATTEMPT * len(part)
            self.bytes += text + kept * (1 + _PACKED) + 2 * _ROW + _BLOB * len(fields(Attempts))

    def record(self, record: Record) -> None:
        """Add a record; HDF5 tables hold equal arrays as often as they come."""
        columns: Mapping[str, Any] = vars(record)
        text, new = self._journal(columns)
        kept = sum(self._parts(value) for value in columns.values() if isinstance(value, np.ndarray))
        self.bytes += text + new + _ROW + kept * _PACKED
        if record.columnar:
            self.bytes += _STAMP * max(np.size(value) for value in columns.values())

    def _readings(self, number: int) -> float:
        """Return the bytes of `number` readings in a journal."""
        whole = 8 * number
        if self._steps is None or whole < SMALLEST:
            return whole
        return min(whole, 2 * number + 8 * self._steps)

    @staticmethod
    def _parts(array: Array) -> int:
        whole, index = parts_of(array)
        return whole.nbytes + (0 if index is None else index.nbytes)

    def _journal(self, body: object) -> tuple[int, int]:
        """Return the bytes of the text of a body in a journal, and those of its arrays that are new."""
        new = blobs = 0

        def put(array: Array | Stored, path: tuple[str, ...]) -> dict[str, Any]:
            nonlocal new, blobs
            assert isinstance(array, np.ndarray)
            digests = []
            for part in parts_of(array):
                if part is not None:
                    digests.append(digest_of(part))
                    if digests[-1] not in self._known:
                        self._known.add(digests[-1])
                        new += part.nbytes
                        blobs += 1
            return {"$array": digests[0], "index": digests[-1], "shape": array.shape}

        text = len(encode(body, put))
        return text + blobs * _BLOB, new
