"""A journal is gone through again: answered to the bit, refused if it is another's, and never a pulse too many."""

import numpy as np
import pytest

from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.die_state import State
from labctl.core.errors import ContactError, InstrumentError, LimitError, LinkTimeoutError, StorageError
from labctl.core.events import StageEnded, StageStarted
from labctl.core.exit_codes import Status
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Flag, Pulse, Reading, Sense, WritePlan
from labctl.core.outcome import Stopped, ending
from labctl.core.procedure import Procedure
from labctl.core.rebuild import Rebuild
from labctl.core.record import History
from labctl.execution.journal_die import JournalDie
from labctl.execution.nominal_die import NominalDie
from labctl.execution.recorded_die import RecordedDie
from labctl.execution.replay import Mismatch, Replay
from labctl.execution.run_loop import run
from labctl.execution.stop import Stop
from labctl.storage.journal import Journal
from protocols.by_hand import CellPulse, CellReading, PulseCell, ReadCell

GEOMETRY, NOMINAL = Geometry(2, 2, 3), Nominal.alike(4e-4, 2e-4, 2)
LIMITS = Limits(v_towards_p=0.6, v_towards_ap=0.6, width=1e-3, compliance=1e-2, v_count=0.35, pulses_per_cell=50)


class Counting(NominalDie):
    """A nominal die that counts what is done to it, and may die with its process at some operation."""

    def __init__(self) -> None:
        super().__init__(GEOMETRY, NOMINAL, timing=lambda operation: 1e-3)
        self.done: list[str] = []
        self.dies_at = ""

    def _sense(self, sense: Sense) -> Reading:
        self._note("sense")
        return super()._sense(sense)

    def _pulse(self, pulse: Pulse) -> Reading:
        self._note("pulse")
        return super()._pulse(pulse)

    def _note(self, what: str) -> None:
        self.done.append(what)
        if what == self.dies_at:
            raise Died


class Died(BaseException):
    """The process is gone."""


def bias(n: int, volts: float) -> Bias:
    return Bias(np.full((n, 2), volts), np.zeros((n, 3)), kernel=np.arange(n) % 2)


def pulses(n: int, volts: float = 0.5, *, verified: bool = True) -> Pulse:
    return Pulse(bias(n, volts), 1e-3, Sense(bias(n, 0.1), np.array([0, 2])) if verified else None)


def first(folder, act, dies_at=""):
    """Let `act` work on a new die and journal; return the die, which may have been left in the middle."""
    die = Counting()
    die.dies_at = dies_at
    journal = Journal.create(folder, {"die": "D1"})
    try:
        act(RecordedDie(Limited(die, LIMITS), Replay(journal), "one"))
    except Died:
        pass
    finally:
        journal.close()
    die.dies_at, die.done = "", []
    return die


def again(folder, act, die, rebuild=Rebuild.NOTHING, stage="one"):
    """Let `act` go through the journal again; return what it returns, and the limits."""
    limited = Limited(die, LIMITS)
    with Journal.open(folder, readonly=False) as journal:
        return act(RecordedDie(limited, Replay.of(journal, rebuild), stage)), limited


def test_a_real_die_is_not_touched_for_what_the_journal_tells_and_its_pulses_count(tmp_path):
    folder = tmp_path / "D1"
    readings = []
    die = first(folder, lambda d: readings.append(d.pulse(pulses(3))))
    reading, limited = again(folder, lambda d: d.pulse(pulses(3)), die)
    assert die.done == []
    assert reading.current.tobytes() == readings[0].current.tobytes()
    assert reading.flag.tobytes() == readings[0].flag.tobytes()
    assert limited.counts[0].tolist() == [[2] * 3] * 2
    assert limited.counts[1].tolist() == [[1] * 3] * 2


def test_it_goes_live_after_the_last_row_and_the_next_time_that_is_told_as_well(tmp_path):
    folder = tmp_path / "D1"
    die = first(folder, lambda d: d.sense(Sense(bias(2, 0.1), np.arange(3))))

    def act(d):
        d.sense(Sense(bias(2, 0.1), np.arange(3)))
        return d.sense(Sense(bias(4, 0.2), np.arange(3)))

    live, _ = again(folder, act, die)
    assert die.done == ["sense"]
    replayed, _ = again(folder, act, die)
    assert die.done == ["sense"]
    assert replayed.current.tobytes() == live.current.tobytes()


def test_an_operation_of_which_the_journal_has_some_patterns_goes_on_with_the_others(tmp_path):
    folder = tmp_path / "D1"
    die = first(folder, lambda d: d.pulse(pulses(3)))
    reading, limited = again(folder, lambda d: d.pulse(pulses(8)), die)
    assert die.done == ["pulse", "pulse"]
    assert len(reading) == 8
    assert limited.counts.sum() == 8 * 6
    with Journal.open(folder) as journal:
        assert [len(op.intent["bias"]["row"]) for op in journal.operations()] == [3, 3, 2]


@pytest.mark.parametrize(
    "act",
    [
        lambda d: d.pulse(pulses(3, np.nextafter(0.5, 1.0))),
        lambda d: d.pulse(pulses(2)),
        lambda d: d.pulse(pulses(3, verified=False)),
        lambda d: d.sense(Sense(bias(3, 0.1), np.arange(3))),
    ],
)
def test_another_operation_is_refused_and_nothing_is_done(tmp_path, act):
    die = first(tmp_path / "D1", lambda d: d.pulse(pulses(3)))
    with pytest.raises(Mismatch, match="the journal tells of another operation: row 2 is a pulse of 3 patterns"):
        again(tmp_path / "D1", act, die)
    assert die.done == []


def test_the_same_voltages_laid_out_otherwise_are_the_same_operation(tmp_path):
    once = Bias(np.broadcast_to(np.array([[0.5, 0.0]]), (3, 2)), np.zeros((3, 3)))
    other = Bias(np.array([[0.5, 0.0]] * 3), np.zeros((3, 3)), kernel=np.zeros(3, np.int64))
    die = first(tmp_path / "D1", lambda d: d.pulse(Pulse(once, 1e-3)))
    again(tmp_path / "D1", lambda d: d.pulse(Pulse(other, 1e-3)), die)
    assert die.done == []


def test_the_same_operation_in_another_stage_is_another_one(tmp_path):
    die = first(tmp_path / "D1", lambda d: d.pulse(pulses(3)))
    with pytest.raises(Mismatch, match="in stage 'one'"):
        again(tmp_path / "D1", lambda d: d.pulse(pulses(3)), die, stage="two")


def test_a_stage_that_ended_well_has_no_more_operations(tmp_path):
    folder = tmp_path / "D1"
    with Journal.create(folder, {"die": "D1"}) as journal:
        journal.event(StageStarted(settings={}), stage="one")
        end = journal.event(StageEnded(outcome=Status.SUCCESS), stage="one")
    die = Counting()
    with pytest.raises(Mismatch, match=f"the journal goes on with row {end} where another operation is asked for"):
        again(folder, lambda d: d.sense(Sense(bias(2, 0.1), np.arange(3))), die)
    assert die.done == []


def test_a_lost_pulse_counts_and_its_cells_are_read_but_it_is_not_given_again(tmp_path):
    folder = tmp_path / "D1"
    die = first(folder, lambda d: d.pulse(pulses(3)), dies_at="pulse")
    reading, limited = again(folder, lambda d: d.pulse(pulses(3)), die)
    assert die.done == ["sense"]
    assert reading.pulse_flag.tolist() == [Flag.UNKNOWN] * 3
    assert not reading.flag.any()
    assert limited.counts.sum() == 3 * 6
    with Journal.open(folder) as journal:
        lost, answer = journal.operations()
        assert (lost.end, answer.kind, answer.intent["answers"]) == (None, "sense", lost.seq)
        np.testing.assert_array_equal(answer.intent["bias"]["row"], np.full((3, 2), 0.1))
    replayed, _ = again(folder, lambda d: d.pulse(pulses(3)), die)
    assert die.done == ["sense"]
    assert replayed.current.tobytes() == reading.current.tobytes()
    assert replayed.pulse_flag.tolist() == [Flag.UNKNOWN] * 3


def test_killed_while_it_read_what_a_lost_pulse_did_it_reads_again_and_gives_no_pulse(tmp_path):
    folder = tmp_path / "D1"
    die = first(folder, lambda d: d.pulse(pulses(3)), dies_at="pulse")
    die.dies_at = "sense"
    with pytest.raises(Died):
        again(folder, lambda d: d.pulse(pulses(3)), die)
    die.dies_at = ""
    reading, _ = again(folder, lambda d: d.pulse(pulses(3)), die)
    assert die.done == ["sense", "sense"]
    assert np.isfinite(reading.current).all()
    with Journal.open(folder) as journal:
        assert [op.end is None for op in journal.operations()] == [True, True, False]


def test_of_a_lost_pulse_without_a_read_nothing_is_known_and_nothing_is_done(tmp_path):
    folder = tmp_path / "D1"
    die = first(folder, lambda d: d.pulse(pulses(3, verified=False)), dies_at="pulse")
    for _ in range(2):
        reading, limited = again(folder, lambda d: d.pulse(pulses(3, verified=False)), die)
        assert die.done == []
        assert reading.current.shape == (3, 0)
        assert reading.pulse_flag.tolist() == [Flag.UNKNOWN] * 3
        assert limited.counts.sum() == 3 * 6


def test_a_lost_read_is_taken_again(tmp_path):
    folder = tmp_path / "D1"
    sense = Sense(bias(2, 0.1), np.arange(3))
    die = first(folder, lambda d: d.sense(sense), dies_at="sense")
    reading, _ = again(folder, lambda d: d.sense(sense), die)
    assert die.done == ["sense"]
    assert not reading.pulse_flag.any()
    again(folder, lambda d: d.sense(sense), die)
    assert die.done == ["sense"]


def test_a_simulated_die_is_rebuilt_and_says_what_was_lost(tmp_path):
    folder = tmp_path / "D1"

    def act(d):
        d.pulse(pulses(3))
        return d.sense(Sense(bias(2, 0.1), np.arange(3)))

    first(folder, act, dies_at="sense")
    die = Counting()
    again(folder, act, die, Rebuild.BITS)
    assert die.done == ["pulse", "sense"]
    with Journal.open(folder) as journal:
        assert [(op.kind, op.end is None) for op in journal.operations()] == [("pulse", False), ("sense", False)]


def test_a_rebuilt_die_that_says_something_else_is_not_that_of_the_run(tmp_path):
    sense = Sense(bias(2, 0.1), np.arange(3))
    first(tmp_path / "D1", lambda d: d.sense(sense))
    other = Counting()
    other.state[:] = True
    with pytest.raises(Mismatch, match="its seed or the simulation is not that of the run"):
        again(tmp_path / "D1", lambda d: d.sense(sense), other, Rebuild.BITS)


def test_the_world_of_a_twin_is_told_numbers_that_a_read_in_between_does_not_shift(tmp_path):
    folder = tmp_path / "D1"
    numbers: list[int] = []

    def act(d):
        d.sense(Sense(bias(2, 0.1), np.arange(3)))
        d.pulse(pulses(3))
        d.sense(Sense(bias(2, 0.1), np.arange(3)))

    first(folder, act, dies_at="pulse")
    die = Counting()
    with Journal.open(folder, readonly=False) as journal:
        replay = Replay.of(journal, Rebuild.STATES)
        replay.seek = numbers.append
        act(RecordedDie(Limited(die, LIMITS), replay, "one"))
    assert numbers == [0, 2, 3, 4]
    assert die.done == ["sense", "pulse", "sense", "sense"]


class Both(Procedure):
    """Pulse and read a cell, then stop there."""

    name = "both"
    then: str = ""

    def run(self, die, history):
        yield from PulseCell(kernel=1, row=1, col=2, to_p=True, voltage=0.5).run(die, history)
        if self.then:
            raise Died
        yield from ReadCell(kernel=1, row=1, col=2).run(die, history)


def test_records_and_stages_are_told_once_and_a_good_end_needs_no_die(tmp_path):
    folder, die, history = tmp_path / "D1", Counting(), History()
    with Journal.create(folder, {"die": "D1"}) as journal, pytest.raises(Died):
        run(Both(then="dies"), Limited(die, LIMITS), journal, History())
    for body, made in ((die, 1), (JournalDie(GEOMETRY, NOMINAL), 0)):
        die.done, history = [], History()
        with Journal.open(folder, readonly=False) as journal:
            replay = Replay.of(journal)
            outcome = run(Both(), Limited(body, LIMITS), journal, history, replay=replay)
            assert (outcome.state, outcome.reason) == (State.DONE, "")
            events = [e.kind for e in journal.events()]
        assert len(die.done) == made
        assert events == ["stage_started", "stage_ended", "stage_ended"]
        assert [type(r) for r in (history.latest(CellPulse), history.latest(CellReading))] == [CellPulse, CellReading]
    with Journal.open(folder) as journal:
        assert (journal.table("cell_pulse").rows, journal.table("cell_reading").rows) == (1, 1)


def test_what_is_remembered_is_not_asked_for_more(tmp_path):
    folder = tmp_path / "D1"
    with Journal.create(folder, {"die": "D1"}) as journal:
        run(ReadCell(kernel=0, row=1, col=2), Limited(Counting(), LIMITS), journal, History())
    with Journal.open(folder, readonly=False) as journal:
        body = Limited(JournalDie(GEOMETRY, NOMINAL), LIMITS)
        outcome = run(ReadCell(kernel=0, row=0, col=2), body, journal, History(), replay=Replay.of(journal))
        assert (outcome.state, outcome.exit_code) == (State.ERROR, 1)
        assert "another operation" in outcome.reason


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (Stopped("stopped by the operator"), State.INTERRUPTED, 4),
        (KeyboardInterrupt(), State.INTERRUPTED, 4),
        (LimitError("pulse width", 2.0, 1.0, "s"), State.LIMIT_STOP, 3),
        (ContactError("no contact"), State.CONTACT_FAIL, 1),
        (StorageError("the disk is full"), State.INTERRUPTED, 5),
        (LinkTimeoutError("smu1 is silent"), State.INTERRUPTED, 3),
        (InstrumentError("-286"), State.ERROR, 3),
        (Mismatch("another"), State.ERROR, 1),
        (ZeroDivisionError("no"), State.ERROR, 70),
    ],
)
def test_where_an_exception_leaves_a_die(error, state, code):
    outcome = ending(error)
    assert (outcome.state, outcome.exit_code) == (state, code)
    if code != 4:
        assert outcome.error == (type(error).__name__, str(error))
        assert type(error).__name__ in outcome.trace


def test_a_stop_is_asked_for_while_a_journal_is_gone_through(tmp_path):
    die = first(tmp_path / "D1", lambda d: d.sense(Sense(bias(2, 0.1), np.arange(3))))
    with Journal.open(tmp_path / "D1", readonly=False) as journal:
        watched = RecordedDie(Limited(die, LIMITS), Replay.of(journal), "one", Stop(lambda: "enough"))
        with pytest.raises(Stopped, match="enough"):
            watched.sense(Sense(bias(2, 0.1), np.arange(3)))


def test_the_last_operation_is_named_while_its_result_is_lost(tmp_path):
    folder = tmp_path / "D1"
    die = first(folder, lambda d: (d.sense(Sense(bias(2, 0.1), np.arange(3))), d.pulse(pulses(3))), dies_at="pulse")
    with Journal.open(folder) as journal:
        (_, lost) = journal.operations()
        assert Replay.of(journal).pending == lost.seq
    again(folder, lambda d: (d.sense(Sense(bias(2, 0.1), np.arange(3))), d.pulse(pulses(3))), die)
    with Journal.open(folder) as journal:
        assert Replay.of(journal).pending is None


def started_and_ended(folder, *stages):
    """Write the journal of stages without operations that ended well."""
    with Journal.create(folder, {"die": "D1"}) as journal:
        for stage in stages:
            journal.event(StageStarted(settings={}), stage=stage)
            journal.event(StageEnded(outcome=Status.SUCCESS), stage=stage)


def test_stages_are_gone_through_in_the_order_in_which_they_ended(tmp_path):
    started_and_ended(tmp_path / "D1", "one", "two")
    good = StageEnded(outcome=Status.SUCCESS)
    with Journal.open(tmp_path / "D1") as journal:
        replay = Replay.of(journal)
        assert replay.stages == 2
        assert replay.started("one")
        assert replay.ended("one", good)
        assert replay.stages == 1
        with pytest.raises(Mismatch, match="a stage 'two' where the campaign has 'three' now"):
            replay.started("three")
        with pytest.raises(Mismatch, match="another end of stage 'two'"):
            replay.ended("three", good)
        assert not replay.started("four")
        assert not replay.ended("four", good)


@pytest.mark.parametrize(("rebuild", "same"), [(Rebuild.BITS, False), (Rebuild.STATES, True), (Rebuild.NOTHING, True)])
def test_how_a_stage_ended_is_compared_for_a_die_that_is_the_same_to_the_bit(tmp_path, rebuild, same):
    started_and_ended(tmp_path / "D1", "one")
    with Journal.open(tmp_path / "D1") as journal:
        replay = Replay.of(journal, rebuild)
        if same:
            assert replay.ended("one", StageEnded(outcome=Status.SUCCESS, reason="other"))
        else:
            with pytest.raises(Mismatch, match="another end of stage 'one'"):
                replay.ended("one", StageEnded(outcome=Status.SUCCESS, reason="other"))


def test_another_record_than_the_journals_is_refused(tmp_path):
    def record(voltage):
        return CellReading(kernel=1, row=1, col=2, v_read=voltage, conductance=1e-4, flag=0, state=0)

    with Journal.create(tmp_path / "D1", {"die": "D1"}) as journal:
        number = journal.record("one", record(0.1))
    with Journal.open(tmp_path / "D1") as journal:
        for stage, voltage in (("two", 0.1), ("one", 0.2)):
            with pytest.raises(Mismatch, match=f"row {number}, 'cell_reading' of stage 'one', is not"):
                Replay.of(journal).knows(stage, record(voltage))
        replay = Replay.of(journal)
        with pytest.raises(Mismatch, match=f"goes on with row {number} where another operation"):
            replay.next()
        assert replay.knows("one", record(0.1))
        assert not replay.knows("one", record(0.1))
        assert replay.next() is None


def test_a_twin_repeats_the_read_that_stands_for_a_lost_one_and_answers_from_the_journal(tmp_path):
    folder = tmp_path / "D1"
    die = first(folder, lambda d: d.pulse(pulses(3)), dies_at="pulse")
    reading, _ = again(folder, lambda d: d.pulse(pulses(3)), die, Rebuild.STATES)
    assert die.done == ["pulse", "sense"]
    other = Counting()
    other.state[:] = True
    replayed, _ = again(folder, lambda d: d.pulse(pulses(3)), other, Rebuild.STATES)
    assert other.done == ["pulse", "sense"]
    assert replayed.current.tobytes() == reading.current.tobytes()
    assert replayed.pulse_flag.tolist() == [Flag.UNKNOWN] * 3


def plan_of(volts=0.5):
    """Return the plan of two cells, one of each kernel."""
    read = Sense(bias(2, 0.1), np.array([[0], [2]]))
    target, cut, ladder = np.array([True, False]), np.array([3e-4, 3e-4]), np.array([volts])
    return WritePlan(bias(2, 1.0), read, target, cut, 0.1, ladder, np.array([2, 2]), 1e-3)


def test_a_plan_is_in_the_journal_pulse_by_pulse_and_is_gone_through_again(tmp_path):
    attempts = []
    die = first(tmp_path / "D1", lambda d: attempts.append(d.program(plan_of())))
    with Journal.open(tmp_path / "D1") as journal:
        assert {op.kind for op in journal.operations()} == {"pulse"}
    replayed, _ = again(tmp_path / "D1", lambda d: d.program(plan_of()), die)
    assert die.done == []
    for name in ("cell", "attempt", "voltage", "current", "verified"):
        np.testing.assert_array_equal(getattr(replayed, name), getattr(attempts[0], name))
