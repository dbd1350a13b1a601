"""The twin over each link of a bench file: checked, read, pulsed and made safe by the same drivers."""

import numpy as np
import pytest

from instruments.check_bench import check_bench
from instruments.contact import check_contact
from instruments.emergency import make_safe
from instruments.open_bench import open_bench
from labctl.core.operations import Sense
from labctl.station.twin import Twin
from labctl.station.twin_links import serving_of
from protocols.bias import read_bias
from sim_backend.emulators.serve import Way
from tests.links import WAYS, bench_by, twin_of


def read(die):
    """Return the current of the cell at 100 mV, A."""
    at = np.array([0])
    return die.perform(Sense(read_bias(die.geometry, at, at, at, 0.1), at)).current.item()


@pytest.mark.parametrize("way", WAYS)
def test_a_bench_is_checked_read_and_made_safe_over_its_link(way):
    bench = bench_by(way)
    twin = twin_of(bench)
    try:
        (state,) = check_bench(bench, connect=twin.connect)
        assert "MODEL 2400" in state.identity
        assert state.wrong == ()
        with open_bench(bench, next(iter(twin.dies.values())).nominal, connect=twin.connect, wait=twin.wait) as opened:
            check_contact(opened.die)
            assert read(opened.die) == pytest.approx(1.9e-5, rel=0.1)
        assert twin.ledger.refused == 0, "every message was understood, and nobody was asked who had nothing to say"
        twin.instruments["smu"].handle(b":SOUR:VOLT 0.2\n:OUTP 1\n")
        safe = make_safe(bench, connect=twin.connect, wait=twin.wait)
        assert safe.text == "smu: outputs verified off at 0 V"
        assert twin.instruments["smu"].outputs() == {}
    finally:
        twin.close()


@pytest.mark.parametrize("way", WAYS)
def test_making_safe_needs_nothing_but_the_address(way):
    bench = bench_by(way)
    twin = twin_of(bench)
    try:
        twin.instruments["smu"].handle(b":SOUR:VOLT 0.2\n:OUTP 1\n")
        make_safe(bench, connect=twin.connect, wait=twin.wait)
        assert twin.instruments["smu"].outputs() == {}
    finally:
        twin.close()


def test_one_controller_in_two_spellings_is_one_bus():
    bench = bench_by("gateway")
    address = bench.instruments["smu"].address
    entries = {
        name: bench.instruments["smu"].model_copy(
            update={"address": address.model_copy(update={"resource": resource, "gateway": gateway})}
        )
        for name, resource, gateway in (
            ("smu", "GPIB::24", address.gateway),
            ("b", "GPIB::7", "tcpip0::192.0.2.30::01234::socket"),
        )
    }
    _, buses = serving_of(bench.with_entries(entries))
    assert [bus.addresses for bus in buses] == [{"smu": "24", "b": "7"}]


def test_every_way_is_served_for_other_programs_and_only_its_own_for_the_bench():
    bench = bench_by("gateway")
    serving, (bus,) = serving_of(bench)
    assert (serving["smu"].usual, bus.addresses, bus.serial) == (Way.GATEWAY, {"smu": "24"}, False)
    everywhere = Twin(bench, twin_of_die(bench), sockets=True, every_way=True)
    try:
        (served,) = everywhere.server.served
        assert served.resource == served.gateway
        assert all([served.socket, served.hislip, served.vxi11, served.portmapper])
    finally:
        everywhere.close()


def twin_of_die(bench):
    twin = twin_of(bench)
    twin.close()
    return twin.dies
