"""The integrated chip: do networks trained over the statistics of defects work on every die of a wafer?

Three networks of one kind are compared on every die of a simulated wafer, through all that lies between them and the
classes: write-verify, wires, noise, converters, defects (after Borders et al., Phys. Rev. Applied 21, 054028 (2024)):

- baseline: trained without defects; the same weights on all dies
- hardware-aware: trained for the surveyed cells of one die; other weights on each
- statistics-aware: trained over fresh defects, drawn from the surveyed cells of all dies; the same weights on all

Trainings see surveys as they were measured and nothing that only the simulation knows. On every die one scale per
layer is tuned on training images, the same way for all. Errors are of test images, which choose nothing. The module is
long because an experiment is one file: its settings, its results and its steps.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labctl import files
from labctl.config.campaign import Campaign
from labctl.core.defects import Defect
from labctl.core.errors import BenchError
from labctl.core.site import Site
from labctl.experiments.steps import Steps
from labctl.networks import datasets
from labctl.networks.trained_network import read_trained, surveys
from labctl.networks.training.engine import libraries
from labctl.networks.training.maps import defect_rates
from labctl.networks.training.method import Method
from labctl.station import composition
from labctl.storage.results import open_run
from sim_backend.description import FRACTIONS, DieDescription

METHODS = tuple(m.value for m in Method)
STATISTICS_AWARE = Method.STATISTICS_AWARE.value
BASELINE = Method.BASELINE.value
DATA = ("digits", "mnist")


@dataclass(frozen=True)
class DieError:
    """One network on one die; ratios.

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
        other_wafer: seed of a wafer on which the statistics-aware weights are tried that know another.
        seed: of the wafer; None for the campaign's.
        set: values of the campaign file by dotted path; `train` of the three training files.
    """

    data: str = "mnist"
    dies: int | None = None
    densities: tuple[float, ...] = (1.0,)
    other_wafer: int | None = None
    seed: int | None = None
    set: Mapping[str, str] | None = None
    train: Mapping[str, str] | None = None

    @property
    def reference(self) -> float:
        """The density whose weights go to another wafer: 1 if it is among them, else the first."""
        return 1.0 if 1.0 in self.densities else self.densities[0]

    @property
    def steps(self) -> int:
        """How many trainings and campaigns it takes."""
        return 1 + len(self.densities) * (len(METHODS) * 2) + (self.other_wafer is not None)


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Args:
        rates: per density the share of the cells that has each defect, as surveyed.
        cells: surveyed cells per die.
        sizes: neurons of the layers; `votes` outputs per class.
    """

    settings: ChipSettings
    results: tuple[Result, ...]
    rates: Mapping[float, Mapping[str, float]]
    cells: int
    sizes: tuple[int, ...]
    votes: int
    seconds: Mapping[str, float]

    def of(self, method: str, density: float, *, other: bool = False) -> Result:
        """Return one of the results; KeyError if it was not asked for."""
        for r in self.results:
            if (r.method, r.density, r.other) == (method, density, other):
                return r
        raise KeyError(f"{method} at density {density:g}")

    @property
    def software(self) -> float:
        """Test error of the baseline weights in software: what hardware is compared with."""
        return float(self.of(BASELINE, self.settings.reference).figures()["software"])

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
            "seconds": dict(self.seconds),
        }


def check(settings: ChipSettings) -> None:
    """Raise BenchError, before hours are spent, if data or JAX is missing or something asked for cannot be meant."""
    if settings.data not in DATA:
        raise BenchError(f"--data {settings.data}: expected {' or '.join(DATA)}")
    if (
        not settings.densities
        or len(set(settings.densities)) != len(settings.densities)
        or min(settings.densities) <= 0
    ):
        raise BenchError("--densities: expected different positive numbers such as 0.5,1,2")
    libraries()
    datasets.load(settings.data)


def reproduce(settings: ChipSettings, steps: Steps, campaign: Path) -> Comparison:
    """Do what is asked for, as far as it is not done yet.

    Args:
        campaign: the campaign file; the training files are beside it.

    Raises:
        BenchError: files, data or libraries are missing or do not fit, or the folder belongs to other settings.
        LabError: a step did not come to its end.
    """
    check(settings)
    loaded = composition.load(campaign, settings.set)
    if loaded.value.wafer is None:
        raise BenchError(f"{campaign} names no wafer; this experiment is about the dies of one")
    common = {**(settings.set or {}), **_subset(composition.read(campaign, settings.set).subjects, settings.dies)}
    seed = loaded.value.seed if settings.seed is None else settings.seed
    of_networks = ("stages", "solutions", "data", "accept", "bins")
    survey_only = {k: v for k, v in common.items() if k.split(".")[0] not in of_networks}
    survey_only["stages"] = json.dumps([loaded.root.at(("stages", 0)).plain()])
    survey_only |= {"accept": "{}", "bins": "[]"}  # the campaign judges networks, and a survey has none

    def training(method: str, name: str, **given: str) -> Path:
        config = campaign.parent / f"train-{settings.data}-{method}.yaml"
        return steps.train(name, config, {**(settings.train or {}), **given})

    def inference(name: str, weights: Path, **given: str) -> Path:
        return steps.run(name, campaign, {**common, **given, "data": settings.data, "solutions": str(weights)})

    baseline = training(BASELINE, BASELINE)
    results: list[Result] = []
    rates: dict[float, dict[str, float]] = {}
    weights = baseline
    for density in settings.densities:
        world = {"seed": str(seed), **_defects(loaded, density)}
        surveyed = steps.run(f"survey-x{density:g}", campaign, {**survey_only, **world})
        rates[density] = defect_rates(surveys(surveyed))
        for method in METHODS:
            name = f"{method}-x{density:g}"
            own = baseline if method == BASELINE else training(method, f"weights-{name}", survey=str(surveyed))
            if method == STATISTICS_AWARE and density == settings.reference:
                weights = own
            results.append(Result(method, density, seed, False, read(inference(name, own, **world))))
    if settings.other_wafer is not None:
        world = {"seed": str(settings.other_wafer), **_defects(loaded, settings.reference)}
        run = inference(f"{STATISTICS_AWARE}-wafer-{settings.other_wafer}", weights, **world)
        results.append(Result(STATISTICS_AWARE, settings.reference, settings.other_wafer, True, read(run)))
    dies = surveys(steps.folder / f"survey-x{settings.reference:g}")
    network = read_trained(weights).solutions
    cells = dies[0].g_p.size
    return Comparison(settings, tuple(results), rates, cells, network.sizes, network.votes, dict(steps.seconds))


def read(folder: Path) -> tuple[DieError, ...]:
    """Return what a finished run says of each of its dies, in the order of the campaign."""
    run = open_run(folder)
    errors = []
    for name in run.planned:
        die = run.die(name)
        inference, write, back = die.table("inference"), die.table("write"), die.table("readback")
        survey = die.table("survey")
        kernels, last = np.unique(survey["kernel"][::-1], return_index=True)
        defect = np.zeros((int(kernels.max()) + 1, *survey["defect"].shape[1:]), np.uint8)
        defect[kernels] = survey["defect"][::-1][last]
        placed = defect[back["kernel"], back["row"], back["col"]]
        errors.append(
            DieError(
                name,
                error=1 - float(inference["accuracy_tuned_test"][0]),
                untuned=1 - float(inference["accuracy_untuned_test"][0]),
                software=1 - float(inference["float_untuned_test"][0]),
                fidelity=float(write["fidelity"][0]),
                defects=int((defect != Defect.GOOD).sum()),
                placed=int((placed != Defect.GOOD).sum()),
                shorts=int((placed == Defect.SHORT).sum()),
            )
        )
    return tuple(errors)


def centre_out(subjects: Sequence[Site]) -> list[Site]:
    """Return dies, the innermost of their map first; of those equally far from its centre, in their order."""
    at = np.array([s.at for s in subjects], np.float64)
    far = np.hypot(*(at - (at.min(axis=0) + at.max(axis=0)) / 2).T)
    return [subjects[k] for k in np.argsort(far.round(9), kind="stable")]


def _subset(subjects: Sequence[Site], dies: int | None) -> dict[str, str]:
    """Return the override that leaves the `dies` innermost dies of the wafer."""
    if dies is None:
        return {}
    if not 1 <= dies <= len(subjects):
        raise BenchError(f"--dies {dies}: the campaign has {len(subjects)}")
    chosen = {s.name for s in centre_out(subjects)[:dies]}
    return {"wafer.only": json.dumps([s.name for s in subjects if s.name in chosen])}


def _defects(loaded: files.Loaded[Campaign], density: float) -> dict[str, str]:
    """Return the overrides that make every kind of defect `density` times as frequent as the files say."""
    wafer = loaded.value.wafer
    if density == 1 or wafer is None:
        return {}
    rates = files.read(wafer.die, DieDescription, change=loaded.part("wafer", "change")).value.simulation.defects
    return {
        f"wafer.change.simulation.defects.{name}": f"{100 * density * getattr(rates, name):.12g} %"
        for name in FRACTIONS
        if getattr(rates, name) > 0
    }
