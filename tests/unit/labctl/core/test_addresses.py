"""One instrument has one identity however its address is written."""

import pytest

from labctl.core.addresses import device_identity, identity


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("TCPIP::192.0.2.5::INSTR", "TCPIP0::192.0.2.5::inst0::INSTR"),
        ("TCPIP::192.0.2.5::hislip0::INSTR", "TCPIP::192.0.2.5::5025::SOCKET"),
        ("TCPIP::192.0.2.5::INSTR", "TCPIP1::192.0.2.5::inst00"),
        ("TCPIP::192.0.2.11::INSTR", "TCPIP::192.000.002.011::INSTR"),
        ("TCPIP::192.0.2.11::INSTR", "TCPIP::192.0.2.11.::INSTR"),
        ("TCPIP::192.0.2.11::5025::SOCKET", " tcpip0 :: 192.0.2.11 :: 05025 :: socket "),
        ("TCPIP::192.0.2.11::4001::SOCKET", "TCPIP::192.0.2.11::04001::SOCKET"),
        ("TCPIP::192.0.2.11::INSTR", "TCPIP::::ffff:192.0.2.11::INSTR"),
        ("TCPIP::192.0.2.11::INSTR", "TCPIP::[::FFFF:C000:20B]::5025::SOCKET"),
        ("TCPIP::[2001:db8::7]::INSTR", "TCPIP::[2001:0DB8:0:0::0007]::hislip0"),
        ("TCPIP::[fe80::7]::INSTR", "TCPIP::[fe80::7%eth0]::INSTR"),
        ("TCPIP::2001:db8::7::4001::SOCKET", "TCPIP::[2001:db8::7]::4001::SOCKET"),
        ("TCPIP::127.0.0.1::4001::SOCKET", "TCPIP::[::1]::4001::SOCKET"),
        ("TCPIP::127.0.0.1::INSTR", "TCPIP::127.1::INSTR"),
        ("TCPIP::smu.lab::hislip0,4880", "tcpip::SMU.LAB."),
        ("TCPIP::gateway::gpib0,5::INSTR", "TCPIP::GATEWAY::GPIB0, 05"),
        ("GPIB::26::INSTR", "GPIB0::26"),
        ("GPIB0::05::INSTR", "GPIB00:: 5"),
        ("GPIB0::5::INSTR", "GPIB0::5::0::INSTR"),
        ("ASRL3::INSTR", "ASRLCOM3"),
        ("ASRL03", "ASRL3"),
        ("USB::0x05E6::0x2602::4012345::INSTR", "USB0::0x05e6::0x2602::4012345::RAW"),
        ("USB::0x05E6::0x2602::4012345::INSTR", "USB0::1510::9730::4012345::0::INSTR"),
        ("USB::05E6::2602::A::INSTR", "USB::0x05E6::2602::a::INSTR"),
    ],
)
def test_two_ways_to_write_one_address_are_one_instrument(one, other):
    assert identity(one) == identity(other)


def test_the_port_of_vxi11_is_another_way_to_the_same_instrument():
    assert identity("TCPIP::192.0.2.5,1024::inst0::INSTR") == identity("TCPIP::192.0.2.5::inst0::INSTR")


def test_a_link_to_a_serial_port_is_the_port(tmp_path):
    port, link = tmp_path / "ttyUSB7", tmp_path / "by-id"
    port.touch()
    link.symlink_to(port)
    assert identity(f"ASRL{link}::INSTR") != identity(f"ASRL{port}::INSTR")
    assert device_identity(f"ASRL{link}::INSTR") == device_identity(f"asrl{port}")
