"""Readings of the ammeters of a simulated die: column currents, their noise and their converter.

What is observed is what flows, 1/f noise that runs on in time included. Then comes what the ammeters add: first the
gain, which is theirs and the same in every reading, then noise by which each reading differs, then the steps.

Products are made in blocks of `BLOCK` patterns, in which a pattern's running number gives its place, because a
matrix product of another shape rounds differently: results are the same to the bit for any cut of a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from labctl.core.operations import Flag, FlagArray, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray, Kelvin, Second
from sim_backend import mtj
from sim_backend.circuit import Circuit
from sim_backend.description import Simulation
from sim_backend.noise import noise_sigma

BLOCK = 32
"""Patterns of one matrix product."""
_BLOCKS_AT_ONCE = 16  # the working set then fits the cache


_INVALID, _COMPLIANCE = int(Flag.INVALID), int(Flag.COMPLIANCE)


@dataclass(frozen=True, eq=False)
class Observed:
    """Currents that are there to be read, filled in as they are made.

    Args:
        current: (n, m) A, positive out of the column.
        conductance: (n, m) S, whose Johnson noise is the thermal and shot noise of that current.
        flag: (n, m), bits of `Flag`.
        begins: (n,) ns, where each aperture begins in the life of the die.
        number: (n,) running numbers of the patterns.
        aperture: s.
    """

    current: FloatArray
    conductance: FloatArray
    flag: FlagArray
    begins: IntArray
    number: IntArray
    aperture: Second

    @classmethod
    def blank(cls, sense: Sense | None, begins: IntArray, first: int) -> Self:
        """Return the readings of a sense, to be filled in; `first` is the number of its first pattern."""
        n = len(begins)
        m = 0 if sense is None else sense.cols.shape[1]
        number, aperture = first + np.arange(n), 1.0 if sense is None else sense.aperture
        return cls(np.zeros((n, m)), np.zeros((n, m)), np.zeros((n, m), np.uint8), begins, number, aperture)


Fluctuation = Callable[[IntArray], FloatArray]
"""(k,) patterns -> (k, cells), by how much of its conductance each cell conducts more in their apertures."""


def observe(
    circuit: Circuit,
    sense: Sense,
    source: FloatArray,
    driven: BoolArray,
    index: IntArray,
    seen: Observed,
    kelvin: Kelvin,
    fluctuation: Fluctuation | None = None,
) -> None:
    """Fill in the readings of the patterns at `index`, all on `circuit`, in its present state.

    Args:
        source: (n, lines) V.
        driven: (n, lines).
        kelvin: temperature of the junctions.
        fluctuation: 1/f noise of the cells, if it runs on in time.
    """
    if not len(index):
        return
    compliance = np.full(circuit.lines, sense.bias.compliance)
    for members in _alike(driven, index):
        free = ~driven[members[0]]
        current, noise = _in_blocks(circuit, source[members], seen.number[members], free, kelvin, members, fluctuation)
        limited = _beyond(current, compliance)
        for at in np.flatnonzero(limited):
            point = circuit.operating_point(source[members[at]], ~free, compliance)
            current[at], limited[at] = point.line_current, point.limited.any()
        lines = circuit.n_rows + sense.cols[members]
        seen.current[members] = -np.take_along_axis(current, lines, axis=1)
        seen.conductance[members] = np.take_along_axis(noise, sense.cols[members], axis=1)
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
    kelvin: Kelvin,
    fluctuation: Fluctuation | None = None,
) -> None:
    """Fill in the reading of one pattern; `source`, `driven` and `compliance` are (lines,), `cols` (m,)."""
    free = ~driven
    network, lines = circuit.reading_network(free), circuit.n_rows + cols
    more = None if fluctuation is None else fluctuation(np.array([at]))
    current = circuit.read(source[None], network, more)[0]
    flag = np.where(free[lines], _INVALID, 0)
    if (np.abs(current) > compliance).any():
        point = circuit.operating_point(source, driven, compliance)
        current = point.line_current
        flag |= _COMPLIANCE if point.limited.any() else 0
    seen.current[at] = -current[lines]
    if len(cols) == 1 and not free.any():
        seen.conductance[at] = circuit.noise_of_column(source, network, int(cols[0]), kelvin)
    else:
        seen.conductance[at] = circuit.noise_conductance(source, network, kelvin)[cols]
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


def _in_blocks(
    circuit: Circuit,
    source: FloatArray,
    number: IntArray,
    free: BoolArray,
    kelvin: Kelvin,
    members: IntArray,
    fluctuation: Fluctuation | None,
) -> tuple[FloatArray, FloatArray]:
    """Return line currents (n, lines) and noise conductances (n, n_cols) of patterns with these running numbers."""
    network = circuit.reading_network(free)
    blocks, block = np.unique(number // BLOCK, return_inverse=True)
    place = block.reshape(-1) * BLOCK + number % BLOCK
    padded = np.zeros((len(blocks), BLOCK, circuit.lines))
    padded.reshape(-1, circuit.lines)[place] = source
    current, noise = np.empty_like(padded), np.empty((*padded.shape[:2], circuit.lines - circuit.n_rows))
    for k in range(0, len(blocks), _BLOCKS_AT_ONCE):
        part = padded[k : k + _BLOCKS_AT_ONCE]
        more: FloatArray | None = None
        if fluctuation is not None:
            here = np.flatnonzero((place >= k * BLOCK) & (place < (k + len(part)) * BLOCK))
            given = fluctuation(members[here])
            flat = np.zeros((len(part) * BLOCK, given.shape[1]))
            flat[place[here] - k * BLOCK] = given
            more = flat.reshape(len(part), BLOCK, -1)
        current[k : k + _BLOCKS_AT_ONCE] = circuit.read(part, network, more)
        noise[k : k + _BLOCKS_AT_ONCE] = circuit.noise_conductance(part, network, kelvin)
    return np.asarray(current.reshape(-1, circuit.lines)[place]), np.asarray(
        noise.reshape(len(blocks) * BLOCK, -1)[place]
    )


def digitise(
    seen: Observed, normal: FloatArray, flicker: FloatArray, simulation: Simulation
) -> tuple[FloatArray, FlagArray]:
    """Return currents (n, m) A as the converter reads them, and their flags.

    Args:
        normal: (n, m) standard normals.
        flicker: (n, 1), relative power of the 1/f noise, unless it is in the currents already.
    """
    noise, converter = simulation.noise, simulation.converter
    current = seen.current
    if not simulation.ideal:
        sigma = noise_sigma(
            current,
            seen.conductance,
            seen.aperture,
            relative=noise.relative,
            absolute=noise.absolute,
            flicker=0.0 if noise.flicker_in_time else flicker,
            f_low=noise.f_low,
            kelvin=simulation.thermal.temperature,
        )
        current = current + sigma * normal
    current, over = mtj.quantise(current, converter.lsb, converter.full_scale)
    return current, (seen.flag | np.where(over, Flag.OVERRANGE, 0)).astype(np.uint8)
