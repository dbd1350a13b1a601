"""The last value that is known, against a loop over patterns."""

import numpy as np
import pytest

from labctl.core.last_known import last_known


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 2, 40])
def test_each_value_is_the_last_one_known_or_the_first(share, n):
    rng = np.random.default_rng(int(10 * share) + n)
    values, known, first = rng.integers(0, 99, (n, 7)), rng.random((n, 7)) >= share, rng.integers(100, 199, 7)
    known[:, 2], known[:, 3] = True, False
    level, expected = first.copy(), []
    for row, here in zip(values, known, strict=True):
        level[here] = row[here]
        expected.append(level.tolist())
    before = values.copy()
    assert last_known(values, known, first).tolist() == expected
    assert (values == before).all()
