"""Read-out of a network tiled over the kernels of a programmed die: measured and ideal currents.

Every layer is read in parallel: all rows of a kernel driven at once, one batch of vectors per kernel. What a column
carries with all rows at 0 V is the offset of its amplifier and is subtracted. A transistor in series with a junction
conducts otherwise in the other direction: its square law adds a current that does not change its sign with the inputs,
large under a short, which goes with the offset if every vector is read with both signs. What else a short has too much
goes if every vector is read at a second gate voltage. Tile currents are added digitally, biases and neurons are in
software.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from labctl.core.die import Die
from labctl.core.operations import Glance, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray, Ratio, Volt
from protocols.bias import vector_bias
from protocols.calibrate import Adjust
from protocols.readout import Normalisation
from protocols.repeat import sense_again
from protocols.settings import InferenceReadSettings
from protocols.tiling import Tile, Tiling
from protocols.weights import Solution, activate, poll


class Activation(StrEnum):
    """Activation of the hidden neurons."""

    TANH = "tanh"
    SIGN = "sign"

    def drive(self, a: FloatArray) -> FloatArray:
        """Return the outputs of hidden neurons whose tanh is `a`; the sign of 0 is +1."""
        return a if self is Activation.TANH else np.where(a >= 0, 1.0, -1.0)


class Keep(StrEnum):
    """What is kept of the images that are classified."""

    ALL = "all"
    FIGURES = "figures"


class ChipReadout(InferenceReadSettings):
    """How layers are read out and over which grid the network scale is tuned."""

    activation: Annotated[Activation, Field(description="hidden neurons: tanh, or sign (+1 and -1 only)")] = (
        Activation.TANH
    )
    scale_min: Annotated[Ratio, Field(gt=0, description="smallest scale tried, relative to the trained one")] = 0.5
    scale_max: Annotated[Ratio, Field(gt=0, description="largest scale tried, relative to the trained one")] = 2.0
    scales: Annotated[int, Field(ge=1, description="scales tried per layer, evenly in the logarithm")] = 11
    tune_on: Annotated[int, Field(ge=1, description="training samples the scale is tuned on, the first ones")] = 1000
    test_on: Annotated[
        int | None, Field(ge=1, description="test samples that are classified, the first ones; all if left out")
    ] = None
    dark: Annotated[
        int,
        Field(
            ge=0,
            description="reads of every kernel with all rows at 0 V, whose mean is subtracted; none if `both_ways`",
        ),
    ] = 16
    both_ways: Annotated[
        bool,
        Field(
            description="every vector is driven as it is and with all signs changed, half of the difference counts: "
            "offsets, and what a cell conducts otherwise in the other direction, cancel; twice the patterns"
        ),
    ] = False
    samples_kept: Annotated[int, Field(ge=1, description="test samples whose currents become a record")] = 16
    keep: Annotated[
        Keep,
        Field(
            description="all: every current is written down, 0.15 GB for 10,000 images; figures: of simulated dies "
            "predictions, accuracies and the currents of `samples_kept` only"
        ),
    ] = Keep.ALL
    normalisation: Annotated[
        Normalisation,
        Field(description="G_P - G_AP: surveyed mean of the layer's good cells (nominal if none), or nominal"),
    ] = Normalisation.SURVEYED

    @model_validator(mode="after")
    def _grid_goes_up(self) -> Self:
        if self.scale_max < self.scale_min:
            raise ValueError(f"scale_max {self.scale_max:g} is below scale_min {self.scale_min:g}, expected no less")
        return self

    @model_validator(mode="after")
    def _nominal_cells_have_one_gate(self) -> Self:
        if self.second_gate is not None and self.normalisation is Normalisation.NOMINAL:
            raise ValueError(
                "normalisation: nominal, and a second gate: nominal conductances are of one gate; expected surveyed"
            )
        return self

    @property
    def grid(self) -> FloatArray:
        """Relative network scales that are tried, upwards; exactly 1 is always among them.

        >>> ChipReadout(scale_min=0.5, scale_max=1.5, scales=2).grid
        array([0.5, 1. , 1.5])
        """
        candidates = np.geomspace(self.scale_min, self.scale_max, self.scales)
        candidates = candidates[~np.isclose(candidates, 1.0, rtol=1e-9)]
        return np.sort(np.append(candidates, 1.0))


@dataclass(frozen=True, eq=False)
class ChipOutputs:
    """A pass of n samples: z (n, classes) of the last layer, and (n, columns) A of every layer for the kept ones."""

    z: FloatArray
    current: list[FloatArray]
    ideal: list[FloatArray]


class ProgrammedChip:
    """One programmed solution on the die: normalised currents of its layers for vectors of inputs.

    Args:
        states: mean (G_P, G_AP) in S of each layer.
        trained: (K,), scales that the layers were trained with.
        gains: by kernel, the factor that makes its cells count like those of its layer, where kernels differ in size.
    """

    def __init__(
        self,
        die: Die,
        tiling: Tiling,
        solution: Solution,
        settings: ChipReadout,
        states: list[tuple[float, float]],
        trained: FloatArray,
        gains: Mapping[int, float],
    ) -> None:
        self._die, self._solution, self._settings, self._trained = die, solution, settings, trained
        self._tiles = [tiling.tiles(k) for k in range(len(tiling.shapes))]
        self._gains = gains
        self._dark: dict[tuple[int, Volt], FloatArray] = {}
        self.states = states
        self.units = settings.v_read * np.array([g_p - g_ap for g_p, g_ap in states])
        self.flagged: IntArray = np.zeros(len(tiling.shapes), np.int64)

    def currents(self, k: int, a: FloatArray) -> FloatArray:
        """Return the (n, columns) A of layer k for inputs a (n, n_in), added up over the tiles below each other.

        Where the kernels of a layer differ in size, the currents of each count as if its cells were the layer's mean.
        """
        total = np.zeros((len(a), self._solution.shapes[k][1]))
        for tile in self._tiles[k]:
            current, flagged = self._tile(tile, a[:, tile.rows])
            total[:, tile.cols] += self._gains[tile.kernel] * current
            self.flagged[k] += flagged
        return total

    def _tile(self, tile: Tile, a: FloatArray) -> tuple[FloatArray, int]:
        """Return the (n, columns) A of a tile, added up over its gate voltages, and how many readings are flagged.

        0 A where a reading has no value: the others alone would count as another current.
        """
        read = self._both_ways if self._settings.both_ways else self._one_way
        total = np.zeros((len(a), tile.cols.stop - tile.cols.start))
        lost, flagged = np.zeros(total.shape, np.bool_), 0
        for v_gate, weight in self._settings.gates:
            current, without, count = read(tile, a, v_gate)
            total += weight * current
            lost |= without
            flagged += count
        return np.where(lost, 0.0, total), flagged

    def _one_way(self, tile: Tile, a: FloatArray, v_gate: Volt) -> tuple[FloatArray, BoolArray, int]:
        """Return what `_read` does, less what the columns carry with all rows at 0 V; no value without that."""
        dark, flagged = self._offset(tile, a.shape[1], v_gate)
        current, lost, more = self._read(tile, a, v_gate)
        return current - dark, lost | ~np.isfinite(dark), flagged + more

    def _offset(self, tile: Tile, n_rows: int, v_gate: Volt) -> tuple[FloatArray, int]:
        """Return the (columns,) A that a tile carries with all rows at 0 V, and how many readings are flagged anew.

        NaN where no reading of a column has a value, 0 A if none is asked for.
        """
        at = tile.kernel, v_gate
        if at in self._dark:
            return self._dark[at], 0
        if not self._settings.dark:
            self._dark[at] = np.zeros(tile.cols.stop - tile.cols.start)
            return self._dark[at], 0
        current, lost, flagged = self._read(tile, np.zeros((self._settings.dark, n_rows)), v_gate)
        read = (~lost).sum(axis=0)
        self._dark[at] = np.where(read > 0, np.where(lost, 0.0, current).sum(axis=0) / np.maximum(read, 1), np.nan)
        return self._dark[at], flagged

    def _both_ways(self, tile: Tile, a: FloatArray, v_gate: Volt) -> tuple[FloatArray, BoolArray, int]:
        """Return half of the difference of what `_read` returns for a and -a, which are read one after the other.

        It has no value where one of both has none: the other alone is half of the current, with its offset.
        """
        current, lost, flagged = self._read(tile, np.stack([a, -a], axis=1).reshape(-1, a.shape[1]), v_gate)
        return (current[0::2] - current[1::2]) / 2, lost[0::2] | lost[1::2], flagged

    def _read(self, tile: Tile, a: FloatArray, v_gate: Volt) -> tuple[FloatArray, BoolArray, int]:
        """Return the (n, columns) A of a tile for inputs (n, rows), which have no value, and how many are flagged.

        Patterns without a value are read twice; a reading that then has none is 0 A. A reading beyond the range
        of the converter keeps its end value: a short is there in every repetition.
        """
        s, cols = self._settings, np.arange(tile.cols.stop - tile.cols.start)
        volts = a * s.v_read
        bias = vector_bias(self._die.geometry, tile.kernel, 0, volts, compliance=s.compliance, v_gate=v_gate)
        sense = (Sense if s.keep is Keep.ALL else Glance)(bias, cols, s.aperture)
        reading = sense_again(self._die, sense, lambda first: ~first.valid)
        finite = np.where(np.isfinite(reading.current), reading.current, 0.0)
        return finite, ~reading.valid, int((reading.flag != 0).sum())

    def normalise(self, k: int, current: FloatArray) -> FloatArray:
        """Return (..., n_out), differences of the columns of pairs in units of v_read (G_P - G_AP) trained scale.

        Those of the last layer (..., classes), its votes polled.
        """
        z: FloatArray = (current[..., 0::2] - current[..., 1::2]) / (self.units[k] * self._trained[k])
        return z if k < len(self.units) - 1 else poll(z, self._solution.votes)

    def measure(self, k: int, a: FloatArray) -> FloatArray:
        """Return the normalised currents (n, n_out) of layer k for neurons whose tanh is a (n, n_in)."""
        return self.normalise(k, self.currents(k, self._settings.activation.drive(a)))

    def ideal(self, k: int, a: FloatArray) -> FloatArray:
        """Return the (n, columns) A of ideal cells in their target states, for inputs a (n, n_in)."""
        g_p, g_ap = self.states[k]
        devices = self._solution.layers[k].devices
        current: FloatArray = self._settings.v_read * (a @ (g_ap + (g_p - g_ap) * devices))
        return current

    def forward(
        self, x: FloatArray, first: FloatArray, scales: FloatArray, kept: slice, adjust: Adjust | None = None
    ) -> ChipOutputs:
        """Pass the samples x (n, n_in) on from the currents `first` of their first layer.

        Args:
            scales: (K,), relative network scales.
            kept: samples whose currents are returned.
            adjust: changes the normalised currents of each layer before its neurons get them.
        """
        a, z = x, first
        currents, ideals = [], []
        for k, bias in enumerate(self._solution.biases):
            current = first if k == 0 else self.currents(k, a)
            currents.append(current[kept])
            ideals.append(self.ideal(k, a[kept]))
            z = self.normalise(k, current)
            z = z if adjust is None else adjust(k, a, z)
            a = self._settings.activation.drive(activate(z, scales[k], bias))
        return ChipOutputs(z, currents, ideals)
