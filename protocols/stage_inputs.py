"""The inputs of a stage that runs networks: trained networks, and the samples they are tuned on and tested with."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from labctl.core.errors import BenchError
from labctl.core.inputs import Input
from labctl.core.model import Model
from labctl.core.units import FloatArray, IntArray
from protocols.die_information import AccuracyTerms, DieInformation, Way
from protocols.preprocess import Preprocess
from protocols.samples import Dataset
from protocols.weights import Solution

UNCHANGED = Preprocess()


class Remapping(StrEnum):
    """By what networks are placed on a die."""

    NONE = "none"
    SURVEY = "survey"


@dataclass(frozen=True, eq=False)
class Networks(Input):
    """Trained networks of one shape.

    Args:
        solutions: s networks.
        scale: (s, K), network scale that each layer was trained with; 1 if left out.
        preprocess: what the samples went through that the networks were trained on.
        dies: name of the die that each network is for; empty if they are for any.
        name: of the file, for messages.
        trained_with: what training knew of dies; none if the file does not say.
        activation: of the hidden neurons: tanh or sign; "" if the file does not say.

    Raises:
        BenchError: no network, networks of several shapes, or an index twice.
    """

    solutions: tuple[Solution, ...]
    scale: FloatArray | None = None
    preprocess: Preprocess = UNCHANGED
    dies: tuple[str, ...] = ()
    name: str = "solutions"
    trained_with: DieInformation = DieInformation.NONE
    activation: str = ""

    def __post_init__(self) -> None:
        if not self.solutions:
            raise BenchError(f"{self.name} has no solution")
        first = self.solutions[0]
        if odd := [s for s in self.solutions if (s.shapes, s.votes) != (first.shapes, first.votes)]:
            raise BenchError(
                f"solution {odd[0].index} has layers of {odd[0].shapes} cells and {odd[0].votes} votes, solution "
                f"{first.index} {first.shapes} and {first.votes}; one stage runs one network"
            )
        if len({s.index for s in self.solutions}) != len(self.solutions):
            raise BenchError("two solutions have the same index")
        shape = (len(self.solutions), len(first.layers))
        if self.scale is None:
            object.__setattr__(self, "scale", np.ones(shape))
        elif self.scale.shape != shape or not (np.isfinite(self.scale) & (self.scale > 0)).all():
            raise BenchError(f"scale is {self.scale.shape}; expected positive numbers (solutions, layers) {shape}")

    def __len__(self) -> int:
        return len(self.solutions)

    def __iter__(self) -> Iterator[Solution]:
        return iter(self.solutions)

    def __getitem__(self, number: int) -> Solution:
        return self.solutions[number]

    @property
    def trained_scale(self) -> FloatArray:
        """(s, K), network scale that each layer was trained with."""
        assert self.scale is not None
        return self.scale

    def take(self, at: IntArray | list[int]) -> "Networks":
        """Return the networks at the positions `at`, in that order."""
        chosen = tuple(self.solutions[k] for k in at)
        dies = tuple(self.dies[k] for k in at) if self.dies else ()
        scale = self.trained_scale[at]
        return Networks(chosen, scale, self.preprocess, dies, self.name, self.trained_with, self.activation)

    def for_die(self, name: str) -> Self:
        """Return the networks for the die `name`: all, or its own. BenchError if there are only those of others."""
        if not self.dies:
            return self
        if name not in self.dies:
            raise BenchError(f"{self.name} has solutions for {', '.join(self.dies)}; none for die {name}")
        own: Self = self.take([k for k, die in enumerate(self.dies) if die == name])  # type: ignore[assignment]
        return own


class NetworkInputs(Model):
    """What a stage that runs networks names: their file, the data set, and how its samples are preprocessed.

    The data set of the stage is the preprocessed one. Its samples lie within -1 and 1; they are applied as x v_read.
    """

    solutions: Annotated[Networks, Field(description="npz file of trained weights: fcK_devices, fcK_bias, index")]
    preprocess: Annotated[
        Preprocess | None,
        Field(description="what is done to the samples first; as the networks were trained with, if left out"),
    ] = None
    data: Annotated[
        Dataset,
        Field(description="data set: wine, digits, mnist, or a path of the user's own: an npz file or a folder"),
    ]

    remap: Annotated[
        Remapping,
        Field(
            description="survey: hidden neurons are placed, with either sign, where the bad cells of the die do least "
            "harm by its survey; the function of the network stays the same"
        ),
    ] = Remapping.NONE
    calibrate: Annotated[
        int,
        Field(
            ge=0,
            description="training samples, the first ones, on which gain and offset of every neuron are calibrated "
            "without their labels; 0: none",
        ),
    ] = 0
    subtract: Annotated[
        bool,
        Field(
            description="also infer with the weights of bad cells computed digitally by the survey: the bound of what "
            "a die can reach, and not analog inference"
        ),
    ] = False

    def terms(self, way: Way, labelled: int) -> AccuracyTerms:
        """Return the terms of an accuracy of this stage.

        Args:
            labelled: samples whose labels choose network scales, where they do.
        """
        return AccuracyTerms.of(
            way,
            self.solutions.trained_with,
            per_die=bool(self.solutions.dies),
            remapped=self.remap is Remapping.SURVEY,
            labelled=labelled,
            unlabelled=min(self.calibrate, len(self.data.x_train)),
        )

    @field_validator("data")
    @classmethod
    def _fit(cls, data: Dataset, info: ValidationInfo) -> Dataset:
        if "solutions" not in info.data or "preprocess" not in info.data:
            return data  # what is wrong with those is said at them
        networks, wanted = info.data["solutions"], info.data["preprocess"]
        trained = networks.preprocess
        if wanted is not None and trained not in (wanted, UNCHANGED):
            raise ValueError(
                f"{networks.name} was trained on samples with preprocess {_keys(trained)}, found {_keys(wanted)}; "
                "leave 'preprocess' out"
            )
        try:
            data = (trained if wanted is None else wanted).apply(data)
        except BenchError as error:
            raise ValueError(str(error)) from error
        first = networks[0]
        n_in, classes = first.shapes[0][0], len(first.layers[-1].bias) // first.votes
        if data.x_train.ndim == 2 and data.features != n_in:
            raise ValueError(
                f"the first layer of {networks.name} has {n_in} inputs; the data set '{data.name}' has {data.features} "
                "features"
            )
        for part, x, y in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
            if x.ndim != 2 or len(x) == 0 or x.shape[1] != n_in or y.shape != (len(x),):
                raise ValueError(
                    f"x_{part} of '{data.name}' is {x.shape} and y_{part} {y.shape}; "
                    f"expected (samples, {n_in}) and (samples,)"
                )
            if not (np.abs(x) <= 1).all():
                worst = float(x.flat[int(np.argmax(np.nan_to_num(np.abs(x), nan=np.inf)))])
                raise ValueError(
                    f"x_{part} of '{data.name}' reaches {worst!r}, expected -1 to 1, as inputs are applied; "
                    "'preprocess: scale' divides each feature by its largest magnitude"
                )
            if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= classes:
                raise ValueError(
                    f"y_{part} of '{data.name}' has classes {y.min()} to {y.max()}, expected whole numbers from 0 to "
                    f"{classes - 1}, as {networks.name} has outputs"
                )
        return data


def _keys(preprocess: Preprocess) -> str:
    """Return the settings that differ from the defaults, as people write them."""
    given = preprocess.model_dump(mode="json", exclude_defaults=True)
    return "{" + ", ".join(f"{key}: {str(value).lower()}" for key, value in given.items()) + "}"
