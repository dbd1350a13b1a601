"""How an instrument is reached: keys that belong together, and those that do not, with file and line."""

from pathlib import Path

import pytest
import yaml

from instruments.bench_file import read_bench
from instruments.carrier import Address, Carrier, SerialLine, carrier_of, gpib_address
from labctl.core.errors import BenchError

EXAMPLE = Path(__file__).parents[3] / "examples" / "bench-2400-two-needles.yaml"


def bench(folder: Path, **keys: object) -> Path:
    content = yaml.safe_load(EXAMPLE.read_text())
    content["instruments"] = {"smu": {"driver": "keithley2400", **keys}}
    (folder / "bench.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "bench.yaml"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"resource": "TCPIP::192.0.2.11::5025::SOCKET"}, "raw socket"),
        ({"resource": "TCPIP::192.0.2.11::hislip0::INSTR"}, "HiSLIP"),
        ({"resource": "TCPIP::192.0.2.11::inst0::INSTR"}, "VXI-11"),
        (
            {"resource": "ASRL/dev/ttyUSB0::INSTR", "rs232": {"baud": 19200, "terminator": "crlf"}},
            "serial line, 19200 baud, 8N1, no flow control, messages end with CRLF",
        ),
        ({"resource": "ASRL3::INSTR"}, "serial line, 9600 baud, 8N1, no flow control, messages end with LF"),
        (
            {"resource": "GPIB::24::INSTR", "gateway": "TCPIP::192.0.2.30::1234::SOCKET"},
            "GPIB address 24 through the controller at TCPIP::192.0.2.30::1234::SOCKET",
        ),
        (
            {"resource": "GPIB::24::INSTR", "gateway": "ASRL/dev/ttyUSB0::INSTR", "rs232": {"baud": 115200}},
            "GPIB address 24 through the controller at ASRL/dev/ttyUSB0::INSTR (115200 baud, 8N1, no flow control)",
        ),
        ({"resource": "GPIB0::24::INSTR", "backend": ""}, "GPIB of this computer, by the VISA library of the system"),
        ({"resource": "USB::0x05E6::0x2450::1::INSTR"}, "USB, by @py"),
        ({"resource": "SMU"}, "VISA, by @py"),
    ],
)
def test_a_bench_file_says_how_an_instrument_is_reached(tmp_path: Path, keys: dict[str, object], text: str) -> None:
    entry = read_bench(bench(tmp_path, **keys)).value.instruments["smu"]
    assert entry.address is not None
    assert entry.address.text == text
    again = type(entry).model_validate(entry.model_dump())
    assert again.address == entry.address


@pytest.mark.parametrize(
    ("keys", "line", "words"),
    [
        (
            {"resource": "TCPIP::192.0.2.11::5025::SOCKET", "rs232": {"baud": 9600}},
            ":6", "found settings of a serial line for TCPIP::192.0.2.11::5025::SOCKET, which is none; expected an",
        ),
        ({"resource": "TCPIP::192.0.2.11::5025::SOCKET", "baud": 9600}, ":6", "baud"),
        (
            {"resource": "TCPIP::192.0.2.30::1234::SOCKET", "gateway": "TCPIP::192.0.2.30::1234::SOCKET"},
            ":6", "which has no GPIB address; expected a resource such as GPIB::24::INSTR",
        ),
        ({"resource": "GPIB::31::INSTR", "gateway": "TCPIP::192.0.2.30::1234::SOCKET"}, ":6", "expected 0 to 30"),
        ({"resource": "GPIB::3::40", "gateway": "TCPIP::192.0.2.30::1234::SOCKET"}, ":6", "expected 0 to 30, or 96"),
        ({"resource": "GPIB::24::INSTR", "gateway": "192.0.2.30"}, ":6", "expected the VISA address of a controller"),
        ({"resource": "ASRL1::INSTR", "rs232": {"baud": 0}}, ":7", "baud"),
        ({"resource": "ASRL1::INSTR", "rs232": {"parity": "strange"}}, ":7", "parity"),
        ({"resource": "ASRL1::INSTR", "rs232": {"data_bits": 9}}, ":7", "data_bits"),
        ({"resource": "ASRL1::INSTR", "rs232": {"terminator": "semicolon"}}, ":7", "terminator"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_file_line_found_and_expected(
    tmp_path: Path, keys: dict[str, object], line: str, words: str
) -> None:
    with pytest.raises(BenchError) as refused:
        read_bench(bench(tmp_path, **keys))
    assert words in str(refused.value)
    assert f"bench.yaml{line}" in str(refused.value)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (
            {"resource": "GPIB0::024::INSTR"},
            "smu and other have the same address GPIB0::024::INSTR through ASRL1::INSTR, which is GPIB::24::INSTR thr",
        ),
        ({"resource": "GPIB::24::INSTR"}, "smu and other have the same address GPIB::24::INSTR through ASRL1::INSTR$"),
        ({"resource": "GPIB::24", "gateway": "asrl01"}, "smu and other have the same address GPIB::24 through asrl01"),
        (
            {"resource": "GPIB::7", "rs232": {"baud": 300}},
            "given two settings: 115200 baud, 8N1, no flow .* at smu,",
        ),
        ({"resource": "GPIB::7", "gateway": "asrl1", "backend": ""}, "given two settings: '@py' at smu, and '' at oth"),
    ],
)
def test_instruments_behind_one_controller_have_an_address_each_and_one_line(
    tmp_path: Path, second: dict[str, object], words: str
) -> None:
    keys = {"driver": "keithley2400", "gateway": "ASRL1::INSTR", "rs232": {"baud": 115200}}
    content = yaml.safe_load(EXAMPLE.read_text())
    content["instruments"] = {"smu": {**keys, "resource": "GPIB::24::INSTR"}, "other": {**keys, **second}}
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(BenchError, match=words):
        read_bench(tmp_path / "bench.yaml")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("TCPIP::192.0.2.11::5025::SOCKET", "tcpip0::192.0.2.11::hislip0::INSTR", True),
        ("GPIB::5::INSTR", "GPIB0::05", True),
        ("TCPIP::127.0.0.1,1024::inst0::INSTR", "TCPIP::127.0.0.1,1025::inst0::INSTR", False),
    ],
)
def test_one_address_in_two_spellings_is_one_instrument(tmp_path: Path, one: str, other: str, same: bool) -> None:
    content = yaml.safe_load(EXAMPLE.read_text())
    content["instruments"] = {
        name: {"driver": "keithley2400", "resource": resource} for name, resource in (("smu", one), ("other", other))
    }
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    if not same:
        assert read_bench(tmp_path / "bench.yaml").value.instruments["other"].resource == other
        return
    with pytest.raises(BenchError, match="smu and other have the same address"):
        read_bench(tmp_path / "bench.yaml")


def test_an_address_moves_to_this_computer_with_what_carries_it() -> None:
    address = Address(resource="GPIB::24::INSTR", gateway="ASRL1::INSTR", backend="", dead_socket=7)
    moved = address.moved("GPIB::24::INSTR through ASRL/dev/pts/3::INSTR")
    assert (moved.resource, moved.gateway, moved.backend, moved.dead_socket) == (
        "GPIB::24::INSTR", "ASRL/dev/pts/3::INSTR", "@py", None,
    )  # fmt: skip
    assert moved.rs232 == SerialLine()
    assert Address(resource="ASRL1::INSTR").moved("TCPIP::127.0.0.1::1::SOCKET").rs232 is None


def test_addresses_on_a_bus_are_spelled_as_the_controller_does() -> None:
    assert [gpib_address(a) for a in ("gpib::05", "GPIB1::9::96::INSTR", "GPIB::9::0::INSTR")] == ["5", "9 96", "9 96"]
    assert carrier_of("tcpip::192.0.2.11") is Carrier.VXI11
    assert SerialLine(baud=9600, parity="even", stop_bits=2).seconds_per_byte == pytest.approx(12 / 9600)
