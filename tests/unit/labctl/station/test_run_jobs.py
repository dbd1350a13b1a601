"""Exit codes say the gravest thing that happened."""

import pytest

from labctl.core.exit_codes import Status
from labctl.core.outcome import Outcome
from labctl.execution.die_job import DieResult
from labctl.station.run_jobs import verdict


def result(code, bin_="good"):
    status = Status.SUCCESS if code == 0 else Status.FAIL
    return DieResult("D1", bin_, Outcome(status, "", code), [])


@pytest.mark.parametrize(
    ("results", "expected", "outcome"),
    [
        ([result(0), result(0)], 0, Status.SUCCESS),
        ([result(0), result(0, "low-fidelity")], 1, Status.SUCCESS),
        ([result(4), result(0, "low-fidelity")], 4, Status.ABORT),
        ([result(3), result(4)], 3, Status.ABORT),
        ([result(70), result(5)], 70, Status.FAIL),
        ([result(6), result(70)], 6, Status.FAIL),
    ],
)
def test_the_gravest_code_wins(results, expected, outcome):
    assert verdict(results, len(results)) == (outcome, expected)


def test_a_die_that_never_began_means_the_operator_stopped_the_run():
    assert verdict([result(0)], 2) == (Status.ABORT, 4)
