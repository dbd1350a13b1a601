"""Data sets: the shipped values are the published ones, and nothing else passes for them."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from labctl.core.errors import BenchError
from labctl.networks import datasets

DATA = os.environ.get("LABCTL_DATA", "")
with_data = pytest.mark.skipif(not DATA, reason="LABCTL_DATA is not set")


def test_wine_is_split_and_scaled_as_published() -> None:
    wine = datasets.load("wine")
    assert (wine.x_train.shape, wine.x_test.shape, wine.classes, wine.features) == (
        (148, 13),
        (30, 13),
        3,
        13,
    )
    assert np.bincount(wine.y_train).tolist() == [49, 58, 41]
    assert np.bincount(wine.y_test).tolist() == [10, 13, 7]
    both = np.concatenate([wine.x_train, wine.x_test])
    assert both.min(axis=0).tolist() == [0.0] * 13
    assert both.max(axis=0).tolist() == [1.0] * 13
    assert "CC BY 4.0" in wine.source


@with_data
def test_wine_equals_the_published_split() -> None:
    wine = datasets.load("wine")
    with np.load(Path(DATA) / "wine" / "wine_13-6-3_solutions_000-099.npz") as published:
        for part, x, y in (("train", wine.x_train, wine.y_train), ("test", wine.x_test, wine.y_test)):
            ours, theirs = (
                np.column_stack([labels, features])[np.lexsort(features.T)]
                for features, labels in ((x, y), (published[f"x_{part}"], published[f"y_{part}"]))
            )
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_wine_and_digits_equal_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    theirs = sklearn.load_wine()
    x = (theirs.data - theirs.data.min(axis=0)) / np.ptp(theirs.data, axis=0)
    wine = datasets.load("wine")
    test = list(datasets.WINE_TEST)
    np.testing.assert_array_equal(wine.x_test, x[test])
    np.testing.assert_array_equal(wine.y_test, theirs.target[test])
    np.testing.assert_array_equal(wine.x_train, np.delete(x, test, axis=0))
    np.testing.assert_array_equal(wine.y_train, np.delete(theirs.target, test))
    digits, theirs = datasets.load("digits"), sklearn.load_digits()
    np.testing.assert_array_equal(np.concatenate([digits.x_train, digits.x_test]) * 16, theirs.data)
    np.testing.assert_array_equal(np.concatenate([digits.y_train, digits.y_test]), theirs.target)


def test_digits_have_every_class_on_both_sides() -> None:
    digits = datasets.load("digits")
    assert (digits.x_train.shape, digits.x_test.shape, digits.classes) == ((1437, 64), (360, 64), 10)
    assert np.bincount(digits.y_train).min() > 100
    assert np.bincount(digits.y_test).min() > 30
    assert (digits.x_train.min(), digits.x_train.max()) == (0.0, 1.0)


@with_data
@pytest.mark.parametrize("how", ["name", "path"])
def test_mnist_is_read_from_a_folder_of_the_user(how: str) -> None:
    mnist = datasets.load("mnist" if how == "name" else Path(DATA) / "mnist")
    assert (mnist.x_train.shape, mnist.x_test.shape, mnist.classes) == ((60000, 784), (10000, 784), 10)
    assert mnist.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.y_test[:5].tolist() == [7, 2, 1, 0, 4]
    assert (mnist.x_test.min(), mnist.x_test.max(), mnist.x_test.dtype) == (0.0, 1.0, np.float32)


def test_mnist_without_a_folder_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LABCTL_DATA", raising=False)
    with pytest.raises(BenchError, match=r"LABCTL_DATA is not set; .*train-images-idx3-ubyte.*https://"):
        datasets.load("mnist")
    monkeypatch.setenv("LABCTL_DATA", str(tmp_path))
    with pytest.raises(BenchError, match=r"has no train-images-idx3-ubyte or .*https://"):
        datasets.load("mnist")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("train-images-idx3-ubyte", b"\0\0\x08\x03 not the digits", "has the sha256 .* expected ba891046"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"another", mtime=0), "has the sha256 .* expected ba891046"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"x" * 1000, mtime=0)[:-9], "cannot be read"),
        ("train-images-idx3-ubyte.gz", b"no gzip at all", "cannot be read"),
    ],
)
def test_another_mnist_is_refused(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BenchError, match=says):
        datasets.load(tmp_path)


def _arrays() -> dict[str, object]:
    return {
        "x_train": np.arange(10.0).reshape(5, 2),
        "y_train": np.array([0, 1, 2, 0, 1]),
        "x_test": np.ones((3, 2)),
        "y_test": np.array([3, 0, 1]),
    }


def test_an_npz_file_of_the_user_is_a_data_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **_arrays())
    mine = datasets.load(tmp_path / "mine.npz")
    assert (mine.x_train.shape, mine.x_test.shape, mine.classes, mine.name) == ((5, 2), (3, 2), 4, "mine.npz")
    np.testing.assert_array_equal(mine.y_test, [3, 0, 1])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("x_train", None, "has no 'x_train'"),
        ("x_train", np.full((5, 2), np.nan), "x_train is float64"),
        ("x_train", np.arange(10.0), "expected finite numbers"),
        ("x_test", np.ones((3, 4)), "x_train has 2 features and x_test 4"),
        ("y_train", np.array([0, 1, 2]), "expected 5 class numbers"),
        ("y_test", np.array([0.0, 1.0, 2.0]), "y_test is float64"),
        ("y_test", np.array([-1, 1, 2]), "from 0"),
        ("y_test", np.array([{}, 1, 2], dtype=object), "not a whole npz file of plain arrays"),
    ],
)
def test_an_npz_file_that_is_no_data_set_is_refused(tmp_path: Path, key: str, value: object, says: str) -> None:
    arrays = {k: v for k, v in (_arrays() | {key: value}).items() if v is not None}
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(BenchError, match=says):
        datasets.load(tmp_path / "mine.npz")


def test_what_is_no_npz_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut off")
    np.save(tmp_path / "b.npz.npy", np.ones((2, 3)))
    for name, found in (("a.npz", "not a whole npz file"), ("b.npz.npy", r"a NumPy array \(npy\)")):
        with pytest.raises(BenchError, match=f"is {found}; expected arrays written by"):
            datasets.load(tmp_path / name)
    (tmp_path / "c.CSV").write_text("x,y\n1,2\n")
    with pytest.raises(BenchError, match=r"c\.CSV is a table; expected a data set: x_train, .* numpy.savez"):
        datasets.load(tmp_path / "c.CSV")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(BenchError, match="no data set 'iris'; expected one of wine, digits, mnist"):
        datasets.load("iris")


def test_a_bomb_in_the_place_of_mnist_is_not_unpacked(tmp_path: Path) -> None:
    for name in datasets.MNIST:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(bytes(60_000_000), 1))
    unpacked = datasets._unpacked((tmp_path / f"{next(iter(datasets.MNIST))}.gz").read_bytes())
    assert len(unpacked) == datasets._MNIST_BYTES + 1
    with pytest.raises(BenchError, match="has the sha256"):
        datasets.load(tmp_path)
