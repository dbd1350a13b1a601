"""Write plans that are carried out as one operation: in the journal, at the limits, in the ledger, and lost."""

import numpy as np
import pytest

from labctl.core import meanwhile
from labctl.core.bias import Bias, Geometry, Nominal
from labctl.core.errors import BenchError, LimitError, LinkTimeoutError, SwitchedOff
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Attempts, Flag, Glance, Pulse, Reading, Sense, WritePlan
from labctl.core.outcome import Stopped
from labctl.core.rebuild import Rebuild
from labctl.core.write_loop import program_by_host
from labctl.execution import recorded_die
from labctl.execution.journal_die import JournalDie
from labctl.execution.nominal_die import NominalDie
from labctl.execution.recorded_die import RecordedDie
from labctl.execution.replay import Mismatch, Replay
from labctl.execution.stop import Stop
from labctl.storage import journal as journal_module
from labctl.storage.journal import Journal
from labctl.storage.stress import DieInfo, stress_of_journal
from protocols.bias import read_bias
from protocols.settings import WriteSettings

GEOMETRY, NOMINAL = Geometry(1, 3, 4), Nominal.alike(4e-4, 2e-4, 1)
LIMITS = Limits(v_towards_p=0.9, v_towards_ap=0.9, width=1e-2, compliance=1e-2, v_count=0.2, pulses_per_cell=500)
SECONDS = 0.3
"""Expected time of a cell."""


class Scripted(NominalDie):
    """A nominal die whose cells switch at the second pulse, and whose plans are scripts that may be lost."""

    def __init__(self) -> None:
        super().__init__(GEOMETRY, NOMINAL, timing=lambda operation: 1e-3)
        self.plans: list[int] = []
        self.done: list[str] = []
        self.lost_at, self.told = 0, True
        self.rescued: Attempts | None = None

    @property
    def scripts(self):
        return self

    def expected(self, plan: WritePlan, given: np.ndarray | None = None) -> float:
        return SECONDS * len(plan)

    def require_fit(self, plan: WritePlan) -> None:
        pass

    def expect(self, plan: WritePlan) -> None:
        self.rescued = Attempts.none_of(plan)

    def _sense(self, sense: Sense) -> Reading:
        self.done.append(f"sense {len(sense)}")
        return super()._sense(sense)

    def _program(self, plan: WritePlan) -> Attempts:
        self.rescued = None
        self.plans.append(len(plan))
        self.done.append(f"program {len(plan)}")
        if len(self.plans) != self.lost_at:
            return self._one_after_the_other(plan)
        # the first cell is done and the second under way when the link is cut
        first = self._one_after_the_other(plan.take(slice(0, 1)))
        super()._pulse(Pulse(plan.pulses(np.array([1]), np.array([1])), plan.width))
        if self.told:
            begun = Attempts.at_most(plan.take(slice(1, 2)))
            one = Attempts(*(getattr(begun, n)[:1] for n in COLUMNS), begun.verified, begun.short)
            rest = Attempts.join([first, one])
            unknown = np.zeros(len(plan), np.bool_)
            verified = unknown.copy()
            verified[:2] = rest.verified
            self.rescued = Attempts(*(getattr(rest, n) for n in COLUMNS), verified, unknown)
        raise LinkTimeoutError("smu: no answer")

    def _one_after_the_other(self, plan: WritePlan) -> Attempts:
        parts = [program_by_host(Twice(self), plan.take(slice(k, k + 1))) for k in range(len(plan))]
        return Attempts.join(parts)


COLUMNS = ("cell", "attempt", "voltage", "current", "flag", "pulse_flag")


class Twice:
    """Lets the first pulse of a cell do nothing."""

    def __init__(self, die: NominalDie) -> None:
        self._die, self._pulses = die, 0

    def perform(self, operation):
        self._pulses += isinstance(operation, Pulse)
        if isinstance(operation, Pulse) and self._pulses == 1:
            return NominalDie._sense(self._die, operation.verify)
        return (NominalDie._pulse if isinstance(operation, Pulse) else NominalDie._sense)(self._die, operation)


def plan_of(cells: int = 10, budget: int = 4) -> WritePlan:
    at = tuple(index.ravel()[:cells] for index in np.indices(GEOMETRY.shape))
    settings = WriteSettings(v_start=0.5, v_max=0.8, v_step=0.1, compliance=5e-3, width=1e-3)
    return settings.plan(GEOMETRY, at, np.full(cells, True), np.full(cells, 3e-4), np.full(cells, budget))


META = {
    "die": "D1",
    "description": {"geometry": {"kernels": 1, "n_rows": 3, "n_cols": 4}},
    "limits": {"v_count": 0.2},
}


def first(folder, die, plan, *, killed=False, monkeypatch=None):
    """Let a new journal begin with `plan`; return its limits and what came of it, None if it broke off."""
    journal = Journal.create(folder, META)
    limited, made = Limited(die, LIMITS), None
    if killed:
        monkeypatch.setattr(journal, "result", lambda seq, body: seq)
    try:
        made = RecordedDie(limited, Replay(journal), "one").program(plan)
    except LinkTimeoutError:
        pass
    finally:
        if killed:  # what waited for the next commit is gone
            journal._rows, journal._arrays = [], {}
        journal.close()
    return limited, made


def again(folder, die, plan, rebuild=Rebuild.NOTHING):
    """Let the journal be replayed and go on; return its limits and what came of it."""
    with Journal.open(folder, readonly=False) as journal:
        limited = Limited(die, LIMITS)
        return limited, RecordedDie(limited, Replay.of(journal, rebuild), "one").program(plan)


def stress(folder):
    with Journal.open(folder) as journal:
        return stress_of_journal(journal, DieInfo.of(META), 0, journal.last.seq).counts


def kinds(folder):
    with Journal.open(folder) as journal:
        return [(op.kind, op.result is not None) for op in journal.operations()]


def test_a_plan_is_cut_into_chunks_of_a_second_and_journalled_whole(tmp_path):
    die, plan = Scripted(), plan_of()
    limited, made = first(tmp_path, die, plan)
    assert die.plans == [4, 4, 2]
    assert kinds(tmp_path) == [("program", True)] * 3
    assert made.attempt.tolist() == [1, 2] * 10
    assert made.cell.tolist() == [k for k in range(10) for _ in range(2)]
    assert made.verified.all()
    host = Limited(NominalDie(GEOMETRY, NOMINAL, timing=lambda operation: 1e-3), LIMITS)
    host.perform(Pulse(plan.pulses(made.cell, made.attempt), plan.width))
    assert np.array_equal(limited.counts, host.counts), "refunded to what was given, half-selected cells included"
    assert np.array_equal(stress(tmp_path), host.counts)


def test_a_whole_journal_is_replayed_without_a_die(tmp_path):
    plan = plan_of()
    limited, made = first(tmp_path, Scripted(), plan)
    for die in (Scripted(), JournalDie(GEOMETRY, NOMINAL)):
        counted, replayed = again(tmp_path, die, plan)
        for name in (*COLUMNS, "verified", "short"):
            assert np.array_equal(getattr(replayed, name), getattr(made, name), equal_nan=name == "current")
        assert np.array_equal(counted.counts, limited.counts)
        assert getattr(die, "plans", []) == []


@pytest.mark.parametrize("rebuild", [Rebuild.STATES, Rebuild.BITS])
def test_a_simulated_die_is_brought_to_its_states_again(tmp_path, rebuild):
    plan, die = plan_of(), Scripted()
    limited, made = first(tmp_path, die, plan)
    fresh = Scripted()
    counted, replayed = again(tmp_path, fresh, plan, rebuild)
    assert np.array_equal(fresh.state, die.state)
    assert np.array_equal(counted.counts, limited.counts)
    assert np.array_equal(replayed.current, made.current)


def test_a_script_that_was_lost_is_read_when_the_run_goes_on_and_what_it_left_is_written(tmp_path):
    die, plan = Scripted(), plan_of()
    die.lost_at = 2
    limited, made = first(tmp_path, die, plan)
    assert made is None
    assert kinds(tmp_path) == [("program", True)] * 2, "what is known of it is its result"
    die.done = []
    counted, made = again(tmp_path, die, plan)
    assert die.done == ["sense 1", "program 2", "program 2"], "cell 6, which it had not come to, and 7; then the rest"
    assert made.lost.tolist() == [k == 5 for k in range(10)]
    (at,) = np.flatnonzero(made.cell == 5)
    assert (made.flag[at], made.pulse_flag[at], made.attempt[at]) == (Flag.UNKNOWN, Flag.UNKNOWN, 1)
    assert made.verified.all()
    assert die.state.ravel()[:10].all()
    assert made.given.tolist() == [2] * 5 + [1] + [2] * 4
    assert np.array_equal(stress(tmp_path), counted.counts)
    assert (limited.counts >= 0).all()


@pytest.mark.parametrize("cells", [8, 5])
@pytest.mark.parametrize("error", [SwitchedOff("released later"), KeyboardInterrupt()])
def test_a_chunk_that_is_refused_before_it_is_begun_has_no_attempts_whatever_came_before(tmp_path, cells, error):
    class Refusing(Scripted):
        allowed = 1

        def perform(self, operation):
            if isinstance(operation, WritePlan) and len(self.plans) == self.allowed:
                raise error
            return super().perform(operation)

    die, plan = Refusing(), plan_of(cells)
    journal = Journal.create(tmp_path, META)
    with pytest.raises(type(error)):
        RecordedDie(Limited(die, LIMITS), Replay(journal), "one").program(plan)
    journal.close()
    begun = die.plans[0]
    assert len(die.plans) == 1
    with Journal.open(tmp_path) as journal:
        assert [len(op.result["cell"]) for op in journal.operations()] == [2 * begun, 0]
    die.allowed = 99
    _, made = again(tmp_path, die, plan)
    undisturbed = Scripted()._one_after_the_other(plan)
    assert np.array_equal(made.cell, undisturbed.cell)
    assert not made.lost.any()
    assert made.verified.all(), "what was not begun is done now"


@pytest.mark.parametrize("killed", [True, False])
def test_where_nothing_is_known_every_pulse_of_the_budget_counts(tmp_path, monkeypatch, killed):
    die, plan = Scripted(), plan_of(3)
    die.lost_at, die.told = 1, False
    first(tmp_path, die, plan, killed=killed, monkeypatch=monkeypatch)
    assert kinds(tmp_path) == [("program", not killed)]
    most = Limited(NominalDie(GEOMETRY, NOMINAL, timing=lambda operation: 1e-3), LIMITS)
    bound = Attempts.at_most(plan)
    most.perform(Pulse(plan.pulses(bound.cell, bound.attempt), plan.width))
    assert np.array_equal(stress(tmp_path), most.counts)
    die.done = []
    counted, made = again(tmp_path, die, plan)
    assert die.done == ["sense 3"]
    assert made.lost.all()
    assert np.bincount(made.cell).tolist() == [4, 4, 4]
    assert np.array_equal(made.verified, die.state.ravel()[:3])
    assert np.array_equal(counted.counts, most.counts)
    die.done = []
    _, repeated = again(tmp_path, die, plan)
    assert die.done == []
    assert np.array_equal(repeated.verified, made.verified)
    assert kinds(tmp_path) == [("program", not killed), ("sense", True)]


def test_a_script_of_which_nothing_is_known_is_done_again_where_the_budget_has_more(tmp_path, monkeypatch):
    die, plan = Scripted(), plan_of(3, budget=6)
    die.lost_at, die.told = 1, False
    first(tmp_path, die, plan, killed=True, monkeypatch=monkeypatch)
    die.done = []
    counted, made = again(tmp_path, die, plan)
    assert die.done == ["sense 3", "program 1"], "two cells were right when the script was lost"
    assert made.verified.all()
    assert made.given.tolist() == [4, 4, 6], "what was lost counts"
    assert np.array_equal(stress(tmp_path), counted.counts)
    die.done = []
    _, repeated = again(tmp_path, die, plan)
    assert die.done == []
    assert np.array_equal(repeated.cell, made.cell)


def test_a_chunk_that_might_be_too_many_pulses_is_refused_before_it(tmp_path):
    die, plan = Scripted(), plan_of(3)
    journal = Journal.create(tmp_path, META)
    limits = LIMITS.model_copy(update={"pulses_per_cell": 10})  # four for itself, and eight half-selected
    with pytest.raises(LimitError, match="pulses on one cell"):
        RecordedDie(Limited(die, limits), Replay(journal), "one").program(plan)
    journal.close()
    assert die.plans == []
    assert kinds(tmp_path) == []


def test_a_journal_of_another_plan_or_of_pulses_is_refused(tmp_path):
    plan = plan_of(3)
    first(tmp_path, Scripted(), plan)
    with pytest.raises(Mismatch, match="asked for is a write plan of 2"):
        again(tmp_path, Scripted(), plan_of(2))
    with Journal.open(tmp_path, readonly=False) as journal:
        other = RecordedDie(Limited(Scripted(), LIMITS), Replay.of(journal), "one")
        with pytest.raises(Mismatch, match="is a program of 3 patterns"):
            other.sense(plan.verify)


def test_what_is_left_of_a_plan_goes_on_inside_only(tmp_path):
    die, plan = Scripted(), plan_of()
    die.lost_at = 2
    first(tmp_path, die, plan)
    with pytest.raises(Mismatch, match="carried out inside an instrument"):
        again(tmp_path, NominalDie(GEOMETRY, NOMINAL, timing=lambda operation: 1e-3), plan)


class Busy(NominalDie):
    """A nominal die that waits in every operation, and so prepares; `seen` are the numbers of its patterns."""

    def __init__(self, waits: bool) -> None:
        super().__init__(GEOMETRY, NOMINAL, timing=lambda operation: 1.0 * len(operation))
        self.waits, self.seen = waits, []

    def _sense(self, sense: Sense) -> Reading:
        self.seen.append(sense)
        if self.waits:
            meanwhile.do_it()
        return super()._sense(sense)


def test_a_chunk_that_was_prepared_while_the_one_before_was_carried_out_is_the_same(tmp_path, monkeypatch):
    rng, rows, patterns, taken = np.random.default_rng(3), [], [], []
    named = journal_module._named

    def taking(array, path, keep, parts=None):
        taken[-1] += parts is not None
        return named(array, path, keep, parts)

    monkeypatch.setattr(journal_module, "_named", taking)
    bias = Bias(rng.random((7, 3)) * 0.1, np.zeros((7, 4)))
    for waits in (False, True):
        die = Busy(waits)
        taken.append(0)
        with Journal.create(tmp_path / str(waits), META) as journal:
            recorded = RecordedDie(Limited(die, LIMITS), Replay(journal, Rebuild.NOTHING), "stage")
            recorded.perform(Sense(bias, np.zeros((7, 1), int), 1e-3))
            recorded.perform(Sense(bias.take(slice(2, 5)), np.zeros((3, 1), int), 1e-3))
            rows.append(journal._db.execute("SELECT what, kind, body FROM log WHERE what = 'intent'").fetchall())
        patterns.append([sense.bias.row.tolist() for sense in die.seen])
    assert len(patterns[0]) == 10
    assert patterns[0] == patterns[1]
    assert rows[0] == rows[1]
    assert taken == [0, 5 * (6 + 2)]  # the five arrays of every chunk but the first of its operation


def test_the_world_has_the_number_of_an_operation_before_it_begins_and_is_told_before_its_row_is_written(tmp_path):
    order = []

    class World(Busy):
        def _sense(self, sense: Sense) -> Reading:
            order.append("perform")
            return super()._sense(sense)

    with Journal.create(tmp_path, META) as journal:
        replay, commit = Replay(journal, Rebuild.NOTHING), journal.commit
        replay.seek_ahead = lambda number: (order.append(number), lambda: order.append(f"has {number}"))[1]
        journal.commit = lambda: (order.append("commit"), commit())[1]
        recorded = RecordedDie(Limited(World(False), LIMITS), replay, "stage")
        recorded.perform(Sense(Bias(np.zeros((2, 3)), np.zeros((2, 4))), np.zeros((2, 1), int), 1e-3))
    assert order[:8] == [0, "commit", "has 0", "perform", 2, "commit", "has 2", "perform"]


def test_what_was_prepared_for_a_chunk_that_never_comes_is_forgotten(tmp_path):
    class Failing(Busy):
        def _sense(self, sense: Sense) -> Reading:
            raise LinkTimeoutError("smu: no answer")

    with Journal.create(tmp_path, META) as journal:
        recorded = RecordedDie(Limited(Failing(False), LIMITS), Replay(journal, Rebuild.NOTHING), "stage")
        with pytest.raises(LinkTimeoutError):
            recorded.perform(Sense(Bias(np.zeros((3, 3)), np.zeros((3, 4))), np.zeros((3, 1), int), 1e-3))
        journal.prepare = lambda body: pytest.fail("it was prepared behind its operation")
        meanwhile.do_it()


def test_contact_is_watched_by_the_last_read_of_each_cell():
    plan = plan_of(3)
    made = Scripted()._one_after_the_other(plan)
    sense, reading = recorded_die.last_reads(plan, made)
    assert np.array_equal(sense.cols, plan.verify.cols)
    assert np.allclose(reading.current[:, 0], 4e-5)


class Chunked(NominalDie):
    """A die whose chunks are as long as it says."""

    chunk = None


def chunked(seconds, chunk):
    die = Chunked(GEOMETRY, NOMINAL, timing=lambda operation: seconds)
    die.chunk = chunk
    return die


@pytest.mark.parametrize(("chunk", "pieces"), [(None, [2, 2, 2]), (2.0, [3, 3]), (0.5, [1] * 6), (5.0, [6])])
def test_a_chunk_is_as_long_as_the_die_says(tmp_path, chunk, pieces):
    die, ticks = chunked(3.0, chunk), []
    sense = Sense(read_bias(GEOMETRY, *(np.zeros(6, np.int64),) * 2, np.arange(6) % 4, 0.1), np.arange(4))
    with Journal.create(tmp_path / "D", {"die": "D"}) as journal:
        recorded = RecordedDie(Limited(die, LIMITS), Replay(journal), "read", tick=ticks.append)
        np.testing.assert_array_equal(recorded.sense(sense).current, die.sense(sense).current)
        assert ticks == pieces
        assert len(list(journal.intents())) == len(pieces)


@pytest.mark.parametrize(
    ("seconds", "chunk", "pieces"), [(0.1, None, [6]), (9.0, None, [6]), (20.0, None, [3, 3]), (20.0, 2.0, [3, 3])]
)
def test_a_glance_is_taken_in_chunks_and_written_nowhere(tmp_path, seconds, chunk, pieces):
    die, ticks, seeks = chunked(seconds, chunk), [], []
    bias = read_bias(GEOMETRY, *(np.zeros(6, np.int64),) * 2, np.arange(6) % 4, 0.1)
    glance = Glance(bias, np.arange(4))
    with Journal.create(tmp_path / "D", {"die": "D"}) as journal:
        replay = Replay(journal, Rebuild.BITS, seeks.append)
        recorded = RecordedDie(Limited(die, LIMITS), replay, "look", tick=ticks.append)
        np.testing.assert_array_equal(recorded.sense(glance).current, die.sense(glance).current)
        assert (ticks, seeks) == (pieces, [0, 2][: len(pieces)])
        assert list(journal.intents()) == []
        stays = RecordedDie(Limited(die, LIMITS), Replay(journal), "look")
        with pytest.raises(BenchError, match="'look' asks for a read that is not written down"):
            stays.sense(glance)
        stopped = RecordedDie(Limited(die, LIMITS), replay, "look", Stop(lambda: "enough"))
        with pytest.raises(Stopped, match="enough"):
            stopped.sense(glance)
