"""Passive arrays as curves over device size: many dies of each size, blind and verified, with intervals over dies.

Which cells of one die are bad is luck, so that one die per size says nothing of size (after Goodwill et al., arXiv
2112.09159 (2022)). Every cell gets one pulse (blind fidelity), then write-verify repairs (verified fidelity); accuracy
is of the network so repaired, with network scale 1 and with scales tuned on the 148 training samples. The publication's
95.3 % is 141 of 148; that it is of the training samples is this project's inference. The 30 test samples are too few to
rank sizes by.

A die is the kind of the die file, or a bench-like one: leads, absolute spread of diameters, critical voltages that
differ by direction, a few defects. Its numbers are this project's choice and no published experiment's values.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.units import FloatArray, Metre
from labctl.experiments.steps import Steps
from labctl.storage.results import open_run

SIZES = (55, 65, 80, 100)
"""Nominal diameters, nm."""
ENOUGH = 141
"""Training samples of 148 that make the publication's 95.3 %."""
DRAWS = 2000
FIGURES = ("blind", "verified", "untuned_train", "tuned_train", "untuned_test", "tuned_test", "enough")
_BENCH_LIKE: dict[str, Any] = {
    "lines": {"r_source": "25 ohm", "r_sense": "25 ohm"},
    "spread": {
        "diameter": "0 %", "diameter_absolute": "1.5 nm", "ra": "5 %", "tmr": "5 %", "v_c0": "8 %",
        "v_c0_correlation": 0.5, "delta": "12 %",
    },
    "switching": {"v_c0_p": "450 mV", "v_c0_ap": "550 mV"},
    "defects": {"short": "0.5 %", "open": "0.2 %", "stuck_p": "0.2 %", "stuck_ap": "0.2 %"},
}  # fmt: skip
KINDS: Mapping[str, tuple[dict[str, Any], str]] = {"plain": ({}, "420 mV"), "bench-like": (_BENCH_LIKE, "550 mV")}
"""Of a die: what its simulation is changed by, and the one pulse."""


@dataclass(frozen=True)
class SizeSettings:
    """Settings of the experiment.

    Args:
        dies: of each size.
        kind: of the dies: plain, as the die file is, or bench-like.
        solutions: file with trained networks; None for the shipped ones.
        seed: of the simulated dies; None for the campaign's.
        set: values of the campaign file by dotted path.
    """

    dies: int = 10
    kind: str = "plain"
    solutions: str | None = None
    seed: int | None = None
    set: Mapping[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Size:
    """All networks on all dies of one size; `values` by figure (dies, networks), ratios; `enough` is 0 or 1."""

    diameter: Metre
    values: Mapping[str, FloatArray]

    def figure(self, name: str) -> tuple[float, float, float]:
        """Return mean and 95 % interval of a figure by a bootstrap over dies; the same every time."""
        dies = self.values[name].mean(axis=1)
        drawn = np.random.default_rng(0).integers(0, len(dies), (DRAWS, len(dies)))
        low, high = np.percentile(dies[drawn].mean(axis=1), (2.5, 97.5))
        return float(dies.mean()), float(low), float(high)


@dataclass(frozen=True, eq=False)
class Sizes:
    """What came of it, the smallest devices first."""

    settings: SizeSettings
    sizes: tuple[Size, ...]
    seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return all of it, for ``results.json``."""
        return {
            "experiment": "wine-sizes",
            "asked": asdict(self.settings),
            "sizes": [
                {
                    "diameter": size.diameter,
                    "figures": {
                        name: dict(zip(("mean", "low", "high"), size.figure(name), strict=True)) for name in FIGURES
                    },
                    "by_die": {name: size.values[name].mean(axis=1).tolist() for name in FIGURES},
                }
                for size in self.sizes
            ],
            "seconds": dict(self.seconds),
        }


def check(settings: SizeSettings) -> None:
    """Raise BenchError if something asked for cannot be meant."""
    if settings.kind not in KINDS:
        raise BenchError(f"--die-kind {settings.kind}: expected {' or '.join(KINDS)}")
    if settings.dies < 1:
        raise BenchError(f"--dies {settings.dies}: expected one die of each size or more")


def reproduce(settings: SizeSettings, steps: Steps, campaign: Path) -> Sizes:
    """Do what is asked for, as far as it is not done yet.

    Raises:
        BenchError: files do not fit, or the folder belongs to other settings.
        LabError: the campaign did not come to its end.
    """
    check(settings)
    folder = steps.run("campaign", campaign, {**overrides(settings, campaign), **(settings.set or {})})
    return Sizes(settings, read(folder), dict(steps.seconds))


def overrides(settings: SizeSettings, campaign: Path) -> dict[str, str]:
    """Return what the campaign file is changed by."""
    simulation, pulse = KINDS[settings.kind]
    file = str(campaign.parent / "dies" / "passive-15x15.yaml")
    dies = [
        {
            "name": f"D{size}-{number}",
            "file": file,
            "change": {"junction": {"diameter": f"{size} nm"}, **({"simulation": simulation} if simulation else {})},
        }
        for size in SIZES
        for number in range(settings.dies)
    ]
    write = {"mode": "open_loop", "v_start": pulse, "v_max": "700 mV", "repair_rounds": "3"}
    changed = {"dies": json.dumps(dies), "accept": "{}", "bins": "[]"}
    changed |= {f"stages.1.network.write_verify.{key}": value for key, value in write.items()}
    if settings.solutions is not None:
        changed["solutions"] = str(Path(settings.solutions).resolve())
    if settings.seed is not None:
        changed["seed"] = str(settings.seed)
    return changed


def read(folder: Path) -> tuple[Size, ...]:
    """Return what a finished run says of each size, the smallest first."""
    run = open_run(folder)
    sizes: dict[float, dict[str, list[FloatArray]]] = {}
    for name in run.planned:
        die = run.die(name)
        write, inference = die.table("write"), die.table("inference")
        samples = int(inference["confusion_tuned_train"][0].sum())
        values = {part: inference[f"accuracy_{part}"] for part in FIGURES[2:6]}
        values |= {"blind": write["fidelity_blind"], "verified": write["fidelity"]}
        values["enough"] = (np.round(samples * values["tuned_train"]) >= ENOUGH).astype(np.float64)
        by_name = sizes.setdefault(float(die.meta["description"]["junction"]["diameter"]), {})
        for key, value in values.items():
            by_name.setdefault(key, []).append(value)
    return tuple(Size(d, {key: np.stack(v) for key, v in sizes[d].items()}) for d in sorted(sizes))
