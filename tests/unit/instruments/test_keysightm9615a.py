"""The M9615A over a stand-in of the calls of Keysight's library, as ctypes makes them."""

import math

import pytest

from instruments.keysightm9615a import KeysightM9615A
from instruments.ktm960x import Attribute, KtM960x
from labctl.core.errors import BenchError, InstrumentError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import Aperture, ChannelSetup, Hold, Level, Limit, Measure, OffState, Ramp, Watch
from labctl.testing.emulated import NAME, _entry, arranged, resistors
from sim_backend.emulators.m9615a import LEVEL, LIMIT, OUTPUT

OPTIONS = {
    "address": "PXI213::0::INSTR", "ranges_v": (6.0, 30.0), "ranges_i": (1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
    "shortest_aperture": 2e-5, "longest_aperture": 2.0,
}  # fmt: skip
SETUP = ChannelSetup(0.5, 1e-3, 1e-3, off_state=OffState.ZERO)
R = 10e3


@pytest.fixture
def module():
    """A driver, the library with the module, and its world; a resistor is at each channel."""
    entry = _entry("keysightm9615a", OPTIONS)
    make, world, library = arranged(entry, resistors(entry.capabilities.channels, R))
    return make(), library, world


def ready(driver, channel="ch3"):
    driver.connect()
    driver.prepare({channel: SETUP})
    driver.output([channel])
    return driver


def test_connecting_opens_a_session_without_a_reset_and_sets_nothing(module):
    driver, library, _ = module
    calls = []
    opened = library.KtM960x_InitWithOptions
    library.KtM960x_InitWithOptions = lambda *args: (calls.append(args[:4]), opened(*args))[1]
    library._set = None
    assert driver.connect() == "Keysight Technologies,M9615A,MY00000015,1.0.0"
    assert calls == [(b"PXI213::0::INSTR", 1, 0, b"")]


def test_a_reading_is_that_of_the_resistor_with_its_flag(module):
    driver, _, world = module
    ready(driver)
    begin = world.now
    steps = [
        Aperture("ch3", 0.02),
        Limit("ch3", 1e-4, 1e-4),
        Level("ch3", 0.5),
        Hold(0.05),
        Measure("ch3", voltage=True),
    ]
    (sample,) = driver.run(steps)
    assert (sample.current, sample.voltage, sample.flag) == (pytest.approx(0.5 / R), pytest.approx(0.5), Flag(0))
    assert 0.07 < world.now - begin < 0.2
    (limited,) = driver.run([Limit("ch3", 2e-5, 1e-4), Measure("ch3")])
    assert limited.flag & Flag.COMPLIANCE
    assert limited.current == pytest.approx(2e-5)
    (over,) = driver.run([Limit("ch3", 1e-4, 1e-5), Measure("ch3")])
    assert over.flag & Flag.OVERRANGE
    assert math.isnan(over.current)


def test_every_setting_is_read_back_and_one_that_was_not_taken_keeps_the_output_off(module):
    driver, library, _ = module
    driver.connect()
    setter = library._set
    library._set = lambda part, attribute, value: 0 if attribute == 1150410 else setter(part, attribute, value)
    with pytest.raises(
        InstrumentError, match=r"under_test.ch3: OFF_CONDITION is 2 after 0 was set; the output stays off"
    ):
        driver.prepare({"ch3": SETUP})
    library._set = lambda part, attribute, value: 0 if attribute == LIMIT else setter(part, attribute, value)
    library.channels[3].values[LIMIT] = 1e-3
    with pytest.raises(InstrumentError, match=r"took a limit of 0.001 A for 1e-06 A"):
        driver.prepare({"ch3": SETUP})
    assert not library.channels[3].values[OUTPUT]


@pytest.mark.parametrize("step", [Level("ch3", 0.5), Ramp("ch3", 0.5, 100.0)])
@pytest.mark.parametrize(
    ("lost", "told", "left"),
    [
        (lambda volts: volts > 0.4, r"under_test.ch3 is at 0\.\d+ V, and 0.5 V was set; .* it is at 0 V", 0.0),
        (lambda volts: volts > 0.4 or volts == 0, r"then 0 V was set, and it is at 0\.[14]\d* V", None),
        (lambda volts: volts < 0.2, r"is at 0.5 V, and 0.1 V was set; then 0 V was set, and it is at 0.5 V", 0.5),
    ],
)
def test_a_level_that_was_not_taken_is_noticed_before_the_next_one(module, step, lost, told, left):
    driver, library, _ = module
    ready(driver)
    driver.run([Level("ch3", 0.1)])
    setter = library._set

    def losing(part, attribute, value):
        return 0 if attribute == LEVEL and lost(value.value) else setter(part, attribute, value)

    library._set = losing
    with pytest.raises(NotDriven, match=told):
        driver.run([step, Hold(0.01), Watch("ch3"), Level("ch3", 0.1)])
    assert left in (None, library.outputs()["ch3"])


def test_what_the_library_refuses_is_told_with_the_call_and_its_text(module):
    driver, _, _ = module
    driver.connect()
    with pytest.raises(InstrumentError) as caught:
        driver._module.set_real("Output9", Attribute.VOLTAGE_LEVEL, 0.1)
    text = str(caught.value)
    assert text.startswith(
        f"{NAME}: KtM960x_SetAttributeViReal64(Output9, 1150423) failed: -1074118651 there is no attr"
    )


def test_a_remote_sense_is_refused_before_anything_is_set(module):
    driver, library, _ = module
    driver.connect()
    library._set = None
    with pytest.raises(BenchError, match="no public call of the library sets a remote sense; nothing was set"):
        driver.prepare({"ch1": ChannelSetup(0.5, 1e-3, 1e-3, remote_sense=True)})


def test_an_emergency_aborts_all_channels_first_and_verifies_all_of_them(module):
    driver, library, _ = module
    ready(driver).run([Level("ch3", 0.2)])
    calls = []
    for name in ("KtM960x_Abort", "KtM960x_GetAttributeViBoolean"):
        function = getattr(library, name)
        setattr(library, name, lambda *args, name=name, function=function: (calls.append(name), function(*args))[1])
    entry = _entry("keysightm9615a", OPTIONS)
    other = entry.declaration.make(NAME, entry.options, library)
    other.emergency_off()
    assert calls[0] == "KtM960x_Abort"
    assert all(c.values[OUTPUT] == 0 and c.values[LEVEL] == 0 for c in library.channels.values())
    library._set = lambda part, attribute, value: 0
    library.channels[5].values[OUTPUT] = 1.0
    with pytest.raises(InstrumentError, match="NOT verified off: ch5 on at 0 V"):
        other.emergency_off()


@pytest.mark.parametrize("error", [OSError("access violation"), AttributeError("no such function")])
def test_an_emergency_goes_on_whatever_the_abort_raises(module, error):
    driver, library, _ = module
    ready(driver).run([Level("ch3", 0.2)])

    def raises(*args):
        raise error

    library.KtM960x_Abort = raises
    driver.emergency_off()
    assert all(c.values[OUTPUT] == 0 and c.values[LEVEL] == 0 for c in library.channels.values())
    library._set = raises
    library.channels[5].values[OUTPUT] = 1.0
    with pytest.raises(
        InstrumentError,
        match=rf"NOT verified off: ch5 on at 0 V.*before that: .*Abort.* failed: {type(error).__name__}",
    ):
        driver.emergency_off()


def test_what_channels_do_else_than_force_a_level_is_told_and_gone_once_they_are_set_up(module):
    driver, library, _ = module
    driver.connect()
    assert driver.diagnosis() == ([], [])
    library.channels[3].values.update({Attribute.VOLTAGE_MODE: 2, Attribute.AUTO_ON: 1})
    state, faults = driver.diagnosis()
    assert state == ["ch3: not as for levels, and set anew before it is used: VOLTAGE_MODE 2, AUTO_ON 1"]
    assert not faults
    driver.prepare({"ch3": SETUP})
    assert driver.diagnosis() == ([], [])


def test_an_emergency_ends_a_sweep_that_another_program_left(module):
    driver, library, _ = module
    library.channels[2].values.update({Attribute.VOLTAGE_MODE: 2, OUTPUT: 1.0, LEVEL: 0.4})
    assert math.isnan(driver.state()["ch2"].level)
    driver.emergency_off()
    assert (driver.state()["ch2"].output, driver.state()["ch2"].level) == (False, 0.0)


def test_whatever_ctypes_raises_is_an_error_of_the_instrument(module):
    driver, library, _ = module
    driver.connect()

    def raises(*args):
        raise OSError("access violation")

    library.KtM960x_GetAttributeViReal64 = library.KtM960x_InitWithOptions = library.KtM960x_close = raises
    with pytest.raises(InstrumentError, match=r"KtM960x_GetAttributeViReal64\(Output3, \d+\) failed: OSError: access"):
        driver.read_state("ch3")
    with pytest.raises(InstrumentError, match="KtM960x_close failed: OSError"):
        driver.close()
    for address, kind in (("PXI9::0::INSTR", "OSError"), ("PXI\u00e4::INSTR", "UnicodeEncodeError")):
        with pytest.raises(InstrumentError, match=rf"smu: KtM960x_InitWithOptions\({address}\) failed: {kind}"):
            KtM960x("smu", address, library).text(Attribute.MODEL)


def test_another_module_and_a_library_that_is_not_there_are_told(module, tmp_path):
    driver, library, _ = module
    text = library.KtM960x_GetAttributeViString

    def other(session, part, attribute, size, buffer):
        status = text(session, part, attribute, size, buffer)
        buffer.value = buffer.value.replace(b"M9615A", b"M9601A")
        return status

    library.KtM960x_GetAttributeViString = other
    with pytest.raises(BenchError, match="'M9601A' answers, and the driver is for an M9615A; nothing was changed"):
        driver.connect()
    missing = KtM960x("smu", "PXI213::0::INSTR", path=str(tmp_path / "KtM960x_64.dll"))
    with pytest.raises(BenchError, match=r"smu: Keysight's library '.*KtM960x_64.dll' cannot be loaded"):
        missing.text(Attribute.MODEL)
    with pytest.raises(InstrumentError, match="smu: KtM960x cannot open 'PXI9::0::INSTR': error -1074118651"):
        KtM960x("smu", "PXI9::0::INSTR", library).text(Attribute.MODEL)


def test_capabilities_are_those_of_the_bench_file():
    entry = _entry("keysightm9615a", OPTIONS)
    assert entry.capabilities.ranges_v == (6.0, 30.0)
    assert entry.resource == "PXI213::0::INSTR"
    with pytest.raises(BenchError, match=r"ranges_i are .*; expected ascending, above 0"):
        _entry("keysightm9615a", OPTIONS | {"ranges_i": (1e-3, 1e-6)})
    assert isinstance(KeysightM9615A("smu", entry.options), KeysightM9615A)
