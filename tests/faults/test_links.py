"""Faults below messages, on every link: they end in a documented error, and in a bench that is verified off.

Each happens to one answer of a protocol while a cell is read. What the error says is what an operator reads; then the
bench is made safe, over the same link.
"""

import re

import numpy as np
import pytest

from instruments.contact import check_contact
from instruments.emergency import make_safe
from instruments.open_bench import open_bench
from labctl.core.errors import InstrumentError
from labctl.core.operations import Sense
from protocols.bias import read_bias
from sim_backend.emulators.wire_faults import WireFault
from tests.links import bench_by, twin_of

SHORT = {"deadlines": dict.fromkeys(("setting", "query", "measure"), "2 s")}
SILENT = "did not answer"
KINDS = {
    ("socket", WireFault.HALF): SILENT,
    ("socket", WireFault.RESET): "is gone: Connection reset by peer",
    ("hislip", WireFault.HALF): SILENT,
    ("hislip", WireFault.RESET): "is gone: Connection reset by peer",
    ("vxi11", WireFault.HALF): "is gone: VI_ERROR_IO",
    ("vxi11", WireFault.RESET): "is gone",
    ("serial", WireFault.HALF): SILENT,
    (
        "gateway",
        WireFault.HALF,
    ): r"smu: the controller \(TCPIP::127.0.0.1.*\) (is silent|answers '.*' where its address)|did not answer",
    ("gateway", WireFault.RESET): "smu: the controller .* is gone",
    ("gateway", WireFault.SILENT): r"smu: the controller \(TCPIP::127.0.0.1.*\) is silent; check that it is on",
    ("gateway", WireFault.OTHER_ADDRESS): "was turned to address '30' while 24 was spoken to: another program uses it",
    ("gateway", WireFault.TURNED): "was turned to address '30' while 24 was .*, and what was sent may have gone there",
}
"""What is said, by link and kind of fault."""


@pytest.mark.parametrize(("way", "fault"), KINDS, ids=lambda value: str(value))
@pytest.mark.parametrize("after", [0, 5])
def test_a_fault_of_a_link_ends_in_its_error_and_the_bench_is_off(way, fault, after):
    bench = bench_by(way, **(SHORT if fault is WireFault.HALF else {}))
    twin = twin_of(bench)
    at = np.array([0])
    try:
        opened = open_bench(bench, twin.dies[0, 0, 0].nominal, connect=twin.connect, wait=twin.wait)
        check_contact(opened.die)
        twin.server.faults["smu"].expect(fault, after)
        with pytest.raises(InstrumentError) as told:
            opened.die.perform(Sense(read_bias(opened.die.geometry, *[np.repeat(at, 3)] * 3, 0.1), at))
        assert twin.server.faults["smu"].happened == [fault]
        assert re.search(KINDS[way, fault], str(told.value)), told.value
        assert str(told.value).startswith("smu")
        assert make_safe(bench, connect=twin.connect, wait=twin.wait).text == "smu: outputs verified off at 0 V"
        assert twin.instruments["smu"].outputs() == {}
        opened.close()
    finally:
        twin.close()


def test_a_link_that_is_gone_for_good_is_told_as_not_verified():
    bench = bench_by("gateway", **SHORT, **{"patience": "0.1 s"})
    twin = twin_of(bench)
    resource = twin.server.resource("smu")
    twin.close()
    connect = twin.connect
    with pytest.raises(InstrumentError, match=r"NOT verified safe: smu: .*go to the bench"):
        make_safe(bench, connect=connect, wait=twin.wait)
    assert "through" in resource
