"""Readings of the ammeters of a simulated die: column currents, their noise and their converter.

Products are made in blocks of `BLOCK` patterns, in which a pattern's running number gives its place, because a
matrix product of another shape rounds differently: results are the same to the bit for any cut of a batch.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from labctl.core.operations import Flag, FlagArray, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray, Second
from sim_backend import mtj
from sim_backend.circuit import Circuit
from sim_backend.description import Simulation

BLOCK = 32
"""Patterns of one matrix product."""
_BLOCKS_AT_ONCE = 16  # the working set then fits the cache


_INVALID, _COMPLIANCE = int(Flag.INVALID), int(Flag.COMPLIANCE)


@dataclass(frozen=True, eq=False)
class Observed:
    """Noise-free readings, filled in as they are made.

    Args:
        current: (n, m) A, positive out of the column.
        conductance: (n, m) S seen from the column, for the Johnson noise.
        flag: (n, m), bits of `Flag`.
    """

    current: FloatArray
    conductance: FloatArray
    flag: FlagArray

    @classmethod
    def blank(cls, n: int, m: int) -> Self:
        """Return n patterns of m columns, to be filled in."""
        return cls(np.zeros((n, m)), np.zeros((n, m)), np.zeros((n, m), np.uint8))


def observe(
    circuit: Circuit,
    sense: Sense,
    source: FloatArray,
    driven: BoolArray,
    index: IntArray,
    first: int,
    seen: Observed,
) -> None:
    """Fill in the readings of the patterns at `index`, all on `circuit`, in its present state.

    Args:
        source: (n, lines) V.
        driven: (n, lines).
        first: running number of pattern 0.
    """
    if not len(index):
        return
    compliance = np.full(circuit.lines, sense.bias.compliance)
    for members in _alike(driven, index):
        free = ~driven[members[0]]
        current = _in_blocks(circuit, source[members], first + members, free)
        limited = _beyond(current, compliance)
        for at in np.flatnonzero(limited):
            point = circuit.operating_point(source[members[at]], ~free, compliance)
            current[at], limited[at] = point.line_current, point.limited.any()
        lines = circuit.n_rows + sense.cols[members]
        seen.current[members] = -np.take_along_axis(current, lines, axis=1)
        seen.conductance[members] = np.diagonal(circuit.ports.y)[lines]
        # a floating column has no current to read
        invalid = np.where(free[lines], _INVALID, 0)
        seen.flag[members] = invalid | np.where(limited, _COMPLIANCE, 0)[:, None]


def observe_one(
    circuit: Circuit,
    source: FloatArray,
    driven: BoolArray,
    compliance: FloatArray,
    cols: IntArray,
    at: int,
    seen: Observed,
) -> None:
    """Fill in the reading of one pattern; `source`, `driven` and `compliance` are (lines,), `cols` (m,)."""
    free = ~driven
    current, lines = circuit.read(source[None], circuit.reading_network(free))[0], circuit.n_rows + cols
    flag = np.where(free[lines], _INVALID, 0)
    if (np.abs(current) > compliance).any():
        point = circuit.operating_point(source, driven, compliance)
        current = point.line_current
        flag |= _COMPLIANCE if point.limited.any() else 0
    seen.current[at] = -current[lines]
    seen.conductance[at] = circuit.ports.y[lines, lines]
    seen.flag[at] = flag


def _beyond(current: FloatArray, compliance: FloatArray) -> BoolArray:
    """Return (n,), whether a line of a pattern carries more than its compliance."""
    return np.asarray((np.abs(current) > compliance).any(axis=1))


def _alike(driven: BoolArray, index: IntArray) -> list[IntArray]:
    """Return `index` in groups of patterns that drive the same lines."""
    if driven[index].all():
        return [index]
    masks, group = np.unique(np.packbits(driven[index], axis=1), axis=0, return_inverse=True)
    return [index[group.reshape(-1) == g] for g in range(len(masks))]


def _in_blocks(circuit: Circuit, source: FloatArray, number: IntArray, free: BoolArray) -> FloatArray:
    """Return the line currents (n, lines) of patterns with these running numbers."""
    network = circuit.reading_network(free)
    blocks, block = np.unique(number // BLOCK, return_inverse=True)
    place = block.reshape(-1) * BLOCK + number % BLOCK
    padded = np.zeros((len(blocks), BLOCK, circuit.lines))
    padded.reshape(-1, circuit.lines)[place] = source
    current = np.empty_like(padded)
    for k in range(0, len(blocks), _BLOCKS_AT_ONCE):
        current[k : k + _BLOCKS_AT_ONCE] = circuit.read(padded[k : k + _BLOCKS_AT_ONCE], network)
    return np.asarray(current.reshape(-1, circuit.lines)[place])


def digitise(
    seen: Observed, normal: FloatArray, flicker: FloatArray, aperture: Second, simulation: Simulation
) -> tuple[FloatArray, FlagArray]:
    """Return currents (n, m) A as the converter reads them, and their flags.

    Args:
        normal: (n, m) standard normals.
        flicker: (n, 1), relative power of the 1/f noise.
    """
    noise, converter = simulation.noise, simulation.converter
    current = seen.current
    if not simulation.ideal:
        sigma = mtj.noise_sigma(
            current,
            seen.conductance,
            aperture,
            relative=noise.relative,
            absolute=noise.absolute,
            flicker=flicker,
            f_low=noise.f_low,
            kelvin=simulation.thermal.temperature,
        )
        current = current + sigma * normal
    current, over = mtj.quantise(current, converter.lsb, converter.full_scale)
    return current, (seen.flag | np.where(over, Flag.OVERRANGE, 0)).astype(np.uint8)
