"""Our protocols keep the contract."""

import pytest

from labctl.testing import check_protocol
from protocols.by_hand import MapCells, PulseCell, ReadCell
from protocols.survey import Survey
from tests.unit.labctl.testing.test_broken import die


@pytest.mark.parametrize(
    "procedure",
    [
        Survey(),
        MapCells(),
        MapCells(kernel=1),
        ReadCell(kernel=1, row=3, col=2),
        PulseCell(kernel=0, row=2, col=1, to_p=True, voltage=0.5),
    ],
    ids=lambda procedure: procedure.name,
)
def test_a_protocol_of_ours_keeps_the_contract(procedure):
    check_protocol(procedure, die)
