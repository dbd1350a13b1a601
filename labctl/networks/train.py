"""Train networks from a file: data, preprocessing, defects from a run, checkpoints, and a solution file at the end.

A training that was stopped or killed goes on from its checkpoint when it is started again in the same way.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from labctl import files
from labctl.core.bias import Geometry, Kind
from labctl.core.errors import BenchError, StorageError
from labctl.core.names import new_folder_of
from labctl.core.outcome import Stopped
from labctl.core.units import FloatArray, IntArray, Ratio
from labctl.files import FilePath, PathAsWritten
from labctl.files.arrays import read_npz
from labctl.networks import datasets, solutions
from labctl.networks.solutions import Solutions
from labctl.networks.trained_network import surveys
from labctl.networks.training.maps import DieSurvey, layer_cells, population
from labctl.networks.training.method import Method
from labctl.networks.training.recipe import Recipe
from labctl.networks.training.trainer import Trained, Trainer
from protocols.chip_readout import Activation
from protocols.preprocess import Preprocess
from protocols.samples import Dataset
from protocols.tiling import Tiling

CHECKPOINT_EVERY = 20.0
"""Time between checkpoints, s."""


class Training(Recipe):
    """The settings in a training file."""

    method: Annotated[
        Method,
        Field(
            description="baseline: no defects; hardware-aware: one network per surveyed die, for its own cells; "
            "statistics-aware: fresh defects at every step, drawn from the cells of all surveyed dies"
        ),
    ] = Method.BASELINE
    data: Annotated[
        str,
        PathAsWritten(exists=True, names=datasets.NAMES),
        Field(description="data set: wine, digits, mnist, or a path"),
    ]
    preprocess: Annotated[Preprocess, Field(description="what is done to the samples first")] = Preprocess()
    bad_cells: Annotated[
        Ratio,
        Field(
            ge=0,
            le=1,
            description="statistics-aware: share of the surveyed bad cells among those that are drawn; less for "
            "networks that 'remap: survey' will place, which leaves most of them without effect",
        ),
    ] = 1.0
    networks: Annotated[int, Field(ge=1, description="networks to keep; hardware-aware keeps one per die")] = 1
    candidates: Annotated[
        int, Field(ge=1, description="networks to train for each that is kept: the best on the training samples are")
    ] = 1
    seed: Annotated[int, Field(ge=0, lt=2**31, description="seed of the first network; the next has the next")] = 0
    survey: Annotated[FilePath | None, Field(description="run with the survey of the dies to train for")] = None
    dies: Annotated[
        tuple[str, ...] | None, Field(min_length=1, description="dies of that run to train for; all if left out")
    ] = None

    @model_validator(mode="after")
    def _survey_given(self) -> Self:
        if self.method is not Method.BASELINE and self.survey is None:
            raise ValueError(f"{self.method.value} training needs the run with the survey of its dies: survey: RUN")
        if self.method is Method.HARDWARE_AWARE and self.networks != 1:
            raise ValueError("hardware-aware training keeps one network per die; leave 'networks' out")
        if self.method is not Method.STATISTICS_AWARE and self.bad_cells != 1.0:
            raise ValueError(
                f"'bad_cells' is of statistics-aware training, which draws cells; {self.method.value} training draws "
                "none: leave 'bad_cells' out"
            )
        return self


@dataclass(frozen=True)
class Progress:
    """Progress of a training.

    Args:
        accuracy: mean over the networks, of the epoch just ended, on the judging samples and their own cells.
        seconds_left: predicted from the epochs of this session but the first, which compiles; None until then.
    """

    epoch: int
    epochs: int
    accuracy: float
    seconds_left: float | None


@dataclass(frozen=True, eq=False)
class Report:
    """Result of a training.

    Args:
        accuracy_train: (s,), in software.
        accuracy_test: (s,), in software, the same weights.
        dies: names of the surveyed dies.
        accuracy_dies: test accuracy on the surveyed cells, without wires, noise and write errors: (s, dies), or
            (s,) of each network on its own die if hardware-aware. Empty without a survey.
        seconds: time it took, in this session.
    """

    path: Path
    method: Method
    networks: int
    accuracy_train: FloatArray
    accuracy_test: FloatArray
    dies: tuple[str, ...]
    accuracy_dies: FloatArray
    seconds: float


def train(
    config: str | Path,
    out: str | Path,
    *,
    overrides: Mapping[str, str] | None = None,
    progress: Callable[[Progress], None] = lambda now: None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Train the networks of the file `config` and write the solutions to the new file `out`.

    Args:
        overrides: values by dotted path, as `files.read` takes them.
        progress: called after every epoch.
        stop: called after every epoch; True ends the training with a checkpoint.

    Raises:
        BenchError: the file, the data or the survey is wrong, `out` exists or its folder does not, or JAX is missing.
        StorageError: `out` cannot be written.
        Stopped: `stop` returned True; the same call goes on from there.
    """
    began, out = time.monotonic(), Path(out)
    if out.exists():
        raise BenchError(f"{out} exists already; expected a new file, nothing was written over")
    new_folder_of(out)
    loaded = files.read(config, Training, overrides)
    training = loaded.value
    data = training.preprocess.apply(datasets.load(training.data))
    _require_fit(loaded, data)
    surveyed = [] if training.survey is None else surveys(training.survey, training.dies)
    maps = _maps(training, surveyed)
    recipe = Recipe(**{name: getattr(training, name) for name in Recipe.model_fields})
    per_die = training.method is Method.HARDWARE_AWARE
    kept = len(maps) if per_die else training.networks
    seeds = training.seed + np.arange(kept * training.candidates)
    given: dict[str, Any] = {}
    if per_die:
        # candidates of a die one after the other, and dies one after the other
        layers = zip(*maps, strict=True)
        given["cells"] = [np.repeat(np.stack(layer), training.candidates, axis=0) for layer in layers]
    elif training.method is Method.STATISTICS_AWARE:
        given["population"] = population(surveyed, bad_cells=training.bad_cells)
    trainer = Trainer(recipe, data.x_train, data.y_train, seeds, **given)
    checkpoint = _Checkpoint(out.with_name(out.name + ".checkpoint.npz"), _fingerprint(training, data, given))
    checkpoint.restore(trainer)
    _epochs(trainer, checkpoint, progress, stop)
    chosen = _best(trainer.result().accuracy, kept, training.candidates, per_die)
    report = _write(out, training, data, trainer.result().take(chosen), seeds[chosen], surveyed, maps)
    checkpoint.remove()
    return Report(*report, seconds=time.monotonic() - began)


def _require_fit(loaded: files.Loaded[Training], data: Dataset) -> None:
    """Raise BenchError, with the line of the sizes, if a network of these sizes does not take the samples."""
    training = loaded.value
    if training.sizes[0] != data.features:
        text = f"found {training.sizes[0]} inputs; a sample of '{training.data}' has {data.features}, expected as many"
        raise loaded.error(text, "sizes", 0)
    if training.classes < data.classes:
        text = f"found outputs for {training.classes} classes; '{training.data}' has {data.classes}, expected as many"
        raise loaded.error(text, "sizes", len(training.sizes) - 1)


def _maps(training: Training, surveyed: Sequence[DieSurvey]) -> list[list[FloatArray]]:
    """Return, per die, the cells under each layer, as they are tiled on the die."""
    maps = []
    for survey in surveyed:
        kernels, rows, cols = survey.g_p.shape
        tiling = Tiling(training.shapes, Geometry(kernels, rows, cols, Kind.ONE_T_ONE_R))
        maps.append(layer_cells(survey.cells, tiling))
    return maps


def _epochs(
    trainer: Trainer, checkpoint: "_Checkpoint", progress: Callable[[Progress], None], stop: Callable[[], bool]
) -> None:
    epochs, saved, first, began = trainer.recipe.epochs, time.monotonic(), trainer.epoch + 1, 0.0
    while trainer.epoch < epochs:
        accuracy = float(trainer.step().mean())
        now = time.monotonic()
        left: float | None = None
        if trainer.epoch == first:
            began = now
        else:
            left = (now - began) / (trainer.epoch - first) * (epochs - trainer.epoch)
        progress(Progress(trainer.epoch, epochs, accuracy, left))
        if trainer.epoch < epochs and stop():
            checkpoint.save(trainer)
            raise Stopped(
                f"stopped after {trainer.epoch} of {epochs} epochs; the same command goes on from {checkpoint.path}"
            )
        if now - saved > CHECKPOINT_EVERY and trainer.epoch < epochs:
            checkpoint.save(trainer)
            saved = now


def _best(accuracy: FloatArray, kept: int, candidates: int, per_die: bool) -> IntArray:
    """Return the positions of the networks to keep: the best of each die, or the best of all in the order of seeds."""
    if per_die:
        grouped = accuracy.reshape(kept, candidates)
        chosen: IntArray = grouped.argmax(axis=1) + candidates * np.arange(kept)
        return chosen
    order: IntArray = np.sort(np.argsort(-accuracy, kind="stable")[:kept])
    return order


def _write(
    out: Path,
    training: Training,
    data: Dataset,
    trained: Trained,
    seeds: IntArray,
    surveyed: Sequence[DieSurvey],
    maps: Sequence[list[FloatArray]],
) -> tuple[Path, Method, int, FloatArray, FloatArray, tuple[str, ...], FloatArray]:
    """Evaluate the networks on the test samples, write the file, and return the fields of the report."""
    sign = training.activation is Activation.SIGN
    per_die = training.method is Method.HARDWARE_AWARE
    train_ = trained.accuracy_on(data.x_train, data.y_train, sign=sign)
    test = trained.accuracy_on(data.x_test, data.y_test, sign=sign)
    on_dies: FloatArray = np.zeros((len(seeds), 0))
    if per_die:
        own = [np.stack(layer) for layer in zip(*maps, strict=True)]
        on_dies = trained.accuracy_on(data.x_test, data.y_test, own, sign=sign)
    elif maps:
        each = [trained.accuracy_on(data.x_test, data.y_test, cells, sign=sign) for cells in maps]
        on_dies = np.stack(each, axis=1)
    names = tuple(survey.name for survey in surveyed)
    settings = training.model_dump(mode="json", exclude={"survey"})
    beside: dict[str, npt.ArrayLike] = {
        "scale": trained.scale,
        "seed": seeds,
        "accuracy_train": train_,
        "accuracy_test": test,
        "training": np.array(json.dumps(settings)),
    }
    if per_die:
        beside["die"] = np.array(names)
    made = Solutions(np.arange(len(seeds)), trained.devices, trained.bias, votes=trained.votes)
    solutions.save(out, made, **beside)
    return out, training.method, len(seeds), train_, test, names, on_dies


def _fingerprint(training: Training, data: Dataset, given: Mapping[str, Any]) -> str:
    """Return a digest of all that determines the result: settings, samples, cells."""
    digest = hashlib.sha256(training.model_dump_json(exclude={"survey"}).encode())
    cells = given.get("cells", [given["population"]] if "population" in given else [])
    for array in (data.x_train, data.y_train, *cells):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Checkpoint:
    """The state of a training in a file beside its result."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self._fingerprint = path, fingerprint

    def save(self, trainer: Trainer) -> None:
        """Write the state; a checkpoint before it stays until this one is whole."""
        part = self.path.with_name(self.path.name + ".part")
        try:
            with part.open("wb") as file:
                np.savez(file, fingerprint=np.array(self._fingerprint), **trainer.state())  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror or error}") from error

    def restore(self, trainer: Trainer) -> None:
        """Go on from the file if there is one; BenchError if it belongs to another training."""
        if not self.path.exists():
            return
        state = read_npz(self.path, lambda key: True)
        if str(state.pop("fingerprint", "")) != self._fingerprint:
            raise BenchError(
                f"{self.path} is the checkpoint of other settings, samples or dies; remove it or write to another file"
            )
        trainer.restore(state)

    def remove(self) -> None:
        """Remove the file: the training is done."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be removed: {error.strerror or error}") from error
