"""The exchange of training and campaigns: the file of trained solutions, and the surveys of a run.

The file has, beside the weights, all that a campaign needs to use them: the network scale of each layer, the
preprocessing of the data, and, for networks trained for one die each, the name of that die.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from labctl.core.errors import BenchError
from labctl.core.inputs import InputFiles
from labctl.core.units import FloatArray, IntArray
from labctl.files import DISK
from labctl.files.arrays import LARGEST, numbers, read_npz, text
from labctl.networks import solutions
from labctl.networks.solutions import Solutions
from labctl.networks.training.maps import DieSurvey
from labctl.networks.training.method import Method
from labctl.storage.results import open_run
from labctl.storage.tables import Table
from protocols.chip_readout import Activation
from protocols.die_information import DieInformation
from protocols.preprocess import Preprocess


@dataclass(frozen=True, eq=False)
class TrainedFile:
    """A solution file with the settings of its training.

    Args:
        scale: (s, K), network scale that each layer was trained with.
        activation: of the hidden neurons, tanh if the file does not say; `says_activation` whether it does.
        data: name of the data set, "" if the file does not say.
        dies: name of the die that each solution is for; empty if they are for any.
        trained_with: what training knew of dies, by its method; none if the file does not say.
    """

    solutions: Solutions
    scale: FloatArray
    preprocess: Preprocess
    activation: Activation
    data: str
    dies: tuple[str, ...]
    trained_with: DieInformation = DieInformation.NONE
    says_activation: bool = False


def read_trained(path: str | Path, files: InputFiles = DISK) -> TrainedFile:
    """Return the solutions of a file and the settings of their training; a file from elsewhere has scale 1.

    Args:
        files: where the file is read from.

    Raises:
        BenchError: as `solutions.load`, or the settings do not fit the solutions.
    """
    path = Path(path)
    networks = solutions.load(path, files)
    beside = read_npz(path, lambda key: key in ("scale", "die", "training"), files)
    shape = (len(networks), len(networks.devices))
    scale = beside.get("scale", np.ones(shape))
    if scale.shape != shape or scale.dtype.kind != "f":
        raise BenchError(f"{path}: scale is {scale.dtype} {scale.shape}; expected positive numbers {shape}")
    scale = numbers(path, "scale", scale, f"positive numbers {shape}")
    if not (scale >= 1 / LARGEST).all():
        raise BenchError(f"{path}: scale holds {scale.min():g}; expected positive numbers {shape} from {1 / LARGEST:g}")
    settings: dict[str, Any] = {}
    try:
        if "training" in beside:
            settings = json.loads(text(path, "training", beside["training"]))
        preprocess = Preprocess.model_validate(settings.get("preprocess", {}))
        activation, data = Activation(settings.get("activation", "tanh")), str(settings.get("data", ""))
        trained_with = Method(settings.get("method", Method.BASELINE)).information
    except (ValueError, AttributeError, TypeError, RecursionError, ValidationError) as error:
        reason = "; ".join(str(error).splitlines())[:300]
        raise BenchError(f"{path}: 'training' cannot be read: {reason}; expected the settings of a training") from error
    names = beside.get("die", np.array([], np.str_))
    if names.dtype.kind != "U" or names.ndim > 1 or names.size not in (0, len(networks)):
        raise BenchError(
            f"{path}: die is {names.dtype} {names.shape}; expected the names of the dies of {len(networks)} solutions"
        )
    dies = tuple(str(name) for name in names.reshape(-1))
    if dies:
        trained_with = DieInformation.RETRAINING
    return TrainedFile(networks, scale, preprocess, activation, data, dies, trained_with, "activation" in settings)


def surveys(run: str | Path, dies: Sequence[str] | None = None, *, second_gate: bool = True) -> list[DieSurvey]:
    """Return the surveys of the dies of a run (all that have one, or those named), the newest row of each kernel.

    A die whose newest try is void has none: what it read may be no measurement.
    Conductances are those of the map for inference where the survey made one.

    Args:
        second_gate: take a map from which a share of a second gate was taken off, which is no conductance of a cell.

    Raises:
        BenchError: a die that is named is not in the run, was not surveyed, or its try is void.
        StorageError: there is no run.
    """
    opened = open_run(run)
    if dies is not None and (missing := [name for name in dies if name not in opened.dies]):
        raise BenchError(f"{run} has no die {missing[0]}; it has {', '.join(opened.dies)}")
    surveyed_dies = []
    for name in opened.dies if dies is None else dies:
        die = opened.die(name)
        if die.void:
            if dies is not None:
                raise BenchError(f"{run}: the newest try of die {name} is void; expected dies that were measured")
        elif "survey" in die.tables:
            surveyed = die.table("survey")
            read = die.table("inference_map") if "inference_map" in die.tables else surveyed
            if not second_gate and np.any(read.get("second_share", 0.0)):
                read = surveyed
            rows, mapped = (_newest(f"{run}: of die {name}", table) for table in (surveyed, read))
            surveyed_dies.append(DieSurvey(name, read["g_p"][mapped], read["g_ap"][mapped], surveyed["defect"][rows]))
        elif dies is not None:
            raise BenchError(f"{run}: die {name} was not surveyed")
    if not surveyed_dies:
        raise BenchError(f"{run} has no surveyed die; expected the run of a campaign with a survey")
    return surveyed_dies


def _newest(whose: str, table: Table) -> IntArray:
    """Return the last row of every kernel, in their order; BenchError if one is missing."""
    kernels, last = np.unique(np.asarray(table["kernel"])[::-1], return_index=True)
    if not np.array_equal(kernels, np.arange(len(kernels))):
        raise BenchError(f"{whose} only the kernels {kernels.tolist()} were surveyed")
    rows: IntArray = table.rows - 1 - last
    return rows
