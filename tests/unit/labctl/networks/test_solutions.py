"""Solutions: the published file and ours load alike; what does not fit is refused by key and shape."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labctl.core.errors import BenchError, StorageError
from labctl.networks import datasets
from labctl.networks.solutions import Solutions, load, save

ROOT = Path(__file__).parents[4]
SHIPPED = ROOT / "examples" / "wine-solutions.npz"
SCRIPT = ROOT / "examples" / "train_wine_solutions.py"
DATA = os.environ.get("LABCTL_DATA", "")


def _arrays() -> dict[str, object]:
    """Two networks 3-2-4."""
    rng = np.random.default_rng(5)
    return {
        "index": np.array([7, 3]),
        "fc1_devices": rng.integers(0, 2, (2, 3, 4)).astype(np.uint8),
        "fc1_bias": rng.normal(size=(2, 2)),
        "fc2_devices": rng.integers(0, 2, (2, 2, 8)).astype(np.uint8),
        "fc2_bias": rng.normal(size=(2, 4)),
        "x_train": rng.normal(size=(6, 3)),
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "s.npz", **_arrays())
    return tmp_path / "s.npz"


def test_layers_are_counted_from_the_keys(file: Path) -> None:
    loaded = load(file)
    assert (len(loaded), loaded.sizes, loaded.index.tolist(), loaded.path) == (2, (3, 2, 4), [7, 3], file)
    assert loaded.devices[1].dtype == np.uint8


def test_forward_is_the_formula_written_out(file: Path) -> None:
    loaded, arrays = load(file), _arrays()
    x = np.asarray(arrays["x_train"])
    scale = np.array([[0.5, 0.8], [1.5, 1.1]])
    for s in range(2):
        a = x
        for k in (1, 2):
            cell, bias = np.asarray(arrays[f"fc{k}_devices"])[s], np.asarray(arrays[f"fc{k}_bias"])[s]
            columns = [
                sum(a[:, i] * (float(cell[i, 2 * j]) - float(cell[i, 2 * j + 1])) for i in range(a.shape[1]))
                for j in range(len(bias))
            ]
            a = np.tanh(np.column_stack(columns) / scale[s, k - 1] + bias)
        np.testing.assert_allclose(loaded.forward(x, scale)[s], a, rtol=0, atol=1e-14)


def test_scale_is_one_or_per_layer_or_per_solution(file: Path) -> None:
    loaded = load(file)
    x = np.ones((5, 3))
    np.testing.assert_array_equal(loaded.forward(x, 0.7), loaded.forward(x, np.full((2, 2), 0.7)))
    np.testing.assert_array_equal(loaded.forward(x, [0.7, 0.9]), loaded.forward(x, [[0.7, 0.9]] * 2))
    for scale in (0.0, -1.0, np.nan, np.ones(3)):
        with pytest.raises(BenchError, match="scale"):
            loaded.forward(x, scale)
    with pytest.raises(BenchError, match=r"shape \(5, 2\); expected \(samples, 3\)"):
        loaded.forward(np.ones((5, 2)))


def test_take_keeps_the_order_asked_for(file: Path) -> None:
    loaded = load(file)
    turned = loaded.take(np.array([1, 0]))
    assert turned.index.tolist() == [3, 7]
    np.testing.assert_array_equal(turned.forward(np.ones((4, 3))), loaded.forward(np.ones((4, 3)))[::-1])


def test_what_is_saved_comes_back(file: Path, tmp_path: Path) -> None:
    loaded = load(file)
    save(tmp_path / "again.npz", loaded, x_train=np.ones((4, 3)))
    again = load(tmp_path / "again.npz")
    for name in ("devices", "bias"):
        for a, b in zip(getattr(loaded, name), getattr(again, name), strict=True):
            np.testing.assert_array_equal(a, b)
    with np.load(tmp_path / "again.npz") as whole:
        assert whole["x_train"].shape == (4, 3)


def test_nothing_is_written_over(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(StorageError, match="exists already"):
        save(file, load(file))
    assert file.read_bytes() == before
    with pytest.raises(StorageError, match="cannot be written"):
        save(file / "below" / "a.npz", load(file))
    with pytest.raises(BenchError, match="'index' is a name of the solutions"):
        save(file.with_name("new.npz"), load(file), **{"index": np.ones(2)})
    assert not file.with_name("new.npz").exists()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("index", None, "has no 'index'"),
        ("fc1_devices", None, "has no 'fc1_devices'"),
        ("fc2_bias", None, "has no 'fc2_bias'"),
        ("fc0_bias", np.ones((2, 2)), "has 'fc0_bias'"),
        (
            "fc1_devices",
            np.zeros((2, 3, 5), np.uint8),
            r"fc1_devices has the shape \(2, 3, 5\); expected \(2, in, 2",
        ),
        ("fc1_devices", np.zeros((3, 3, 4), np.uint8), r"fc1_devices has the shape \(3, 3, 4\)"),
        ("fc2_devices", np.zeros((2, 3, 8), np.uint8), "in = 2 as fc1 has outputs"),
        ("fc2_devices", np.full((2, 2, 8), 2, np.uint8), "other values"),
        ("fc2_devices", np.full((2, 2, 8), 0.5), "fc2_devices is float64 with other values"),
        ("fc1_bias", np.zeros((2, 3)), r"fc1_bias is float64 \(2, 3\); expected numbers \(2, 2\)"),
        ("fc1_bias", np.full((2, 2), np.nan), "NaN"),
        ("index", np.array([1, 2, 3]), "fc1_devices has the shape"),
        ("index", np.array([1, 1]), "twice"),
        ("index", np.array([2, -1]), "index holds -1; expected .*whole numbers from 0"),
        ("index", np.array([0.0, 1.0]), "index is float64"),
        ("index", np.array([1, 2**64 - 1], np.uint64), "index holds 18446744073709551615; expected .* from 0 to"),
        ("fc1_bias", np.full((2, 2), np.longdouble("1e4000")), "fc1_bias is float128 with inf|fc1_bias is float64"),
        ("fc1_bias", np.full((2, 2), 1e300), r"with 1e\+300; expected numbers \(2, 2\), finite and up to 1e\+30"),
        ("fc1_bias", np.zeros((2, 2), np.complex64), "fc1_bias is complex64; expected numbers"),
        ("votes", np.array(2**64 - 1, np.uint64), "votes holds 18446744073709551615"),
        ("fc1_bias", np.array([[{}, 1], [2, 3]], dtype=object), "plain arrays"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, key: str, value: object, says: str) -> None:
    arrays = {k: v for k, v in (_arrays() | {key: value}).items() if v is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(BenchError, match=says) as refused:
        load(tmp_path / "bad.npz")
    assert "bad.npz" in str(refused.value)


def test_what_is_no_npz_file_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    cases = {"cut.npz": whole[: len(whole) // 2], "text.npz": b"weights: 3", "empty.npz": b""}
    cases["damaged.npz"] = whole[:150] + bytes(b ^ 255 for b in whole[150:190]) + whole[190:]
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    for name in cases:
        with pytest.raises(BenchError, match=name):
            load(tmp_path / name)
    np.save(tmp_path / "single.npy", np.ones((2, 3)))
    with pytest.raises(BenchError, match=r"is a NumPy array \(npy\); expected arrays written by"):
        load(tmp_path / "single.npy")
    with pytest.raises(BenchError, match="no such file"):
        load(tmp_path / "none.npz")
    with pytest.raises(BenchError, match="npz"):
        load(tmp_path)
    np.savez(tmp_path / "other.npz", x=np.ones((2, 3)))
    with pytest.raises(BenchError, match="has no fc1_devices"):
        load(tmp_path / "other.npz")


@pytest.mark.skipif(not DATA, reason="LABCTL_DATA is not set")
def test_the_published_solutions_have_their_published_accuracy() -> None:
    published = load(Path(DATA) / "wine" / "wine_13-6-3_solutions_000-099.npz")
    wine = datasets.load("wine")
    assert (len(published), published.sizes) == (100, (13, 6, 3))
    train = published.accuracy(wine.x_train, wine.y_train)
    assert (train.mean(), train.min(), train.max()) == pytest.approx((0.97182, 0.77703, 1.0), abs=1e-5)
    assert published.accuracy(wine.x_test, wine.y_test).mean() == pytest.approx(0.923, abs=1e-9)


def test_the_shipped_solutions_have_their_documented_accuracy() -> None:
    ours, wine = load(SHIPPED), datasets.load("wine")
    assert (len(ours), ours.sizes) == (24, (13, 6, 3))
    assert ours.accuracy(wine.x_train, wine.y_train).tolist() == [1.0] * 24
    test = ours.accuracy(wine.x_test, wine.y_test)
    assert (test.mean(), test.min(), test.max()) == pytest.approx((0.941667, 0.9, 0.966667), abs=1e-6)
    assert len({d.tobytes() for d in ours.devices[0]}) == 24
    for devices in ours.devices:
        assert not (devices[:, :, 0::2] & devices[:, :, 1::2]).any()  # a zero weight is AP, AP


def _train(out: Path, *more: str) -> Solutions:
    told = subprocess.run(
        [sys.executable, str(SCRIPT), str(out), "--epochs", "150", *more],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "train" in told.stdout
    return load(out)


def test_the_script_gives_the_same_networks_again(tmp_path: Path) -> None:
    one = _train(tmp_path / "one.npz", "--count", "3", "--candidates", "4", "--seed", "20")
    two = _train(tmp_path / "two.npz", "--count", "3", "--candidates", "4", "--seed", "20")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert set(one.index.tolist()) <= {20, 21, 22, 23}
    wine = datasets.load("wine")
    accuracy = two.accuracy(wine.x_train, wine.y_train)
    assert (np.diff(accuracy) <= 0).all()
    assert accuracy.min() > 0.9


def test_a_seed_gives_its_network_whatever_the_others_are(tmp_path: Path) -> None:
    many = _train(tmp_path / "many.npz", "--count", "3", "--candidates", "3", "--seed", "20")
    alone = _train(tmp_path / "alone.npz", "--count", "1", "--candidates", "1", "--seed", "21")
    at = many.take(np.flatnonzero(many.index == 21))
    np.testing.assert_array_equal(at.devices[0], alone.devices[0])
    np.testing.assert_allclose(at.bias[0], alone.bias[0], rtol=1e-9)


def test_the_script_teaches_and_refuses(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    helped = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, env=env, check=True
    )
    assert "differential pair" in helped.stdout
    wrong = [sys.executable, str(SCRIPT), str(tmp_path / "a.npz"), "--count", "9", "--candidates", "3"]
    refused = subprocess.run(wrong, capture_output=True, text=True, env=env, check=False)
    assert refused.returncode == 2
    assert "expected 1 <= count <= candidates" in refused.stderr


def test_outputs_of_a_class_vote(file: Path, tmp_path: Path) -> None:
    arrays = _arrays()
    np.savez(tmp_path / "two.npz", **arrays, votes=np.array(2))  # type: ignore[arg-type]
    one, two = load(file), load(tmp_path / "two.npz")
    x = np.asarray(arrays["x_train"])
    inputs = np.arctanh(one.forward(x))
    np.testing.assert_allclose(two.forward(x), np.tanh((inputs[..., :2] + inputs[..., 2:]) / 2), atol=1e-12)
    save(tmp_path / "again.npz", two.take(slice(1)))
    assert load(tmp_path / "again.npz").votes == 2
    for votes, words in ((3, "4 outputs are not 3 for each class"), ([2], "expected one whole number")):
        path = tmp_path / "wrong.npz"
        np.savez(path, **arrays, votes=np.array(votes))  # type: ignore[arg-type]
        with pytest.raises(BenchError, match=words):
            load(path)
