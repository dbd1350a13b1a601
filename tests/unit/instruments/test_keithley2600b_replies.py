"""States and samples in what a 2600B prints; what is not understood is never off."""

import math

import pytest

from instruments.keithley2600b_replies import as_text, sample_in, state_in, state_of
from labctl.core.errors import InstrumentError
from labctl.core.operations import Flag
from labctl.core.source import ChannelState, Measure, Watch


@pytest.mark.parametrize(("output", "on"), [(0, False), (1, True), (2, False), (3, True), (math.nan, True)])
def test_an_output_is_off_only_by_the_two_values_that_say_so(output, on):
    assert state_in(output, 1, 0.0, 0.0, 0.1, 40.0) == ChannelState(on, 0.0, 0.1)


def test_a_channel_that_forces_a_current_tells_it_with_its_voltage_limit():
    state = state_of("1:0:0:1e-06:0.1:40", "smu1.smua")
    assert (state.forced, state.limited) == ("1e-06 A, forcing a current", "40 V")
    state = state_of("0:1:0.3:1e-06:0.1:40", "smu1.smua")
    assert (state.forced, state.limited, state.current) == ("0.3 V", "0.1 A", None)


@pytest.mark.parametrize("text", ["1:1", "", "1:1:0:0:0.1:x"])
def test_a_state_that_is_not_understood_is_refused(text):
    with pytest.raises(InstrumentError, match=r"^smu1\.smua: its state is '.*'; expected numbers"):
        state_of(text, "smu1.smua")


def test_an_absent_channel_has_no_state():
    assert state_of("none", "smu1.smub") is None
    assert as_text("s.a", "s.b", source="smub") == (
        '(function(s) if s then return tostring(s.a)..":"..tostring(s.b) end return "none" end)(smub)'
    )


def test_samples_are_numbers_with_flags_or_refused():
    assert sample_in(Watch("smua"), "true", "smu1.smua").flag == Flag.COMPLIANCE
    measured = sample_in(Measure("smua", voltage=True), "1e-6\t0.1\t2", "smu1.smua")
    assert (measured.current, measured.voltage, measured.flag) == (1e-6, 0.1, Flag.COMPLIANCE)
    assert sample_in(Measure("smua"), "9.91e37\t0", "smu1.smua").flag == Flag.OVERRANGE
    with pytest.raises(InstrumentError, match=r"^smu1\.smua: its reading is '1e-6'; expected numbers, 2 of them"):
        sample_in(Measure("smua"), "1e-6", "smu1.smua")
