"""The driver of a Daffodil board on the emulated one: what it applies, reads, refuses, and how it is made safe."""

import json
from dataclasses import replace

import numpy as np
import pytest

from instruments.arc_two_options import Options as Wires
from instruments.arc_two_plan import Plan as ArcTwoPlan
from instruments.board_bench import BoardBench
from instruments.daffodil import Daffodil
from instruments.daffodil_events import Events
from instruments.daffodil_plan import Options, Plan
from instruments.emergency import make_safe
from instruments.open_board import BareBoard, BoardDie, open_board
from instruments.transport import BytesTransport
from labctl.boards.daffodil import patterns as packed
from labctl.core.bias import Bias, Nominal
from labctl.core.cell_voltage import extremes
from labctl.core.errors import BenchError, InstrumentError, LabError, LimitError, NotDriven
from labctl.core.limits import Limits
from labctl.core.operations import Attempts, Flag, Pulse, Sense, WritePlan
from labctl.core.write_loop import program_by_host
from labctl.testing import check_body
from sim_backend.emulators.link import Fault
from tests.board_figures import BOARDS, LIMITS, board_of, driven_at_random, with_noise, without_noise
from tests.small_chip import STILL, V_GATE, chip, on_board, read, set_states, write

WIDE = Limits(
    v_towards_p=2.0, v_towards_ap=2.0, width=1.0, compliance=1.0, v_gate=3.3, v_count=0.5, pulses_per_cell=10**9
)
ONE = (np.array([0]), np.array([2]), np.array([1]))


@pytest.mark.parametrize("ideal", [True, False])
def test_it_keeps_the_contract_of_bodies(ideal):
    def make(polarity):
        board = on_board(chip(polarity=polarity, **STILL), ideal=ideal).board
        return BoardDie(BareBoard(board, board.nominal), WIDE)

    check_body(make, v_write=0.9, v_gate=V_GATE)


# -- what is applied


def test_what_is_applied_is_in_steps_and_never_above_what_was_asked_for():
    on = on_board(chip())
    rng = np.random.default_rng(4)
    bias = Bias(rng.uniform(-0.7, 1.5, (300, 5)), rng.uniform(-0.7, 1.5, (300, 4)), rng.uniform(0, 3.2, (300, 5)))
    applied, step = on.board.applied(bias), on.options.step
    assert step == pytest.approx(5.0 / 4096)
    assert np.allclose(applied.row / step, np.rint(applied.row / step))
    for asked, got in ((bias.row, applied.row), (bias.col, applied.col), (bias.gate, applied.gate)):
        assert (np.abs(got) <= np.abs(asked) + 1e-12).all()
        assert (np.abs(got - asked) < step).all()
    assert (extremes(applied).positive <= extremes(bias).positive + 1e-12).all()


def test_rows_and_columns_are_exchanged_once():
    on = on_board(chip(1, 5, 4, **STILL))
    states = np.zeros((5, 4), np.bool_)
    states[4, 1] = True
    set_states(on.board, 0, states)
    assert np.array_equal(on.server.board.chip.truth()["state"][0], states)
    row, col = (index.ravel() for index in np.indices((5, 4)))
    reading = on.board.sense(read(on.board, np.zeros(20, np.int64), row, col))
    assert np.array_equal((reading.current[:, 0] / 0.1 > on.board.nominal.cut(0)).reshape(5, 4), states)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": 3.3}, "a gate at 3.3 V; .* from -0.0008 to 3.2988 V"),
        ({"row": 2.5}, "a line at 2.5 V; .* from -0.7996 to 2.4988 V"),
        ({"row": -0.81}, "a line at -0.81 V"),
        ({"col": 0.01}, "a column at 0.01 V while columns are read"),
    ],
)
def test_what_the_converters_do_not_reach_is_refused_before_anything_is_driven(change, message):
    on = on_board(chip())
    sense = read(on.board, *ONE)
    bias = sense.bias
    changed = {name: getattr(bias, name).copy() for name in ("row", "col", "gate")}
    for name, volts in change.items():
        changed[name][0, 2] = volts
    wrong = Sense(Bias(**changed), sense.cols)
    events = on.server.board.audit.events
    for act in (on.board.check, on.board.sense):
        with pytest.raises(BenchError, match=message):
            act(wrong)
    assert on.server.board.audit.events == events
    assert on.board.state() == {}


@pytest.mark.parametrize("width", [25e-9, 70e-9, 120e-9, 200e-9])
def test_a_width_that_whole_clocks_miss_is_refused_and_none_is_longer_than_asked(width):
    on = on_board(chip())
    with pytest.raises(BenchError, match="the board makes pulses of"):
        on.board.check(Pulse(write(on.board, *ONE, np.array([True])).bias, width))
    pace = on.options.pace
    for asked in np.geomspace(1e-6, 1e-2, 500):
        assert 0.95 * asked <= pace.clocks(asked) * pace.clock <= asked * (1 + 1e-9)


@pytest.mark.parametrize(("width", "clocks"), [(46.875e-9, 1), (1e-6, 21), (999e-6, 21312)])
def test_a_pulse_is_whole_clocks_wide(width, clocks):
    on = on_board(chip(), at_once=False)
    seen = []
    event = on.server.board._event
    on.server.board._event = lambda: (seen.append(on.server.board.read(4)), event())
    on.board.pulse(Pulse(write(on.board, *ONE, np.array([True])).bias, width))
    assert clocks in seen
    with pytest.raises(BenchError, match="the board makes pulses of"):
        on.board.check(Pulse(write(on.board, *ONE, np.array([True])).bias, 0.2 * 46.875e-9))


# -- what is read


def test_offsets_of_the_amplifiers_are_measured_behind_closed_gates_and_taken_off():
    die = chip(1, 5, 4, **STILL)
    set_states(die, 0, np.ones((5, 4), np.bool_))
    on = on_board(die, ideal=False)
    row, col = (index.ravel() for index in np.indices((5, 4)))
    reading = on.board.sense(read(on.board, np.zeros(20, np.int64), row, col))
    offsets = on.server.board.analog.offset[:4]
    assert np.abs(offsets).max() > 1.5 * 5.0 / 4096, "no offset that matters: the test shows nothing"
    lsb = 5.0 / 4096 / on.options.pots[1][0]
    assert np.abs(reading.current[:, 0] - 0.0988 * die.nominal.g_p(0)).max() < 3 * lsb


def test_feedback_is_that_of_the_calibration_of_each_column():
    points = [(50.0 + 10 * i, 90e3 + 1e3 * i) for i in range(25)]
    on = on_board(chip(1, 5, 4, **STILL), options={"potentiometers": points, "feedback": 3e3})
    codes, ohm = on.options.pots
    expected = [a + (b - a) * code / 255 for (a, b), code in zip(points, codes, strict=True)]
    assert ohm.tolist() == pytest.approx(expected)
    assert [on.server.board.read_pot(i // 4, i % 4) for i in range(25)] == [11] * 25
    reading = on.board.sense(read(on.board, *ONE))
    assert [on.server.board.read_pot(i // 4, i % 4) for i in range(25)] == list(codes)
    truth = on.server.board.chip.truth()
    volts = 81 * on.options.step
    g = on.board.nominal.g_p(0) if truth["state"][0, 2, 1] else on.board.nominal.g_ap(0)
    assert reading.current[0, 0] == pytest.approx(volts * g, abs=0.51 * 5.0 / 4096 / ohm[1])


def test_codes_at_the_rails_are_flagged_and_not_taken_for_currents():
    on = on_board(chip(1, 5, 4, **STILL), options={"feedback": 20e3})
    set_states(on.board, 0, np.ones((5, 4), np.bool_))
    flags = [int(on.board.sense(read(on.board, *ONE, volts)).flag[0, 0]) for volts in (0.1, -0.1, 0.7, -0.7)]
    assert flags == [0, 0, Flag.OVERRANGE | Flag.COMPLIANCE, Flag.COMPLIANCE]


def test_a_current_above_the_compliance_is_flagged():
    on = on_board(chip(1, 5, 4, **STILL))
    sense = read(on.board, *ONE)
    tight = Sense(Bias(**{k: getattr(sense.bias, k) for k in ("row", "col", "gate")}, compliance=1e-6), sense.cols)
    assert on.board.sense(tight).flag.tolist() == [[Flag.COMPLIANCE]]


def test_bad_lines_are_never_connected_and_what_is_read_of_them_is_invalid():
    on = on_board(chip(1, 5, 4, **STILL), options={"bad_rows": [2], "bad_cols": [3]}, at_once=False)
    row, col = (index.ravel() for index in np.indices((5, 4)))
    kernel = np.zeros(20, np.int64)
    seen = []
    event = on.server.board._event
    on.server.board._event = lambda: (seen.append(on.server.board.data), event())
    on.board.pulse(write(on.board, kernel, row, col, np.ones(20, np.bool_)))
    reading = on.board.sense(read(on.board, kernel, row, col))
    assert np.array_equal(reading.flag[:, 0] == Flag.INVALID, (col == 3) | (row == 2))
    assert not any(data >> (46 + 2) & 1 or data >> (71 + 3) & 1 for data in seen)
    states = on.server.board.chip.truth()["state"][0]
    assert states[np.ix_([0, 1, 3, 4], [0, 1, 2])].all()


def test_a_column_that_is_far_from_its_reference_is_named():
    on = on_board(chip(1, 5, 4))
    on.server.board.analog.offset[2] = -0.5
    with pytest.raises(InstrumentError, match=r"column 2 reads code 1638 behind closed gates"):
        on.board.sense(read(on.board, *ONE))
    on.board.idle()
    assert on.board.state() == {}


def test_without_noise_the_codes_are_those_of_the_chip_behind_the_same_converters():
    assert_consistent(without_noise(4_000), 4_000)


@pytest.mark.slow
def test_without_noise_a_hundred_thousand_codes_are_those_of_the_chip_behind_the_same_converters():
    assert_consistent(without_noise(100_000), 100_000)


def assert_consistent(consistency, readings):
    print(consistency)
    assert consistency.readings >= readings
    assert consistency.apart < 2
    assert consistency.edge < 1e-6


@pytest.mark.slow
def test_with_noise_means_and_variances_are_those_of_the_chip_behind_the_same_converters():
    readings, mean, ratio, least = with_noise(100_000)
    print(f"{readings} readings, mean difference {mean:.4f} codes, variances {ratio - 1:+.3%} apart")
    assert least > 0.5, "no noise: the test shows nothing"
    assert abs(mean) < 0.02
    assert abs(ratio - 1) < 0.02


# -- limits, in every mode


@pytest.mark.parametrize("which", BOARDS)
def test_no_cell_and_no_gate_sees_more_than_the_limits_in_any_mode_transients_included(which):
    driven = driven_at_random(board_of(which), 600)
    assert driven.within, driven
    assert min(driven.done.values()) >= 150
    assert sum(driven.refused.values()) > 30
    assert driven.towards_p > 0.4
    assert driven.towards_ap > 0.4
    assert driven.gate > 2.4


@pytest.mark.slow
def test_ten_thousand_random_biases_stay_within_the_limits():
    driven = driven_at_random(board_of("all lines good"), 10_000)
    print(driven)
    assert driven.within, driven
    assert driven.towards_p > 0.58
    assert driven.towards_ap > 0.48


def test_without_rest_between_patterns_a_cell_would_see_more(monkeypatch):
    monkeypatch.setattr(Events, "rested", lambda self: self)
    assert not driven_at_random(board_of("all lines good"), 400).within


@pytest.mark.parametrize("polarity", [1, -1])
def test_the_board_refuses_what_passes_no_limits_above_it(polarity):
    """A driver that is asked past the limits of the bench: the board has them, and nothing is driven."""
    on = on_board(chip(polarity=polarity))
    on.board.keep_within(LIMITS.model_copy(update={"v_gate": V_GATE}))
    yes = np.array([True])
    on.board.perform(write(on.board, *ONE, yes, 0.5))
    chip_pulses, perform = [], on.server.board.chip.perform
    on.server.board.chip.perform = lambda op: (
        (chip_pulses.append(op), perform(op))[1] if isinstance(op, Pulse) else perform(op)
    )
    refused = [
        write(on.board, *ONE, yes, 0.55),  # other columns float: they may be anywhere
        Pulse(Bias(np.full((1, 5), 0.61 * polarity), np.zeros((1, 4)), np.full((1, 5), 2.0)), 1e-3),
        Pulse(Bias(np.full((1, 5), -0.51 * polarity), np.zeros((1, 4)), np.full((1, 5), 2.0)), 1e-3),
        Pulse(Bias(np.full((1, 5), 0.1), np.zeros((1, 4)), np.full((1, 5), 3.295)), 1e-3),
    ]
    for operation in refused:
        with pytest.raises(BenchError, match=r"refused: |pattern 0: "):
            on.board.perform(operation)
        on.board.idle()
    assert chip_pulses == []


def test_a_cell_on_a_bad_line_is_judged_as_on_one_that_floats():
    on = on_board(chip(), options={"bad_cols": [3]})
    die = BoardDie(BareBoard(on.board, on.board.nominal), LIMITS)
    row = np.array([[0.4, -0.4, 0.0, 0.0, 0.0]])
    sense = Sense(Bias(row, np.zeros((1, 4)), np.full((1, 5), 2.0)), np.array([0]))
    die.perform(sense)
    on.board.keep_within(LIMITS)
    with pytest.raises(LimitError, match=r"on a bad line: 0\.8 V"):
        die.perform(sense)
    on.board.idle()


def test_limits_are_judged_on_a_die_of_the_other_polarity_by_what_it_is_written_to():
    on = on_board(chip(polarity=-1))
    die = BoardDie(BareBoard(on.board, on.board.nominal), LIMITS)
    with pytest.raises(LimitError, match="towards AP"):
        die.perform(write(die, *ONE, np.array([False]), 0.55))
    die.perform(Pulse(write(die, *ONE, np.array([True]), 0.55).bias.take(slice(0)), 1e-3))


# -- the conversation


def test_no_message_per_pattern():
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    before = on.world.ledger.messages
    on.board.sense(read(on.board, *(np.repeat(i, 500) for i in ONE)))
    assert on.world.ledger.messages - before <= 4


def test_the_predicted_time_is_that_of_the_board():
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    pulse = write(on.board, *(np.tile(i, 40) for i in ONE), np.arange(40) % 2 == 0)
    verified = Pulse(pulse.bias, pulse.width, read(on.board, *(np.tile(i, 40) for i in ONE)))
    for operation in (pulse, verified, verified.verify):
        start = on.world.now
        on.board.perform(operation)
        assert on.board.check(operation) == pytest.approx(on.world.now - start, rel=0.25)


@pytest.mark.parametrize("kind", ["reads", "pulses with reads", "a write plan"])
def test_events_and_bytes_of_an_operation_are_predicted(kind):
    """The plan is one whose cells all verify at their first pulse, as prediction has it."""
    on = on_board(chip(2, 5, 4, ideal=kind == "a write plan"))
    on.board.sense(read(on.board, *ONE))
    rng = np.random.default_rng(4)
    if kind == "a write plan":
        cells = tuple(index.ravel() for index in np.indices((2, 5, 4)))
        operation = plan_of(on.board, cells, np.ones(40, np.bool_), ladder=(0.9, 1.0), budget=np.full(40, 2))
    else:
        cells = [rng.integers(top, size=1200) for top in (2, 5, 4)]
        cells[0].sort()
        operation = read(on.board, *cells)
        if kind == "pulses with reads":
            operation = replace(write(on.board, *cells, rng.random(1200) < 0.5), verify=operation)
    sent, execute, before = [], on.server.execute, on.server.board.audit.events

    def heard(message):
        sent.append(message)
        sent.append(execute(message))
        return sent[-1]

    on.server.execute = heard
    (events, link), start = on.board.traffic(operation), on.world.now
    done = on.board.perform(operation)
    assert events == pytest.approx(on.server.board.audit.events - before, abs=3)  # a rest behind every message
    assert events >= len(operation)
    assert link == pytest.approx(sum(map(len, sent)), rel=0.3)
    if kind == "a write plan":
        assert done.verified.all()
        assert on.board.scripts.expected(operation) == pytest.approx(on.world.now - start, rel=0.25)


def test_a_server_of_another_version_is_refused_and_made_safe_all_the_same(monkeypatch):
    on = on_board(chip())
    monkeypatch.setattr(packed, "VERSION", packed.VERSION + 1)
    answer = on.server.service.answer_to
    on.server.service.answer_to = lambda line: (
        answer(line).replace(f",{packed.VERSION}", ",2") if line == "*IDN?" else answer(line)
    )
    with pytest.raises(BenchError, match="the server on the board has version 2, this suite 4"):
        on.board.connect()
    on.server.board.write_dac(2, 3, "raw", 3000)
    assert {name: state.forced for name, state in on.board.emergency_off().items()} == {"row3": "1.16211 V"}
    assert on.board.state() == {}


def test_connecting_only_reads():
    on = on_board(chip())
    on.server.board.write_dac(4, 1, "raw", 3500)
    words, dac, events = dict(on.server.board.words), dict(on.server.board.out), on.server.board.audit.events
    assert on.board.connect() == "mtj-labctl,daffodil,70001,3"
    assert set(on.board.state()) == {"gate1"}
    on.board.diagnosis()
    assert (words, dac, events) == (on.server.board.words, on.server.board.out, on.server.board.audit.events)
    with pytest.raises(InstrumentError, match="gate1 are NOT at rest"):
        on.board.verify_off()


def test_a_lease_that_was_lost_between_two_operations_is_taken_again_and_nothing_is_done_twice():
    on = on_board(chip())
    on.board.pulse(write(on.board, *ONE, np.array([True])))
    on.world.advance(11.0)
    pulses = []
    perform = on.server.board.chip.perform
    on.server.board.chip.perform = lambda operation: (pulses.append(type(operation)), perform(operation))[1]
    on.board.pulse(write(on.board, *ONE, np.array([False])))
    assert pulses.count(Pulse) == 1
    assert on.board.diagnosis()[0][1] == "made itself safe 1 times because its client fell silent"


def test_a_board_that_somebody_made_safe_within_an_operation_is_not_driven_on():
    """An operation of many batches, and a SAFE of another connection between two of them."""
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    handle, batches, events = on.server.service.answer_to, [], []

    def handled(line):
        answer = handle(line)
        if line.startswith("RUN"):
            batches.append(line)
            if len(batches) == 1:
                handle("SAFE")
                events.append(on.server.board.audit.reads)
        return answer

    on.server.service.answer_to = handled
    with pytest.raises(NotDriven, match="board: somebody had the board made safe while it was yours"):
        on.board.sense(read(on.board, *(np.repeat(i, 3000) for i in ONE)))
    assert [on.server.board.audit.reads] == events
    on.board.idle()
    on.board.sense(read(on.board, *ONE))


def test_a_board_whose_setting_up_failed_is_set_up_before_anything_else():
    on = on_board(chip())
    on.server.board.analog.offset[2] = 0.5
    for _ in range(2):
        with pytest.raises(InstrumentError, match="column 2 reads code 2458 behind closed gates"):
            on.board.sense(read(on.board, *ONE))
    on.server.board.analog.offset[2] = 0.0
    on.board.sense(read(on.board, *ONE))


@pytest.mark.parametrize("ground", [1.6, 1.7, 1.7005])
def test_gates_at_the_limit_of_the_bench_are_not_refused_by_the_board_and_a_code_above_is(ground):
    for volts in np.arange(1.0, 3.25, 0.11):
        on = on_board(chip(), options={"ground": ground})
        on.board.keep_within(WIDE.model_copy(update={"v_gate": float(volts)}))
        sense = read(on.board, *ONE)
        bias = sense.bias

        def gated(by, bias=bias, sense=sense):
            gate = np.where(bias.gate > 0, by, 0.0)
            return Sense(Bias(bias.row, bias.col, gate, kernel=bias.kernel), sense.cols)

        on.board.sense(gated(volts))
        assert volts - on.options.step < on.server.board.audit.gate <= volts + 1e-9
        with pytest.raises(BenchError, match="a gate has a code beyond"):
            on.board.sense(gated(volts + on.options.step))


def test_another_client_cannot_have_the_board_and_anybody_can_make_it_safe():
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    other = on.another()
    assert other.diagnosis()[1] == ["client 'labctl board' has the board"]
    with pytest.raises(LabError, match="client 'labctl board' has the board"):
        other.sense(read(other, *ONE))
    other.off()
    other.verify_off()
    on.board.close()
    other.sense(read(other, *ONE))


@pytest.mark.parametrize("when", [1, 5, 20])
def test_an_operation_that_breaks_off_leaves_a_board_that_idles(when):
    on = on_board(chip(), at_once=False)
    on.board.sense(read(on.board, *ONE))
    wait, calls = on.server.board.wait, []

    def interrupt(seconds):
        calls.append(seconds)
        if len(calls) == when:
            raise KeyboardInterrupt
        wait(seconds)

    on.server.board.wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        on.board.sense(read(on.board, *(np.repeat(i, 50) for i in ONE)))
    on.board.idle()
    assert on.board.state() == {}
    on.board.sense(read(on.board, *ONE))


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.MUTE, Fault.LATE, Fault.DROP, Fault.BUSY])
def test_a_batch_whose_link_fails_is_not_sent_again_and_the_board_is_made_safe(fault):
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    pulses = []
    perform = on.server.board.chip.perform
    on.server.board.chip.perform = lambda operation: (pulses.append(type(operation)), perform(operation))[1]
    on.server.fault = lambda line: fault if b" RUN " in line else Fault.NONE
    with pytest.raises(InstrumentError):
        on.board.pulse(write(on.board, *ONE, np.array([True])))
    on.server.fault = lambda line: Fault.NONE
    on.board.idle()
    assert pulses.count(Pulse) == (0 if fault in (Fault.DEAF, Fault.BUSY) else 1)
    assert on.board.state() == {}
    on.board.sense(read(on.board, *ONE))


def test_what_the_server_answers_wrong_is_an_error_of_the_instrument():
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    answer = on.server.service.answer_to
    for wrong in ("CODES " + packed.pack(b"\0\0"), "CODES x", "CODES", "", "ERROR fault: smoke"):
        on.server.service.answer_to = lambda line, wrong=wrong: wrong if line.startswith("RUN") else answer(line)
        with pytest.raises(InstrumentError):
            on.board.sense(read(on.board, *ONE))
        on.server.service.answer_to = answer
        on.board.idle()


def test_an_answer_to_an_older_message_is_none():
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    answer, answers = on.server.service.handle, []

    def repeated(line):
        answers.append(answer(line))
        return answers[-1 if len(answers) == 1 else -2]

    on.server.service.handle = repeated
    on.board.sense(read(on.board, *ONE))
    words = r"board: 'RUN' was answered by '#\d+ CODES [^']*'; expected an answer to message #\d+\. "
    with pytest.raises(InstrumentError, match=words):
        on.board.sense(read(on.board, *ONE))


def test_a_server_that_was_changed_for_an_older_one_is_told_by_its_version():
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    answer = on.server.service.handle
    on.server.service.handle = lambda line: (
        f"ERROR syntax: '{line.split()[0]}' is not known"
        if line.startswith("#")
        else answer(line).replace(f",{packed.VERSION}", ",2")
    )
    with pytest.raises(BenchError, match="the server on the board has version 2, this suite 3"):
        on.board.sense(read(on.board, *ONE))


def test_a_server_that_was_changed_for_an_older_one_is_made_safe_all_the_same():
    on = on_board(chip())
    on.board.sense(read(on.board, *ONE))
    on.server.board.write_dac(2, 3, "raw", 3000)
    answer = on.server.service.handle
    on.server.service.handle = lambda line: (
        f"ERROR syntax: '{line.split()[0]}' is not known"
        if line.startswith("#")
        else answer(line).replace(f",{packed.VERSION}", ",2")
    )
    on.board._client.safe()
    on.server.service.handle = answer
    assert on.board.state() == {}


def test_every_command_as_it_is_sent():
    """The transcript: what the driver says from identity to the end of a session, and what it understands."""
    on = on_board(chip(1, 2, 2, **STILL), options={"offset_reads": 1})
    sent = []
    answer = on.server.service.answer_to

    def recorded(line):
        sent.append(line.split(" ")[0:1] + line.split(" ")[2 if line[:3] in ("SET", "RUN") else 1 :])
        return answer(line)

    on.server.service.answer_to = recorded
    on.board.connect()
    on.board.sense(read(on.board, np.array([0]), np.array([1]), np.array([0])))
    on.board.off()
    on.board.verify_off()
    on.board.close()
    verbs = [words[0] for words in sent]
    assert verbs == ["*IDN?", "TAKE", "SET", "RUN", "RUN", "SAFE", "STATE?"]
    assert json.loads(" ".join(sent[1][1:])) == {"version": 3, "client": "labctl board", "lease": 10.0}
    settings = json.loads(" ".join(sent[2][1:]))
    assert settings == {
        **{"reference": 2048, "closed": 1392, "lowest": 1393, "up": 2702, "down": 2702, "top_gate": 4095},
        **{
            "m": 4094,
            "c": 0,
            "clock": 46.875e-9,
            "settle": 20e-6,
            "rest_clocks": 427,
            "columns": 3,
            "rows": 3,
            "pots": [5] * 25,
            "swapped": False,
        },
    }
    (pattern,) = packed.patterns_of(sent[4][1])
    codes = packed.split(pattern.codes)
    assert (pattern.kernel, pattern.mode, pattern.column_on, pattern.row_on, pattern.read) == (0, packed.READ, 3, 3, 1)
    assert [list(part[:3]) for part in codes] == [
        [2048, 2129, packed.KEEP],
        [packed.KEEP] * 3,
        [1392, 4087, packed.KEEP],
    ]


# -- the bench


def bench(**body):
    return BoardBench.model_validate(
        {
            "name": "board",
            "body": {"driver": "daffodil", "resource": "TCPIP::192.0.2.60::5025::SOCKET", **body},
            "limits": {
                "v_towards_p": 1.2,
                "v_towards_ap": 1.2,
                "width": 1e-2,
                "compliance": 5e-3,
                "ramp_rate": 1e3,
                "v_gate": 3.3,
            },
        }
    )


def test_it_is_planned_without_a_connection():
    die = chip()
    plan = Plan(Options(kernels=2, n_rows=5, n_cols=4), die.nominal, 1)
    assert plan.check(read(die, *ONE)) > 0
    with pytest.raises(InstrumentError, match="not connected"):
        plan.sense(read(die, *ONE))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reference": 1.6}, "reference"),
        ({"potentiometers": [(50.0, 9e4)] * 24}, "potentiometers of 24 columns; expected 25"),
        ({"potentiometers": [(9e4, 50.0)] * 25}, "does not rise"),
        ({"potentiometer_codes": (7, 7)}, "7 twice"),
        ({"amplifier_high": 2.4}, "not between amplifier_low"),
        ({"bad_rows": [25]}, "bad_rows"),
        ({"refrence": 2.5}, "refrence"),
        ({"kernels": 33}, "kernels"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        bench(**options)


def test_the_bench_of_a_board_is_opened_refused_when_live_and_made_safe():
    on = on_board(chip())

    def connect(name, entry):
        return BytesTransport(on.server.session(), name, probe=entry.declaration.probe)

    with open_board(bench(kernels=2, n_rows=5, n_cols=4), connect=connect) as opened:
        assert opened.identities == {"board": "mtj-labctl,daffodil,70001,3"}
        die = opened.turn_to(on.board.nominal)
        assert die.sense(read(die, *ONE)).flag.tolist() == [[0]]
    on.server.board.write_dac(2, 3, "raw", 3000)
    with pytest.raises(BenchError, match=r"board\.row3 is on at 1\.16211 V"):
        open_board(bench(), connect=connect)
    assert make_safe(bench(), connect=connect).met == {"board.row3": "on at 1.16211 V"}
    assert make_safe(bench(), connect=connect).met == {}


def test_the_driver_alone_needs_a_board_of_this_server():
    class Other:
        def handle(self, data):
            return b"ACME,SMU-7,1,1\n"

    with pytest.raises(BenchError, match="the server of a Daffodil board was expected"):
        Daffodil("board", Options(), BytesTransport(Other(), "other")).connect()


# -- write plans on the board


def plan_of(die, cells, target, *, ladder, budget, volts=0.1):
    kernel, row, col = cells
    bias = write(die, kernel, row, col, target, 1.0).bias
    return WritePlan(
        write=bias,
        verify=read(die, kernel, row, col, volts),
        target=target,
        cut=np.asarray(die.nominal.cut(kernel)),
        v_read=volts,
        ladder=np.asarray(ladder),
        budget=budget,
        width=1e-3,
    )


def some_plan(die, seed, ladder=(0.4, 0.5, 0.55, 0.6, 0.6, 0.8)):
    rng = np.random.default_rng(seed)
    kernel, row, col = (index.ravel() for index in np.indices(die.geometry.shape))
    order = rng.permutation(len(kernel))
    cells = tuple(index[order] for index in (kernel, row, col))
    return plan_of(die, cells, rng.random(len(order)) < 0.5, ladder=ladder, budget=rng.integers(0, 7, len(order)))


def inside(on, limits=WIDE):
    """Return the die of a board that carries out write plans by itself, behind limits."""
    return BoardDie(BareBoard(on.board, on.board.nominal), limits, inside=True)


def test_a_write_plan_on_the_board_has_the_attempts_of_the_host_loop():
    """On chips without chance: the same attempts in the same order of rounds, and the same cells."""
    on, alone = on_board(chip(2, 5, 4, ideal=True)), on_board(chip(2, 5, 4, ideal=True))
    plan = some_plan(on.board, 6)
    messages = on.world.ledger.messages
    here = inside(on).program(plan)
    assert on.world.ledger.messages - messages <= 8, "more than one message per kernel"
    there = program_by_host(alone.board, plan)
    order = np.lexsort((there.cell, there.attempt))
    for name in ("cell", "attempt", "voltage", "flag", "pulse_flag"):
        assert np.array_equal(getattr(here, name), getattr(there, name)[order]), name
    assert np.allclose(here.current, there.current[order], atol=1.3 * 5.0 / 4096 / on.options.pots[1][0])
    assert np.array_equal(here.verified, there.verified)
    assert np.array_equal(here.short, there.short)
    truth = [board.server.board.chip.truth()["state"] for board in (on, alone)]
    assert np.array_equal(*truth)
    assert 0 < here.verified.sum() < len(plan)
    assert on.board.state() == {}


def test_a_plan_is_charged_as_its_pulses_were_given_and_at_the_most_when_it_breaks_off():
    on = on_board(chip(2, 5, 4, ideal=True))
    die = inside(on, WIDE.model_copy(update={"v_count": 0.3}))
    plan = some_plan(on.board, 7)
    attempts = die.program(plan)
    assert die.counts.sum() >= len(attempts.cell)
    host = BoardDie(BareBoard(on_board(chip(2, 5, 4, ideal=True)).board, on.board.nominal), die.limits)
    program_by_host(host, plan)
    assert np.array_equal(die.counts, host.counts)
    before = die.counts.copy()
    on.server.service.answer_to = lambda line: "ERROR fault: smoke"
    with pytest.raises(InstrumentError, match="smoke"):
        die.program(plan)
    assert (die.counts - before).sum() == die._pulses(plan, Attempts.at_most(plan)).sum()


def test_a_plan_that_could_give_a_cell_more_pulses_than_it_may_have_is_refused():
    on = on_board(chip(1, 5, 4, ideal=True))
    tight = WIDE.model_copy(update={"v_count": 0.3, "pulses_per_cell": 3})
    plan = plan_of(on.board, ONE, np.array([True]), ladder=[0.9] * 6, budget=np.array([6]))
    messages = on.world.ledger.messages
    with pytest.raises(LimitError, match="pulses on one cell"):
        inside(on, tight).program(plan)
    assert on.world.ledger.messages == messages
    host = BoardDie(BareBoard(on.board, on.board.nominal), tight)
    assert host.program(plan).verified.all(), "the host stops at the first pulse that suffices"
    assert host.counts.max() == 1


def test_a_board_that_writes_no_plans_is_not_asked_to():
    plain = ArcTwoPlan(Wires(firmware="x", kernels=[{"rows": [0], "cols": [1]}]), Nominal.alike(2e-4, 1e-4, 1), 1)
    with pytest.raises(BenchError, match="this board carries out no write plans by itself; leave it at host"):
        BoardDie(BareBoard(plain, plain.nominal), WIDE, inside=True)


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"cell": [0], "attempt": [1], "code": [2000], "good": [1, 1], "aborted": []},
        {"cell": [7], "attempt": [1], "code": [2000], "good": [1], "aborted": []},
        {"cell": ["a"], "attempt": [1], "code": [2000], "good": [1], "aborted": []},
        {"cell": [], "attempt": [], "code": [], "good": [], "aborted": ["after 0 attempts"]},
        {"cell": [0], "attempt": [0], "code": [2000], "good": [1], "aborted": []},
        {"cell": [0], "attempt": [2], "code": [2000], "good": [1], "aborted": []},
        {"cell": [0, 0], "attempt": [1, 2], "code": [2000, 2000], "good": [1, 1], "aborted": []},
        {"cell": [0, 0], "attempt": [1, 1], "code": [2000, 2000], "good": [1, 1], "aborted": []},
        {"cell": [0], "attempt": [1], "code": [4096], "good": [1], "aborted": []},
    ],
)
def test_attempts_that_do_not_fit_their_plan_are_errors_of_the_instrument(reply):
    on = on_board(chip(1, 5, 4, ideal=True))
    answer = on.server.service.answer_to
    on.server.service.answer_to = lambda line: f"ATTEMPTS {json.dumps(reply)}" if line[:5] == "WRITE" else answer(line)
    with pytest.raises(InstrumentError, match="plan"):
        on.board.perform(plan_of(on.board, ONE, np.array([True]), ladder=[0.9], budget=np.array([1])))


def test_a_plan_on_the_board_stays_within_the_limits_transients_included():
    on = on_board(chip(2, 5, 4, **STILL))
    limits = WIDE.model_copy(update={"v_towards_p": 0.61, "v_towards_ap": 0.61})
    die = inside(on, limits)
    for seed in range(3):
        for volts in (0.1, 0.3):
            plan = some_plan(on.board, seed, ladder=(0.4, 0.61))
            die.program(replace(plan, verify=read(on.board, *cells_of(plan), volts), v_read=volts))
    audit = on.server.board.audit
    assert 0.58 < audit.towards_p <= 0.61
    assert 0.58 < audit.towards_ap <= 0.61


def cells_of(plan):
    return plan.write.kernel, plan.write.gate.argmax(axis=1), plan.verify.cols[:, 0]
