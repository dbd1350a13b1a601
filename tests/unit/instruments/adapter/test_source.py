"""Sources of PyMeasure and QCoDeS on the emulated instruments of their families: contracts, limits, off, refusals."""

import re
import threading
from importlib.util import find_spec
from random import Random

import pytest
import yaml

from instruments.bench_file import read_bench
from instruments.emergency import make_safe
from labctl.core.driver import declared
from labctl.core.errors import BenchError, InstrumentError, NotDriven
from labctl.core.source import Aperture, ChannelSetup, Hold, Level, Limit, Measure, OffState
from labctl.testing import check_driver
from labctl.testing.emulated import NAME, _entry, arranged, resistors

pytestmark = pytest.mark.filterwarnings("ignore")

PM, QC = "pymeasure.instruments.keithley.", "qcodes.instrument_drivers.Keithley."
CLASSES = [
    ("pymeasure", PM + "Keithley2400", {}),
    ("pymeasure", PM + "Keithley2400", {"model": "2410", "terminals": "rear"}),
    ("pymeasure", PM + "Keithley2450", {"terminals": "rear"}),
    ("pymeasure", PM + "Keithley2600", {}),
    ("pymeasure", PM + "Keithley2600", {"model": "2636B"}),
    ("qcodes", QC + "Keithley2400", {}),
    ("qcodes", QC + "Keithley2450", {}),
    ("qcodes", QC + "Keithley2602B", {}),
    ("qcodes", QC + "Keithley2636B", {}),
]
SETUP = ChannelSetup(0.2, 1e-3, 1e-3)
R = 10e3


def needs(library):
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed (extra {library})")


def adapted(library="pymeasure", path=PM + "Keithley2400", **options):
    """Return a function that makes drivers, and the emulated instrument; a resistor is at each channel."""
    needs(library)
    entry = _entry(library, {"class": path, **options})
    make, _, instrument = arranged(entry, resistors(entry.capabilities.channels, R))
    return make, instrument


@pytest.mark.parametrize(("library", "path", "options"), CLASSES)
def test_a_class_with_a_ready_map_keeps_the_contract_of_sources(library, path, options):
    needs(library)
    check_driver(library, **{"class": path}, **options)


@pytest.mark.parametrize(("library", "path", "options"), CLASSES)
def test_readings_are_those_of_our_own_driver(library, path, options):
    make, _ = adapted(library, path, **options)
    theirs = make()
    family = theirs._options.reads_back
    entry = _entry(family, {key: value for key, value in options.items() if value})
    ours = arranged(entry, resistors(entry.capabilities.channels, R))[0]()
    samples = []
    for driver in (theirs, ours):
        driver.connect()
        channel = driver.capabilities.channels[-1]
        driver.prepare({channel: SETUP})
        driver.output([channel])
        steps = [Aperture(channel, 0.02), Limit(channel, 1e-4, 1e-4), Level(channel, 0.05), Hold(0.01)]
        samples += driver.run([*steps, Measure(channel, voltage=True)])
        driver.off()
    assert (samples[0].current, samples[0].voltage) == pytest.approx((0.05 / R, 0.05), rel=1e-3)
    assert samples[0].current == pytest.approx(samples[1].current, rel=1e-6)
    assert samples[0].flag == samples[1].flag


def test_connecting_asks_and_makes_no_object():
    make, smu = adapted()
    asked = []
    execute, smu.execute = smu.execute, lambda message: (asked.append(message), execute(message))[1]
    assert "MODEL 2400" in make().connect()
    assert asked
    assert all(part.endswith("?") for message in asked for part in message.split(";"))


def test_check_tells_what_our_driver_of_the_family_knows_more():
    make, smu = adapted()
    driver = make()
    driver.connect()
    smu.execute(":SENS:AVER 1")
    state, faults = driver.diagnosis()
    assert "not as after a reset, and set anew before it is used" in " ".join(state)
    assert ":SENS:AVER" in " ".join(state)
    assert not faults


def test_what_somebody_left_is_blamed_on_no_setting_and_old_errors_are_told():
    make, smu = adapted()
    smu.execute(":SOUR:VOLT:MODE LIST")
    smu.execute(":SOUR:VOLT 1")
    driver = make()
    driver.connect()
    assert [error.partition(" ")[0] for error in driver.old_errors] == ["-221"]
    driver.off()  # in a list no level is set, so that the instrument refuses it, and it is at 0 V
    driver.prepare({"out": SETUP})
    driver.output(["out"])
    driver.run([Limit("out", 1e-4, 1e-4), Level("out", 0.05), Level("out", 0.0)])
    driver.off()


def test_a_queue_without_an_end_has_it_switched_off_without_the_object(monkeypatch):
    make, smu = adapted()
    driver = make()
    driver.connect()
    query, emergency, calls = driver._query, driver.emergency_off, []
    monkeypatch.setattr(driver, "_query", lambda text: '-221,"x"' if ":SYST:ERR?" in text else query(text))
    monkeypatch.setattr(driver, "emergency_off", lambda: (calls.append("off"), emergency())[1])
    driver.off()
    assert calls == ["off"]
    assert not smu.smu.output


def test_a_limit_that_was_not_taken_is_refused_and_the_output_stays_off():
    make, smu = adapted()
    driver = make()
    driver.connect()
    deaf(smu, ":SENSE:CURRENT:PROTECTION 1e-06")
    with pytest.raises(InstrumentError, match=r"took a limit of 0.000105 A for 1e-06 A"):
        driver.prepare({"out": SETUP})
    assert not smu.smu.output


def deaf(smu, *messages):
    """Let an emulated instrument pass some messages over."""
    execute = smu.execute
    smu.execute = lambda message: "" if message in messages else execute(message)


def test_a_setting_that_the_instrument_refuses_is_told_with_the_statement():
    make, _ = adapted(settings=["write(':SOUR:NOTHING 1')"])
    driver = make()
    driver.connect()
    with pytest.raises(InstrumentError, match=r"under_test.out refused 'set_up': -113"):
        driver.prepare({"out": SETUP})


def test_a_setting_of_the_bench_file_that_contradicts_what_is_expected_is_told():
    make, _ = adapted(settings=["filter_enabled = True"])
    driver = make()
    driver.connect()
    with pytest.raises(InstrumentError, match=r"'query\(':SENS:AVER\?'\) == '0'' is not true after pymeasure.instr"):
        driver.prepare({"out": SETUP})


def test_a_setting_that_was_not_taken_is_told_by_what_the_bench_file_expects():
    make, smu = adapted(settings=["write(':SENS:AVER:COUN 5')"], settings_expect=["query(':SENS:AVER:COUN?') == '5'"])
    make().connect()
    driver = make()
    driver.prepare({"out": SETUP})
    deaf(smu, ":SENS:AVER:COUN 5")
    with pytest.raises(InstrumentError, match=r"COUN\?'\) == '5'' is not true after .*; the output stays off"):
        make().prepare({"out": SETUP})
    assert not smu.smu.output


@pytest.mark.parametrize(("library", "path", "options"), CLASSES)
def test_an_aperture_that_was_not_taken_is_told_before_a_reading(library, path, options):
    make, smu = adapted(library, path, **options)
    driver = make()
    driver.connect()
    channel = driver.capabilities.channels[0]
    driver.prepare({channel: SETUP})
    driver.output([channel])
    driver.run([Aperture(channel, 0.1)])
    execute = smu.execute
    setting = re.compile(r"(?i)nplc(?!.*\?|.*\))")
    smu.execute = lambda text: "" if setting.search(text) else execute(text)
    with pytest.raises(InstrumentError, match=r"<= 1.01 . cycles.* is not true after"):
        driver.run([Aperture(channel, 0.02), Measure(channel)])


def test_what_the_class_refuses_is_an_error_of_this_instrument_that_names_the_call():
    make, smu = adapted(settings=["current_nplc = 99"])
    driver = make()
    driver.connect()
    with pytest.raises(InstrumentError) as caught:
        driver.prepare({"out": SETUP})
    text = str(caught.value)
    assert text.startswith(f"{NAME}: 'settings: current_nplc = 99' of {PM}Keithley2400 failed: ValueError: Value of 99")
    assert "look at its documentation, and at 'roles' of under_test in the bench file" in text
    assert not smu.smu.output


@pytest.mark.parametrize("reply", ["", '0,"No error"'])
def test_a_reply_that_is_no_number_is_told_with_instrument_and_statement(monkeypatch, reply):
    make, smu = adapted()
    driver = make()
    driver.connect()
    driver.prepare({"out": SETUP})
    driver.output(["out"])
    query = driver._query
    monkeypatch.setattr(driver, "_query", lambda text: reply if ":SENS:CURR:RANG?" in text else query(text))
    with pytest.raises(InstrumentError) as caught:
        driver.run([Limit("out", 1e-4, 1e-4)])
    assert f"ValueError: {reply!r} is no number; that class is not part of this suite: look at" in str(caught.value)
    assert str(caught.value).startswith(f"{NAME}: '")
    assert ":SENS:CURR:RANG?" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    driver.off()
    assert not smu.smu.output


def test_a_mains_frequency_that_is_none_is_refused_with_the_statement():
    make, smu = adapted(roles={"mains": ["55"]})
    driver = make()
    driver.connect()
    with pytest.raises(InstrumentError, match=rf"{NAME}: '55' was answered by '55'; expected a mains frequency of 50"):
        driver.prepare({"out": SETUP})
    assert not smu.smu.output


def test_our_own_error_of_a_call_keeps_its_cause():
    make, _ = adapted()
    driver = make()
    cause, error = KeyError("x"), InstrumentError("smu: lost")
    error.__cause__ = cause

    def lose(_):
        raise error

    with pytest.raises(InstrumentError) as caught:
        driver._object.call(lose, "level")
    assert (caught.value, caught.value.__cause__) == (error, cause)


def test_a_name_that_the_class_lacks_is_refused_when_the_bench_file_is_read(tmp_path):
    needs("pymeasure")
    path = bench_file(tmp_path, **{"class": PM + "Keithley2400", "roles": {"level": "source_volts = volts"}})
    with pytest.raises(
        BenchError, match=r"source_volts is neither an attribute of .*Keithley2400 nor one of query, send"
    ):
        read_bench(path)


@pytest.mark.parametrize(("factor", "level"), [("1 + 0.5 * (volts > 0.05)", 0.15), ("0.6", 0.06)])
def test_a_level_that_is_not_what_was_set_is_noticed_while_it_stands(factor, level):
    make, smu = adapted(roles={"level": [f"source_voltage = volts * ({factor})"]})
    driver = make()
    driver.connect()
    driver.prepare({"out": SETUP})
    driver.output(["out"])
    sent, execute = [], smu.execute
    smu.execute = lambda message: (sent.append(message), execute(message))[1]
    with pytest.raises(NotDriven, match=rf"out is at {level:.6g} V after 'source_voltage = .*' set 0\.1 V; it was"):
        driver.run([Limit("out", 1e-4, 1e-4), Level("out", 0.1), Hold(1.0), Measure("out"), Level("out", 0.0)])
    assert smu.smu.set.level_v == 0.0
    assert not any("READ?" in message or "MEAS" in message for message in sent)
    driver.off()


def test_off_goes_round_an_object_that_hangs(monkeypatch):
    make, smu = adapted(longest_call=0.2)
    driver = make()
    driver.connect()
    driver.prepare({"out": SETUP})
    driver.output(["out"])
    driver.run([Limit("out", 1e-4, 1e-4), Level("out", 0.05)])
    release = threading.Event()
    made = driver._object._object
    monkeypatch.setattr(type(made), "write", lambda self, *args, **keywords: release.wait())
    driver.off()
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)
    release.set()
    monkeypatch.undo()
    with pytest.raises(InstrumentError, match="did not come back"):
        driver.run([Level("out", 0.01)])


def test_off_goes_round_an_object_that_raises(monkeypatch):
    make, smu = adapted("qcodes", QC + "Keithley2400")
    driver = make()
    driver.connect()
    driver.prepare({"out": SETUP})
    driver.output(["out"])
    driver.run([Level("out", 0.05)])

    def broken(*args, **keywords):
        raise OSError("broken")

    monkeypatch.setattr(driver._object._object, "write_raw", broken)
    driver.off(10.0)
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)


@pytest.mark.parametrize(("library", "path", "options"), [case for case in CLASSES if not case[2]])
def test_whatever_others_left_is_made_safe_and_reaches_no_reading(library, path, options):
    for seed in range(6):
        make, instrument = adapted(library, path)
        chance = Random(seed)
        parts = instrument.leftovers()
        left = {part: parts[part](chance) for part in chance.sample(sorted(parts), min(len(parts), 6))}
        driver = make()
        driver.emergency_off()
        assert not instrument.outputs(), left
        if "*LANG" in left:  # another command set is refused by name
            continue
        driver.connect()
        channel = driver.capabilities.channels[0]
        driver.prepare({channel: SETUP})
        driver.output([channel])
        steps = [Aperture(channel, 0.02), Limit(channel, 1e-4, 1e-4), Level(channel, 0.05)]
        (sample,) = driver.run([*steps, Measure(channel, voltage=True)])
        assert (sample.current, sample.voltage) == (pytest.approx(0.05 / R, rel=1e-3), pytest.approx(0.05)), left
        driver.close()


OWN = {
    "class": PM + "Keithley2450", "channels": {"one": ""}, "family": "",
    "capabilities": {
        "ranges_v": [0.02, 0.2, 2.0], "ranges_i": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2],
        "shortest_aperture": 2e-4, "longest_aperture": 0.2,
    },
    "roles": {
        "is_on": "source_enabled", "is_level": "source_voltage", "is_limit": "compliance_current",
        "identity": "id", "mains": "60",
    },
    "emergency": {"send": [":ABOR", ":SOUR:VOLT 0", ":OUTP 0"], "ask": ":OUTP?;:SOUR:VOLT?"},
}  # fmt: skip


def own():
    """Return a function that makes drivers with a map that reads back by the object, and the emulated 2450."""
    needs("pymeasure")
    entry = _entry("pymeasure", OWN)
    assert entry.emulator is None
    stand_in = _entry("pymeasure", {"class": PM + "Keithley2450"})
    _, world, instrument = arranged(stand_in, resistors(["one"], R))
    world.attach(f"{NAME}.out")
    from instruments.transport import BytesTransport

    return lambda: declared("pymeasure")[0].make(
        NAME, entry.options, BytesTransport(instrument.session(), NAME, sleep=world.advance)
    ), instrument


def test_a_map_without_a_family_reads_back_by_the_object():
    make, smu = own()
    driver = make()
    assert "MODEL 2450" in driver.connect()
    assert set(driver.state()) == {"one"}
    driver.prepare({"one": SETUP})
    driver.output(["one"])
    driver.run([Level("one", 0.05)])
    assert (driver.state()["one"].output, driver.state()["one"].level) == (True, 0.05)
    driver.emergency_off()
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)
    driver.close()


def test_what_is_sent_in_an_emergency_is_believed_only_if_all_zeros_answer():
    make, smu = own()
    driver = make()
    driver.connect()
    driver.prepare({"one": SETUP})
    driver.output(["one"])
    deaf(smu, ":OUTP 0")
    with pytest.raises(InstrumentError, match=r"NOT verified off: ':OUTP\?;:SOUR:VOLT\?' was answered by '1;"):
        driver.emergency_off()


def test_an_off_state_that_nothing_sets_is_refused_before_anything_is_sent():
    needs("pymeasure")
    make, _ = adapted(roles={"set_up": ["reset()", "source_mode = 'voltage'"]})
    driver = make()
    driver.connect()
    with pytest.raises(BenchError, match=r"the bench file wants off_state high_z, and 'set_up' of .* does not use it"):
        driver.prepare({"out": ChannelSetup(0.2, 1e-3, 1e-3, off_state=OffState.HIGH_Z)})


def bench_file(tmp_path, **keys):
    """Return the path of a bench file with one adapted source on two needles."""
    smu = {"driver": "pymeasure", "resource": "TCPIP::127.0.0.1::9::SOCKET", "patience": "0 s", **keys}
    limits = {
        "v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "100 ms", "compliance": "10 mA", "ramp_rate": "1000 V/s",
    }  # fmt: skip
    wiring = {
        "pads": {"top": f"smu.{keys.get('on', 'out')}", "bottom": "ground"},
        "kernels": [{"rows": ["top"], "cols": ["bottom"]}],
    }
    smu.pop("on", None)
    path = tmp_path / "bench.yaml"
    path.write_text(yaml.safe_dump({"name": "b", "instruments": {"smu": smu}, "wiring": wiring, "limits": limits}))
    return path


PLAIN = {"ranges_v": ["1 V"], "ranges_i": ["1 A"], "shortest_aperture": "1 ms", "longest_aperture": "1 s"}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"class": PM + "Keithley9999"}, r"'pymeasure.instruments.keithley' has no class 'Keithley9999'"),
        ({"class": "nowhere.Smu"}, "'nowhere.Smu' cannot be imported: ModuleNotFoundError"),
        ({"class": PM + "Keithley2400", "like": "mylab.Smu"}, "'mylab.Smu' has no ready map; expected one of those of"),
        ({"class": PM + "Keithley2000"}, r"has no family of ours, and 'capabilities' is missing: ranges_v, ranges_i"),
        (
            {"class": PM + "Keithley2000", "capabilities": PLAIN},
            "has no ready map, and 'roles' lacks set_up, level, limit, output_on",
        ),
        ({"class": PM + "Keithley2400", "roles": {"level": "source_voltage ="}}, "'source_voltage =' is no statement"),
        ({"class": PM + "Keithley2400", "roles": {"lvl": "x = 1"}}, "lvl"),
        ({"class": PM + "Keithley2400", "channels": {"b": ""}}, "channels has b; a keithley2400 has out"),
        ({"class": PM + "Keithley2400", "model": "2499"}, "2499"),
        ({"class": PM + "Keithley2600", "terminals": "rear"}, "no statement of set_up uses terminals"),
        ({"class": PM + "Keithley2400", "settings": ["filtered = 1"]}, "settings: filtered is neither an attribute of"),
        (
            {"class": PM + "Keithley2400", "settings_expect": ["filtred == 1"]},
            "settings_expect: filtred is neither an attribute of",
        ),
        (
            {"class": PM + "Keithley2400", "settings_expect": ["filter_enabled = True"]},
            "settings_expect: 'filter_enabled = True' sets something; expected a condition",
        ),
        (
            {"class": PM + "Keithley2400", "roles": {"expect_aperture": "current_nplc = cycles"}},
            "roles: expect_aperture: 'current_nplc = cycles' sets something",
        ),
    ],
)  # fmt: skip
def test_what_is_missing_is_refused_with_file_and_line(tmp_path, keys, words):
    needs("pymeasure")
    with pytest.raises(BenchError, match=words) as caught:
        read_bench(bench_file(tmp_path, **keys))
    assert "bench.yaml:" in str(caught.value)


def test_a_bench_file_comes_back_as_it_was_read(tmp_path):
    needs("pymeasure")
    bench = read_bench(bench_file(tmp_path, **{"class": PM + "Keithley2600", "on": "smua"})).value
    dumped = bench.model_dump(mode="json")["instruments"]["smu"]
    assert (dumped["class"], dumped["model"]) == (PM + "Keithley2600", "2602B")
    assert type(bench).model_validate(bench.model_dump()) == bench


def test_a_bench_without_the_library_is_made_safe_all_the_same(monkeypatch, tmp_path):
    needs("pymeasure")
    from instruments.adapter import objects, options
    from instruments.transport import BytesTransport
    from sim_backend.emulators.k2400 import K2400

    smu = K2400(NAME, "2400", resistors(["out"], R))
    smu.handle(b":SOUR:VOLT 0.1;:OUTP 1\n")
    path = bench_file(tmp_path, **{"class": PM + "Keithley2400"})
    for module in (objects, options):
        monkeypatch.setattr(module, "missing", lambda library: f"{library} is not installed")
    with pytest.raises(BenchError, match="pymeasure is not installed"):
        read_bench(path)
    bench = read_bench(path, to_make_safe=True).value
    safed = make_safe(bench, connect=lambda name, entry: BytesTransport(smu.session(), name))
    assert safed.verified == {"smu": "outputs verified off at 0 V"}
    assert (smu.smu.output, smu.smu.set.level_v) == (False, 0.0)
