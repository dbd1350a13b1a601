"""QCoDeS's Keysight B2200 driver, over TCP through pyvisa-py, on the emulated one, and the pairs of its simulation.

All of its commands are accepted and all its settings come back. The 59 exchanges that its simulation describes are
answered alike; only an empty error queue is `0,"No error"` here, quoted as the user's guide has it, and `0, No Error`
there.
"""

from importlib import resources

import pytest
import yaml

from sim_backend.emulators.b2200 import B2200
from sim_backend.emulators.serve import serve
from sim_backend.emulators.world import Cables, World
from tests.waiting import PATIENCE

pytestmark = [pytest.mark.judge, pytest.mark.filterwarnings("ignore")]
keysight = pytest.importorskip("qcodes.instrument_drivers.Keysight", reason="qcodes is not installed (extra qcodes)")


def made():
    return B2200("matrix", "B2200A", World(Cables({}, {}), lambda *place: None))


@pytest.fixture
def bench():
    box = made()
    with serve(box) as server:
        driver = keysight.KeysightB2200("theirs", server.resource("matrix"), visalib="@py", timeout=PATIENCE)
        driver.visa_handle.read_termination = driver.visa_handle.write_termination = "\n"
        yield box, driver
        driver.close()


def no_error(driver):
    return driver.get_error().startswith("0,")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connection_rule", "single"), ("connection_rule", "free"), ("connection_sequence", "mbb"),
        ("connection_sequence", "none"), ("bias_input_port", 3), ("bias_input_port", -1), ("bias_mode", True),
        ("gnd_input_port", 14), ("gnd_mode", True), ("unused_inputs", [5, 6, 7, 8]), ("couple_ports", [1, 3]),
        ("couple_mode", True),
    ],
)  # fmt: skip
def test_each_setting_is_read_back_by_it_as_it_was_set(bench, name, value):
    _, driver = bench
    driver.parameters[name](value)
    assert driver.parameters[name]() == value
    assert no_error(driver)


def test_paths_are_connected_and_disconnected_as_it_says(bench):
    box, driver = bench
    assert driver.IDN()["model"] == "B2200A"
    driver.connect(2, 48)
    driver.connect_paths([(10, 12), (3, 45)])
    assert driver.connections() == {(2, 48), (10, 12), (3, 45)}
    assert box.closed == {"00248", "01012", "00345"}
    driver.disconnect(2, 48)
    driver.disconnect_paths([(3, 45)])
    assert driver.connections() == {(10, 12)}
    driver.disconnect_all()
    assert driver.connections() == set()
    assert no_error(driver)


def test_its_modes_connect_unused_outputs_and_an_error_is_seen_by_it(bench):
    box, driver = bench
    driver.bias_enable_all_outputs()
    driver.bias_disable_output(7)
    driver.bias_mode(True)
    assert len(driver.connections()) == 47
    with pytest.warns(UserWarning, match="STB was: 16"):
        driver.connect(10, 7)  # the bias port, which is controlled indirectly
    assert driver.get_error().startswith("-221")
    driver.bias_mode(False)
    driver.disconnect_all()
    driver.gnd_enable_output(1)
    driver.gnd_mode(True)
    assert driver.connections() == {(12, 1)}
    driver.gnd_disable_all_outputs()
    driver.couple_port_autodetect()
    driver.reset()
    assert not box.closed
    assert no_error(driver)


def test_the_exchanges_of_its_simulation_are_answered_alike(record_property):
    sims = resources.files("qcodes.instrument.sims")
    device = yaml.safe_load((sims / "keysight_b220x.yaml").read_text())["devices"]["KeysightB2200"]
    exchanges = [(entry["q"], entry.get("r")) for entry in device["dialogues"]]
    card = device["channels"]["card"]
    exchanges += [(entry["q"].replace("{ch_id}", "0"), entry.get("r")) for entry in card["dialogues"]]
    for of in card["properties"].values():
        for value in of["specs"].get("valid", [3]):
            text = str(value).replace(", ", ",") if "'" in str(value) else str(value)
            exchanges.append((of["setter"]["q"].replace("{ch_id}", "0").format(text), None))
            exchanges.append((of["getter"]["q"].replace("{ch_id}", "0"), text))
            if text == "1" and "BIAS" in exchanges[-1][0]:  # not both at once, by the user's guide
                exchanges.append((":BIAS 0,0", None))
    others, states = [], {query: reply for query, reply in exchanges if query.startswith(":CLOS:CARD?")}
    box = made()
    for query, reply in exchanges:
        if query in states:
            box.execute(":OPEN:CARD 0")
            box.execute(f":CLOS {states[query]}")
        answer = box.execute(query).strip()
        if (reply or "") != answer or len(box.errors):
            others.append((query, reply, answer, box.errors.next()))
    record_property("tried", len(exchanges))
    assert others == []
    assert len(exchanges) == 59
    assert device["error"]["error_queue"][0]["default"] == "0, No Error"
