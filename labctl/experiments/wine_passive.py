"""Passive arrays: how well do hundreds of networks survive being written into arrays of four device sizes?

Many ternary 13-6-3 networks for the Wine data are written into passive 15 x 15 arrays one after the other, read back
and used for inference (after Goodwill et al., arXiv 2112.09159 (2022)): write fidelity and accuracy of every network on
every size, with network scale 1 and with the scale tuned on the training samples, against the same network in software.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labctl.core.units import FloatArray, IntArray, Metre
from labctl.experiments.steps import Steps
from labctl.networks import datasets
from labctl.networks.solutions import save
from labctl.storage.results import open_run

SOLUTIONS = 300
EPOCHS = 1000
PARTS = ("untuned_train", "untuned_test", "tuned_train", "tuned_test")
PUBLISHED = 0.953
"""The best accuracy after tuning that the publication reports."""


@dataclass(frozen=True)
class WineSettings:
    """What was asked for.

    Args:
        count: networks to train; `train_seed` of the first.
        solutions: file with trained networks, instead of training some.
        seed: of the simulated dies; None for the campaign's.
        set: values of the campaign file by dotted path.
    """

    count: int = SOLUTIONS
    solutions: str | None = None
    train_seed: int = 0
    seed: int | None = None
    set: Mapping[str, str] | None = None

    @property
    def steps(self) -> int:
        """How many trainings and campaigns it takes."""
        return 1 + (self.solutions is None)


@dataclass(frozen=True, eq=False)
class PassiveArray:
    """All networks on the arrays of one die; arrays (n,), one entry per network, ratios.

    Args:
        diameter: of its devices.
        cells: placed per network.
        correct: placed cells that read back as written.
        pulses: given per network.
        accuracy: by tuning and part ("tuned_test"), on the die; `software` likewise, without hardware.
        samples: training and test samples there are.
    """

    die: str
    diameter: Metre
    cells: IntArray
    correct: IntArray
    pulses: IntArray
    accuracy: Mapping[str, FloatArray]
    software: Mapping[str, FloatArray]
    samples: tuple[int, int]

    def whole(self, tuning: str, *, software: bool = False) -> FloatArray:
        """Return the accuracy on all samples together, training and test."""
        of = self.software if software else self.accuracy
        train, test = self.samples
        accuracy: FloatArray = (train * of[f"{tuning}_train"] + test * of[f"{tuning}_test"]) / (train + test)
        return accuracy

    @property
    def fidelity(self) -> FloatArray:
        """Write fidelity of every network."""
        fidelity: FloatArray = self.correct / self.cells
        return fidelity

    def figures(self) -> dict[str, float]:
        """Return mean and minimum of each accuracy, and the share of networks at or above the published one."""
        figures = {"fidelity": float(self.correct.sum() / self.cells.sum()), "fidelity_min": float(self.fidelity.min())}
        figures["pulses_per_cell"] = float(self.pulses.sum() / self.cells.sum())
        for part in PARTS:
            figures[part], figures[f"{part}_min"] = float(self.accuracy[part].mean()), float(self.accuracy[part].min())
            figures[f"software_{part}"] = float(self.software[part].mean())
        figures["at_published"] = float((self.whole("tuned") >= PUBLISHED).mean())
        return figures


@dataclass(frozen=True, eq=False)
class Wine:
    """What came of it, by diameter."""

    settings: WineSettings
    arrays: tuple[PassiveArray, ...]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, for ``results.json``."""
        return {
            "experiment": "wine-passive",
            "asked": asdict(self.settings),
            "dies": [
                {
                    "die": a.die,
                    "diameter": a.diameter,
                    "figures": a.figures(),
                    "fidelity": a.fidelity.tolist(),
                    "accuracy": {part: a.accuracy[part].tolist() for part in PARTS},
                    "software": {part: a.software[part].tolist() for part in PARTS},
                }
                for a in self.arrays
            ],
            "seconds": dict(self.seconds),
        }


def reproduce(settings: WineSettings, steps: Steps, campaign: Path) -> Wine:
    """Do what is asked for, as far as it is not done yet.

    Raises:
        BenchError: files do not fit, or the folder belongs to other settings.
        LabError: the campaign did not come to its end.
    """
    given = Path(settings.solutions).resolve() if settings.solutions else _trained(settings, steps)
    overrides = {**(settings.set or {}), "solutions": str(given)}
    if settings.seed is not None:
        overrides["seed"] = str(settings.seed)
    arrays = read(steps.run("campaign", campaign, overrides))
    return Wine(settings, arrays, dict(steps.seconds))


def _trained(settings: WineSettings, steps: Steps) -> Path:
    """Return the file of the networks, which are trained unless the file exists."""
    from labctl.experiments.wine_training import train

    def make(path: Path) -> None:
        wine, seeds = datasets.load("wine"), np.arange(settings.train_seed, settings.train_seed + settings.count)
        save(path, train(wine.x_train, wine.y_train, seeds, EPOCHS))

    return steps.make(f"solutions-{settings.count}-from-{settings.train_seed}.npz", make)


def read(folder: Path) -> tuple[PassiveArray, ...]:
    """Return what a finished run says of each of its dies, the smallest devices first."""
    run = open_run(folder)
    arrays = []
    for name in run.planned:
        die = run.die(name)
        write, inference = die.table("write"), die.table("inference")
        arrays.append(
            PassiveArray(
                name,
                float(die.meta["description"]["junction"]["diameter"]),
                write["cells"],
                write["correct"],
                write["pulses"],
                {part: inference[f"accuracy_{part}"] for part in PARTS},
                {part: inference[f"float_{part}"] for part in PARTS},
                (int(inference["confusion_tuned_train"][0].sum()), int(inference["confusion_tuned_test"][0].sum())),
            )
        )
    return tuple(sorted(arrays, key=lambda a: a.diameter))
