"""1/f noise that runs on in time: readings of a cell that are close in time share most of it.

A sum of processes, one an octave, each a chain of straight lines between independent normal numbers tau apart. One of
them has the one-sided power spectrum 2 sigma^2 tau sinc^4(f tau), since its numbers are white and the lines are a
convolution with a triangle. Summed over tau = tau_max / 2^k it is

    sum = (2 sigma^2 / f) sum_k f tau_k sinc^4(f tau_k) = (2 sigma^2 / f) (1 / ln 2) int_0^inf sinc^4(y) dy,

within 0.4 % at every f, and the integral is 1 / 3: with sigma^2 = (3 / 2) ln 2 the spectrum is 1 / f. Towards low
frequencies it ends at 4 sigma^2 tau_max, which is taken as 1 / f_low; towards high ones a reading averages it over its
aperture, which is done exactly for tau of a quarter of the aperture and longer. What is faster has the variance
sigma^2 (tau / T) (1 - 7 tau / (15 T)) in the mean over T, that of a cubic B-spline's autocovariance, and counts as
independent from reading to reading. (J. McCartney's and R. Voss's pink noise with lines for steps, which ripple.)

Any value is a function of (seed, die, unit, time), so that no result depends on batches or on what was read before.
"""

import functools

import numpy as np

from labctl.core.units import BoolArray, FloatArray, IntArray, Second
from sim_backend.description import DieDescription
from sim_backend.pattern_time import NANO
from sim_backend.readout import Observed
from sim_backend.rng import Stream

_VARIANCE = 1.5 * np.log(2.0)
_BEYOND = 1e-6
"""Part of the variance of the fastest octave that still counts."""


class Flicker:
    """Processes of the spectrum 1 / f, in 1 / Hz, one for every cell.

    Args:
        seed: of the die.
        name: of the die.
        cells: number of cells of a unit, which are computed together.
        f_low: Hz, where the spectrum becomes flat.
    """

    def __init__(self, seed: int, name: str, cells: int, f_low: float) -> None:
        self._seed, self._name, self._cells, self._epoch = seed, name, cells, 0
        self._slowest: Second = 1.0 / (4.0 * _VARIANCE * f_low)
        self._streams: dict[tuple[int, str, int], Stream] = {}
        self._kept: dict[Stream, tuple[int, FloatArray]] = {}

    def seek(self, operation: int) -> None:
        """Begin processes of their own for what follows, numbered by `operation`."""
        self._epoch = operation
        self._streams, self._kept = {}, {}

    def mean(self, unit: int, begins: IntArray, aperture: Second, number: IntArray) -> FloatArray:
        """Return the (n, cells) means over apertures.

        Args:
            unit: number of the cells that are asked for.
            begins: (n,) ns, where each aperture begins.
            aperture: s.
            number: (n,) running numbers of the patterns.
        """
        mean: FloatArray = np.zeros(self._cells)
        octave, tau = 0, self._slowest
        while 4.0 * tau >= aperture:
            mean = mean + self._octave(unit, octave, tau, begins, aperture)
            octave, tau = octave + 1, 0.5 * tau
        fast, ratio = 0.0, tau / aperture
        while ratio > _BEYOND:
            fast += _VARIANCE * ratio * (1.0 - 7.0 / 15.0 * ratio)
            ratio *= 0.5
        return np.asarray(mean + np.sqrt(fast) * self._rows(self._stream(unit, "fast", 0), number))

    def _octave(self, unit: int, octave: int, tau: Second, begins: IntArray, aperture: Second) -> FloatArray:
        """Return the (n, cells) that one octave adds."""
        stream = self._stream(unit, "octave", octave)
        phase = float(self._stream(unit, "phase", octave, 1).uniforms(0)[0, 0])
        at = begins / (tau * NANO) + phase
        node = np.floor(at).astype(np.int64)
        width = aperture / tau
        a = at - node
        b = a + width
        sums = [
            (_triangle(b - k) - _triangle(a - k))[:, None] * self._rows(stream, node + k) for k in range(int(width) + 3)
        ]
        return np.asarray(functools.reduce(np.add, sums) * (np.sqrt(_VARIANCE) / width))

    def _stream(self, unit: int, purpose: str, octave: int, stride: int = 0) -> Stream:
        key = unit, purpose, octave
        if key not in self._streams:
            words = (self._name, "1/f noise", self._epoch, unit, purpose, octave)
            self._streams[key] = Stream(self._seed, *words, stride=stride or self._cells)
        return self._streams[key]

    def _rows(self, stream: Stream, numbers: IntArray) -> FloatArray:
        """Return the (n, cells) normals of these numbers, (1, cells) if they are one; each run is drawn once."""
        first, last = int(numbers.min()), int(numbers.max())
        kept = self._kept.get(stream)
        if kept is not None and kept[0] <= first and last < kept[0] + len(kept[1]):
            return kept[1][first - kept[0]][None] if first == last else np.asarray(kept[1][numbers - kept[0]])
        if last - first < 4 * len(numbers) + 4:
            normals = stream.normals(first, last - first + 2)  # the next reading's, too
            self._kept[stream] = first, normals
            if first == last:
                return normals[:1]
            return np.asarray(normals[numbers - first])
        distinct, at = np.unique(numbers, return_inverse=True)
        runs = np.split(distinct, np.flatnonzero(np.diff(distinct) > 1) + 1)
        return np.concatenate([stream.normals(int(run[0]), len(run)) for run in runs])[at.reshape(-1)]


def _triangle(x: FloatArray) -> FloatArray:
    """Return the integral up to x of the triangle of height 1 between -1 and 1."""
    below, above = np.square(np.maximum(x + 1.0, 0.0)), np.square(np.maximum(1.0 - x, 0.0))
    return np.asarray(np.where(x < 0.0, 0.5 * below, 1.0 - 0.5 * above))


class CellFlicker:
    """1/f noise of the cells of a die: by how much of its conductance a cell conducts more in the mean of an aperture.

    The power of a cell is alpha / (area f), alpha being that of its state (Hooge's relation with the number of carriers
    in alpha, as it is used for tunnel junctions: Nor et al., J. Appl. Phys. 99, 08T306 (2006)).

    Args:
        cells: of a unit, a kernel or a row of one, whose readings are computed together.
    """

    def __init__(self, description: DieDescription, seed: int, name: str, cells: int) -> None:
        noise = description.simulation.noise
        areas = np.pi / 4 * np.square(description.diameters * 1e6)
        in_ap = noise.flicker if noise.flicker_ap is None else noise.flicker_ap
        self._in_p, self._in_ap = np.sqrt(noise.flicker / areas), np.sqrt(in_ap / areas)
        self._processes = Flicker(seed, name, cells, noise.f_low)

    def seek(self, operation: int) -> None:
        """Begin other noise for what follows, numbered by `operation`."""
        self._processes.seek(operation)

    def of(self, kernel: int, unit: int, in_ap: BoolArray, index: IntArray, seen: Observed) -> FloatArray:
        """Return (k, cells) of the patterns at `index`; `in_ap` (cells,) or (k, cells) are those in AP."""
        amplitude = np.where(in_ap, self._in_ap[kernel], self._in_p[kernel])
        return np.asarray(amplitude * self._processes.mean(unit, seen.begins[index], seen.aperture, seen.number[index]))


def cell_flicker(description: DieDescription, seed: int, name: str, cells: int) -> CellFlicker | None:
    """Return the 1/f noise of a die if its file has it run on in time; arguments as of `CellFlicker`."""
    simulation = description.simulation
    return CellFlicker(description, seed, name, cells) if simulation.effective.noise.flicker_in_time else None
