"""Surveyed maps and noise for simulators of others: CrossSim, and the IBM Analog Hardware Acceleration Kit (aihwkit).

CrossSim is given parameters as JSON and a device class, its public ways in; a network of signs in its cores is then
made of the surveyed cells. aihwkit has no format for maps: it is given its own noise model with the arguments that the
survey says.

Sources: sandialabs/cross-sim 3.2 (`CrossSimParameters.from_json`, subclasses of `EmptyDevice`) and IBM/aihwkit 1.2
(`StateIndependentNoiseModel`, `SinglePairConductanceConverter`). What was exported was read back by CrossSim 3.2.0, and
by aihwkit 1.1.0 with PyTorch 2.10.0 on a CPU: means and spread of programmed pairs, the noise of a reading, and the
weights of a layer. Of aihwkit 1.2 only names of arguments and the polynomial were compared with its source.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.names import new_folder_of
from labctl.core.units import BoolArray, FloatArray
from labctl.networks.trained_network import surveys
from labctl.networks.training.maps import DieSurvey
from labctl.storage.results import Run, open_run

_DIGITS = 6
_OTHER_STATE = 0.2
"""Change of a conductance, over it, from which it is no noise of a reading."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of surveyed cells.

    Args:
        g_p, g_ap: means of the good cells, S; `spread_p` and `spread_ap` their standard deviations.
        read_noise: standard deviation of one reading over the conductance; 0.0 where nothing in the run says it.
    """

    g_p: float
    g_ap: float
    spread_p: float
    spread_ap: float
    read_noise: float
    good: int
    cells: int


def statistics_of(dies: Sequence[DieSurvey], read_noise: float) -> Statistics:
    """Return the statistics of the cells of dies."""
    g_p = np.concatenate([die.g_p[die.measured] for die in dies])
    g_ap = np.concatenate([die.g_ap[die.measured] for die in dies])
    cells = sum(die.g_p.size for die in dies)
    means = float(g_p.mean()), float(g_ap.mean()), float(g_p.std()), float(g_ap.std())
    return Statistics(*means, read_noise=read_noise, good=len(g_p), cells=cells)


def read_noise_of(run: Run) -> float:
    """Return the noise of one reading over the conductance, from cells that were read back.

    Each of both readings has it, so it is the standard deviation of their difference over the root of 2. One of
    a fifth of the conductance and more is another state, or another cell, and not noise. 0.0 if no die has a read-back.
    """
    differences: list[FloatArray] = []
    for name in run.dies:
        die = run.die(name)
        if die.void or not {"survey", "readback"} <= set(die.tables):
            continue
        survey, read = die.table("survey"), die.table("readback")
        newest = {int(kernel): row for row, kernel in enumerate(survey["kernel"])}
        at = np.array([newest.get(int(kernel), -1) for kernel in read["kernel"]])
        place = at, read["row"], read["col"]
        surveyed = np.where(read["target"], survey["g_p"][place], survey["g_ap"][place])
        good: BoolArray = (at >= 0) & (survey["defect"][place] == 0) & (read["flag"] == 0)
        change = (read["conductance"][good] - surveyed[good]) / surveyed[good]
        differences.append(change[np.abs(change) < _OTHER_STATE])
    every = np.concatenate(differences) if differences else np.zeros(0)
    return float(every.std() / np.sqrt(2)) if every.size else 0.0


def write_crosssim(path: Path, folder: Path) -> list[Path]:
    """Write ``crosssim.json``, ``surveyed_mtj.py`` and ``maps.npz`` of a run into a new folder; return the files.

    Raises:
        BenchError: no die of the run was surveyed.
        FileExistsError: the folder is there and not empty.
    """
    dies, statistics = _surveyed(path)
    parameters = {
        "xbar": {
            "device": {
                "cell_bits": 1,
                "Rmin": 1 / statistics.g_p,
                "Rmax": 1 / statistics.g_ap,
                "programming_error": {"enable": True, "model": "SurveyedMTJ"},
                "read_noise": {"enable": statistics.read_noise > 0, "model": "SurveyedMTJ"},
            }
        }
    }
    _begin(folder)
    (folder / "crosssim.json").write_text(json.dumps(parameters, indent=1) + "\n", encoding="utf-8")
    np.savez(
        folder / "maps.npz",
        die=np.array([die.name for die in dies]),
        g_p=np.stack([die.g_p for die in dies]),
        g_ap=np.stack([die.g_ap for die in dies]),
        defect=np.stack([die.defect for die in dies]),
    )
    cells = sum(die.g_p.size for die in dies)
    values = {"run": open_run(path).meta.get("name", ""), "cells": f"{cells:,}", "read_noise": statistics.read_noise}
    return [
        folder / "crosssim.json",
        folder / "maps.npz",
        _filled("crosssim_device", folder / "surveyed_mtj.py", values),
    ]


def write_aihwkit(path: Path, folder: Path) -> list[Path]:
    """Write ``surveyed_noise.py`` of a run into a new folder; return the file. Raises as `write_crosssim`."""
    _, statistics = _surveyed(path)
    micro = {
        key: float(f"{getattr(statistics, key) * 1e6:.{_DIGITS}g}") for key in ("g_p", "g_ap", "spread_p", "spread_ap")
    }
    values = {
        "run": open_run(path).meta.get("name", ""),
        "read_noise": float(f"{statistics.read_noise:.{_DIGITS}g}"),
        "good": f"{statistics.good:,}",
        "defects": f"{statistics.cells - statistics.good:,}",
        "cells": f"{statistics.cells:,}",
        **micro,
    }
    _begin(folder)
    return [_filled("aihwkit_noise", folder / "surveyed_noise.py", values)]


def _surveyed(path: Path) -> tuple[list[DieSurvey], Statistics]:
    dies = surveys(path, second_gate=False)
    if len({die.g_p.shape for die in dies}) > 1:
        raise BenchError(f"{path} has dies of several shapes; expected one kind of die, whose cells are one population")
    return dies, statistics_of(dies, read_noise_of(open_run(path)))


def _begin(folder: Path) -> None:
    new_folder_of(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")


def _filled(template: str, path: Path, values: Mapping[str, object]) -> Path:
    text = (resources.files("labctl.export") / "scripts" / f"{template}.txt").read_text(encoding="utf-8")
    path.write_text(text.format(**values), encoding="utf-8", newline="\n")
    return path
