"""From a training file to a solution file: what it says, how it stops and goes on, and what a campaign reads of it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labctl.core.defects import Defect
from labctl.core.die_state import State
from labctl.core.errors import BenchError
from labctl.core.events import DieEnded
from labctl.core.exit_codes import Status
from labctl.core.outcome import Stopped
from labctl.files import DISK, load
from labctl.networks import solutions
from labctl.networks.inputs import read_networks
from labctl.networks.train import Method, Progress, Training, train
from labctl.networks.trained_network import read_trained, surveys
from labctl.storage.journal import Journal
from labctl.storage.manifest import FORMAT
from protocols.chip_readout import Activation
from protocols.die_information import DieInformation
from protocols.preprocess import Preprocess
from protocols.records import KernelSurvey

EXAMPLES = Path(__file__).parents[4] / "examples"
QUICK = "data: wine\nsizes: [13, 6, 3]\nscale: 1.0\nepochs: 4\nbatch: 74\nnetworks: 3\nseed: 5\n"


def needs_jax() -> None:
    pytest.importorskip("jax", reason="training needs jax and optax: the extra 'train'")


def written(folder: Path, text: str = QUICK) -> Path:
    path = folder / "train.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def make_run(run: Path, dies: int = 2, void: str = "") -> Path:
    """Dies of 16 kernels of 5 x 4 cells, one short in each; D0 was surveyed twice, the first time with nonsense."""
    rng = np.random.default_rng(3)
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"format": FORMAT}))
    for number in range(dies):
        with Journal.create(run / "dies" / f"D{number}", {"die": f"D{number}"}) as journal:
            for again in range(2 if number == 0 else 1):
                for kernel in reversed(range(16)):
                    g_p = 4e-4 * np.exp(0.05 * rng.normal(size=(5, 4)))
                    defect = np.zeros((5, 4), np.uint8)
                    if kernel == number:
                        g_p[1, 2], defect[1, 2] = 2e-3, Defect.SHORT
                    g_ap = np.where(defect == Defect.SHORT, g_p, g_p / 2)
                    scale = 9.0 if number == 0 and again == 0 else 1.0
                    fields: dict[str, Any] = {field.name: 1.0 for field in dataclasses.fields(KernelSurvey)}
                    fields |= {"kernel": kernel, "g_initial": g_p, "g_p": g_p * scale, "g_ap": g_ap * scale}
                    fields |= {"tmr": g_p / g_ap - 1, "defect": defect, "good": 20}
                    journal.record("survey", KernelSurvey(**fields))
            if void == f"D{number}":
                ended = DieEnded(bin="error", outcome=Status.FAIL, state=State.ERROR, reason="lifted", figures={})
                journal.event(ended)
            journal.commit()
            journal.finish()
    return run


def test_a_training_becomes_a_file_of_solutions(tmp_path: Path) -> None:
    needs_jax()
    seen: list[Progress] = []
    report = train(written(tmp_path), tmp_path / "out.npz", progress=seen.append)
    result = read_trained(tmp_path / "out.npz")
    assert result.solutions.sizes == (13, 6, 3)
    assert result.solutions.index.tolist() == [0, 1, 2]
    assert result.scale.tolist() == [[1.0, 1.0]] * 3
    assert (result.data, result.activation, result.preprocess, result.dies) == (
        "wine",
        Activation.TANH,
        Preprocess(),
        (),
    )
    assert [p.epoch for p in seen] == [1, 2, 3, 4]
    assert seen[0].seconds_left is None
    assert seen[-1].seconds_left == 0.0
    assert (report.networks, report.method, report.accuracy_dies.shape) == (3, Method.BASELINE, (3, 0))
    assert not (tmp_path / "out.npz.checkpoint.npz").exists()
    with pytest.raises(BenchError, match="exists already"):
        train(written(tmp_path), tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[13, 6, 3]", "[12, 6, 3]", r"sizes\.0: found 12 inputs; a sample of 'wine' has 13, expected as many"),
        ("[13, 6, 3]", "[13, 6, 2]", r"sizes\.2: found outputs for 2 classes; 'wine' has 3, expected as many"),
    ],
)
def test_sizes_that_do_not_fit_the_samples_are_refused_with_their_line(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("data: wine\nsizes: [13, 6, 3]\nepochs: 1\n".replace(old, new))
    with pytest.raises(BenchError, match=rf"train\.yaml:2: {says}"):
        train(config, tmp_path / "out.npz")


def test_a_training_into_a_folder_that_is_not_there_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"there is no folder .*nowhere"):
        train(written(tmp_path), tmp_path / "nowhere" / "out.npz")


def test_a_stopped_training_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    needs_jax()
    config = written(tmp_path)
    train(config, tmp_path / "whole.npz")
    epochs: list[int] = []
    with pytest.raises(Stopped, match="after 2 of 4 epochs; the same command goes on"):
        train(
            config, tmp_path / "out.npz", progress=lambda now: epochs.append(now.epoch), stop=lambda: len(epochs) == 2
        )
    assert not (tmp_path / "out.npz").exists()
    with pytest.raises(BenchError, match="checkpoint of other settings"):
        train(config, tmp_path / "out.npz", overrides={"rate": "0.02"})
    train(config, tmp_path / "out.npz", progress=lambda now: epochs.append(now.epoch))
    assert epochs == [1, 2, 3, 4]
    whole, parts = (np.load(tmp_path / name) for name in ("whole.npz", "out.npz"))
    with whole, parts:
        assert set(whole.files) == set(parts.files)
        for name in whole.files:
            np.testing.assert_array_equal(whole[name], parts[name])


def test_the_best_candidates_are_kept(tmp_path: Path) -> None:
    needs_jax()
    train(written(tmp_path), tmp_path / "one.npz", overrides={"networks": "12"})
    train(written(tmp_path), tmp_path / "two.npz", overrides={"candidates": "4"})
    with np.load(tmp_path / "one.npz") as every, np.load(tmp_path / "two.npz") as best:
        assert every["seed"].tolist() == list(range(5, 17))
        lost = ~np.isin(every["seed"], best["seed"])
        assert lost.sum() == 9
        assert best["accuracy_train"].min() >= every["accuracy_train"][lost].max()


def test_surveys_of_a_run_are_the_newest_in_the_order_of_kernels(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    first, second = surveys(run)
    assert (first.name, second.name) == ("D0", "D1")
    assert first.g_p.shape == (16, 5, 4)
    assert np.argwhere(first.defect == Defect.SHORT).tolist() == [[0, 1, 2]]
    assert np.argwhere(second.defect == Defect.SHORT).tolist() == [[1, 1, 2]]
    assert first.g_p[first.good].mean() == pytest.approx(4e-4, rel=0.05)
    assert [s.name for s in surveys(run, ["D1"])] == ["D1"]
    with pytest.raises(BenchError, match="has no die D7; it has D0, D1"):
        surveys(run, ["D7"])


def test_a_void_try_is_no_survey(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", void="D1")
    assert [survey.name for survey in surveys(run)] == ["D0"]
    with pytest.raises(BenchError, match="the newest try of die D1 is void"):
        surveys(run, ["D0", "D1"])


def test_hardware_aware_keeps_one_network_per_die(tmp_path: Path) -> None:
    needs_jax()
    run = make_run(tmp_path / "run")
    config = written(tmp_path, QUICK.replace("networks: 3", "candidates: 2\nmethod: hardware-aware\nsurvey: run"))
    report = train(config, tmp_path / "out.npz")
    assert report.dies == ("D0", "D1")
    assert report.accuracy_dies.shape == (2,)
    result = read_trained(tmp_path / "out.npz")
    assert result.dies == ("D0", "D1")
    networks = read_networks(str(tmp_path / "out.npz"), DISK)
    assert networks.for_die("D1").trained_with is DieInformation.RETRAINING
    assert [solution.index for solution in networks.for_die("D1")] == [1]
    with pytest.raises(BenchError, match="solutions for D0, D1; none for die D2"):
        networks.for_die("D2")
    assert run.is_dir()


@pytest.mark.slow
def test_statistics_aware_keeps_networks_for_any_die(tmp_path: Path) -> None:
    needs_jax()
    make_run(tmp_path / "run")
    config = written(tmp_path, QUICK + "method: statistics-aware\nsurvey: run\nmaps: 2\njudged_maps: 3\n")
    report = train(config, tmp_path / "out.npz")
    assert report.accuracy_dies.shape == (3, 2)
    result = read_trained(tmp_path / "out.npz")
    assert (result.dies, result.trained_with) == ((), DieInformation.POPULATION)


def test_published_solutions_have_scale_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    devices = tuple(rng.integers(0, 2, shape).astype(np.uint8) for shape in ((2, 5, 6), (2, 3, 4)))
    bias = (np.zeros((2, 3)), np.ones((2, 2)))
    solutions.save(tmp_path / "s.npz", solutions.Solutions(np.arange(2), devices, bias))
    result = read_trained(tmp_path / "s.npz")
    assert result.scale.tolist() == [[1.0, 1.0]] * 2
    assert (result.data, result.preprocess, result.trained_with) == ("", Preprocess(), DieInformation.NONE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("method: statistics-aware\n", "statistics-aware training needs the run with the survey"),
        ("method: hardware-aware\nsurvey: .\n", "keeps one network per die; leave 'networks' out"),
        ("bad_cells: 0.5\n", "'bad_cells' is of statistics-aware training.*; baseline training draws none"),
        ("survey: nowhere\n", "no such file or folder"),
        ("epochs: 0\n", "epochs"),
        ("colour: red\n", "colour"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        train(written(tmp_path, QUICK + text), tmp_path / "out.npz")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("train-*.yaml")), ids=lambda p: p.stem)
def test_examples_are_what_they_say(path: Path, tmp_path: Path) -> None:
    training = load(path, Training, {"survey": str(make_run(tmp_path / "run"))})
    assert training.method.value in path.stem or path.stem == "train-wine-300"


@pytest.mark.parametrize("method", ["baseline", "statistics-aware"])
def test_shipped_digits_are_as_good_as_they_say(method: str) -> None:
    from labctl.networks import datasets

    result = read_trained(EXAMPLES / f"digits-{method}.npz")
    data = result.preprocess.apply(datasets.load(result.data))
    assert (result.solutions.sizes, result.solutions.votes) == ((64, 50, 20), 2)
    assert result.trained_with.value == ["baseline", "statistics-aware"].index(method)
    accuracy = result.solutions.accuracy(data.x_test, data.y_test, result.scale)
    with np.load(EXAMPLES / f"digits-{method}.npz") as file:
        np.testing.assert_allclose(accuracy, file["accuracy_test"])
    assert accuracy.min() > 0.9
