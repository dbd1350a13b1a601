"""Geometry and nominal conductances: what a die tells a protocol before anything is measured."""

import numpy as np
import pytest

from labctl.core.bias import Geometry, Nominal
from labctl.core.errors import BenchError


def test_nominal_conductances_are_had_by_kernel_only() -> None:
    nominal = Nominal([4e-4, 9e-4, 1e-4], [1e-4, 4e-4, 1e-4])
    assert (nominal.kernels, nominal.cut(1), nominal.g_p(2)) == (3, pytest.approx(6e-4), 1e-4)
    kernel = np.array([[0, 1], [1, 0], [2, 2]])
    np.testing.assert_allclose(nominal.cut(kernel), [[2e-4, 6e-4], [6e-4, 2e-4], [1e-4, 1e-4]])
    np.testing.assert_allclose(nominal.tmr(kernel[:, 0]), [3, 1.25, 0])
    np.testing.assert_array_equal(nominal.g_ap(kernel[0]), [1e-4, 4e-4])
    with pytest.raises(TypeError):
        np.array([1e-4]) > nominal.cut  # type: ignore[operator]  # noqa: B015
    with pytest.raises(IndexError):
        nominal.g_p(3)


def test_nominal_conductances_are_equal_by_value() -> None:
    alike = Nominal.alike(4e-4, 2e-4, 2)
    assert alike == Nominal([4e-4, 4e-4], [2e-4, 2e-4])
    assert hash(alike) == hash(Nominal([4e-4, 4e-4], [2e-4, 2e-4]))
    assert alike != Nominal.alike(4e-4, 2e-4, 3)
    assert alike != Nominal([4e-4, 5e-4], [2e-4, 2e-4])
    alike.fits(Geometry(2, 5, 3))
    with pytest.raises(BenchError, match="of 2 kernels for a die of 3"):
        alike.fits(Geometry(3, 5, 4))


@pytest.mark.parametrize(
    ("g_p", "g_ap"), [([], []), ([4e-4], [0.0]), ([4e-4], [np.nan]), ([-1e-4, 1e-4], [1e-4, 1e-4])]
)
def test_conductances_that_no_junction_has_are_refused(g_p: list[float], g_ap: list[float]) -> None:
    with pytest.raises(BenchError, match="nominal conductances are positive"):
        Nominal(g_p, g_ap)
