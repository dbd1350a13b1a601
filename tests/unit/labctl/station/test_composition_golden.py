"""What is wrong with the reference die of a campaign is told with its line."""

from pathlib import Path

import pytest

from labctl.core.errors import BenchError
from labctl.station import composition
from tests.unit.labctl.station.test_composition_temperature import campaign

GOLDEN = "batch: {golden: {die: @, every: 3, drift: {r_p: 3 %}}}"


@pytest.mark.parametrize(
    ("die", "words"),
    [
        ("E", r"c\.yaml:2: batch\.golden\.die: found 'E', and there is no such die; expected one of D"),
        ("D", r"c\.yaml:2: batch\.golden\.die: there is no die but the golden one, .*expected another"),
    ],
)
def test_a_golden_die_that_is_not_there_or_alone(tmp_path: Path, die: str, words: str) -> None:
    with pytest.raises(BenchError, match=words):
        composition.read(campaign(tmp_path, GOLDEN.replace("@", die)))
