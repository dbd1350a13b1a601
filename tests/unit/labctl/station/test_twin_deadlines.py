"""How long the twin on sockets waits for a reply: at leisure, unless the bench file says how long."""

import pytest

from instruments.entry import Address, Entry
from instruments.transport import Deadlines
from labctl.station.twin_links import LEISURE, loopback


@pytest.mark.parametrize(
    ("given", "query", "motion"), [({}, LEISURE, 60.0), ({"query": 0.5}, 0.5, 60.0), ({"motion": 3}, LEISURE, 3.0)]
)
def test_a_busy_computer_has_leisure_to_answer_for_emulated_instruments(
    given: dict[str, float], query: float, motion: float
) -> None:
    address = Address(resource="TCPIP::192.0.2.1::5025::SOCKET", deadlines=Deadlines.model_validate(given))
    transport = loopback(
        "TCPIP::127.0.0.1::1::SOCKET", "smu1", Entry.model_construct(driver="keithley2600b", address=address)
    )
    assert (transport.deadlines.query, transport.deadlines.motion) == (query, motion)
