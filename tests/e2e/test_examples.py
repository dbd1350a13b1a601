"""Every example is carried out, in a small size: fewer dies, networks and epochs, and nothing else."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from labctl.core.errors import BenchError
from labctl.networks import datasets, solutions
from labctl.storage.results import open_run
from tests.e2e.conftest import EXAMPLES

CAMPAIGNS = {
    "wine-passive.yaml": "D65",
    "overnight-bench.yaml": "W02-x2y1",
    "overnight-36-dies.yaml": "W01-x3y3",
    "survey-wafer.yaml": "W02-x1y2",
    "survey-one-cell.yaml": "cell",
    "nanoseconds-one-cell.yaml": "cell",
}
"""Campaigns and the one die that is run."""
ELSEWHERE = (
    "digits-one-chip.yaml", "bench-daffodil.yaml", "bench-arc-two.yaml", "bench-m9615a-niswitch.yaml",
    "bench-pymeasure-2400.yaml", "bench-daffodil-library.yaml", "bench-daffodil-wafer.yaml",
    "survey-one-cell-slowly.yaml",
)  # fmt: skip
"""Carried out, on small dies, by tests of boards, of makers' libraries and of adapters."""
BENCHES = (
    "bench-2400-81160a.yaml",
    "bench-2400-two-needles.yaml",
    "bench-2450-b2200a.yaml",
    "bench-2600b-7002.yaml",
    "bench-b1500a-7002.yaml",
    "bench-2600b-707b-sentio.yaml",
    "bench-2600b-707b-velox.yaml",
    "bench-two-arrays.yaml",
    "bench-two-needles.yaml",
)
TRAININGS = tuple(
    f"train-{data}-{method}.yaml"
    for data in ("digits", "mnist")
    for method in ("baseline", "hardware-aware", "statistics-aware")
)
SCRIPTS = ("train_wine_solutions.py",)


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory, labctl):
    """The folder of a run of one chip of the example."""
    folder = tmp_path_factory.mktemp("chip") / "run"
    labctl("run", EXAMPLES / "overnight-36-dies.yaml", "--only", CAMPAIGNS["overnight-36-dies.yaml"], "--out", folder)
    return folder


def named(text):
    """Return the files that an example names."""
    return {path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*") if path.is_file() and path.name in text}


def test_every_example_is_here_or_named_by_one_that_is():
    own = {Path(name) for name in (*CAMPAIGNS, *ELSEWHERE, *BENCHES, *TRAININGS, *SCRIPTS, "train-wine-300.yaml")}
    others = set().union(*(named((EXAMPLES / name).read_text(encoding="utf-8")) for name in CAMPAIGNS))
    alone = {Path("dies/ideal-15x15.yaml"), Path("digits-baseline.npz")}
    every = {path.relative_to(EXAMPLES) for path in EXAMPLES.rglob("*") if path.is_file()}
    assert every == own | others | alone


@pytest.mark.parametrize("name", ["wine-passive.yaml", "overnight-bench.yaml"])
def test_a_campaign_of_passive_dies(labctl, tmp_path, few_solutions, name):
    words = ("--only", CAMPAIGNS[name], "--set", f"solutions={few_solutions}")
    labctl("run", EXAMPLES / name, *words, "--out", tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.dies == (CAMPAIGNS[name],)
    assert run.table("write").rows == 2


def test_a_survey_alone(labctl, tmp_path):
    name = "survey-wafer.yaml"
    labctl("run", EXAMPLES / name, "--only", CAMPAIGNS[name], "--out", tmp_path / "run")
    assert open_run(tmp_path / "run").table("survey").rows == 2


def test_a_survey_of_one_cell_on_a_2400(labctl, tmp_path):
    bench = ("--bench", EXAMPLES / "bench-2400-two-needles.yaml", "--sim", "tcp")
    labctl("run", EXAMPLES / "survey-one-cell.yaml", *bench, "--out", tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.dies == (CAMPAIGNS["survey-one-cell.yaml"],)
    assert run.table("survey").rows == 1


def test_a_campaign_of_chips(surveyed):
    run = open_run(surveyed)
    assert run.table("survey").rows == 32
    assert run.table("inference").rows == 1


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench(labctl, name):
    assert "no conflict in the wiring" in labctl("check", EXAMPLES / name, "--sim", "bytes").stdout


@pytest.mark.parametrize(
    ("bench", "die", "cell"),
    [("bench-two-arrays.yaml", "ideal-15x15.yaml", "1,2,7"), ("bench-two-needles.yaml", "ideal-1x1.yaml", "0,0,0")],
)
def test_a_die_alone(labctl, tmp_path, bench, die, cell):
    here = ("--bench", EXAMPLES / bench, "--sim", "bytes", "--die", EXAMPLES / "dies" / die)
    labctl("read", *here, "--cell", cell, "--out", tmp_path / "read")
    assert open_run(tmp_path / "read").die("die").sealed


@pytest.mark.slow
def test_weights_of_a_baseline(labctl, tmp_path):
    words = ("--only", "W01-x2y1", "--set", f"solutions={EXAMPLES / 'digits-baseline.npz'}")
    labctl("run", EXAMPLES / "overnight-36-dies.yaml", *words, "--out", tmp_path / "run")
    assert open_run(tmp_path / "run").table("inference").rows == 1


QUICK_TRAININGS = ("train-digits-hardware-aware.yaml", "train-wine-300.yaml")


@pytest.mark.parametrize(
    "name",
    [*QUICK_TRAININGS, *(pytest.param(n, marks=pytest.mark.slow) for n in TRAININGS if n not in QUICK_TRAININGS)],
)
def test_a_training(labctl, tmp_path, surveyed, name):
    pytest.importorskip("optax", reason="needs the extra 'train'")
    training = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    if training["data"] == "mnist":
        try:
            datasets.load("mnist")
        except BenchError:
            pytest.skip("LABCTL_DATA does not hold MNIST")
    words = ["--set", f"epochs={1 if training['data'] == 'mnist' else 2}"]  # an epoch of MNIST is 60,000 images
    for key in ("candidates", "networks"):
        if key in training:
            words += ["--set", f"{key}=2"]
    if "aware" in name:
        words += ["--set", f"survey={surveyed}"]
    labctl("train", EXAMPLES / name, "--out", tmp_path / "out.npz", *words)
    assert len(solutions.load(tmp_path / "out.npz")) >= 1


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script(tmp_path, name):
    small = ("--count", "1", "--candidates", "2", "--epochs", "3")
    subprocess.run([sys.executable, str(EXAMPLES / name), str(tmp_path / "out.npz"), *small], check=True)
    assert np.isin(solutions.load(tmp_path / "out.npz").weights[0], (-1, 0, 1)).all()
