"""The recipe of a training: settings that determine the result, and nothing about files."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from labctl.core.model import Model
from labctl.core.units import Ratio
from protocols.chip_readout import Activation

Sizes = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...],
    Field(min_length=2, description="neurons of each layer, the inputs first: [169, 50, 10]"),
]


class Levels(StrEnum):
    """Values of a weight."""

    TERNARY = "ternary"
    BINARY = "binary"


class Recipe(Model):
    """Network and course of training; the defaults belong to images of some hundred pixels."""

    sizes: Sizes
    votes: Annotated[
        int,
        Field(ge=1, description="outputs per class, their mean decides: a short in the column of one is then diluted"),
    ] = 1
    levels: Annotated[Levels, Field(description="ternary: +1, 0, -1; binary: +1, -1")] = Levels.TERNARY
    activation: Annotated[Activation, Field(description="hidden neurons: tanh or sign")] = Activation.TANH
    scale: Annotated[
        float | None,
        Field(gt=0, description="network scale of every layer; learned if left out, from sqrt(inputs) / 2 on"),
    ] = None
    epochs: Annotated[int, Field(ge=1, description="passes over the training samples")] = 30
    batch: Annotated[int, Field(ge=1, description="samples per step; all at most")] = 256
    rate: Annotated[float, Field(gt=0, description="learning rate at the start; it falls to 0 as a cosine does")] = 0.01
    maps: Annotated[
        int, Field(ge=1, description="statistics-aware: fresh defect maps per step, each for its part of the batch")
    ] = 4
    judged_on: Annotated[
        int, Field(ge=1, description="training samples, the first ones, that decide which epoch is kept; all at most")
    ] = 5000
    validation: Annotated[
        int,
        Field(
            ge=0,
            description="training samples, the last ones, that are kept out of training and decide, all of them, which "
            "epoch and which candidate is kept, instead of `judged_on`; 0: none",
        ),
    ] = 0
    judged_maps: Annotated[
        int, Field(ge=1, description="statistics-aware: defect maps, the same in every epoch, that decide with them")
    ] = 8

    @model_validator(mode="after")
    def _votes_are_even(self) -> Self:
        if self.sizes[-1] % self.votes:
            raise ValueError(f"{self.sizes[-1]} outputs are not {self.votes} for each class")
        return self

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.sizes[-1] // self.votes

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of the block of cells of every layer."""
        return tuple((n, 2 * m) for n, m in zip(self.sizes[:-1], self.sizes[1:], strict=True))

    @property
    def initial_scales(self) -> tuple[float, ...]:
        """Network scale of each layer at the start."""
        return tuple(self.scale or max(1.0, n**0.5 / 2) for n in self.sizes[:-1])

    @property
    def threshold(self) -> Ratio:
        """A latent weight, within -1 to 1, closer to 0 than this is 0."""
        return 1 / 3 if self.levels is Levels.TERNARY else 0.0
