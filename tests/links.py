"""One Series 2400 on two needles, reached by each way that a bench file can name."""

from typing import Any

import pytest

from instruments.bench import Bench
from labctl.station.twin import Twin
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.emulators.serial_port import HAS_TERMINALS

WAYS: dict[str, dict[str, Any]] = {
    "socket": {"resource": "TCPIP::192.0.2.30::5025::SOCKET"},
    "hislip": {"resource": "TCPIP::192.0.2.30::hislip0::INSTR"},
    "vxi11": {"resource": "TCPIP::192.0.2.30::inst0::INSTR"},
    "serial": {"resource": "ASRL/dev/ttyUSB0::INSTR", "rs232": {"baud": 57600, "terminator": "cr"}},
    "gateway": {"resource": "GPIB::24::INSTR", "gateway": "TCPIP::192.0.2.30::1234::SOCKET"},
    "gateway on a serial line": {"resource": "GPIB::24::INSTR", "gateway": "ASRL3::INSTR", "rs232": {"baud": 115200}},
}


def bench_by(way: str, **keys: Any) -> Bench:
    """Return the bench; the test is skipped where this system or installation has no serial lines."""
    if "serial" in way:
        pytest.importorskip("serial", reason="pyserial is not installed (extra serial)")
        if not HAS_TERMINALS:
            pytest.skip("no pseudo-terminals on this system")
    values = {
        "name": "2400 on two needles",
        "instruments": {"smu": {"driver": "keithley2400", "patience": "5 s", **WAYS[way], **keys}},
        "wiring": {"pads": {"top": "smu.out", "bottom": "ground"}, "kernels": [{"rows": ["top"], "cols": ["bottom"]}]},
        "limits": {
            "v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "100 ms", "compliance": "10 mA",
            "ramp_rate": "1000 V/s",
        },
        "outputs": {"off_state": "high_z"},
        "contact": {"structures": [["top", "bottom"]], "resistance": "50 kohm"},
        "twin": {"ideal_instruments": True},
    }  # fmt: skip
    return Bench.model_validate(values, context={"file": True})


def twin_of(bench: Bench) -> Twin:
    """Return its twin on sockets and pseudo-terminals of this computer, around one ideal cell."""
    values = {
        "name": "cell", "geometry": {"kernels": 1, "n_rows": 1, "n_cols": 1}, "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    }  # fmt: skip
    die = SimDie(DieDescription.model_validate(values, context={"file": True}), seed=5, name="cell")
    return Twin(bench, {(0, 0, 0): die}, sockets=True)
