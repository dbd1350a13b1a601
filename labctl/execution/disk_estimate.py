"""What a die takes on disk, foretold from its operations and records."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from labctl.core.operations import Pulse, Sense
from labctl.core.record import Record
from labctl.core.units import Second
from labctl.execution.recorded_die import CHUNK
from labctl.storage.arrays import Array, Stored, digest_of, encode
from labctl.storage.deduplicate import SMALLEST, parts_of

# What a byte or a row costs on disk, found on finished runs of the example campaigns.
_DIE = 500_000  # groups, attributes and provenance of a die: some 300 datasets of 1.5 kB, whatever they hold
_CELL = 120  # of a cell: its pulses, and what a simulated one really is, in the journal and in HDF5
_ROW = 260  # of an operation: stamps, digests, index pages in the journal; stamps and index in HDF5
_BLOB = 130  # of an array in the journal: its digest, twice, and its shape
_PACKED = 0.75  # of what the journal keeps of an array, in HDF5
_STAMP = 2  # of every row of a columnar table: number, stage and time, which hardly change and are compressed
_STEPS = 500  # of the 4096 of a chip's converter, met by a batch of readings; those of a bench do not repeat


class _Disk:
    """Adds up what the journal and the sealed file of a die take; arrays that repeat are stored once.

    Operations are cut as the run cuts them, but only the first two chunks are looked at: the others are as the second.

    Args:
        steps: distinct values in a batch of readings; None if they do not repeat.
    """

    def __init__(self, steps: int | None) -> None:
        self.bytes = 0.0
        self._steps = steps
        self._known: set[str] = set()

    def operation(self, operation: Sense | Pulse, time: Second, columns: int) -> None:
        """Add an operation predicted to take `time` s, and its readings of `columns` columns."""
        n = len(operation)
        pieces = max(1, math.ceil(time / CHUNK))
        size = max(1, math.ceil(n / pieces))
        pieces = max(1, math.ceil(n / size))
        for k in range(min(pieces, 2)):
            part = operation.take(slice(k * size, (k + 1) * size))
            text, new = self._journal(part)
            kept = new + self._readings(len(part) * columns)
            self.bytes += (1 if k == 0 else pieces - 1) * (text + kept * (1 + _PACKED) + 2 * _ROW)

    def record(self, record: Record) -> None:
        """Add what was learned; HDF5 tables hold equal arrays as often as they come."""
        fields: Mapping[str, Any] = vars(record)
        text, new = self._journal(fields)
        kept = sum(self._parts(value) for value in fields.values() if isinstance(value, np.ndarray))
        self.bytes += text + new + _ROW + kept * _PACKED
        if record.columnar:
            self.bytes += _STAMP * max(np.size(value) for value in fields.values())

    def _readings(self, number: int) -> float:
        """Return the bytes that a journal keeps of so many readings."""
        whole = 8 * number
        if self._steps is None or whole < SMALLEST:
            return whole
        return min(whole, 2 * number + 8 * self._steps)

    @staticmethod
    def _parts(array: Array) -> int:
        whole, index = parts_of(array)
        return whole.nbytes + (0 if index is None else index.nbytes)

    def _journal(self, body: object) -> tuple[int, int]:
        """Return the bytes of the text of a body, and those of its arrays that are new, as a journal keeps them."""
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
