"""The settings and the outcome of the comparison of networks on integrated chips."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from labctl.experiments.losses import Losses
from labctl.networks.training.method import Method

METHODS = tuple(m.value for m in Method)
STATISTICS_AWARE = Method.STATISTICS_AWARE.value
BASELINE = Method.BASELINE.value
DATA = ("digits", "mnist")


@dataclass(frozen=True)
class DieError:
    """The networks of one method on one die, their mean; ratios.

    Args:
        error: test error, scales tuned on training images; `untuned` with the scales it was trained with.
        software: test error of the same weights without any hardware, with the scales they were trained with.
        fidelity: write fidelity.
        defects: cells of the die that its survey did not find good; `placed` of them under the network.
        shorts: of `placed`, those that are shorts.
    """

    die: str
    error: float
    untuned: float
    software: float
    fidelity: float
    defects: int
    placed: int
    shorts: int


@dataclass(frozen=True)
class Result:
    """One method on the dies of one wafer.

    Args:
        density: multiple of the die file's fractions of defects.
        seed: of the wafer.
        other: True if the weights come from the statistics of another wafer.
    """

    method: str
    density: float
    seed: int
    other: bool
    dies: tuple[DieError, ...]

    def values(self, name: str) -> Any:
        """Return (dies,) of a field of `DieError`."""
        return np.array([getattr(d, name) for d in self.dies])

    def figures(self) -> dict[str, float]:
        """Return the figures of all dies together; spread is one standard deviation over the dies."""
        error, software = self.values("error"), self.values("software")
        return {
            "software": float(software.mean()),
            "mean": float(error.mean()),
            "spread": float(error.std(ddof=1)) if len(error) > 1 else 0.0,
            "best": float(error.min()),
            "median": float(np.median(error)),
            "worst": float(error.max()),
            "untuned": float(self.values("untuned").mean()),
            "fidelity": float(self.values("fidelity").mean()),
            "defects": float(self.values("defects").mean()),
        }


@dataclass(frozen=True)
class ChipSettings:
    """Settings of the experiment.

    Args:
        data: digits or mnist.
        dies: how many, from the centre of the wafer outwards; None for all.
        densities: multiples of the die file's fractions of defects, each with surveys and trainings of its own.
        wafers: on which networks are tried: None for the one whose dies training has surveyed, others by their seeds.
        seed: of the wafer; None for the campaign's.
        set: values of the campaign file by dotted path; `train` of the three training files.
        seeds: networks of each method that is not trained for one die.
        methods: of them; the baseline is always trained, since losses are over it in software.
        exclude: comparisons of figures, such as "defects > 1000", any of which leaves a die out.
        calibrate: unlabelled training images on which neurons are calibrated.
    """

    data: str = "mnist"
    dies: int | None = None
    densities: tuple[float, ...] = (1.0,)
    wafers: tuple[int | None, ...] = (None,)
    seed: int | None = None
    set: Mapping[str, str] | None = None
    train: Mapping[str, str] | None = None
    seeds: int = 1
    methods: tuple[str, ...] = METHODS
    exclude: tuple[str, ...] = ()
    calibrate: int = 1000

    @property
    def shared(self) -> tuple[str, ...]:
        """The methods with one set of weights for all dies."""
        return tuple(m for m in self.methods if m != Method.HARDWARE_AWARE.value)

    @property
    def reference(self) -> float:
        """The density whose weights go to another wafer: 1 if it is among them, else the first."""
        return 1.0 if 1.0 in self.densities else self.densities[0]

    @property
    def steps(self) -> int:
        """How many trainings and campaigns it takes; hardware-aware networks are tried on the dies they are for."""
        trained = 1 + len(self.densities) * sum(m != BASELINE for m in self.methods)
        own, others = None in self.wafers, sum(seed is not None for seed in self.wafers)
        runs = len(self.densities) * (1 + own * len(self.methods) + (own + 2 * others) * len(self.shared))
        return trained + runs


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Args:
        rates: per density the share of the cells that has each defect, as surveyed.
        cells: surveyed cells per die.
        sizes: neurons of the layers; `votes` outputs per class.
        conventional: test error of the baseline in software on the images that hardware classified, mean over seeds:
            what hardware is compared with.
        losses: of every method, way and wafer, remapped and not.
    """

    settings: ChipSettings
    results: tuple[Result, ...]
    rates: Mapping[float, Mapping[str, float]]
    cells: int
    sizes: tuple[int, ...]
    votes: int
    seconds: Mapping[str, float]
    conventional: float
    losses: tuple[Losses, ...] = ()

    def of(self, method: str, density: float, wafer: int | None = None) -> Result:
        """Return one of the results, of the wafer that training knows or of another; KeyError if there is none."""
        for r in self.results:
            if (r.method, r.density, r.seed if r.other else None) == (method, density, wafer):
                return r
        raise KeyError(f"{method} at density {density:g}")

    @property
    def software(self) -> float:
        """Test error of the baseline weights in software: what hardware is compared with."""
        return self.conventional

    @property
    def network(self) -> str:
        """What was trained, in words."""
        name = {"mnist": "MNIST"}.get(self.settings.data, self.settings.data)
        votes = f" ({self.votes} outputs per class)" if self.votes > 1 else ""
        return f"{name}, {'-'.join(map(str, self.sizes))}{votes}"

    def to_json(self) -> dict[str, Any]:
        """Return all of it, for ``results.json``."""
        return {
            "experiment": "mtj-chip",
            "asked": asdict(self.settings),
            "sizes": list(self.sizes),
            "votes": self.votes,
            "cells": self.cells,
            "software_error": self.software,
            "defect_rates": [{"density": d, "rates": dict(r)} for d, r in self.rates.items()],
            "results": [
                {
                    **{k: v for k, v in asdict(r).items() if k != "dies"},
                    "figures": r.figures(),
                    "dies": [asdict(d) for d in r.dies],
                }
                for r in self.results
            ],
            "losses": [losses.to_json() for losses in self.losses],
            "seconds": dict(self.seconds),
        }
