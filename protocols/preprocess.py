"""Preprocess samples for a die: crop, average and binarise images, leave idle pixels out, centre, scale.

The same settings go with the trained weights and with the campaign that infers with them: weights are useless
on other pixels.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from labctl.core.errors import BenchError
from labctl.core.model import Model
from labctl.core.units import FloatArray, Ratio
from protocols.samples import Dataset


class Shades(StrEnum):
    """Values of a pixel."""

    GREY = "grey"
    BINARY = "binary"


class Preprocess(Model):
    """Preprocessing of samples, in this order: crop, average, binarise, leave pixels out, centre, scale.

    The first three are for square images. The defaults change nothing; the text ``scale`` stands for `scale` alone.
    """

    crop: Annotated[
        int | None, Field(ge=1, description="side of the middle of the image that is kept, in pixels; all if left out")
    ] = None
    average: Annotated[int, Field(ge=1, description="so many by so many pixels become one, their mean")] = 1
    shades: Annotated[Shades, Field(description="grey, or binary: 0 and 1")] = Shades.GREY
    threshold: Annotated[Ratio, Field(ge=0, lt=1, description="binary: a pixel above it is 1")] = 0.5
    pixels: Annotated[
        int | None, Field(ge=1, description="so many pixels are kept, those that vary most; all if left out")
    ] = None
    centre: Annotated[
        bool, Field(description="the mean of each pixel is subtracted: on average a short then adds nothing")
    ] = False

    scale: Annotated[
        bool,
        Field(description="each feature is divided by its largest magnitude in all samples: none is beyond -1 to 1"),
    ] = False

    @model_validator(mode="before")
    @classmethod
    def _text_for_scale(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "scale":
            raise ValueError("expected the text 'scale', or a mapping such as {centre: true, scale: true}")
        return {"scale": True} if value == "scale" else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"const": "scale"}]}

    def apply(self, data: Dataset) -> Dataset:
        """Return the data set with its samples preprocessed; BenchError if they cannot be.

        Variances and means are those of the training samples; magnitudes are those of all, because an input of a die
        has a largest magnitude and a test sample may not exceed it.
        """
        if self == Preprocess():
            return data
        train, test = data.x_train, data.x_test
        if self.crop is not None or self.average != 1 or self.shades is not Shades.GREY:
            train, test = self.images(train), self.images(test)
        if self.pixels is not None:
            if self.pixels > train.shape[1]:
                raise BenchError(f"{self.pixels} pixels were asked for; the images have {train.shape[1]}")
            kept = np.sort(np.argsort(-train.var(axis=0, dtype=np.float64), kind="stable")[: self.pixels])
            train, test = train[:, kept], test[:, kept]
        if self.centre:
            mean = train.mean(axis=0, dtype=np.float64).astype(train.dtype)
            train, test = train - mean, test - mean
        if self.scale:
            largest = np.maximum(np.abs(train).max(axis=0), np.abs(test).max(axis=0))
            largest[largest == 0] = 1
            train, test = train / largest, test / largest
        return replace(data, x_train=train, x_test=test)

    def images(self, x: FloatArray) -> FloatArray:
        """Return images (n, side x side), cropped, averaged and binarised: (n, new side x new side), as precise.

        Raises:
            BenchError: the images are not square, smaller than the crop, or cannot be averaged without a rest.

        >>> import numpy as np
        >>> Preprocess(average=2).images(np.array([[0.0, 1.0, 1.0, 0.0]]))
        array([[0.5]])
        """
        side = round(x.shape[1] ** 0.5)
        if side * side != x.shape[1]:
            raise BenchError(f"samples of {x.shape[1]} features are no square images; leave 'preprocess' out")
        new = side if self.crop is None else self.crop
        if new > side:
            raise BenchError(f"a crop of {new} x {new} pixels was asked for; the images have {side} x {side}")
        if new % self.average:
            raise BenchError(f"{new} x {new} pixels cannot be averaged {self.average} x {self.average} without a rest")
        first = (side - new) // 2
        middle = x.reshape(-1, side, side)[:, first : first + new, first : first + new]
        small = new // self.average
        blocks = middle.reshape(-1, small, self.average, small, self.average)
        pixels: FloatArray = blocks.mean(axis=(2, 4), dtype=x.dtype).reshape(len(x), -1)
        if self.shades is Shades.BINARY:
            pixels = (pixels > self.threshold).astype(x.dtype)
        return pixels
