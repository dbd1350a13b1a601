"""Networks over dies: means over the dies that have them, and the ends by name."""

from typing import Any

import pytest

from labctl.analysis.networks import in_words, over_dies
from labctl.report.page_parts import network_rows


def network(solution: int, accuracy: float | None, software: float | None = 0.95, fidelity: float | None = 0.9) -> Any:
    return {"solution": solution, "accuracy_test": accuracy, "software_test": software, "fidelity": fidelity}


def test_a_network_is_a_mean_over_the_dies_on_which_it_was_inferred() -> None:
    dies = [
        ("A", [network(4, 0.9), network(7, 0.5)]),
        ("B", [network(4, 0.8, fidelity=1.0), network(7, None, None)]),
        ("C", []),
    ]
    four, seven = over_dies(dies)
    assert (four.solution, four.dies, four.worst, four.best) == (4, 2, ("B", 0.8), ("A", 0.9))
    assert (four.accuracy, four.fidelity) == pytest.approx((0.85, 0.95))
    assert four.drop == pytest.approx(0.95 - 0.85)
    assert (seven.dies, seven.accuracy) == (1, 0.5)


def test_a_network_that_was_written_twice_counts_with_its_newest_row() -> None:
    (only,) = over_dies([("A", [network(4, 0.2), network(4, 0.9)])])
    assert (only.dies, only.accuracy) == (1, 0.9)


def test_nothing_is_said_where_there_is_one_network_on_one_die() -> None:
    assert in_words(over_dies([("A", [network(4, 0.9)])])) == ""
    assert in_words([]) == ""


def test_a_fidelity_that_is_not_known_is_left_out_and_is_no_0() -> None:
    (only,) = over_dies([("A", [network(4, 0.9, fidelity=None)]), ("B", [network(4, 0.8, fidelity=0.96)])])
    assert (only.dies, only.fidelity) == (2, 0.96)
    (unknown,) = over_dies([("A", [network(4, 0.9, fidelity=None)])])
    assert unknown.fidelity is None
    assert network_rows([unknown])[0][2] == ("–", -1.0, "")
