"""QCoDeS's driver of a B1500A and PyMeasure's of that and of an E5270B, over TCP through pyvisa-py, on emulated ones.

All that they do with source-measure units for spot measurements is accepted, and they read what is there: status
letters, learned settings, errors. Sweeps, sampling and capacitance are not emulated and not tried.
"""

import pytest

from labctl.testing.emulated import NAME, resistors
from sim_backend.emulators.b1500 import B1500
from sim_backend.emulators.serve import serve
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]
R = 10e3


def ranges():
    return pytest.importorskip("qcodes.instrument_drivers.Keysight.keysightb1500").constants.VOutputRange


def made(model):
    return B1500(NAME, model, resistors(("smu1", "smu2"), R), slots=(1, 2))


@pytest.fixture
def qcodes():
    theirs = pytest.importorskip("qcodes.instrument_drivers.Keysight.keysightb1500", reason="qcodes is not installed")
    box = made("B1500A")
    with serve(box) as server:
        driver = theirs.KeysightB1500("theirs", server.resource(NAME), visalib="@py", timeout=PATIENCE)
        yield box, driver
        driver.close()


def pymeasure(server, module, name):
    theirs = pytest.importorskip(f"pymeasure.instruments.agilent.{module}", reason="pymeasure is not installed")
    return getattr(theirs, name)(server.resource(NAME), visa_library="@py", timeout=1000 * PATIENCE)


def test_qcodes_forces_and_reads_with_its_units(qcodes):
    box, driver = qcodes
    assert driver.IDN()["model"] == "B1500A"
    assert list(driver.by_channel) == [1, 2]
    driver.enable_channels([1, 2])
    assert box.outputs() == {"smu1": 0.0, "smu2": 0.0}
    unit = driver.by_channel[1]
    unit.source_config(output_range=ranges().MIN_2V, compliance=1e-3)
    unit.voltage(0.5)
    assert unit.current() == pytest.approx(5e-5)
    assert unit.voltage() == pytest.approx(0.5)
    driver.disable_channels()
    assert box.outputs() == {}
    assert driver.error_message().startswith("+0")


def test_qcodes_tells_a_limit_by_its_status_and_an_error_by_its_text(qcodes):
    _, driver = qcodes
    unit = driver.by_channel[2]
    with pytest.raises(RuntimeError, match="Channel output switch must be ON"):
        unit.voltage(0.1)
    driver.enable_channels([2])
    unit.source_config(output_range=ranges().MIN_2V, compliance=1e-5)
    unit.voltage(0.5)
    assert unit.current() == pytest.approx(1e-5)
    assert "compliance" in str(unit.current.measurement_status).lower()


def test_pymeasure_forces_with_a_b1500_and_learns_its_settings():
    box = made("B1500A")
    with serve(box) as server:
        driver = pymeasure(server, "agilentB1500", "AgilentB1500")
        assert driver.query_modules() == {1: "HRSMU", 2: "HRSMU"}
        driver.initialize_all_smus()
        unit = driver.smu1
        unit.enable()
        unit.filter = True
        unit.series_resistor = False
        unit.adc_type = "HRADC"
        unit.force("Voltage", "2 V", 0.5, 1e-3)
        assert box.outputs() == {"smu1": 0.5}
        assert driver.query_learn(1)["DV1"][1:3] == ["+5.00000E-01", "+1.00000E-03"]
        assert box.units[1].filter == box.units[1].converter == 1
        unit.force_gnd()
        driver.check_errors()
        assert box.outputs() == {"smu1": 0.0}
        unit.disable()
        driver.check_errors()
        assert box.outputs() == {}
        driver.adapter.connection.close()


def test_pymeasure_forces_and_reads_with_an_e5270b():
    box = made("E5270B")
    with serve(box) as server:
        driver = pymeasure(server, "agilentE5270B", "AgilentE5270B")
        unit = driver.smu1
        unit.enabled = True
        unit.voltage_setpoint = (20, 0.5, 1e-3)
        assert unit.current == pytest.approx(5e-5)
        unit.current_setpoint = (16, 2e-5, 1)
        assert box.outputs() == {"smu1": 2e-5}
        unit.enabled = False
        unit.voltage_setpoint = (20, 0.5, 1e-3)
        assert driver.check_errors() == []
        assert box.outputs() == {}
        driver.adapter.connection.close()
