"""To a die whose journal is complete nothing is done any more."""

import numpy as np
import pytest

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, Sense, WritePlan
from labctl.execution.journal_die import JournalDie
from labctl.execution.replay import Mismatch

READ = Sense(Bias(np.full((1, 2), 0.1), np.zeros((1, 3))), np.array([[2]]))
PULSE = Pulse(Bias(np.full((1, 2), 0.4), np.zeros((1, 3))), 1e-3)
PLAN = WritePlan(
    PULSE.bias, READ, np.array([True]), np.array([3e-4]), 0.1, np.array([0.4]), np.array([1]), 1e-3
)  # fmt: skip


@pytest.fixture
def die() -> JournalDie:
    return JournalDie(Geometry(1, 2, 3), Nominal.alike(4e-4, 2e-4, 1))


@pytest.mark.parametrize("operation", [READ, PULSE])
def test_a_read_and_a_pulse_are_refused_when_planned_and_when_asked_for(
    die: JournalDie, operation: Sense | Pulse
) -> None:
    for act in (die.check, die.perform):
        with pytest.raises(Mismatch, match="the journal has ended well, and the procedure asks for more"):
            act(operation)


def test_a_plan_is_accepted_and_its_first_pulse_is_refused(die: JournalDie) -> None:
    assert die.check(PLAN) == 0.0
    with pytest.raises(Mismatch, match=r"asks for more (reads|pulses)"):
        die.program(PLAN)
    die.idle()


def test_its_conductances_are_those_of_its_kernels() -> None:
    with pytest.raises(BenchError):
        JournalDie(Geometry(2, 2, 3), Nominal([1e-4] * 3, [5e-5] * 3))
