"""The integrated chip: do networks trained over the statistics of defects work on every die of a wafer?

Three networks of one kind are compared on every die of a simulated wafer, through all that lies between them and the
classes: write-verify, wires, noise, converters, defects (after Borders et al., Phys. Rev. Applied 21, 054028 (2024)):

- baseline: trained without defects; the same weights on all dies
- hardware-aware: trained for the surveyed cells of one die; other weights on each
- statistics-aware: trained over fresh defects, drawn from the surveyed cells of all dies; the same weights on all

Each of the two that have one set of weights is also placed by the survey of every die (remapped), and every network is
read out in all ways: untuned, with scales tuned on labelled training images, with neurons calibrated on unlabelled
ones, and with bad cells subtracted digitally. Trainings see surveys as they were measured and nothing that only the
simulation knows. Errors are of test images, which choose nothing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from labctl import files
from labctl.config.campaign import Campaign
from labctl.core.defects import Defect
from labctl.core.errors import BenchError
from labctl.core.site import Site
from labctl.experiments.chip_comparison import (
    BASELINE,
    DATA,
    METHODS,
    ChipSettings,
    Comparison,
    DieError,
    Result,
)
from labctl.experiments.denominators import denominators, rules
from labctl.experiments.losses import Losses, read_losses, wrong_in_software
from labctl.experiments.steps import Steps
from labctl.networks import datasets
from labctl.networks.trained_network import read_trained, surveys
from labctl.networks.training.engine import libraries
from labctl.networks.training.maps import defect_rates
from labctl.networks.training.method import Method
from labctl.station import composition
from labctl.storage.results import open_run
from sim_backend.description import FRACTIONS, DieDescription


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
    if not settings.methods or set(settings.methods) - set(METHODS):
        raise BenchError(f"--methods {','.join(settings.methods)}: expected some of {', '.join(METHODS)}")
    if not settings.wafers or len(set(settings.wafers)) != len(settings.wafers):
        raise BenchError("--wafers: expected different ones such as own,136,236")
    if not settings.shared and None not in settings.wafers:
        raise BenchError("--wafers: hardware-aware networks are for the dies that were surveyed; expected own too")
    if settings.seeds < 1:
        raise BenchError(f"--seeds {settings.seeds}: expected one network or more")
    libraries()
    datasets.load(settings.data)


def check_exclude(settings: ChipSettings, campaign: Path) -> None:
    """Raise BenchError, before dies are surveyed, for a rule of `--exclude` that the campaign cannot judge dies by."""
    try:
        composition.read(campaign, {**(settings.set or {}), **rules(settings.exclude)})
    except BenchError as error:
        raise BenchError(re.sub(r"--set: bins\.\d+\.when: ", "--exclude: ", str(error))) from error


def reproduce(settings: ChipSettings, steps: Steps, campaign: Path) -> Comparison:
    """Do what is asked for, as far as it is not done yet.

    Args:
        campaign: the campaign file; the training files are beside it.

    Raises:
        BenchError: files, data or libraries are missing or do not fit, or the folder belongs to other settings.
        LabError: a step did not come to its end.
    """
    check(settings)
    check_exclude(settings, campaign)
    loaded = composition.load(campaign, settings.set)
    if loaded.value.wafer is None:
        raise BenchError(f"{campaign} names no wafer; this experiment is about the dies of one")
    common = {**(settings.set or {}), **_subset(composition.read(campaign, settings.set).subjects, settings.dies)}
    seed = loaded.value.seed if settings.seed is None else settings.seed
    if seed in settings.wafers:
        raise BenchError(f"--wafers {seed}: training sees the wafer of this very seed; expected own, or another seed")
    of_networks = ("stages", "solutions", "data", "accept", "bins")
    survey_only = {k: v for k, v in common.items() if k.split(".")[0] not in of_networks}
    survey_only["stages"] = json.dumps([loaded.root.at(("stages", 0)).plain()])
    survey_only |= rules(())  # the campaign judges networks, and a survey has none

    several = {"networks": str(settings.seeds)} if settings.seeds > 1 else {}
    ways = _ways(settings.calibrate, common)
    label = datasets.load(settings.data).y_test

    def training(method: str, name: str, **given: str) -> Path:
        config = campaign.parent / f"train-{settings.data}-{method}.yaml"
        given |= several if method != Method.HARDWARE_AWARE.value else {}
        return steps.train(name, config, {**_of_training(settings.train or {}, method), **given})

    def inference(name: str, weights: Path, world: Mapping[str, str], *, remapped: bool) -> Path:
        placed = {"stages.1.chip_inference.remap": "survey"} if remapped else {}
        given = {"data": settings.data, "solutions": str(weights)}
        neurons = _of_readout(settings.train or {})
        overrides = {**common, **ways, **rules(settings.exclude), **neurons, **placed, **world, **given}
        return steps.run(name + ("-remapped" if remapped else ""), campaign, overrides)

    baseline = training(BASELINE, BASELINE)
    conventional = wrong_in_software(baseline)
    results: list[Result] = []
    losses: list[Losses] = []
    rates: dict[float, dict[str, float]] = {}

    def compare(method: str, own: Path, density: float, defects: Mapping[str, str], wafer: int | None) -> None:
        name = f"{method}-x{density:g}" + ("" if wafer is None else f"-wafer-{wafer}")
        world = {"seed": str(seed if wafer is None else wafer), **defects}
        for remapped in (False, True)[: 1 + (method in settings.shared)]:
            run = inference(name, own, world, remapped=remapped)
            of, own_wafer = int(world["seed"]), wafer is None
            losses.extend(read_losses(run, label, conventional, method, density=density, wafer=of, own=own_wafer))
            if not remapped:
                results.append(Result(method, density, of, wafer is not None, read(run)))

    for density in settings.densities:
        defects = _defects(loaded, density)
        surveyed = steps.run(f"survey-x{density:g}", campaign, {**survey_only, "seed": str(seed), **defects})
        rates[density] = defect_rates(surveys(surveyed))
        weights = {
            method: baseline
            if method == BASELINE
            else training(method, f"weights-{method}-x{density:g}", survey=str(surveyed))
            for method in settings.methods
        }
        for wafer in settings.wafers:
            for method in settings.methods if wafer is None else settings.shared:
                compare(method, weights[method], density, defects, wafer)
    dies = surveys(steps.folder / f"survey-x{settings.reference:g}")
    network = read_trained(baseline).solutions
    return Comparison(
        settings,
        tuple(results),
        rates,
        dies[0].g_p.size,
        network.sizes,
        network.votes,
        dict(steps.seconds),
        float(conventional[:, : losses[0].wrong.shape[2]].mean()),
        tuple(losses),
    )


def _of_training(train: Mapping[str, str], method: str) -> dict[str, str]:
    """Return what all training files are changed by, without what is of statistics-aware training alone for others.

    >>> _of_training({"epochs": "9", "bad_cells": "50 %"}, "baseline")
    {'epochs': '9'}
    """
    alone = () if method == Method.STATISTICS_AWARE.value else ("bad_cells",)
    return {key: value for key, value in train.items() if key not in alone}


def _ways(calibrate: int, given: Mapping[str, str]) -> dict[str, str]:
    """Return what every campaign is asked for beyond its file, but for keys that are given already.

    >>> list(_ways(1000, {"stages.1.chip_inference.subtract": "false"}).values())
    ['1000', 'figures']
    """
    ways = {"calibrate": str(calibrate), "subtract": "true", "readout.keep": "figures"}
    ways = {f"stages.1.chip_inference.{key}": value for key, value in ways.items()}
    return {key: value for key, value in ways.items() if key not in given}


def _of_readout(train: Mapping[str, str]) -> dict[str, str]:
    """Return what the campaigns are changed by so that they have the neurons of networks trained otherwise.

    >>> _of_readout({"levels": "binary", "activation": "sign"})
    {'stages.1.chip_inference.readout.activation': 'sign'}
    """
    place = "stages.1.chip_inference.readout.activation"
    return {place: train["activation"]} if "activation" in train else {}


def read(folder: Path) -> tuple[DieError, ...]:
    """Return what a finished run says of each included die, in the order of the campaign; the mean over networks."""
    run = open_run(folder)
    errors = []
    for name in denominators(folder).included:
        die = run.die(name)
        inference, write, back = die.table("inference"), die.table("write"), die.table("readback")
        survey = die.table("survey")
        kernels, last = np.unique(survey["kernel"][::-1], return_index=True)
        defect = np.zeros((int(kernels.max()) + 1, *survey["defect"].shape[1:]), np.uint8)
        defect[kernels] = survey["defect"][::-1][last]
        one = back["solution"] == back["solution"][0]
        placed = defect[back["kernel"][one], back["row"][one], back["col"][one]]
        errors.append(
            DieError(
                name,
                error=1 - float(inference["accuracy_tuned_test"].mean()),
                untuned=1 - float(inference["accuracy_untuned_test"].mean()),
                software=1 - float(inference["float_untuned_test"].mean()),
                fidelity=float(write["fidelity"].mean()),
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
