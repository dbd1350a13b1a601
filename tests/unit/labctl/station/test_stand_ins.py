"""A bench of drivers without emulators is rehearsed on generic instruments, and says so."""

import numpy as np
import pytest

from instruments.bench import Bench
from instruments.keithley707b import scheme
from instruments.keysight81160a import Keysight81160AOptions
from labctl.core.bias import Bias
from labctl.core.driver import Driver, DriverKind, declared
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, Sense
from labctl.core.plugins import INSTRUMENTS
from labctl.core.site import Site
from labctl.core.source import SourceCapabilities
from labctl.station.bench_setup import Station, on_bench
from labctl.station.stand_ins import stand_ins, twin_text, with_stand_ins
from sim_backend.description import DieDescription
from tests.e2e.test_bench_safety import BENCH, DIE

RANGES_I = tuple(10.0**k for k in range(-7, 0))


def never(*arguments):
    raise AssertionError("a twin makes no driver that names no emulator")


SMU = Driver(
    DriverKind.SOURCE,
    never,
    capabilities=lambda options: SourceCapabilities("X", ("smua", "smub"), (1.0, 5.0), RANGES_I, 2e-4, (1e-4, 1.0)),
)
FALLING = Driver(
    DriverKind.SOURCE,
    never,
    capabilities=lambda options: SourceCapabilities("X", ("smua", "smub"), (5.0, 1.0), RANGES_I, 2e-4, (1e-4, 1.0)),
)
SWITCH = Driver(DriverKind.MATRIX, never, scheme=lambda options: scheme("707B"))
CHUCK = Driver(DriverKind.PROBER, never)
PULSER = Driver(DriverKind.PULSES, never, pulses=declared("keysight81160a")[0].pulses, options=Keysight81160AOptions)


@pytest.fixture(autouse=True)
def strangers(register):
    here = "tests.unit.labctl.station.test_stand_ins"
    register(INSTRUMENTS, {name: f"{here}:{name.upper()}" for name in ("smu", "falling", "switch", "chuck", "pulser")})


def bench(**drivers):
    names = {"smu1": "smu", "smu2": "smu", "matrix": "switch", "prober": "chuck", **drivers}
    instruments = {name: {"driver": driver, "resource": name} for name, driver in names.items()}
    return Bench.model_validate({**BENCH, "instruments": instruments}, context={"file": True})


def sites(*places):
    description = DieDescription.model_validate({**DIE, "simulation": {"ideal": True}}, context={"file": True})
    return [Site(f"D{k}", description, 5, at=place) for k, place in enumerate(places)]


def test_only_what_has_no_emulator_is_replaced_and_named():
    assert stand_ins(Bench.model_validate(BENCH, context={"file": True})) == {}
    text = twin_text(bench(), "bytes")
    assert text.startswith("its twin over bytes (smu1 is a generic source in place of driver 'smu'; ")
    assert text.endswith("prober is a generic prober in place of driver 'chuck')")
    replaced = with_stand_ins(bench())
    assert [entry.driver for entry in replaced.instruments.values()] == [
        "generic_source", "generic_source", "generic_matrix", "generic_prober",
    ]  # fmt: skip
    assert with_stand_ins(replaced) == replaced
    assert replaced.instruments["smu1"].capabilities == bench().instruments["smu1"].capabilities
    assert Station(bench(), tuple(sites((0, 0))), sim="bytes").bench == replaced


def test_nothing_stands_in_for_a_pulse_source():
    with pytest.raises(
        BenchError, match="pulses: driver 'pulser' names no emulator, and there is no generic pulse source"
    ):
        with_stand_ins(bench(pulses="pulser"))


def read(shape):
    """Read the cells of columns 0 and 1 on row 1 of kernel 0."""
    row = np.zeros((2, shape.n_rows))
    row[:, 1] = 0.1
    return Sense(Bias(row, np.zeros((2, shape.n_cols)), kernel=np.asarray(0)), np.array([[0], [1]]))


def write(shape, volts):
    """Pulse the cell (0, 1, 0) at `volts`, row minus column, the other lines at 0 V."""
    row, col = np.zeros((1, shape.n_rows)), np.zeros((1, shape.n_cols))
    row[0, 1], col[0, 0] = volts / 2, -volts / 2
    return Pulse(Bias(row, col, kernel=np.asarray(0), pulsed=np.array([1])), 1e-3)


@pytest.mark.parametrize("sim", ["bytes", "tcp"])
def test_dies_are_approached_written_and_left_safe(sim):
    two, currents = sites((0, 0), (1, 0)), []
    with on_bench(bench(), two, sim) as body:
        for site in two:
            die = body.approach(site).die
            for volts in (0.48, -0.48):
                die.pulse(write(die.geometry, volts))
                currents.append(die.sense(read(die.geometry)).current[:, 0])
            body.leave()
        ledger, world = body.twin.ledger, body.twin.world
        assert not world.in_contact
        assert all(not c.output for n in ("smu1", "smu2") for c in body.twin.instruments[n].channels.values())
        assert body.opened.identities["smu1"] == "mtj-labctl,source,stands in for smu,1"
    p, ap = np.array(currents)[::2], np.array(currents)[1::2]
    assert np.all(p[:, 0] > 1.5 * ap[:, 0])
    np.testing.assert_allclose(p[:, 1], ap[:, 1], rtol=1e-3)
    assert 0.45 < ledger.peak_cell_voltage <= 0.48 + 1e-9
    assert (ledger.hot_switches, ledger.moves_in_contact, ledger.fights, ledger.refused) == (0, 0, 0, 0)
    assert ledger.first_bias == pytest.approx([0.015, 0.015], rel=0.01)


def test_capabilities_that_are_none_are_told_with_the_driver():
    with pytest.raises(BenchError, match=r"smu1: the capabilities that driver 'falling' declares: .*ranges_v are"):
        with_stand_ins(bench(smu1="falling"))
