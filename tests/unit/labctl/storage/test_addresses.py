"""One instrument has one identity however its address is written, and a resolver that hangs delays nobody."""

import threading

import pytest

from labctl.storage.addresses import Names, identities
from tests.waiting import PATIENCE

HOSTS = {"smu.lab.example": ("192.0.2.11", "2001:db8::11"), "smu": ("192.0.2.11",)}


def lookup(host):
    """Return what a resolver would."""
    if host not in HOSTS:
        raise OSError(f"{host} is not known")
    return HOSTS[host]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("TCPIP::192.0.2.5::INSTR", "TCPIP::192.0.2.6::INSTR"),
        ("TCPIP::192.0.2.5::INSTR", "TCPIP::192.0.2.5::inst1::INSTR"),
        ("TCPIP::[2001:db8::7]::INSTR", "TCPIP::[2001:db8::8]::INSTR"),
        ("TCPIP::gateway::gpib0,12::INSTR", "TCPIP::gateway::gpib0,13::INSTR"),
        ("TCPIP::serial-server::4001::SOCKET", "TCPIP::serial-server::4002::SOCKET"),
        ("GPIB0::26", "GPIB1::26"),
        ("GPIB0::5::1", "GPIB0::5::2"),
        ("GPIB0::10", "GPIB0::1"),
        ("ASRL/dev/ttyUSB0::INSTR", "ASRL/dev/ttyUSB1::INSTR"),
        ("USB::0x05E6::0x2602::004::INSTR", "USB::0x05E6::0x2602::4::INSTR"),
        ("USB::0x05E6::0x2602::4::INSTR", "USB::0x05E6::0x2602::4::1::INSTR"),
    ],
)
def test_two_instruments_are_two(one, other):
    assert not set(identities([one], Names(lookup))[one]) & set(identities([other], Names(lookup))[other])


def test_a_name_is_known_by_itself_and_by_every_address_that_it_has_now():
    resources = ["TCPIP::SMU.lab.example::05025::SOCKET", "TCPIP::smu::4001::SOCKET", "TCPIP::192.0.2.11::INSTR"]
    assert identities(resources, Names(lookup)) == {
        resources[0]: ("TCPIP smu.lab.example", "TCPIP 192.0.2.11", "TCPIP 2001:db8::11"),
        resources[1]: ("TCPIP smu 4001", "TCPIP 192.0.2.11 4001"),
        resources[2]: ("TCPIP 192.0.2.11",),
    }


def test_localhost_is_127_0_0_1_to_the_resolver_of_the_system():
    named = "TCPIP::localhost::4001::SOCKET"
    assert set(identities([named])[named]) == {"TCPIP localhost 4001", "TCPIP 127.0.0.1 4001"}


def test_a_number_that_two_programs_read_differently_is_both():
    written = "TCPIP::192.000.002.011::INSTR"
    assert identities([written])[written] == ("TCPIP 192.0.2.11", "TCPIP 192.0.2.9")


def test_a_link_to_a_serial_port_is_that_port(tmp_path):
    port, link = tmp_path / "ttyUSB0", tmp_path / "by-id"
    port.touch()
    link.symlink_to(port)
    by_port, by_link = (f"ASRL{path}::INSTR" for path in (port, link))
    every = identities([by_port, by_link])
    assert set(every[by_port]) & set(every[by_link])


def test_what_does_not_resolve_is_known_by_its_name():
    for unknown in ("TCPIP::nobody.example::INSTR", "TCPIP::{0}::INSTR", "TCPIP::a..b::INSTR", "TCPIP::::INSTR"):
        assert len(identities([unknown], Names(lookup))[unknown]) == 1


def test_a_resolver_that_hangs_is_waited_for_once_and_never_asked_twice_at_a_time():
    release, lookups = threading.Event(), []

    def hang(host):
        lookups.append(host)
        release.wait(PATIENCE)
        return lookup(host)

    now = [0.0]
    names = Names(hang, bound=0.0, kept=10.0, clock=lambda: now[0])
    resource = "TCPIP::smu::INSTR"
    for now[0] in (0.0, 5.0, 50.0):
        assert identities([resource], names)[resource] == ("TCPIP smu",)
    release.set()
    for thread in threading.enumerate():
        if thread.name == "look up smu":
            thread.join(PATIENCE)
    assert lookups == ["smu"]
    assert identities([resource], names)[resource] == ("TCPIP smu", "TCPIP 192.0.2.11")


def test_an_answer_counts_for_a_time_and_the_last_one_counts_while_there_is_no_other():
    answers, now = [["192.0.2.11"], ["192.0.2.12"]], [0.0]

    def next_answer(host):
        if not answers:
            raise OSError("the resolver is gone")
        return answers.pop(0)

    names = Names(next_answer, bound=60.0, kept=10.0, clock=lambda: now[0])
    seen = []
    for now[0] in (0.0, 9.0, 10.0, 30.0):
        seen += names.addresses(["smu"])["smu"]
    assert seen == ["192.0.2.11", "192.0.2.11", "192.0.2.12", "192.0.2.12"]


def test_instruments_behind_one_controller_exclude_each_other():
    first, second, other = (
        f"GPIB0::{address}::INSTR through {gateway}"
        for address, gateway in (
            (24, "TCPIP::192.0.2.30::1234::SOCKET"), (7, "tcpip0::192.000.002.030::1234::socket"),
            (24, "TCPIP::192.0.2.31::1234::SOCKET"),
        )
    )  # fmt: skip
    keys = identities([first, second, other])
    assert keys[first][0] != keys[second][0]
    assert set(keys[first]) & set(keys[second]) == {"TCPIP 192.0.2.30 1234"}
    assert not set(keys[first]) & set(keys[other])


def test_a_controller_on_a_serial_line_is_known_by_its_device_file(tmp_path):
    port = tmp_path / "ttyUSB0"
    port.touch()
    (tmp_path / "gpib").symlink_to(port)
    named, real = (f"GPIB::24::INSTR through ASRL{path}::INSTR" for path in (tmp_path / "gpib", port))
    keys = identities([named, real])
    assert set(keys[named]) & set(keys[real])
