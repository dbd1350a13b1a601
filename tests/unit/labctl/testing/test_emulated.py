"""Our drivers keep the contracts of their kinds on their emulators, and what cannot be checked is said so."""

import pytest

from labctl.core import plugins
from labctl.core.driver import Driver, DriverKind, declared
from labctl.core.errors import BenchError
from labctl.core.plugins import INSTRUMENTS
from labctl.testing import ContractError, check_driver

GENERIC = {
    "channels": ("a", "b", "c"),
    "ranges_v": (0.2, 2.0),
    "ranges_i": (1e-7, 1e-6, 1e-5, 1e-4, 1e-3),
    "shortest_pulse": 1e-4,
    "shortest_aperture": 1e-4,
    "longest_aperture": 0.1,
}
M9615A = {
    "address": "PXI213::0::INSTR", "ranges_v": (6.0, 30.0), "ranges_i": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1),
    "shortest_aperture": 2e-5, "longest_aperture": 2.0,
}  # fmt: skip
PORTS = {"crosspoints": (("in1", "out1"), ("in1", "out48"), ("in14", "out7")), "absent": "00149"}
CARDS = {"crosspoints": (("row1", "1-01"), ("row1", "1-10"), ("row4", "2-03")), "absent": "1!1!11"}
OPTIONS = {
    "keithley2400": [{}, {"model": "2401", "terminals": "rear"}, {"model": "2410"}, {"model": "2440"}],
    "keithley2450": [{}, {"model": "2460"}, {"model": "2461", "terminals": "rear"}],
    "keithley2450_tsp": [{}, {"model": "2460"}, {"model": "2461", "terminals": "rear"}],
    "keithley2600b": [{}, {"model": "2601B"}, {"model": "2636B"}],
    "generic_source": [GENERIC, {**GENERIC, "stands": False}],
    "keysight81160a": [{}, {"outputs": 1}],
    "keithley707b": [{"absent": "1A13"}, {"model": "708B", "absent": "2A01"}],
    "keithley7001": [CARDS, CARDS | {"model": "7002", "absent": "3!1!1"}],
    "keysightb1500": [{}, {"model": "E5270B", "slots": (2, 5)}],
    "keysightb2200": [PORTS, PORTS | {"model": "B2201A"}],
    "generic_matrix": [{}],
    "keysightm9615a": [M9615A],
    "niswitch": [
        {"device": "PXI1Slot5", "crosspoints": (("r0", "c0"), ("r0", "c11"), ("r3", "c2")), "absent": "r9/c0"}
    ],
    "mpi_sentio": [{"overtravel_ceiling": 50e-6}],
    "velox": [{"overtravel_ceiling": 50e-6}],
    "velox_server": [{"overtravel_ceiling": 50e-6}],
    "generic_prober": [{}],
}
CASES = [(name, options) for name, cases in OPTIONS.items() for options in cases]


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{k}" for k, (name, _) in enumerate(CASES)])
def test_a_driver_of_ours_keeps_its_contract(name, options):
    check_driver(name, **options)


def test_every_driver_of_ours_with_an_emulator_is_among_them():
    ours = [p.name for p in plugins.registered(INSTRUMENTS) if not p.foreign]
    adapters = {name for name in ours if callable(declared(name)[0].emulator)}
    assert {name for name in ours if declared(name)[0].emulator} - adapters == set(OPTIONS)
    assert adapters == {"pymeasure", "qcodes"}  # tests/unit/instruments/adapter/test_source.py


SMU = declared("keithley2600b")[0]


class Lazy:
    """A source that does nothing."""

    def __init__(self, name, options, wire):
        self.name, self.capabilities = name, SMU.capabilities(options)

    def __getattr__(self, name):
        return lambda *args, **keywords: None


LAZY = Driver(DriverKind.SOURCE, Lazy, SMU.options, capabilities=SMU.capabilities, emulator="keithley2600b")
ALONE = Driver(DriverKind.PROBER, Lazy)


def test_one_that_does_not_is_told_with_every_check(register):
    here = "tests.unit.labctl.testing.test_emulated"
    register(INSTRUMENTS, {"lazy": f"{here}:LAZY", "alone": f"{here}:ALONE"})
    with pytest.raises(ContractError) as caught:
        check_driver("lazy")
    text = str(caught.value)
    assert text.startswith("the source breaks ")
    assert "off_is_off: Switched off, ramped or not, every output is off at 0 V, and that is verified." in text
    with pytest.raises(BenchError, match="driver 'alone' names no emulator; call check_prober with a function"):
        check_driver("alone")
    with pytest.raises(BenchError, match="driver 'lazy': modl: Extra inputs are not permitted"):
        check_driver("lazy", modl="2602B")
    with pytest.raises(BenchError, match="'lzay' is not installed"):
        check_driver("lzay")
