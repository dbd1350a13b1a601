"""Randomness as a pure function of counters: results depend on no batching, order, worker or restart.

A `Stream` is one purpose of one die ("switching of kernel 3"). Its numbers are addressed by pattern and draw:
the number of pattern p, draw c is the same with p alone or in a batch of thousands, and independent of other
streams. Philox (Salmon et al., SC'11, doi:10.1145/2063384.2063405), a keyed function of a counter, does this."""

import hashlib

import numpy as np
import numpy.typing as npt
import scipy
from numpy.random import Philox

from labctl.core.units import FloatArray

_WORDS = 4  # Philox makes four 64-bit words per count


def first_of(operation: int) -> int:
    """Return the number of the first pattern of an operation with its own range of numbers, a million at most.

    >>> first_of(0), first_of(2) - first_of(1)
    (1048576, 1048576)
    """
    return (operation + 1) << 20


class Stream:
    """Random stream of one purpose, `stride` draws per pattern.

    Args:
        seed: seed of the die.
        words: purpose of the numbers, such as the die's name, "switching" and the kernel; streams with different
            words are independent.
        stride: draws per pattern.
    """

    def __init__(self, seed: int, *words: str | int, stride: int) -> None:
        text = "\x1f".join([str(int(seed)), *(f"{type(w).__name__}:{w}" for w in words)])
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self._key = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
        self._counts = -(-stride // _WORDS)
        self.stride = stride

    def uniforms(self, first: int, patterns: int = 1) -> FloatArray:
        """Return the (patterns, stride) uniforms in the open interval (0, 1) of the patterns from `first` on.

        >>> s = Stream(1, "die", "noise", stride=3)
        >>> bool((s.uniforms(5, 2)[1] == s.uniforms(6)[0]).all())
        True
        """
        counter = np.array([first * self._counts, 0, 0, 0], np.uint64)
        raw = Philox(key=self._key, counter=counter).random_raw(patterns * self._counts * _WORDS)
        # 52 bits and a half: never 0, never 1
        uniform: FloatArray = ((raw >> np.uint64(12)) + 0.5) * 2.0**-52
        return uniform.reshape(patterns, self._counts * _WORDS)[:, : self.stride]

    def normals(self, first: int, patterns: int = 1) -> FloatArray:
        """Return the (patterns, stride) standard normals, by inverse transform of the uniforms."""
        return np.asarray(scipy.special.ndtri(self.uniforms(first, patterns)))

    def quick_normals(self, first: int, patterns: int = 1) -> npt.NDArray[np.float32]:
        """Return (patterns, stride) standard normals in single precision, by Box and Muller from 32 bits each.

        Three times as fast as `normals`, for read-outs of millions of currents. They end at 6.8 standard deviations.
        Use either these or the other numbers of a stream: they share the counter.

        >>> s = Stream(1, "die", "noise", stride=5)
        >>> bool((s.quick_normals(7, 2)[1] == s.quick_normals(8)[0]).all())
        True
        """
        counts = -(-self.stride // (2 * _WORDS))  # every word makes two
        words = counts * _WORDS
        raw = Philox(key=self._key, counter=np.array([first * counts, 0, 0, 0], np.uint64)).random_raw(patterns * words)
        raw = raw.reshape(patterns, words)
        radius = (raw >> np.uint64(32)).astype(np.float32)
        radius += np.float32(0.5)
        radius *= np.float32(2.0**-32)
        np.log(radius, out=radius)
        radius *= np.float32(-2.0)
        np.sqrt(radius, out=radius)
        angle = raw.astype(np.uint32).astype(np.float32)
        angle *= np.float32(2.0 * np.pi * 2.0**-32)
        normal = np.empty((patterns, 2 * words), np.float32)
        np.multiply(np.cos(angle), radius, out=normal[:, :words])
        np.multiply(np.sin(angle), radius, out=normal[:, words:])
        return normal[:, : self.stride]
