"""Loss of hardware over the conventional network in software, for every way to classify, with intervals.

The conventional network is the baseline of the same seed in software, trained without a thought of dies, with the
scales it was trained with. Loss and drop are paired: the same seed, image and die on both sides of the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from labctl.analysis.accuracy_terms import periphery
from labctl.core.units import BoolArray, FloatArray, IntArray
from labctl.experiments.denominators import Denominators, denominators
from labctl.networks import datasets
from labctl.networks.inputs import as_networks
from labctl.networks.trained_network import read_trained
from labctl.networks.training.method import Method
from labctl.storage.results import open_run
from protocols.chip_inference import software
from protocols.die_information import AccuracyTerms, Way
from protocols.statistics import binomial_interval

WITHIN = 0.02
"""What the publication allows the mean error to lie above the software baseline."""
DRAWS = 2000


def wrong_in_software(weights: Path) -> BoolArray:
    """Return the (s, images) test images that the networks of a file get wrong in software, at the scales trained."""
    trained = read_trained(weights)
    data = trained.preprocess.apply(datasets.load(trained.data))
    networks = zip(as_networks(trained.solutions), trained.scale, strict=True)
    predicted = [software(network, data.x_test, scale, trained.activation) for network, scale in networks]
    wrong: BoolArray = np.stack(predicted) != data.y_test
    return wrong


@dataclass(frozen=True, eq=False)
class Losses:
    """One way to classify with the networks of one method on the dies of one wafer.

    Args:
        wafers: seeds of the wafers that the dies are of.
        own: the wafer is the one whose dies are surveyed for trainings.
        wrong: (s, dies, images), test images that hardware gets wrong; s networks, one per seed.
        conventional: (s, images), that the conventional network of the same seed gets wrong in software.
        software: (s, dies), test error of the same network in software.
        dies: of which the figures are.
    """

    method: str
    density: float
    wafers: tuple[int, ...]
    own: bool
    terms: AccuracyTerms
    periphery: str
    wrong: BoolArray
    conventional: BoolArray
    software: FloatArray
    dies: Denominators

    @property
    def seen(self) -> bool:
        """Whether training knew surveys of these very dies."""
        return self.own and Method(self.method) is not Method.BASELINE

    @property
    def error(self) -> FloatArray:
        """(s, dies), test error on hardware."""
        error: FloatArray = self.wrong.mean(axis=2)
        return error

    @property
    def loss(self) -> FloatArray:
        """(s, dies), test error on hardware less that of the conventional network in software."""
        loss: FloatArray = self.error - self.conventional.mean(axis=1)[:, None]
        return loss

    @property
    def drop(self) -> FloatArray:
        """(s, dies), test error on hardware less that of the same network in software."""
        drop: FloatArray = self.error - self.software
        return drop

    def interval(self, draws: int = DRAWS) -> tuple[float, float]:
        """Return the 95 % interval of the mean loss by a bootstrap over dies, seeds and images; always the same one."""
        seeds, dies, images = self.wrong.shape
        difference = (self.wrong.astype(np.float32) - self.conventional[:, None]).reshape(seeds * dies, images)
        weight, s, d = _weights(images, seeds, dies, draws)
        each = (difference @ weight.T).reshape(seeds, dies, draws)
        means = np.einsum("sdk,ks,kd->k", each, s, d)
        low, high = np.percentile(means, (2.5, 97.5))
        return float(low), float(high)

    def figures(self) -> dict[str, Any]:
        """Return what a table has of it; `within` are dies whose loss, mean over seeds, is at most 2 points."""
        by_die = self.loss.mean(axis=0)
        within, n = int((by_die <= WITHIN + 1e-9).sum()), len(by_die)
        return {
            "error": float(self.error.mean()),
            "loss": float(self.loss.mean()),
            "loss_interval": list(self.interval()),
            "loss_worst_die": float(by_die.max()),
            "drop": float(self.drop.mean()),
            "within": within,
            "within_interval": binomial_interval(within, n).tolist(),
            "within_fabricated_interval": binomial_interval(within, self.dies.fabricated).tolist(),
        }

    def to_json(self) -> dict[str, Any]:
        """Return all of it but single images, as JSON has it."""
        return {
            "method": self.method,
            "density": self.density,
            "wafer_seeds": list(self.wafers),
            "dies_seen_by_training": self.seen,
            "way": self.terms.way.value,
            "terms": self.terms.text,
            "information": self.terms.information.value,
            "per_die": self.terms.per_die,
            "remapped": self.terms.remapped,
            "labelled": self.terms.labelled,
            "unlabelled": self.terms.unlabelled,
            "second_gate": self.terms.second_gate,
            "analog": self.terms.analog,
            "periphery": self.periphery,
            "denominators": self.dies.text,
            "rules_sha256": self.dies.digest,
            "fabricated": self.dies.fabricated,
            "included": list(self.dies.included),
            "loss_by_seed_and_die": self.loss.round(6).tolist(),
            **self.figures(),
        }


@lru_cache(maxsize=1)
def _weights(images: int, seeds: int, dies: int, draws: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return how much each image, seed and die weighs in each draw of a bootstrap; (draws, n) each, not to be changed.

    Losses of one table are of as many images, seeds and dies, and most of an interval's time goes to these.
    """
    rng = np.random.default_rng(0)
    weight = rng.multinomial(images, np.full(images, 1 / images), draws).astype(np.float32) / images
    s, d = (rng.multinomial(n, np.full(n, 1 / n), draws) / n for n in (seeds, dies))
    return weight, s, d


def read_losses(
    folder: Path, label: IntArray, conventional: BoolArray, method: str, *, density: float, wafer: int, own: bool
) -> list[Losses]:
    """Return the losses of every way in a finished run, in the order of `Way`.

    Args:
        label: (images,), classes of the test images, of which the run has classified all or the first ones.
        conventional: (s, images), of the seeds in the order of the networks of the run.

    Raises:
        BenchError: no die is included.
    """
    run, dies = open_run(folder), denominators(folder)
    rows: dict[Way, list[tuple[BoolArray, FloatArray]]] = {}
    terms: dict[Way, AccuracyTerms] = {}
    around: Mapping[str, Any] = {}
    for name in dies.included:
        die = run.die(name)
        accuracy, around = die.table("accuracy"), die.meta.get("description") or {}
        for way in Way:
            at = np.flatnonzero(accuracy["way"] == way.value)
            if len(at):
                terms[way] = AccuracyTerms.of_row({key: accuracy[key][at[0]] for key in accuracy})
                predicted = accuracy["prediction_test"][at]
                wrong = predicted != label[: predicted.shape[1]]
                rows.setdefault(way, []).append((wrong, 1 - accuracy["software_test"][at]))
    return [
        Losses(
            method,
            density,
            (wafer,),
            own,
            terms[way],
            periphery(around),
            np.stack([wrong for wrong, _ in rows[way]], axis=1),
            conventional[tuple(slice(n) for n in rows[way][0][0].shape)],
            np.stack([error for _, error in rows[way]], axis=1),
            dies,
        )
        for way in Way
        if way in rows
    ]


def pooled(losses: Sequence[Losses]) -> list[Losses]:
    """Return losses with those that differ in nothing but the wafer as one, in the order in which they came first.

    The wafer whose dies are surveyed for trainings stays by itself. The interval of several wafers takes their dies for
    one sample.
    """
    groups: dict[Any, list[Losses]] = {}
    for one in losses:
        groups.setdefault((one.method, one.density, one.own, one.terms, one.periphery), []).append(one)
    return [_joined(group) for group in groups.values()]


def _joined(group: Sequence[Losses]) -> Losses:
    first = group[0]
    if len(group) == 1:
        return first
    return replace(
        first,
        wafers=tuple(seed for one in group for seed in one.wafers),
        wrong=np.concatenate([one.wrong for one in group], axis=1),
        software=np.concatenate([one.software for one in group], axis=1),
        dies=Denominators.joined({str(one.wafers[0]): one.dies for one in group}),
    )


def in_order(losses: Sequence[Losses]) -> list[Losses]:
    """Return losses by wafers, density and method; what asks least of a die first."""
    ways, first = list(Way), [one.wafers for one in losses]
    return sorted(
        losses,
        key=lambda one: (
            first.index(one.wafers), one.density, list(Method).index(Method(one.method)), one.terms.remapped,
            ways.index(one.terms.way),
        ),
    )  # fmt: skip
