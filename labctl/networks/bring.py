"""Take a network from elsewhere into the file that campaigns read, if it is as good as its maker says."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.names import new_folder_of
from labctl.core.units import FloatArray
from labctl.networks import datasets, layouts, solutions
from labctl.networks.foreign import read_layers
from labctl.networks.layouts import Candidate
from protocols.chip_readout import Activation
from protocols.preprocess import Preprocess
from protocols.samples import Dataset

_STATED = re.compile(r"\s*(\d+(?:\.(\d+))?)\s*(%?)\s*")
_NAMED = 6
"""Layouts that a refusal names."""
_COARSEST = 0.005
"""Largest rounding: a text with fewer digits, such as "1" or "0.9", states whole percents."""


@dataclass(frozen=True)
class Stated:
    """An accuracy as it was written: 93.3 % is anything that is rounded to it.

    Args:
        value: from 0 to 1.
        rounding: half a unit of its last digit, 0.005 at most: "1" is 99.5 % and more, not anything above 50 %.
    """

    text: str
    value: float
    rounding: float

    @classmethod
    def read(cls, text: str) -> "Stated":
        """Return the accuracy of a text. Raises BenchError.

        >>> Stated.read("93.3 %").rounding, Stated.read("0.9").rounding
        (0.0005, 0.005)
        """
        match = _STATED.fullmatch(text)
        factor = 0.01 if match is not None and match[3] else 1.0
        if match is None or not 0 <= float(match[1]) * factor <= 1:
            raise BenchError(f"--accuracy {text}: expected what is known of the network, such as '93.3 %' or 0.933")
        rounding = round(0.5 * factor * 10.0 ** -len(match[2] or ""), 12)
        return cls(text.strip(), float(match[1]) * factor, min(rounding, _COARSEST))

    def is_met(self, accuracy: float, samples: int) -> bool:
        """Return whether an accuracy on so many samples is this one: rounded to it, or one sample from it."""
        return abs(accuracy - self.value) <= max(self.rounding, 1 / samples) * (1 + 1e-9)


@dataclass(frozen=True)
class Brought:
    """What was taken.

    Args:
        layout: that was used, in words.
        accuracy: in software, on the test samples.
        others: further layouts that have this accuracy and make another network, in words.
    """

    path: Path
    layout: str
    accuracy: float
    samples: int
    sizes: tuple[int, ...]
    scale: tuple[float, ...]
    others: tuple[str, ...]


def bring(
    source: Path,
    target: Path,
    data: str,
    accuracy: str,
    *,
    layout: Sequence[str] = (),
    scale: Sequence[float] = (),
    activation: str = "tanh",
    preprocess: str = "",
) -> Brought:
    """Write the network of a file as a file of weights, after its accuracy on the test samples was compared.

    Args:
        source: npz or safetensors.
        target: new npz file.
        data: data set by its name or path.
        accuracy: of the network on the test samples, as its maker knows it: "93.3 %".
        layout: words of `labctl.networks.layouts.Layout` that differ from what the file seems to be.
        scale: by which each layer divides its sums; one number for all, or one for each.
        activation: of the hidden neurons, tanh or sign.
        preprocess: "scale", or nothing.

    Raises:
        BenchError: `target` is there already, the file is no network, the samples are beyond what a die takes, the
            layout does not fit, or the accuracy is another one: then with the layouts that have it.
        StorageError: `target` cannot be written.
    """
    new_folder_of(target)
    if os.path.lexists(target):
        raise BenchError(f"{target} exists already; expected a new file, nothing is written over")
    stated = Stated.read(accuracy)
    layers = read_layers(source)
    kind, before = _settings(activation, preprocess)
    samples = before.apply(datasets.load(data))
    x, y = samples.x_test.astype(np.float64), samples.y_test
    scales = _scales(scale, len(layers))
    _refuse_what_no_die_takes(samples, scales)
    cells = any(layer.cells for layer in layers)
    chosen = layouts.asked_for(layout, layouts.usual(layers, samples.features))
    network = layouts.understood(layers, chosen, samples.features, samples.classes, scales, kind)
    all_that_fit = list(layouts.candidates(layers, x, y, samples.classes, scales, kind))
    meeting = [one for one in all_that_fit if stated.is_met(one.accuracy, len(y))]
    reached = None if isinstance(network, str) else network.accuracy(x, y)
    if isinstance(network, str) or reached is None or not stated.is_met(reached, len(y)):
        reading = network if isinstance(network, str) else f"{_percent(reached or 0.0)} of {len(y)} test samples"
        raise BenchError(
            f"{source} as {chosen.words(cells=cells)} has {reading}, and {stated.text} was stated; nothing is written. "
            + _advice(meeting, all_that_fit, cells, data)
        )
    settings: dict[str, object] = {
        "activation": str(kind),
        "data": data if data in datasets.NAMES else "",
        "preprocess": preprocess or {},
    }
    beside = {"scale": network.scale[None, :], "training": np.array(json.dumps(settings))}
    taken = network.solutions()
    solutions.save(target, taken, **beside)
    others = tuple(one.layout.words(cells=cells) for one in meeting if one.network.key != network.key)
    scaled = tuple(float(s) for s in network.scale)
    return Brought(target, chosen.words(cells=cells), reached, len(y), taken.sizes, scaled, others)


def _refuse_what_no_die_takes(samples: Dataset, scales: FloatArray) -> None:
    """Raise BenchError if samples are beyond -1 to 1: a stage would refuse them, and what is scaled later differs."""
    parts = {"x_train": samples.x_train, "x_test": samples.x_test}
    reach = {part: float(np.nan_to_num(np.abs(x), nan=np.inf).max(initial=0.0)) for part, x in parts.items()}
    part = max(reach, key=reach.__getitem__)
    worst = reach[part]
    if worst <= 1:
        return
    raise BenchError(
        f"{part} of '{samples.name}' reaches {worst!r}; expected -1 to 1, as inputs are applied to a die, and nothing "
        f"is written. With all samples divided by {worst!r} and --scale {scales[0] / worst:.6g} for the first layer "
        "the network is the same; where it was trained on features that were each divided by its largest magnitude, "
        "say --preprocess scale"
    )


def _settings(activation: str, preprocess: str) -> tuple[Activation, Preprocess]:
    if activation not in tuple(Activation):
        raise BenchError(
            f"--activation {activation}: expected {' or '.join(Activation)}, which a die's neurons make; a network "
            "with another one is trained anew"
        )
    if preprocess not in ("", "scale"):
        raise BenchError(f"--preprocess {preprocess}: expected scale, or nothing; other samples are given as they are")
    return Activation(activation), Preprocess.model_validate(preprocess or {})


def _scales(scale: Sequence[float], layers: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if len(scale) not in (0, 1, layers) or not all(1e-30 < one < 1e30 for one in scale):
        raise BenchError(f"--scale {','.join(f'{s:g}' for s in scale)}: expected one positive number, or {layers}")
    return np.array(list(scale) * layers if len(scale) == 1 else list(scale) or [1.0] * layers)


def _advice(meeting: Sequence[Candidate], fitting: Sequence[Candidate], cells: bool, data: str) -> str:
    if meeting:
        options = "; ".join(
            f"--layout {one.layout.words(cells=cells)} ({_percent(one.accuracy)})" for one in meeting[:_NAMED]
        )
        more = f"; and {len(meeting) - _NAMED} more" if len(meeting) > _NAMED else ""
        return f"Layouts with which it is: {options}{more}"
    if not fitting:
        return f"No layout fits its shapes; expected layers from the features of '{data}' to its classes"
    best = max(fitting, key=lambda one: one.accuracy)
    return (
        f"None of {len(fitting)} layouts has it; the best is --layout {best.layout.words(cells=cells)} with "
        f"{_percent(best.accuracy)}. Are data set, order of features, --preprocess, --scale and --activation those of "
        "the training?"
    )


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.4g} %"
