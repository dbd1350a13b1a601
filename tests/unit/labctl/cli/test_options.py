"""Options that several commands share."""

import pytest

from labctl.cli.bench_options import check_sim
from labctl.cli.options import overrides
from labctl.core.errors import BenchError


@pytest.mark.parametrize("option", ["--set", "--train"])
@pytest.mark.parametrize("pair", ["epochs", "=20"])
def test_a_change_without_key_or_value_is_refused(option, pair):
    with pytest.raises(BenchError, match=f"{option} {pair}: expected key=value"):
        overrides([pair], option)


def test_a_value_may_have_an_equals_sign_and_a_key_blanks():
    assert overrides(["a.b = x=y", "c="]) == {"a.b": " x=y", "c": ""}
    assert overrides(None) == {}


def test_a_twin_is_of_a_known_kind():
    for sim in (None, "bytes", "tcp"):
        check_sim(sim)
    with pytest.raises(BenchError, match="--sim udp: expected bytes or tcp"):
        check_sim("udp")
