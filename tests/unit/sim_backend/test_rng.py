import numpy as np
import pytest
import scipy

from sim_backend.rng import Stream


def test_a_number_depends_on_pattern_and_draw_only() -> None:
    stream = Stream(7, "die", "noise", 3, stride=5)
    whole = stream.uniforms(100, 12)
    assert whole.shape == (12, 5)
    for cuts in ([12], [1] * 12, [5, 7], [3, 1, 8]):
        first, parts = 100, []
        for n in cuts:
            Stream(7, "die", "other", stride=64).uniforms(first)  # other work in between changes nothing
            parts.append(stream.uniforms(first, n))
            first += n
        assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    "other",
    [
        Stream(8, "die", "noise", 3, stride=5),
        Stream(7, "eid", "noise", 3, stride=5),
        Stream(7, "die", "noise", 4, stride=5),
        Stream(7, "die", "noise", "3", stride=5),
    ],
)
def test_streams_of_other_words_are_independent(other: Stream) -> None:
    a, b = Stream(7, "die", "noise", 3, stride=5).uniforms(0, 2000), other.uniforms(0, 2000)
    assert not np.isin(a, b).any()
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_uniforms_are_uniform_and_never_reach_the_ends() -> None:
    u = Stream(1, "u", stride=7).uniforms(0, 20_000)
    assert u.min() > 0.0
    assert u.max() < 1.0
    assert scipy.stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[:-1, 0], u[1:, 0])[0, 1]) < 5 / np.sqrt(len(u))


def test_normals_are_normal() -> None:
    z = Stream(2, "z", stride=6).normals(3, 20_000)
    assert scipy.stats.kstest(z.ravel(), "norm").pvalue > 1e-3
    assert np.array_equal(z[10], Stream(2, "z", stride=6).normals(13)[0])


FROZEN = [0.3437718766024328, 0.4304257929609784, 0.8352382846555414]
"""Written down once: a change would make every recorded simulated run irreproducible."""


def test_numbers_stay_the_same_between_versions() -> None:
    uniforms = Stream(2026, "die", "noise", 0, stride=3).uniforms(1000, 1)[0]
    assert uniforms.tolist() == FROZEN
