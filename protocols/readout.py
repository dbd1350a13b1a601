"""Column currents of a layer for input vectors, and the network scale that turns them into neuron inputs.

Two ways to the same currents. `parallel` drives all rows of a layer at once, x v_read each, as the chip does
and a bench with a channel per row can. `superposition` measures every row once at +v_read and at -v_read per
programmed state, other rows driven to 0 V, and adds them up in software: two levels at most, no matter how
many inputs, and an offset of the meter cancels. It takes the array for linear, so wires loaded by all rows at
once do not show in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from labctl.core.bias import Bias
from labctl.core.die import Die
from labctl.core.operations import Sense
from labctl.core.units import FloatArray, IntArray, Ratio, Siemens
from protocols.bias import row_bias, vector_bias
from protocols.repeat import sense_again
from protocols.settings import ReadSettings
from protocols.statistics import cross_entropy
from protocols.weights import Placement, activate, classify


class Mode(StrEnum):
    """How the currents of an input vector are measured."""

    SUPERPOSITION = "superposition"
    PARALLEL = "parallel"


class Normalisation(StrEnum):
    """Which G_P - G_AP normalises currents to weights."""

    SURVEYED = "surveyed"
    NOMINAL = "nominal"


class InferenceSettings(ReadSettings):
    """How layers are read out and over which grid the network scale is tuned."""

    mode: Annotated[Mode, Field(description="superposition (needs few channels) or parallel (one per row)")] = (
        Mode.SUPERPOSITION
    )
    scale_min: Annotated[Ratio, Field(ge=1e-3, le=1e3, description="smallest network scale tried")] = 0.5
    scale_max: Annotated[Ratio, Field(ge=1e-3, le=1e3, description="largest network scale tried")] = 2.0
    scales: Annotated[
        int, Field(ge=1, le=201, description="network scales tried per layer, evenly in the logarithm")
    ] = 31
    normalisation: Annotated[
        Normalisation,
        Field(description="G_P - G_AP: surveyed mean of the layer's good cells (nominal if none), or nominal"),
    ] = Normalisation.SURVEYED

    @model_validator(mode="after")
    def _grid_goes_up(self) -> Self:
        if self.scale_max < self.scale_min:
            raise ValueError(f"scale_max {self.scale_max:g} is below scale_min {self.scale_min:g}, expected no less")
        return self

    @property
    def grid(self) -> FloatArray:
        """Network scales that are tried, upwards; exactly 1, the untuned one, is always among them.

        >>> InferenceSettings(scale_min=0.5, scale_max=2.0, scales=3).grid
        array([0.5, 1. , 2. ])
        """
        candidates = np.geomspace(self.scale_min, self.scale_max, self.scales)
        near = np.isclose(candidates, 1.0, rtol=1e-9)
        candidates[near] = 1.0
        return candidates if near.any() else np.sort(np.append(candidates, 1.0))


@dataclass(frozen=True, eq=False)
class LayerReadout:
    """One placed layer: `shape` (n_in, columns) cells at `place`, mean states `g_p` and `g_ap` in S."""

    place: Placement
    shape: tuple[int, int]
    settings: InferenceSettings
    g_p: Siemens
    g_ap: Siemens

    @property
    def unit(self) -> float:
        """v_read (G_P - G_AP): the current of weight 1 at input 1, in A."""
        return self.settings.v_read * (self.g_p - self.g_ap)

    def response(self, die: Die) -> tuple[FloatArray, int]:
        """Measure every row at +v_read and -v_read; return (n_in, columns) S and how many were flagged."""
        n_in = self.shape[0]
        s = self.settings
        # + and - of a row next to each other: on a bench they share a route
        both = np.repeat(np.arange(n_in) + self.place.row, 2)
        volts = np.tile([s.v_read, -s.v_read], n_in)
        kernel = np.full(2 * n_in, self.place.kernel)
        bias = row_bias(die.geometry, kernel, both, volts, compliance=s.compliance, v_gate=s.v_gate)
        current, flagged = self._read(die, bias)
        response: FloatArray = (current[0::2] - current[1::2]) / (2 * s.v_read)
        return response, flagged

    def currents(self, die: Die, a: FloatArray) -> tuple[FloatArray, int]:
        """Drive the rows at a v_read, a (n, n_in); return (n, columns) A and how many were flagged."""
        s = self.settings
        bias = vector_bias(
            die.geometry,
            self.place.kernel,
            self.place.row,
            a * s.v_read,
            compliance=s.compliance,
            v_gate=s.v_gate,
        )
        return self._read(die, bias)

    def ideal(self, cells: FloatArray, a: FloatArray) -> FloatArray:
        """Return the (n, columns) A of ideal `cells` (n_in, columns), 1 is P, for inputs a (n, n_in)."""
        current: FloatArray = self.settings.v_read * (a @ (self.g_ap + (self.g_p - self.g_ap) * cells))
        return current

    def normalise(self, current: FloatArray) -> FloatArray:
        """Return (..., n_out), the differences of neighbouring columns in units of v_read (G_P - G_AP)."""
        z: FloatArray = (current[..., 0::2] - current[..., 1::2]) / self.unit
        return z

    def _read(self, die: Die, bias: Bias) -> tuple[FloatArray, int]:
        """Read the layer's columns, flagged patterns twice; a reading that then has no value counts as 0 A."""
        sense = Sense(bias, np.arange(self.shape[1]) + self.place.col, self.settings.aperture)
        reading = sense_again(die, sense, lambda first: first.flag != 0)
        return np.where(np.isfinite(reading.current), reading.current, 0.0), int((reading.flag != 0).sum())


Measure = Callable[[int, FloatArray], FloatArray]
"""Of layer k and inputs (n, n_in): the normalised differential currents (n, n_out)."""


def best_scales(
    z: FloatArray, grid: FloatArray, bias: FloatArray, label: IntArray, before: FloatArray
) -> tuple[int, int]:
    """Return (candidate, index into `grid` of the last layer's scale) that classifies best.

    The most right samples win, then the lowest cross-entropy, then the lower scale. Where no sample is wrong, the
    scales nearest to 1 win: cross-entropy would go on to the edge of the grid, where outputs are merely largest.

    Args:
        z: (candidates, n, classes) normalised currents of the last layer.
        label: (n,).
        before: (candidates,), the scale by which the candidates differ.
    """
    right = np.stack([(classify(z, s, bias) == label).sum(axis=-1) for s in grid], axis=1)
    candidate, scale = np.nonzero(right == right.max())
    if right.max() == len(label):
        away = np.abs(np.log(before))[candidate] + np.abs(np.log(grid))[scale]
        nearest = away <= away.min() + 1e-9
        candidate, scale = candidate[nearest], scale[nearest]
    entropy = cross_entropy(activate(z[candidate], grid[scale][:, None, None], bias), label)
    best = int(np.argmin(entropy))
    return int(candidate[best]), int(scale[best])


def tune(
    measure: Measure, biases: Sequence[FloatArray], z_first: FloatArray, grid: FloatArray, label: IntArray
) -> FloatArray:
    """Return the network scale of each of K layers that classifies the training samples best.

    The last two layers are searched over the full grid; earlier ones, if any, one after the other with the
    layers behind them at scale 1. Every candidate's activations go through `measure` again, since they are
    other inputs.

    Args:
        z_first: (n, n_out) normalised currents of the first layer, which do not depend on any scale.
        label: (n,) classes.
    """
    depth, one = len(biases), np.ones(1)
    scales = np.ones(depth)

    def through(k: int, z: FloatArray, scale: FloatArray) -> FloatArray:
        a = activate(z, scale[:, None, None], biases[k])
        return measure(k + 1, a.reshape(-1, a.shape[-1])).reshape(*a.shape[:-1], -1)

    z = z_first[None]
    for k in range(depth - 1):
        ahead = after = through(k, z, grid)
        if k == depth - 2:
            i, j = best_scales(after, grid, biases[-1], label, grid)
            scales[-2:] = grid[i], grid[j]
            return scales
        for m in range(k + 1, depth - 1):
            ahead = through(m, ahead, one)
        i, _ = best_scales(ahead, one, biases[-1], label, grid)
        scales[k], z = grid[i], after[i][None]
    scales[-1] = grid[best_scales(z, grid, biases[-1], label, one)[1]]
    return scales
