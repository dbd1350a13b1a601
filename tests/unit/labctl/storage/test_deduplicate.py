"""Repeating arrays: small when they repeat, whole when they do not, and always the same to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labctl.storage import deduplicate
from labctl.storage.deduplicate import SMALLEST, Array, parts_of

ONE_OF_25 = np.arange(1200) * 7 % 25


def back(array: Array) -> tuple[Array, Array | None]:
    """Take apart, compare what comes back, and return the parts."""
    whole, index = parts_of(array)
    restored = np.broadcast_to(whole if index is None else whole[index], array.shape)
    assert restored.dtype == array.dtype
    assert restored.tobytes() == array.tobytes()
    assert index is None or index.dtype.kind == "u"
    return whole, index


@pytest.mark.parametrize("level", [0.1, 2.0, 2.0**-900, -0.0, np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["f8", "f4", "c16"])
def test_one_gate_of_25_costs_its_distinct_rows(level: float, dtype: str) -> None:
    gates = np.zeros((1200, 25), dtype)
    gates[np.arange(1200), ONE_OF_25] = level
    rows, index = back(gates)
    assert index is not None
    assert index.dtype == np.uint8
    assert (rows.shape, index.shape) == ((1 if dtype == "f4" and level == 2.0**-900 else 25, 25), (1200,))


def test_masks_numbers_and_matrices_of_many_axes() -> None:
    mask = np.ones((1200, 25), np.bool_)
    mask[np.arange(1200), ONE_OF_25] = False
    assert back(mask)[0].shape == (25, 25)
    assert back(np.asfortranarray(mask))[0].shape == (25, 25)
    assert back(np.broadcast_to(mask[:, None], (1200, 3, 25)))[0].shape == (25, 1, 25)
    assert back(np.repeat(np.arange(32), 100))[0].shape == (32,)
    assert back(np.eye(1250)[ONE_OF_25 * 17])[0].shape == (25, 1250)


def test_pictures_of_few_greys_cost_their_greys() -> None:
    pictures = np.random.default_rng(3).integers(0, 17, (500, 24)) / 16
    greys, index = back(pictures)
    assert greys.shape == (17,)
    assert index is not None
    assert index.shape == (500, 24)
    currents = np.random.default_rng(4).integers(0, 4096, (5000, 25)) * 1.5e-9
    steps, index = back(currents)
    assert (steps.shape, index is not None and index.dtype) == ((4096,), np.uint16)
    zeros, _ = back(np.tile([0.0, -0.0, np.nan, -np.nan], 300))
    assert zeros.shape == (4,), "what differs in one bit is not the same"


def test_the_same_rows_in_another_order_are_one_set() -> None:
    patterns = np.eye(25)[ONE_OF_25]
    np.testing.assert_array_equal(parts_of(patterns)[0], parts_of(patterns[::-1])[0])


def test_noise_and_small_arrays_stay_whole() -> None:
    noise = np.random.default_rng(5).normal(size=(400, 25))
    assert parts_of(noise)[1] is None
    assert parts_of(np.zeros(SMALLEST // 8 - 1))[1] is None
    assert parts_of(np.array(["µ"] * 5000))[1] is None
    assert parts_of(np.zeros((0, 25)))[1] is None
    half = noise.copy()
    half[::2] = 0
    assert parts_of(half)[1] is None, "half of the size at least"
    assert parts_of(np.broadcast_to(noise[:1], (90000, 25)))[0].shape == (1, 25)


def test_rows_that_cannot_be_told_apart_by_their_keys_are_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplicate, "_keys", lambda words: words[:, 0] * np.uint64(words.shape[1] == 1))
    patterns = np.eye(25)[ONE_OF_25]
    _, index = back(patterns)
    assert index is not None
    assert index.shape == patterns.shape, "its elements repeat as well"


def test_keys_that_share_a_slot_are_told_apart_by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    patterns, steps = np.eye(25)[ONE_OF_25], np.random.default_rng(6).integers(0, 300, (5000, 25)) * 1.5e-9
    quick = [back(array) for array in (patterns, steps)]
    monkeypatch.setattr(deduplicate, "_SLOTS", 1)
    for (rows, index), array in zip(quick, (patterns, steps), strict=True):
        again, where = back(array)
        assert rows.tobytes() == again.tobytes()
        np.testing.assert_array_equal(index, where)


def test_keys_tell_one_hot_rows_of_round_and_of_small_numbers_apart() -> None:
    for level in (np.float64(2.0).view(np.uint64), np.uint64(1), np.uint64(1 << 32)):
        words = np.zeros((1250, 1250), np.uint64)
        np.fill_diagonal(words, level)
        assert len(np.unique(deduplicate._keys(words))) == 1250


tables = hnp.arrays(
    st.sampled_from(["f8", "i8", "?", "u1", "f2"]), hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)
)


@settings(max_examples=80, deadline=None)
@given(tables, st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_anything_comes_back(table: Array, rows: list[int]) -> None:
    before = deduplicate.SMALLEST
    deduplicate.SMALLEST = 1
    try:
        back(table[np.array(rows) % len(table)])
    finally:
        deduplicate.SMALLEST = before


def test_an_array_is_made_smaller_from_4_kib_on() -> None:
    assert SMALLEST == 4096
    for rows, whole in ((127, True), (128, False)):
        array = np.tile(np.array([[1.0, 2.0, 3.0, 4.0]]), (rows, 1)) + (np.arange(rows) % 2)[:, None]
        _, index = parts_of(array)
        assert array.nbytes == rows * 32
        assert (index is None) == whole
