"""Images before they go to a die."""

import numpy as np
import pytest

from labctl.core.errors import BenchError
from labctl.networks import datasets
from protocols.preprocess import Preprocess, Shades


def test_mnist_becomes_13_by_13() -> None:
    x = np.zeros((2, 28 * 28), np.float32)
    x[1, 28 * 1 + 3] = 1.0  # row 1, column 3 is row 0, column 2 of the crop
    small = Preprocess(crop=26, average=2).images(x)
    assert small.shape == (2, 169)
    assert small.dtype == np.float32
    assert small[1, 1] == 0.25
    assert small.sum() == 0.25


def test_order_is_crop_average_binarise() -> None:
    image = np.arange(16.0).reshape(1, 4, 4) / 15
    grey = Preprocess(crop=2).images(image.reshape(1, -1))
    np.testing.assert_allclose(grey, np.array([[5, 6, 9, 10]]) / 15)
    means = Preprocess(average=2).images(image.reshape(1, -1))
    np.testing.assert_allclose(means, np.array([[2.5, 4.5, 10.5, 12.5]]) / 15)
    black_and_white = Preprocess(average=2, shades=Shades.BINARY, threshold=0.35).images(image.reshape(1, -1))
    assert black_and_white.tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_as_it_stands_it_changes_nothing() -> None:
    wine = datasets.load("wine")
    assert Preprocess().apply(wine) is wine


def test_both_parts_of_a_data_set() -> None:
    images_made = Preprocess(average=2).apply(datasets.load("digits"))
    assert images_made.x_train.shape == (1437, 16)
    assert images_made.x_test.shape == (360, 16)
    assert images_made.y_train.shape == (1437,)


def test_pixels_that_vary_most_are_kept_and_centred_as_the_training_samples_say() -> None:
    digits = datasets.load("digits")
    images_made = Preprocess(pixels=50, centre=True).apply(digits)
    kept = np.argsort(digits.x_train.var(axis=0))[-50:]
    left_out = np.setdiff1d(np.arange(64), kept)
    assert digits.x_train[:, left_out].var(axis=0).max() < images_made.x_train.var(axis=0).min()
    np.testing.assert_allclose(images_made.x_train.mean(axis=0), np.zeros(50), atol=1e-12)
    mean = digits.x_train.mean(axis=0)[np.sort(kept)]
    np.testing.assert_allclose(images_made.x_test, digits.x_test[:, np.sort(kept)] - mean)
    with pytest.raises(BenchError, match="65 pixels were asked for; the images have 64"):
        Preprocess(pixels=65).apply(digits)


@pytest.mark.parametrize(
    ("fields", "features", "words"),
    [
        ({"average": 2}, 13, "13 features are no square images"),
        ({"crop": 9}, 64, r"crop of 9 x 9 pixels .* have 8 x 8"),
        ({"average": 3}, 64, "8 x 8 pixels cannot be averaged 3 x 3"),
    ],
)
def test_images_that_do_not_fit_are_refused(fields: dict[str, int], features: int, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        Preprocess.model_validate(fields).images(np.zeros((5, features)))
