"""The fake of pyarc2 by itself: lists of commands, levels, pulses, converters, and what it records of misuse."""

import numpy as np
import pytest

from sim_backend.emulators import arc_two as fake
from sim_backend.emulators.arc_two_channels import RANGES, SPAN, Switch
from tests.small_array import COLS, ROWS, array, on_arc_two

EIGHT = [None] * 8
HIGH, LOW = ROWS[0], COLS[0]


def opened(**more):
    """Return a fake board, its channels, and an instrument."""
    on = on_arc_two(array(1), **more)
    return on, on.fake.channels, on.library.module().Instrument(0, "fw.bin")


def widths(**clusters):
    return [clusters.get(f"c{k}") for k in range(8)]


def test_commands_are_listed_and_begin_with_execute():
    _, own, arc = opened()
    arc.config_channels([(HIGH, 0.25)], None)
    assert (own.switch[HIGH], own.high[HIGH]) == (Switch.OPEN, 0.0)
    arc.execute()
    assert own.switch[HIGH] == Switch.LEVEL
    assert own.high[HIGH] == pytest.approx(0.25, abs=20 / 65536)
    begin = own.audit.conversions
    arc.execute()
    assert own.audit.conversions == begin


def test_loading_the_firmware_disconnects_channels_and_initialising_sets_dacs_to_zero():
    on, own, arc = opened()
    arc.config_channels([(HIGH, 0.25)], None).execute()
    with pytest.raises(fake.ArC2Error, match="open already"):
        on.library.module().Instrument(0, "fw.bin", False)
    del arc
    on.library.module().Instrument(0, "fw.bin", False)
    assert own.switch[HIGH] == Switch.OPEN
    assert own.high[HIGH] != 0.0
    on.library.module().Instrument(0, "fw.bin")
    assert not own.high.any()


def test_a_channel_that_comes_out_of_the_open_is_held_at_ground_before_it_takes_its_level():
    on, own, arc = opened()
    seen, ground = [], own.ground
    own.ground = lambda channels: (ground(channels), seen.append((on.world.now, channels.tolist())))
    for _ in range(2):
        arc.config_channels([(HIGH, 0.25), (LOW, 0.0)], None)
    arc.execute()
    (begin, held), (end, left) = seen
    assert (sorted(held), left) == (sorted([HIGH, LOW]), [])
    assert end - begin == pytest.approx(100e-6)


@pytest.mark.parametrize(
    ("chans", "nanos", "error", "words"),
    [
        ([(HIGH, 0.3, 0.0)], EIGHT[:7], ValueError, "Need 8 arguments"),
        ([(HIGH, 0.3, 0.0)], EIGHT, fake.ArC2Error, "no timing associated on cluster 1"),
        ([(HIGH, 0.3, 0.0)], widths(c1=500_000_001), fake.ArC2Error, "too long"),
        ([(15, 0.3, 0.0), (14, -0.3, 0.0)], widths(c1=1000), fake.ArC2Error, "polarity"),
        ([(64, 0.3, 0.0)], EIGHT, fake.PanicException, "out of bounds"),
    ],
)
def test_pulses_that_the_library_refuses_are_refused(chans, nanos, error, words):
    _, _, arc = opened()
    with pytest.raises(error, match=words):
        arc.pulse_slice_fast_open(chans, nanos, True)


@pytest.mark.parametrize("volts", [0.3, -0.3])
@pytest.mark.parametrize(("nanos", "width"), [(1, 40e-9), (40, 40e-9), (1_000_000, 1e-3)])
def test_a_pulse_goes_from_the_normal_voltage_and_back_after_its_width(volts, nanos, width):
    on, own, arc = opened()
    moved, original = [], own._moved
    own._moved = lambda: (original(), moved.append((on.world.now, float(own._now[0][HIGH]))))
    arc.config_channels([(HIGH, 0.0), (LOW, 0.0)], None)
    arc.pulse_slice_fast_open([(HIGH, volts, 0.0)], widths(c1=nanos), True).delay(2_000_000).execute()
    up = [k for k, (_, v) in enumerate(moved) if abs(v) > 0.1]
    assert {round(moved[k][1], 3) for k in up} == {volts}
    assert moved[up[-1] + 1][0] - moved[up[0]][0] == pytest.approx(width, rel=1e-6)
    assert (own.audit.pulses, own.audit.faults) == (1, [])


def test_a_command_while_a_pulse_is_on_and_a_level_on_ground_and_a_level_that_is_cut_off_are_recorded():
    _, own, arc = opened()
    arc.pulse_slice_fast_open([(HIGH, 0.3, 0.0)], widths(c1=1000), True).ground_all_fast().execute()
    assert own.audit.faults == ["ground_all_fast while a pulse was on"]
    arc.config_channels([(HIGH, 0.3)], None).connect_to_gnd([HIGH]).execute()
    assert own.audit.shorted > 0
    arc.config_channels([(HIGH, 10.5)], None)
    assert own.audit.clipped == 1


def test_cells_on_a_line_that_floats_may_see_the_worst_pair():
    _, own, arc = opened()
    arc.config_channels([(c, 0.0) for c in (*ROWS[:4], *COLS[:3])], None).execute()
    levels = [(ROWS[0], 0.2), (ROWS[2], -0.15)]
    arc.config_channels(levels, None).ground_all_fast().execute()
    assert (own.audit.towards_p, own.audit.towards_ap) == pytest.approx((0.2, 0.15), abs=1e-3)
    arc.open_channels([COLS[1]]).config_channels(levels, None).execute()
    assert (own.audit.towards_p, own.audit.towards_ap) == pytest.approx((0.35, 0.35), abs=1e-3)


@pytest.mark.parametrize(("amps", "ohm"), [(1e-7, RANGES[0]), (5e-5, RANGES[1]), (5e-3, RANGES[2])])
def test_a_current_is_read_in_the_steps_of_the_most_sensitive_range_that_holds_it(amps, ohm):
    _, own, _ = opened(ideal=False)
    step = SPAN / 2**18 / ohm
    read = own._converted(3, amps, 0.0)
    assert read == pytest.approx(amps, abs=step)
    assert read / step == pytest.approx(round(read / step), abs=1e-6)
    assert own._converted(3, 1.0, 0.0) == pytest.approx(10.24 / 830, rel=1e-4)


def test_a_current_into_the_die_is_positive_and_channels_that_are_not_converted_are_no_number():
    _, _, arc = opened()
    arc.config_channels([(c, 0.1) for c in ROWS[:4]], None)
    arc.read_slice_open_deferred(np.array([COLS[0]]), False).execute()
    read = arc.pick_one(fake.DataMode.All, fake.ReadType.Current)
    assert read[COLS[0]] < -5e-5
    assert np.isnan(np.delete(read, COLS[0])).all()
    assert arc.pick_one(fake.DataMode.All, fake.ReadType.Current) is None


def test_a_result_that_is_taken_for_another_kind_is_no_number():
    _, _, arc = opened()
    arc.vread_channels_deferred([HIGH], False).execute()
    assert np.isnan(arc.pick_one(fake.DataMode.All, fake.ReadType.Current)).all()


@pytest.mark.parametrize(
    "act",
    [
        lambda arc: arc.config_channels([(1, 0.0)], 0.0),
        lambda arc: arc.read_slice_open_deferred([1], True),
        lambda arc: arc.vread_channels_deferred([1], True),
        lambda arc: arc.pick_one(fake.DataMode.Bits, fake.ReadType.Current),
        lambda arc: arc.pulse_slice_fast_open([(1, 0.1, 0.0)], widths(c0=100), False),
    ],
)
def test_what_is_not_faked_of_a_call_is_an_error(act):
    with pytest.raises(fake.Unfaked, match="not faked"):
        act(opened()[2])
