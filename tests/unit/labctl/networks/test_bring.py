"""A network from elsewhere is taken only in the layout that has the accuracy that was stated for it."""

import json
import pickle
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from labctl.cli.commands import app
from labctl.core.errors import BenchError
from labctl.files import shipped
from labctl.networks import datasets, solutions
from labctl.networks.bring import Stated, bring
from labctl.networks.foreign import read_layers
from labctl.networks.layouts import Bias, BiasSign, Orientation, Pairs, Scaling, Signs
from labctl.networks.trained_network import read_trained
from tests.unit.labctl.networks.own_files import safetensors

DATA = datasets.load("wine")
ONE = solutions.load(Path(__file__).parents[4] / "examples" / "wine-solutions.npz").take(np.arange(1))
SIGNS = [w[0] for w in ONE.weights]
BIAS = [b[0] for b in ONE.bias]
KNOWN = float(ONE.accuracy(DATA.x_test, DATA.y_test)[0])
STATED = f"{KNOWN * 100:.1f} %"


def cells(signs: Any, *, blocks: bool) -> Any:
    plus, minus = (signs > 0).astype(np.uint8), (signs < 0).astype(np.uint8)
    return np.hstack([plus, minus]) if blocks else np.stack([plus, minus], axis=-1).reshape(len(signs), -1)


WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "torch": ({"fc1.weight": SIGNS[0].T, "fc1.bias": BIAS[0], "fc2.weight": SIGNS[1].T, "fc2.bias": BIAS[1]}, ""),
    "numpy": ({"W1": SIGNS[0], "b1": BIAS[0], "W2": SIGNS[1], "b2": BIAS[1]}, ""),
    "in order": ({"arr_0": SIGNS[0], "arr_1": BIAS[0], "arr_2": SIGNS[1], "arr_3": BIAS[1]}, ""),
    "negated": ({"W1": -SIGNS[0], "b1": BIAS[0], "W2": -SIGNS[1], "b2": BIAS[1]}, "minus"),
    "thresholds": ({"W1": SIGNS[0], "b1": -BIAS[0], "W2": SIGNS[1], "b2": -BIAS[1]}, "bias-subtracted"),
    "last row": (
        {"W1": np.vstack([SIGNS[0], BIAS[0]]), "W2": np.vstack([SIGNS[1], BIAS[1]])},
        "bias-last-row",
    ),
    "first row": (
        {"W1": np.vstack([BIAS[0], SIGNS[0]]), "W2": np.vstack([BIAS[1], SIGNS[1]])},
        "bias-first-row",
    ),
    "blocks of cells": (
        {"fc1_devices": cells(SIGNS[0], blocks=True), "fc1_bias": BIAS[0], "fc2_devices": cells(SIGNS[1], blocks=True),
         "fc2_bias": BIAS[1], "index": np.arange(1)},
        "blocks",
    ),
    "own": (
        {"fc1_devices": cells(SIGNS[0], blocks=False)[None], "fc1_bias": BIAS[0][None],
         "fc2_devices": cells(SIGNS[1], blocks=False)[None], "fc2_bias": BIAS[1][None], "index": np.arange(1)},
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_taken_as_it_is_meant_or_refused_with_the_layout_that_is_meant(tmp_path: Path, way: str) -> None:
    arrays, layout = WAYS[way]
    np.savez(tmp_path / "theirs.npz", **arrays)
    target = tmp_path / "ours.npz"
    if layout:
        with pytest.raises(BenchError, match=r"was stated; nothing is written\. Layouts with which it is: ") as refused:
            bring(tmp_path / "theirs.npz", target, "wine", STATED)
        assert not target.exists()
        (word,) = {w for w in str(refused.value).replace(";", " ").split() if layout in w.split(",")} or {""}
        brought = bring(tmp_path / "theirs.npz", target, "wine", STATED, layout=word.split(","))
    else:
        brought = bring(tmp_path / "theirs.npz", target, "wine", STATED)
    assert brought.accuracy == pytest.approx(KNOWN)
    read = read_trained(target)
    for mine, theirs in zip(read.solutions.weights, SIGNS, strict=True):
        np.testing.assert_array_equal(mine[0], theirs)
    np.testing.assert_array_equal(read.solutions.predict(DATA.x_test, read.scale), ONE.predict(DATA.x_test))


def test_a_bias_that_is_added_before_the_division_is_told(tmp_path: Path) -> None:
    theirs = {"W1": SIGNS[0], "b1": BIAS[0] * 4.0, "W2": SIGNS[1], "b2": BIAS[1] * 2.0}
    np.savez(tmp_path / "theirs.npz", **theirs)
    known = float(ONE.accuracy(DATA.x_test, DATA.y_test, [4.0, 2.0])[0])
    words = {"scale": [4.0, 2.0], "layout": ["bias-before-scale"]}
    brought = bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", "wine", f"{known * 100:.1f} %", **words)
    assert brought.scale == (4.0, 2.0)
    read = read_trained(tmp_path / "ours.npz")
    np.testing.assert_allclose(read.solutions.bias[0][0], BIAS[0])
    assert read.activation == "tanh"
    assert read.data == "wine"


def own_data(path: Path, signs: Any, bias: Any, scale: Any, activation: Any = np.tanh) -> None:
    """Write a data set whose classes are those that a network of these layers gives."""
    x = np.random.default_rng(1).uniform(-1, 1, (60, len(signs[0])))
    a = x
    for k, (w, b) in enumerate(zip(signs, bias, strict=True)):
        a = a @ w / scale[k] + b
        a = activation(a) if k < len(signs) - 1 else a
    y = a.argmax(axis=1)
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)


@pytest.mark.parametrize("kind", ["zero-one", "magnitudes", "sign"])
def test_other_numbers_and_neurons_make_the_network_that_they_mean(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(3)
    signs = [np.where(rng.random(shape) < 0.5, -1.0, 1.0) for shape in ((9, 7), (7, 4))]
    bias, scale = [rng.normal(0, 0.3, 7), rng.normal(0, 0.3, 4)], ([4.0, 2.0] if kind == "magnitudes" else [1.0, 1.0])
    drive = (lambda a: np.where(a >= 0, 1.0, -1.0)) if kind == "sign" else np.tanh
    own_data(tmp_path / "data.npz", signs, bias, scale, drive)
    stored = [(w + 1) / 2 if kind == "zero-one" else w / s for w, s in zip(signs, scale, strict=True)]
    theirs = {"W1": stored[0], "b1": bias[0], "W2": stored[1], "b2": bias[1]}
    np.savez(tmp_path / "theirs.npz", **theirs)
    more: dict[str, Any] = {"activation": "sign"} if kind == "sign" else {}
    if kind == "zero-one":
        with pytest.raises(BenchError, match=r"--layout in-out,zero-one \(100 %\)"):
            bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", str(tmp_path / "data.npz"), "100 %")
        more = {"layout": ["zero-one"]}
    brought = bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", str(tmp_path / "data.npz"), "100 %", **more)
    read = read_trained(tmp_path / "ours.npz")
    assert brought.accuracy == 1.0
    np.testing.assert_allclose(read.scale[0], scale)
    np.testing.assert_array_equal(read.solutions.weights[0][0], signs[0])
    assert read.activation == ("sign" if kind == "sign" else "tanh")


def test_an_accuracy_that_no_layout_has_names_the_best_and_what_else_it_may_be(tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", **WAYS["numpy"][0])
    with pytest.raises(BenchError, match=r"None of \d+ layouts has it; the best is --layout .* Are data set, order of"):
        bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", "wine", "2 %")
    with pytest.raises(BenchError, match=r"No layout fits its shapes; expected layers from the features of 'digits'"):
        bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", "digits", "90 %")


def test_latent_weights_become_their_signs(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    latent = {k: v * rng.uniform(0.1, 2.0, v.shape) if "weight" in k else v for k, v in WAYS["torch"][0].items()}
    np.savez(tmp_path / "theirs.npz", **latent)
    brought = bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", "wine", STATED)
    assert brought.layout == "out-in"
    assert brought.sizes == (13, 6, 3)


@pytest.mark.parametrize("kind", ["F32", "F64", "F16", "BF16"])
def test_safetensors_are_read_as_they_are(tmp_path: Path, kind: str) -> None:
    (tmp_path / "theirs.safetensors").write_bytes(safetensors(WAYS["torch"][0], kind))
    brought = bring(tmp_path / "theirs.safetensors", tmp_path / "ours.npz", "wine", STATED)
    assert brought.layout == "out-in"


def test_files_of_the_library_of_safetensors_are_read(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
    arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in WAYS["torch"][0].items()}
    library.save_file(arrays, tmp_path / "theirs.safetensors")
    assert bring(tmp_path / "theirs.safetensors", tmp_path / "ours.npz", "wine", STATED).layout == "out-in"


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    (tmp_path / "old.pt").write_bytes(pickle.dumps(Bomb()))
    with zipfile.ZipFile(tmp_path / "new.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    np.savez(tmp_path / "objects.npz", **{"fc1.weight": np.array([Bomb()], object)})
    for name in ("old.pt", "new.pt"):
        with pytest.raises(BenchError, match=r"a pickle, which is a program .* numpy\.savez"):
            read_layers(tmp_path / name)
    with pytest.raises(BenchError, match="Python objects, which are never loaded"):
        read_layers(tmp_path / "objects.npz")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"bn1.running_mean": np.zeros(3)}, "has 'bn1.running_mean', .*batch norm"),
        ({"conv.weight": np.zeros((2, 1, 3, 3))}, r"conv.weight is float64 \(2, 1, 3, 3\); expected a matrix"),
        ({"fc1.bias": np.zeros(3)}, "has fc1.bias and no weights of that layer"),
        ({"fc1.weight": np.full((6, 13), np.nan)}, "fc1.weight is float64 with NaN"),
        ({"fc1.weight": np.ones((6, 13)), "fc1.bias": np.zeros((6, 2))}, r"fc1.bias has the shape \(6, 2\)"),
        ({"arr_0": np.zeros(3)}, "arr_0 is .*; expected matrices"),
        ({"fc1_devices": np.zeros((2, 13, 12))}, "expected a matrix, one network"),
        ({}, "without arrays|no arrays"),
    ],
)
def test_what_is_no_network_of_matrices_is_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "theirs.npz", **arrays)
    with pytest.raises(BenchError, match=said):
        read_layers(tmp_path / "theirs.npz")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw[:40], "has no header of a safetensors file"),
        (lambda raw: raw[:-4], "is it whole"),
        (lambda raw: raw.replace(b'"F32"', b'"Q32"', 1), "is Q32; expected F64"),
        (lambda raw: raw.replace(b"data_offsets", b"data_offsetz", 1), "expected F64"),
    ],
)
def test_a_damaged_safetensors_file_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    (tmp_path / "theirs").write_bytes(change(safetensors(WAYS["torch"][0], "F32")))
    with pytest.raises(BenchError, match=said):
        read_layers(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"accuracy": "good"}, "--accuracy good: expected what is known"),
        ({"accuracy": "930 %"}, "--accuracy 930 %: expected"),
        ({"layout": ["sideways"]}, "--layout sideways: expected some of in-out, out-in, plus"),
        ({"layout": ["out-in", "minus", "in-out"]}, "--layout out-in,minus,in-out: out-in and in-out exclude each"),
        ({"scale": [1.0, 2.0, 3.0]}, "expected one positive number, or 2"),
        ({"activation": "relu"}, "--activation relu: expected tanh or sign"),
        ({"preprocess": "centre"}, "--preprocess centre: expected scale"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    np.savez(tmp_path / "theirs.npz", **WAYS["numpy"][0])
    with pytest.raises(BenchError, match=said):
        bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", "wine", **{"accuracy": STATED, **more})


def test_a_stated_accuracy_is_what_is_rounded_to_it_or_one_sample_away() -> None:
    assert Stated.read("93.3 %").is_met(28 / 30, 30)
    assert Stated.read("93 %").is_met(27 / 30, 30)
    assert not Stated.read("93 %").is_met(26 / 30, 30)
    assert Stated.read("0.9333").is_met(0.93334, 1_000_000)
    assert not Stated.read("0.9333").is_met(0.9336, 1_000_000)


@pytest.mark.parametrize(
    ("text", "is_it", "is_not"),
    [("1", 0.995, 0.99), ("0.9", 0.905, 0.93), ("0", 0.005, 0.4), ("93.3 %", 0.9335, 0.934), ("1.000", 0.9995, 0.999)],
)
def test_few_digits_are_no_leave_for_another_network(text: str, is_it: float, is_not: float) -> None:
    assert Stated.read(text).is_met(is_it, 1_000_000)
    assert not Stated.read(text).is_met(is_not, 1_000_000)


def test_a_file_that_is_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "ours.npz").write_bytes(b"mine")
    with pytest.raises(BenchError, match=r"ours\.npz exists already; expected a new file"):
        bring(tmp_path / "no-such.npz", tmp_path / "ours.npz", "wine", STATED)
    assert (tmp_path / "ours.npz").read_bytes() == b"mine"


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[4] / "docs" / "my-network.md").read_text(encoding="utf-8")
    lines = page.split("<!-- run -->\n```sh\n")[1].split("```")[0].splitlines()
    np.savez("theirs.npz", **WAYS["torch"][0])
    shipped.write_file("campaign", tmp_path / "campaign.yaml", "wine-passive")
    done = [CliRunner().invoke(app(), [*shlex.split(line)[1:], "--json"]) for line in lines]
    assert [one.exit_code for one in done] == [0, 0], [one.output for one in done]
    assert json.loads(done[0].stdout.splitlines()[-1])["sizes"] == [13, 6, 3]
    assert "13-6-3, read as out-in" in " ".join(done[0].stderr.split())
    again = CliRunner().invoke(app(), shlex.split(lines[0])[1:])
    assert again.exit_code != 0
    assert all(f"`{word}`" in page for kind in (Orientation, Signs, Pairs, Bias, BiasSign, Scaling) for word in kind)


def test_samples_that_no_die_takes_are_refused_before_a_campaign_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", W1=SIGNS[0], b1=BIAS[0], W2=SIGNS[1], b2=BIAS[1])
    x = {"x_train": DATA.x_train * 4, "x_test": DATA.x_test * 4}
    worst = 4 * max(float(np.abs(part).max()) for part in (DATA.x_train, DATA.x_test))
    np.savez(tmp_path / "wide.npz", **x, y_train=DATA.y_train, y_test=DATA.y_test)
    with pytest.raises(BenchError, match=r"'wide.npz' reaches .*; expected -1 to 1, .* nothing is written") as refused:
        bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", str(tmp_path / "wide.npz"), STATED, scale=[4.0, 1.0])
    assert not (tmp_path / "ours.npz").exists()
    scale = float(str(refused.value).partition("--scale ")[2].split()[0])
    np.savez(tmp_path / "own.npz", **{k: v / worst for k, v in x.items()}, y_train=DATA.y_train, y_test=DATA.y_test)
    own = str(tmp_path / "own.npz")
    brought = bring(tmp_path / "theirs.npz", tmp_path / "ours.npz", own, STATED, scale=[scale, 1.0])
    assert brought.accuracy == pytest.approx(KNOWN)
