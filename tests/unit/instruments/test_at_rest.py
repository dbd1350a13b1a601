"""A bench with an output on is refused by name and level, and nothing is changed."""

import pytest

from instruments.at_rest import refuse_outputs_on
from labctl.core.errors import BenchError
from tests.unit.instruments.test_host_timed import Box


def test_every_output_that_is_on_is_named_with_its_level():
    one, two = Box(), Box()
    refuse_outputs_on("twin", {"smu1": one, "smu2": two})
    one.channels["b"][:2] = True, -0.25
    two.channels["a"][:2] = True, 0.0
    with pytest.raises(BenchError) as caught:
        refuse_outputs_on("twin", {"smu1": one, "smu2": two})
    assert str(caught.value) == (
        "bench 'twin' is not at rest: smu1.b is on at -0.25 V, smu2.a is on at 0 V; nothing was changed. "
        "Make it safe with 'labctl off BENCH' first"
    )
    assert not one.sent
    assert not two.sent
