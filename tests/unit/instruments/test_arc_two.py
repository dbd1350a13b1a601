"""The driver of an ArC TWO board on a fake of its library: what it applies, reads, refuses, and how it is made safe."""

import re
import sys
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from instruments.arc_two import MOST_CURRENT, ArcTwo
from instruments.arc_two_options import SHORTEST, STEP, nanoseconds
from instruments.arc_two_session import WITHIN, Installed
from instruments.board_bench import BoardBench
from instruments.emergency import make_safe
from instruments.open_board import BareBoard, BoardDie, open_board
from labctl.core.bias import Bias
from labctl.core.cell_voltage import extremes
from labctl.core.errors import BenchError, InstrumentError, LimitError, LinkTimeoutError
from labctl.core.limits import Limits
from labctl.core.operations import Flag, Pulse, Sense, WritePlan
from labctl.station.twin import Twin
from labctl.testing import check_body
from protocols.bias import Scheme, Unselected, read_bias, vector_bias, write_bias
from sim_backend.emulators import arc_two as fake
from sim_backend.emulators.arc_two_channels import Switch
from tests.small_array import COLS, ROWS, array, on_arc_two, options_of, read, write

WIDE = Limits(v_towards_p=2.0, v_towards_ap=2.0, width=1.0, compliance=1.0, v_count=0.5, pulses_per_cell=10**9)
STILL = {
    "disturb": False,
    "spread": {"diameter": 0.0, "ra": 0.0, "tmr": 0.0, "v_c0": 0.0, "delta": 0.0},
    "noise": {"relative": 0.0, "absolute": 0.0, "flicker": 0.0},
}
ONE = (np.array([0]), np.array([2]), np.array([1]))


def all_cells(die, kernel=0):
    row, col = (index.ravel() for index in np.indices(die.geometry.shape[1:]))
    return np.full(row.shape, kernel), row, col


def states(die):
    return die.truth()["state"]


@pytest.mark.parametrize("ideal", [True, False])
def test_it_keeps_the_contract_of_bodies(ideal):
    def make(polarity):
        board = on_arc_two(array(polarity=polarity, **STILL), ideal=ideal).board
        return BoardDie(BareBoard(board, board.nominal), WIDE)

    check_body(make)


# -- what is applied


def test_what_is_applied_is_in_steps_and_never_above_what_was_asked_for():
    on = on_arc_two(array())
    rng = np.random.default_rng(4)
    bias = Bias(rng.uniform(-2, 2, (300, 4)), rng.uniform(-2, 2, (300, 3)))
    applied = on.board.applied(bias)
    for asked, got in ((bias.row, applied.row), (bias.col, applied.col)):
        assert np.allclose(got / STEP, np.rint(got / STEP))
        assert (np.abs(got) <= np.abs(asked) + 1e-12).all()
        assert (np.abs(got - asked) < STEP).all()
    assert (extremes(applied).positive <= extremes(bias).positive + 1e-12).all()


def test_the_dacs_get_the_code_that_was_meant_at_every_level():
    meant = np.arange(-(1 << 15), 1 << 15)
    assert np.array_equal(fake.code(meant * STEP + WITHIN) - 32768, meant)


@pytest.mark.parametrize("volts", [9.0, 4.6, 0.3, -0.3, -9.0])
def test_lines_and_pulses_are_at_the_steps_that_were_meant_over_the_whole_reach(volts):
    on = on_arc_two(array(1))
    own, seen = on.fake.channels, []
    own.die.hold = lambda kernel, v, on, limit, time: (seen.append(v.copy()), (v, 0 * v, v > 99))[1]
    meant = STEP * np.trunc(volts / STEP)
    on.board.sense(Sense(Bias(np.full((1, 4), volts), np.zeros((1, 3))), np.arange(3)))
    on.board.pulse(Pulse(Bias(np.full((1, 4), volts), np.zeros((1, 3)), pulsed=np.array([2])), 1e-3))
    levels = {round(float(level), 9) for v in seen for level in v}
    assert levels == {0.0, round(meant, 9)}
    assert any(v[2] == 0.0 != v[1] for v in seen), "the pulse was not apart from the lines that wait"


def test_the_channels_of_rows_and_columns_have_the_levels_of_the_pattern_while_it_is_converted():
    on = on_arc_two(array())
    own, seen = on.fake.channels, []
    convert = own.convert
    own.convert = lambda *a: (seen.append((*own._now, own.grounded.copy())), convert(*a))[1]
    row = np.array([[0.1, 0.0, -0.05, 0.0]])
    on.board.sense(Sense(Bias(row, np.zeros((1, 3)), kernel=np.array(1)), np.arange(3), 1e-4))
    ((volts, driven, grounded),) = seen
    lines = [*ROWS[4:8], *COLS[3:6]]
    assert volts[lines[:4]].tolist() == pytest.approx((np.trunc(row[0] / STEP) * STEP).tolist())
    assert not volts[lines[4:]].any()
    assert driven.all()
    assert np.flatnonzero(~grounded).tolist() == sorted(lines), "all but the lines of the kernel are at ground"


@pytest.mark.parametrize(
    ("row", "col", "message"),
    [
        (10.5, 0.0, r"a line at 10.5 V; the board drives lines from -10.0000 to 9.9997 V"),
        (-10.5, 0.0, r"a line at -10.5 V"),
        (0.1, 0.01, r"a column is read at 0.01 V; the board reads currents of columns at 0 V"),
    ],
)
def test_what_the_board_cannot_do_is_refused_before_anything_is_sent(row, col, message):
    on = on_arc_two(array())
    wrong = Sense(Bias(np.full((1, 4), row), np.full((1, 3), col)), np.array([1]))
    for act in (on.board.check, on.board.sense):
        with pytest.raises(BenchError, match=message):
            act(wrong)
    assert on.fake.messages == 0


@pytest.mark.parametrize("width", [25e-9, 39e-9, 45e-9, 0.6])
def test_a_width_that_the_drivers_miss_is_refused_and_none_is_longer_than_asked(width):
    on = on_arc_two(array())
    with pytest.raises(BenchError, match="the board makes pulses of"):
        on.board.check(Pulse(write(on.board, *ONE, np.array([True])).bias, width))
    for asked in np.geomspace(1e-6, 1e-2, 500):
        assert 0.95 * asked <= nanoseconds(asked) * 1e-9 <= asked * (1 + 1e-9)
    assert nanoseconds(SHORTEST) == 40


@pytest.mark.parametrize("width", [100e-9, 2e-3])
def test_a_pulse_holds_the_die_for_its_width_at_its_levels_and_the_pulsed_line_alone_makes_it(width):
    die = array(1)
    on = on_arc_two(die)
    held, hold = [], die.hold
    die.hold = lambda kernel, v, driven, limit, time: (
        held.append((v.copy(), time)),
        hold(kernel, v, driven, limit, time),
    )[1]
    on.board.pulse(Pulse(write(on.board, *ONE, np.array([True]), 0.6).bias, width))
    during = [time for v, time in held if v[2] > 0.2 and v[4 + 1] < -0.2]
    before = [time for v, time in held if v[2] == 0.0 and v[4 + 1] < -0.2]
    assert during == [pytest.approx(width)]
    assert before, "the waiting column is up before the row"
    assert max(time for v, time in held if v[2] == 0.0) < 1e-4
    assert on.fake.channels.audit.faults == []


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("to_p", [True, False])
@pytest.mark.parametrize("polarity", [1, -1])
def test_every_scheme_of_a_write_is_carried_out_and_shows_cells_no_more_than_it_says(scheme, to_p, polarity):
    die = array(1, polarity=polarity)
    on = on_arc_two(die)
    bias = write_bias(die.geometry, *ONE, np.array([to_p]), scheme=scheme).scaled(0.6)
    on.board.pulse(Pulse(bias, 1e-3))
    audit, peaks = on.fake.channels.audit, extremes(bias)
    assert audit.towards_p <= peaks.positive[0] + 1e-9
    assert audit.towards_ap <= peaks.negative[0] + 1e-9
    assert (audit.clipped, audit.shorted, audit.faults) == (0, 0, [])
    assert states(die)[0, 2, 1] == to_p


def test_lines_that_move_together_are_pulsed_together_in_one_direction_per_eight_channels():
    die = array(1)
    on = on_arc_two(die)
    row = np.array([[0.0, 0.0, 0.3, 0.0]])
    together = Bias(row, np.array([[0.0, -0.3, 0.0]]))
    on.board.pulse(Pulse(together, 1e-3))
    assert states(die)[0, 2, 1]
    assert on.fake.channels.audit.pulses == 1
    mixed = Bias(np.array([[0.2, 0.0, -0.2, 0.0]]), np.zeros((1, 3)))
    with pytest.raises(BenchError, match="raises one channel of 8 to 15 and lowers another"):
        on.board.check(Pulse(mixed, 1e-3))


def test_a_pulsed_line_that_floats_is_refused():
    on = on_arc_two(array())
    bias = write(on.board, *ONE, np.array([True])).bias
    floating = np.zeros((1, 7), np.bool_)
    floating[0, 2] = True
    with pytest.raises(BenchError, match="the line that makes the width of a pulse floats"):
        on.board.check(Pulse(replace(bias, floating=floating), 1e-3))


# -- what is read


@pytest.mark.parametrize("unselected", list(Unselected))
def test_reads_are_those_of_the_simulated_die_sneak_paths_included(unselected):
    rng = np.random.default_rng(5)
    target = rng.random(12) < 0.5
    on, alone = on_arc_two(array(1)), array(1)
    cells = all_cells(alone)
    for die in (on.board, alone):
        die.pulse(write(die, *cells, target))
    sense = Sense(read_bias(alone.geometry, *cells, 0.1, unselected=unselected), cells[2][:, None])
    applied = Sense(on.board.applied(sense.bias), sense.cols)
    assert on.board.sense(sense).current == pytest.approx(alone.sense(applied).current, rel=1e-6)


def test_input_vectors_are_read_on_all_columns_at_once():
    on, alone = on_arc_two(array(1)), array(1)
    volts = np.random.default_rng(2).uniform(-0.1, 0.1, (6, 4))
    sense = Sense(vector_bias(alone.geometry, 0, 0, volts), np.arange(3))
    applied = Sense(on.board.applied(sense.bias), sense.cols)
    assert on.board.sense(sense).current == pytest.approx(alone.sense(applied).current, rel=1e-5, abs=1e-12)
    assert on.fake.channels.audit.conversions == 6 * 3


def test_with_converters_that_are_not_ideal_readings_scatter_by_their_noise():
    on = on_arc_two(array(1), ideal=False)
    sense = read(on.board, *(np.repeat(i, 400) for i in ONE))
    current = on.board.sense(sense).current[:, 0]
    step = 20.48 / 2**18 / 110e3
    assert np.std(current) == pytest.approx(2 * step / np.sqrt(3), rel=0.15)
    expected = STEP * np.trunc(0.1 / STEP) * on.board.nominal.g_ap(0)
    assert np.mean(current) == pytest.approx(expected, rel=0.01)


def test_the_sign_of_the_library_is_that_of_the_bench_file():
    into = on_arc_two(array()).board
    out = on_arc_two(array(), options={"positive": "out_of_die"}).board
    assert into.sense(read(into, *ONE)).current[0, 0] > 0
    assert out.sense(read(out, *ONE)).current[0, 0] < 0


def test_currents_beyond_a_channel_and_beyond_the_compliance_are_flagged():
    on = on_arc_two(array(1, **STILL), ideal=False)
    sense = Sense(Bias(np.full((1, 4), 0.1), np.zeros((1, 3)), compliance=1e-6), np.array([0]))
    assert on.board.sense(sense).flag.tolist() == [[Flag.COMPLIANCE]]
    on.fake.channels.convert = lambda channels, seconds: np.full(64, -1.01 * MOST_CURRENT)
    assert on.board.sense(read(on.board, *ONE)).flag.tolist() == [[Flag.OVERRANGE | Flag.COMPLIANCE]]
    on.fake.channels.convert = lambda channels, seconds: np.full(64, np.nan)
    reading = on.board.sense(read(on.board, *ONE))
    assert (reading.current.tolist(), reading.flag.tolist()) == ([[0.0]], [[Flag.INVALID]])


def test_a_column_that_floats_stays_open_and_its_reading_is_invalid():
    on = on_arc_two(array(1))
    floating = np.zeros((1, 7), np.bool_)
    floating[0, [4, 6]] = True
    bias = Bias(np.full((1, 4), 0.1), np.zeros((1, 3)), floating=floating)
    seen = []
    convert = on.fake.channels.convert
    on.fake.channels.convert = lambda *a: (seen.append(on.fake.channels.switch.copy()), convert(*a))[1]
    flags = on.board.sense(Sense(bias, np.arange(3))).flag
    assert flags.tolist() == [[Flag.INVALID, 0, Flag.INVALID]]
    assert all(switch[COLS[0]] == Switch.OPEN for switch in seen)
    assert on.board.sense(Sense(bias, np.array([0]))).flag.tolist() == [[Flag.INVALID]]


# -- states, against the simulated die alone


@pytest.mark.parametrize("scheme", [Scheme.HALF, Scheme.THIRD])
def test_cells_end_as_on_the_simulated_die_wherever_the_steps_of_the_dacs_allow(scheme):
    """An ideal die switches exactly above a voltage: only pulses within a step of it may differ, of which are none."""
    rng = np.random.default_rng(11)
    on, alone = on_arc_two(array(2, 5, 4)), array(2, 5, 4)
    n = 400
    cells = rng.integers(0, 2, n), rng.integers(0, 5, n), rng.integers(0, 4, n)
    bias = write_bias(alone.geometry, *cells, rng.random(n) < 0.5, scheme=scheme).scaled(rng.uniform(0.3, 0.5, n))
    for die in (on.board, alone):
        die.pulse(Pulse(bias, 1e-3))
    assert np.array_equal(states(on.fake.channels.die), states(alone))
    assert 5 < states(alone).sum() < 35


# -- limits


def test_random_patterns_within_the_limits_show_no_cell_more_than_them():
    """In every mode: reads, pulses of one line and of all together, floating lines; transitions are in the audit."""
    rng = np.random.default_rng(8)
    on = on_arc_two(array(1, **STILL))
    limits = WIDE.model_copy(update={"v_towards_p": 0.55, "v_towards_ap": 0.45})
    die = BoardDie(BareBoard(on.board, on.board.nominal), limits)
    on.board.keep_within(limits)
    done = refused = 0
    for _ in range(600):
        floating = (rng.random((1, 7)) < 0.15) if rng.random() < 0.5 else None
        row, col = rng.uniform(-0.35, 0.35, (1, 4)), rng.uniform(-0.35, 0.35, (1, 3))
        kind = rng.integers(3)
        bias = Bias(row, 0 * col if kind == 0 else col, floating=floating)
        if kind == 1:
            bias = replace(bias, pulsed=rng.integers(0, 7, 1))
        try:
            if kind == 0:
                die.sense(Sense(bias, np.arange(3), 1e-4))
            else:
                die.pulse(Pulse(bias, 1e-6))
            done += 1
        except (LimitError, BenchError):
            refused += 1
    audit = on.fake.channels.audit
    assert min(done, refused) > 100
    assert 0.45 < audit.towards_p <= 0.55 + 1e-9
    assert 0.35 < audit.towards_ap <= 0.45 + 1e-9
    assert (audit.clipped, audit.shorted, audit.faults) == (0, 0, [])


def test_no_cell_sees_the_levels_of_two_patterns_that_follow_each_other():
    """Reads at a high voltage and weak pulses, by turns: row and column of two of them would be 0.8 V apart."""
    on = on_arc_two(array(1, **STILL))
    two = tuple(np.repeat(i, 2) for i in ONE)
    bias = Bias(np.zeros((2, 4)), np.array([[0.0, -0.3, 0.0]] * 2), pulsed=np.array([2, 2]))
    on.board.pulse(Pulse(bias, 1e-6, read(on.board, *two, 0.5)))
    audit = on.fake.channels.audit
    assert (audit.towards_p, audit.towards_ap) == pytest.approx((0.5, 0.0), abs=1e-3)


def test_limits_are_judged_again_by_the_board_as_it_applies_them():
    on = on_arc_two(array())
    on.board.keep_within(WIDE.model_copy(update={"v_towards_p": 0.3}))
    with pytest.raises(LimitError, match=r"cell voltage towards P as the board applies it: 0.4"):
        on.board.pulse(write(on.board, *ONE, np.array([True]), 0.5))
    assert on.fake.messages == 0


# -- messages and times


def test_patterns_travel_in_messages_that_the_library_sends_without_waiting():
    on = on_arc_two(array())
    on.board.off()
    before = on.fake.messages
    kernel = np.repeat([0, 1], 45)
    on.board.sense(read(on.board, kernel, kernel * 0, kernel * 0))
    assert on.fake.messages - before == 4
    with pytest.raises(BenchError, match=r"is 625 conversions of 0.00032 s; a message to the board has room for 468"):
        on.board.check(replace(read(on.board, *ONE), aperture=0.2))


@pytest.mark.parametrize("n", [1, 7, 60])
def test_the_predicted_time_is_that_of_the_clock(n):
    on = on_arc_two(array())
    cells = tuple(np.repeat(i, n) for i in ONE)
    sense = read(on.board, *cells)
    pulse = replace(write(on.board, *cells, np.ones(n, np.bool_)), verify=sense)
    on.board.off()
    for operation in (sense, pulse):
        begin = on.world.now
        on.board.perform(operation)
        assert on.world.now - begin == pytest.approx(on.board.check(operation), rel=0.25)


def test_noise_is_that_of_the_operation_that_is_sought():
    on = on_arc_two(array(), ideal=False)
    sense = read(on.board, *ONE)
    currents = []
    for operation in (3, 4, 3):
        on.library.seek(operation)
        currents.append(on.board.sense(sense).current[0, 0])
    assert currents[0] == currents[2] != currents[1]


def test_the_twin_of_a_bench_has_the_fake_and_tells_it_which_operation_comes():
    on = on_arc_two(array())
    bench = bench_of(on)
    readings = []
    for before in (0, 3):
        twin = Twin(bench, {(0, 0, 0): array()})
        board = ArcTwo("board", on.options, twin.connect("board", bench.body))
        for operation in (*range(before), 7):
            twin.seek((0, 0, 0), operation)
            reading = board.sense(read(board, *ONE)).current[0, 0]
        readings.append(reading)
        twin.close()
    assert readings[0] == readings[1]
    with pytest.raises(BenchError, match="board: no emulator that can be on a socket; use --sim bytes"):
        Twin(bench, {(0, 0, 0): array()}, sockets=True)
    with pytest.raises(BenchError, match=r"board is wired to kernels of shape \(2, 4, 3\); the die has \(1, 4, 3\)"):
        Twin(bench, {(0, 0, 0): array(1)})


def test_a_session_that_is_taken_anew_changes_no_reading_and_no_cell():
    readings, cells = [], []
    for anew in (False, True):
        die = array(1, disturb=True)
        on = on_arc_two(die, ideal=False)
        everywhere = all_cells(die)
        pulse = write(on.board, *everywhere, np.arange(12) % 2 == 0, 0.42)
        on.board.off()
        for operation in (1, 2):
            die.seek(operation)
            on.library.seek(operation)
            if anew:
                on.board.close()
            readings.append(on.board.pulse(replace(pulse, verify=read(on.board, *everywhere))).current)
        cells.append(states(die))
    assert np.array_equal(readings[:2], readings[2:])
    assert np.array_equal(*cells)


# -- rest, faults and dirty states


def at_rest(on):
    own = on.fake.channels
    return own.grounded.all() and (own.switch == Switch.OPEN).all() and not own.low.any() and not own.high.any()


def test_every_message_ends_with_all_channels_disconnected_at_zero_and_at_ground():
    on = on_arc_two(array())
    on.board.sense(read(on.board, *ONE))
    assert at_rest(on)
    on.board.pulse(write(on.board, *ONE, np.array([True])))
    assert at_rest(on)
    assert on.board.state() == {}


def test_connecting_takes_nothing_and_what_the_board_does_is_said_to_be_unknown():
    on = on_arc_two(array())
    assert on.board.connect() == "ArC Instruments,ArC TWO,,libarc2 0.6 (a fake of its calls)"
    assert (on.fake.sessions, on.fake.messages) == (0, 0)
    assert on.board.diagnosis()[0] == ["not taken: what its channels do is not known; taking it loads its firmware"]
    with pytest.raises(InstrumentError, match="not taken: whether it is off is not known"):
        on.board.verify_off()


@pytest.mark.parametrize("seed", range(5))
def test_a_board_that_another_program_left_driven_is_made_safe_when_it_is_taken(seed):
    on = on_arc_two(array())
    on.fake.leave(Random(seed))
    assert not at_rest(on)
    on.board.off()
    on.board.verify_off()
    assert at_rest(on)
    assert on.fake.channels.audit.shorted == 0


def test_a_line_that_stays_away_from_zero_is_named():
    on = on_arc_two(array())
    voltages = on.fake.channels.voltages

    def stuck(channels, seconds):
        volts = voltages(channels, seconds)
        volts[14] = 0.3
        return volts

    on.fake.channels.voltages = stuck
    for act in (on.board.off, lambda: on.board.sense(read(on.board, *ONE))):
        with pytest.raises(InstrumentError, match=r"NOT at rest when driven to 0 V: channel 14 at 0.3 V"):
            act()


CALLS = [call for call in fake.CALLS if call != "ground_all"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", [fake.ArC2Error("FPGA Error"), fake.PanicException("unwrap of an error")])
def test_an_error_of_any_call_is_named_and_the_session_is_given_up_with_what_it_had_listed(call, error):
    on = on_arc_two(array())
    pulse = replace(write(on.board, *ONE, np.array([True])), verify=replace(read(on.board, *ONE)))
    floating = np.zeros((1, 7), np.bool_)
    floating[0, 0] = True
    pulse = replace(pulse, bias=replace(pulse.bias, floating=floating))
    on.board.off()
    if call in ("vread_channels_deferred", "set_control_mode", "ground_all"):
        on.board.close()
    on.fake.fails[call] = error
    with pytest.raises(InstrumentError, match=rf"board: {call} failed: {type(error).__name__}"):
        on.board.pulse(pulse)
    assert on.fake.fails == {}
    sessions = on.fake.sessions
    on.board.idle()
    assert on.fake.sessions == sessions + 1
    assert at_rest(on)
    on.board.pulse(pulse)


@pytest.mark.parametrize("call", ["set_control_mode", "busy", "pick_one"])
def test_a_session_that_failed_is_closed_before_the_board_is_taken_anew(call):
    on = on_arc_two(array())
    on.fake.fails[call] = OSError("lost")
    with pytest.raises(InstrumentError, match=f"{call} failed") as caught:
        on.board.off()
    assert on.fake.handle() is None
    on.board.off()  # while the error is held
    assert on.fake.handle() is not None
    on.board.emergency_off()
    assert on.fake.sessions == 3
    on.board.close()
    assert on.fake.handle() is None
    assert caught.value.__cause__ is not None


def test_a_board_that_never_ends_is_lost_after_its_deadline_on_the_clock_that_was_handed_in():
    on = on_arc_two(array(), options={"deadline": 2.0})
    on.board.off()
    on.fake.hangs = True
    begin = on.world.now
    with pytest.raises(LinkTimeoutError, match=r"board: still busy after 2.0.* s, or gone"):
        on.board.sense(read(on.board, *ONE))
    assert on.world.now - begin == pytest.approx(2.0, abs=0.1)


def test_a_cable_that_is_pulled_is_an_error_and_the_board_cannot_be_made_safe_without_it():
    on = on_arc_two(array())
    on.board.off()
    on.fake.lost()
    with pytest.raises(InstrumentError, match="execute failed: ArC2Error: FPGA Error: USB device not found"):
        on.board.sense(read(on.board, *ONE))
    with pytest.raises(BenchError, match="board: there is no board 0; of this computer are none"):
        on.board.off()
    on.fake.present = True
    on.board.idle()
    assert at_rest(on)


def test_an_interruption_in_a_message_leaves_the_board_at_rest_and_idle_proves_it():
    on = on_arc_two(array())
    on.board.off()
    on.fake.fails["busy"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        on.board.sense(read(on.board, *ONE))
    assert at_rest(on)
    sessions = on.fake.sessions
    on.board.idle()
    assert on.fake.sessions == sessions + 1


# -- bad lines


def bad_lines(on, **bad):
    """Return the channels of the first kernel's bad lines, and the kernels of a bench file that has them."""
    kernels = [kernel.model_dump() for kernel in on.options.kernels]
    kernels[0] |= bad
    return {"kernels": kernels}


@pytest.mark.parametrize("scheme", list(Scheme))
def test_bad_lines_float_in_every_pattern_and_what_is_read_of_them_is_invalid(scheme):
    die = array(**STILL)
    bad = bad_lines(on_arc_two(die), bad_rows=[1], bad_cols=[2])
    on, seen = on_arc_two(die, options=bad), []
    channels, moved = on.fake.channels, on.fake.channels._moved
    lines = [on.options.kernels[0].rows[1], on.options.kernels[0].cols[2]]

    def watched():
        moved()
        if channels._driven:  # at rest all lines are at ground
            seen.append(((channels.switch[lines] != Switch.OPEN) | channels.grounded[lines]).any())

    channels._moved = watched
    cells = all_cells(die)
    to_p = np.ones(len(cells[0]), np.bool_)
    bias = write_bias(die.geometry, *cells, to_p, scheme=scheme).scaled(0.9)
    reading = on.board.pulse(Pulse(bias, 1e-3, read(on.board, *cells)))
    void = (cells[1] == 1) | (cells[2] == 2)
    assert np.array_equal(reading.flag[:, 0] == Flag.INVALID, void)
    assert seen
    assert not any(seen)
    written = states(die)[0][cells[1], cells[2]]
    assert written[~void].all()
    assert on.board.applied(bias).floating[:, [1, die.geometry.n_rows + 2]].all()


def test_a_whole_write_plan_ends_with_cells_on_bad_lines_tried_once():
    die = array(**STILL)
    on = on_arc_two(die, options=bad_lines(on_arc_two(die), bad_rows=[1], bad_cols=[2]))
    cells = all_cells(die)
    bias = write_bias(die.geometry, *cells, np.ones(len(cells[0]), np.bool_))
    cut = np.asarray(die.nominal.cut(cells[0]))
    n = len(cut)
    budget, ladder = np.full(n, 3), np.array([0.9, 0.9, 0.9])
    plan = WritePlan(bias, read(on.board, *cells), np.ones(n, np.bool_), cut, 0.1, ladder, budget, 1e-3)
    made = on.board.program(plan)
    void = (cells[1] == 1) | (cells[2] == 2)
    assert np.bincount(made.cell[void[made.cell]], minlength=n)[void].tolist() == [1] * int(void.sum())
    assert (made.flag[void[made.cell]] == Flag.INVALID).all()
    assert made.verified[~void].all()


# -- bench file and emergency


def bench_of(on, **body):
    return BoardBench.model_validate(
        {
            "name": "arc two",
            "body": {"driver": "arc_two", "unpinned": True, **on.options.model_dump(), **body},
            "limits": {
                "v_towards_p": 1.0,
                "v_towards_ap": 1.0,
                "width": 0.1,
                "compliance": 0.01,
                "ramp_rate": 1000.0,
            },
        }
    )


def test_a_bench_with_the_board_is_opened_used_and_left_at_rest():
    on = on_arc_two(array())
    with open_board(bench_of(on), connect=lambda name, entry: on.library) as opened:
        assert on.fake.sessions == 0
        die = opened.turn_to(on.board.nominal)
        assert die.sense(read(die, *ONE)).flag.tolist() == [[0]]
        with pytest.raises(LimitError):
            die.pulse(write(die, *ONE, np.array([True]), 1.2))
    assert at_rest(on)


def test_anybody_makes_the_board_safe_without_a_session():
    on = on_arc_two(array())
    on.fake.leave(Random(1))
    safed = make_safe(bench_of(on), connect=lambda name, entry: on.library, wait=lambda seconds: None)
    assert safed.text == "board: outputs verified off at 0 V"
    assert at_rest(on)
    on.fake.lost()
    with pytest.raises(InstrumentError, match="the bench is NOT verified safe: board: there is no board 0"):
        make_safe(bench_of(on, patience=0.0), connect=lambda name, entry: on.library, wait=lambda seconds: None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernels": [{"rows": [1, 2], "cols": [2, 3]}]}, "channel 2 is on two lines"),
        ({"kernels": [{"rows": [1], "cols": [2]}, {"rows": [3, 4], "cols": [5]}]}, "expected all of one shape"),
        ({"kernels": [{"rows": [64], "cols": [2]}]}, "less than or equal to 63"),
        ({"kernels": [{"rows": list(range(33)), "cols": [40]}]}, "at most 32"),
        ({"kernels": [{"rows": [1, 2], "cols": [3], "bad_rows": [2]}]}, "found row 2 as bad; expected one of 0 to 1"),
    ],
)
def test_channels_that_cannot_be_are_refused_in_the_bench_file(change, message):
    with pytest.raises(ValueError, match=message):
        bench_of(on_arc_two(array()), **change)


def test_without_the_library_the_driver_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarc2", None)
    board = ArcTwo("board", options_of(array()), Installed())
    with pytest.raises(BenchError, match=re.escape("pip install 'mtj-labctl[arctwo]'")):
        board.connect()


# -- the fake


def test_the_fake_refuses_calls_of_the_library_that_it_does_not_have():
    on = on_arc_two(array())
    module = on.library.module()
    arc = module.Instrument(0, "fw.bin")
    for name in ("read_slice", "read_all", "pulse_one", "generate_ramp", "wait"):
        with pytest.raises(fake.Unfaked, match=f"pyarc2.Instrument.{name} is not faked; faked are busy"):
            getattr(arc, name)
    with pytest.raises(fake.Unfaked, match=r"pyarc2\.IdleMode is not faked"):
        _ = module.IdleMode
    assert {name for name in dir(arc) if name[0] != "_"} == set(fake.CALLS)
