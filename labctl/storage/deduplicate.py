"""Arrays whose rows or elements repeat, as the distinct ones and an index.

A write of 20,000 cells is 20,000 patterns of 25 gates of which one is open: 25 distinct rows. A picture of sixteen
greys is thousands of voltages of which sixteen differ. Kept whole, such arrays were nine tenths of the folder of a
die. Nothing is rounded: two rows are one when their bytes are, and what does not get smaller stays as it is.
"""

import math
import threading
from functools import cache

import numpy as np
import numpy.typing as npt

from labctl.storage.arrays import Array, compact

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]

SMALLEST = 1 << 12
"""Bytes below which an array is kept whole: an index would save less than its row in the journal costs."""
_GAIN = 2
_SAMPLE = 1 << 15
"""Words sampled first: enough to see that the 4096 steps of a converter repeat."""

_SLOTS = 21
"""Bits of the number of slots in which equal keys find each other, which is three times as fast as to sort them."""


class _Room(threading.local):
    def __init__(self) -> None:
        self.table: Places = np.empty(1 << _SLOTS, np.int64)


_room = _Room()


def parts_of(array: Array) -> tuple[Array, Array | None]:
    """Return the parts of `array` to store: `whole`, None, or `rows`, `index`.

    `array` equals ``np.broadcast_to(whole, array.shape)``, or the same of ``rows[index]``, to the last bit. The index
    (uint8, uint16 or uint32) has the shape of the first axis, or of the whole array when it is elements that
    repeat. The same set of rows comes in the same order, whatever the order of the patterns was.
    """
    base = compact(array)
    if base.nbytes < SMALLEST or base.dtype.kind not in "biufc":
        return base, None
    for axes in sorted({1, base.ndim}):
        entries = base.reshape(math.prod(base.shape[:axes]), -1)
        if factors := _factored(np.ascontiguousarray(entries)):
            rows, index = factors
            return rows.reshape(-1, *base.shape[axes:]), index.reshape(base.shape[:axes])
    return base, None


def _factored(entries: Array) -> tuple[Array, Array] | None:
    """Return the distinct rows of an (n, k) array and the index of each; None if that is not half the size."""
    number, size = len(entries), entries[:1].nbytes
    if number < _GAIN or size < _GAIN:
        return None
    words = _words(entries)
    # a sample shows quickly that noise does not repeat
    if (step := words.size // _SAMPLE) > 1:
        sample = np.sort(_keys(words[::step]))
        if (1 + np.count_nonzero(sample[1:] != sample[:-1])) * _GAIN > len(sample):
            return None
    keys = _keys(words)
    alike = _alike(keys)
    if alike is None:
        return None
    first = np.flatnonzero(alike == np.arange(number))
    kind = np.min_scalar_type(len(first) - 1)
    if (len(first) * size + number * kind.itemsize) * _GAIN > number * size:
        return None
    first = first[np.argsort(keys[first])]
    place = np.empty(number, kind)
    place[first] = np.arange(len(first))
    # two different rows may share a key, though hardly ever: the array is then kept whole; a word is its own key
    if words.shape[1] > 1 and not np.array_equal(words.take(alike, axis=0), words):
        return None
    return entries[first], place.take(alike)


def _alike(keys: Words) -> Places | None:
    """Return (n,) one index per key, the same for equal keys; None if too few are equal."""
    here, table = np.arange(len(keys)), _room.table
    for odd in _weights(2):
        slot = ((keys * odd) >> np.uint64(64 - _SLOTS)).view(np.int64)
        # never cleared: every slot that is read has just been written, by the last of the keys that share it
        table[slot] = here
        alike: Places = table.take(slot)
        # there are at least as many different keys as slots in use
        if np.count_nonzero(alike == here) * _GAIN > len(keys):
            return None
        if np.array_equal(keys.take(alike), keys):
            return alike
    # different keys shared a slot
    order = np.argsort(keys)
    new = np.concatenate(([True], keys[order[1:]] != keys[order[:-1]]))
    alike = np.empty(len(keys), np.int64)
    alike[order] = order[new][np.cumsum(new) - 1]
    return alike


def _words(entries: Array) -> Words:
    """Return the bytes of every row as 64-bit words, the last one filled up with zeros."""
    raw = entries.view(np.uint8).reshape(len(entries), -1)
    if spare := -raw.shape[1] % 8:
        raw = np.pad(raw, ((0, 0), (0, spare)))
    return np.ascontiguousarray(raw).view(np.uint64)


def _keys(words: Words) -> Words:
    """Return one word per row as its key; a row of one word is its own key."""
    if words.shape[1] == 1:
        return words[:, 0]
    # round voltages have zeros in their low bits, small numbers in their high ones: a product carries upwards only
    weights = _weights(2 * words.shape[1]).reshape(2, -1)
    keys: Words = words @ weights[0] + words.byteswap() @ weights[1]
    return keys


@cache
def _weights(number: int) -> Words:
    """Return odd words without an order in them (the mixer of splitmix64; Steele, Lea and Flood, OOPSLA 2014)."""
    words = np.arange(1, number + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (words ^ (words >> np.uint64(31))) | np.uint64(1)
