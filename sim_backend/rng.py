"""Randomness as a pure function of counters: results depend on no batching, order, worker or restart.

A `Stream` is one purpose of one die ("switching of kernel 3"). Its numbers are addressed by pattern and draw:
the number of pattern p, draw c is the same with p alone or in a batch of thousands, and independent of other
streams. Philox (Salmon et al., SC'11, doi:10.1145/2063384.2063405), a keyed function of a counter, does this."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy
from numpy.random import Generator, Philox

from labctl.core.units import FloatArray

_WORDS = 4  # Philox makes four 64-bit words per count


def first_of(operation: int) -> int:
    """Return the number of the first pattern of an operation with its own range of numbers, a million at most.

    >>> first_of(0), first_of(2) - first_of(1)
    (1048576, 1048576)
    """
    return (operation + 1) << 20


class KeyedBits:
    """Philox of one key, set to any counter: the numbers of `Philox(key=key, counter=counter)`, several times as fast.

    A new Philox asks the operating system for a seed, which its key then replaces. For one thread at a time.

    Args:
        key: the two words of the key, or one whole number of up to 128 bits.

    Raises:
        ValueError: the key is negative or has more bits.

    >>> bits = KeyedBits(5)
    >>> bits.at(9, 1).random_raw(3).tolist() == Philox(key=5, counter=[9, 1, 0, 0]).random_raw(3).tolist()
    True
    """

    def __init__(self, key: int | npt.NDArray[np.uint64]) -> None:
        self._bits = Philox(key=key)
        self._generator = Generator(self._bits)
        self._state: Any = self._bits.state

    def at(self, *counter: int) -> Philox:
        """Return the generator at a counter of up to four words; valid until the next call."""
        self._state["state"]["counter"] = (*counter, 0, 0, 0, 0)[:_WORDS]
        self._bits.state = self._state
        return self._bits

    def normal(self, *counter: int) -> float:
        """Return the first standard normal at a counter, as a `numpy.random.Generator` draws it."""
        self.at(*counter)
        return float(self._generator.standard_normal())


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
        self._bits = KeyedBits(np.frombuffer(digest, dtype="<u8").astype(np.uint64))
        self._counts = -(-stride // _WORDS)
        self.stride = stride

    def uniforms(self, first: int, patterns: int = 1) -> FloatArray:
        """Return the (patterns, stride) uniforms in the open interval (0, 1) of the patterns from `first` on.

        >>> s = Stream(1, "die", "noise", stride=3)
        >>> bool((s.uniforms(5, 2)[1] == s.uniforms(6)[0]).all())
        True
        """
        raw = self._bits.at(first * self._counts).random_raw(patterns * self._counts * _WORDS)
        # 52 bits and a half: never 0, never 1
        uniform: FloatArray = ((raw >> np.uint64(12)) + 0.5) * 2.0**-52
        return uniform.reshape(patterns, self._counts * _WORDS)[:, : self.stride]

    def sequence(self, pattern: int, draw: int, count: int) -> FloatArray:
        """Return the first `count` uniforms of a sequence of its own of one draw of a pattern.

        >>> s = Stream(1, "die", "dwell times", stride=3)
        >>> bool((s.sequence(5, 2, 9)[:4] == s.sequence(5, 2, 4)).all())
        True
        """
        raw = self._bits.at(0, pattern, draw, 1).random_raw(count)
        uniform: FloatArray = ((raw >> np.uint64(12)) + 0.5) * 2.0**-52
        return uniform

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
        raw = self._bits.at(first * counts).random_raw(patterns * words)
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
