"""The circuit solver against badcrossbar: uniform segments, all rows driven, columns at ground."""

import logging

import numpy as np
import pytest

from sim_backend.crossbar import ResistorNetwork, solve

badcrossbar = pytest.importorskip("badcrossbar", reason="badcrossbar is not installed (extra 'judges')")
pytestmark = pytest.mark.judge


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


def network(shape, kind, seed):
    rng = np.random.default_rng(seed)
    ohm = np.where(rng.random(shape) < 0.5, 1.1e4, 2.4e4) * rng.normal(1.0, 0.05, shape)
    if "shorts" in kind:
        ohm[rng.random(shape) < 0.1] = 0.01
    if "opens" in kind:
        ohm[rng.random(shape) < 0.1] = np.inf
        ohm[:, shape[1] // 2] = np.inf
    return ohm, rng.uniform(-0.4, 0.4, (3, shape[0]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (5, 4), (15, 16), (25, 24), (40, 64)])
@pytest.mark.parametrize("kind", ["sound", "shorts", "opens", "shorts and opens"])
@pytest.mark.parametrize("segments", [(2.0, 2.0), (0.5, 20.0), (2.0, 0.0), (0.0, 2.0), (0.0, 0.0)])
def test_agrees_with_badcrossbar(shape, kind, segments):
    ohm, v = network(shape, kind, seed=shape[0] + 7 * shape[1])
    row, col = segments
    theirs = badcrossbar.compute(v.T, ohm, r_i_word_line=row, r_i_bit_line=col, all_currents=True)
    with np.errstate(divide="ignore"):
        g = 1.0 / ohm
    ground = np.zeros((3, shape[1]))
    ours = solve(g, v, ground, r_row=row, r_col=col)
    one_by_one = ResistorNetwork(g, r_row=row, r_col=col).solve(v[:1], ground[:1])
    device = np.asarray(theirs.currents.device).reshape(*shape, 3).transpose(2, 0, 1)
    out = np.asarray(theirs.currents.output).reshape(3, -1)
    into = np.asarray(theirs.currents.word_line).reshape(*shape, 3)[:, 0].T
    # Both are differences of voltages that are rounded; each line's current is taken where the least is lost.
    by_row, by_col = (np.inf if r == 0.0 else 1.0 / r for r in segments)
    into = np.where(g.sum(axis=1) < by_row, device.sum(axis=2), into)
    out = np.where(g.sum(axis=0) < by_col, device.sum(axis=1), out)
    blur = 32.0 * np.finfo(float).eps * np.abs(v).max()
    largest = np.maximum(np.abs(out).max(axis=1), np.abs(into).max(axis=1))[:, None]
    allowed_row = np.maximum(1e-12 * largest, blur * np.minimum(g.sum(axis=1), by_row))
    allowed_col = np.maximum(1e-12 * largest, blur * np.minimum(g.sum(axis=0), by_col))
    assert (np.abs(ours.col_current - out) <= allowed_col).all()
    assert (np.abs(ours.row_current - into) <= allowed_row).all()
    assert (np.abs(one_by_one.col_current - out[:1]) <= allowed_col[:1]).all()
    sound = ohm > 1.0
    np.testing.assert_allclose((ours.cell_voltage * g)[:, sound], device[:, sound], rtol=0, atol=1e-12 * largest.max())
