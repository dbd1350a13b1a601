"""The scheduler decides what follows from a result; a scripted executor gives the results."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from labctl.batch import requests, scheduler
from labctl.batch.decisions import Rules
from labctl.batch.executors import GONE, Lost
from labctl.batch.housekeeping import Housekeeping
from labctl.batch.requests import Request, ask
from labctl.batch.scheduler import Scheduler
from labctl.config.bins import BinRule
from labctl.config.rules import Batch, StopRules, Yield
from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import (
    Alarm,
    FaultInjected,
    Level,
    Requested,
    RequestKind,
    RuleBroken,
    WatchdogActed,
    WorkerFate,
)
from labctl.core.exit_codes import Status
from labctl.core.limits import Limits
from labctl.core.outcome import Outcome
from labctl.core.planned_fault import PlannedFault
from labctl.execution.die_job import DieResult, Job
from labctl.storage.latch import Latch
from labctl.storage.run_log import Runlog, read_state

LIMITS = Limits(v_towards_p=1, v_towards_ap=1, width=1, compliance=1, v_count=1, pulses_per_cell=1)


@dataclass(frozen=True)
class Name:
    """A subject of which only the name matters."""

    name: str


class ScriptedExecutor:
    """An executor that ends each try of a die by a script: the results of its tries, in order; then DONE."""

    def __init__(self, notify, script, width=1, during=lambda job: None):
        self.hurried = 0
        self.notify, self.script, self.width, self.during = (
            notify,
            {k: list(v) for k, v in script.items()},
            width,
            during,
        )
        self.begun, self._ended, self.most = [], [], 0

    def begin(self, job):
        self.begun.append(job.name)
        self.notify(job.die, "state", State.RUNNING)
        self.notify(job.die, "stage", "survey")
        self.during(job)
        self.notify(job.die, "patterns", 1)
        results = self.script.get(job.die) or [good()]
        self._ended.append(replace(results.pop(0), die=job.die))
        self.most = max(self.most, len(self._ended))

    def wait(self, seconds):
        ended, self._ended = self._ended, []
        return ended

    def hurry(self):
        self.hurried += 1

    def close(self):
        pass


def result(state, code, reason="", **figures):
    status = Status.SUCCESS if state is State.DONE else Status.FAIL
    return DieResult("", "", Outcome(status, reason, code, state=state), [], sealed="ab", figures=figures)


def good(**figures):
    return result(State.DONE, 0, **figures)


def wrong(reason="a bug: ZeroDivisionError('division by zero')"):
    return result(State.ERROR, 70, reason)


class Night:
    """A run of dies A, B, C, ..."""

    kind = ScriptedExecutor

    def __init__(self, folder, dies="ABCD"):
        self.folder = folder
        self.log = Runlog.create(folder, {"dies": [{"name": n, "at": [k, 0]} for k, n in enumerate(dies)]})
        self.going = requests.session(folder)

    def carry_out(self, batch=None, bins=(), only=None, housekeeping=None, latch=lambda: None, faults=(), **executor):
        made = []

        def make(notify):
            made.append(self.kind(notify, executor.pop("script", {}), **executor))
            return made[0]

        names = [d.name for d in self.log.state.subjects if only is None or d.name in only]
        jobs = {n: Job(self.folder, Name(n), LIMITS, faults=tuple(f for f in faults if f.die == n)) for n in names}
        self.engine = Scheduler(
            self.log, jobs, Rules(batch or Batch(), bins), self.going, make, housekeeping=housekeeping, latch=latch
        )
        ending = self.engine.run()
        self.executor = made[0]
        return ending

    def again(self):
        """Take the run up again."""
        self.log.finish()
        self.log, self.going = Runlog.open(self.folder), requests.session(self.folder)
        return self

    @property
    def states(self):
        return {d.name: d.state for d in self.log.state.dies.values()}

    def rows(self, kind):
        return [row.event for row in self.log.state.events if isinstance(row.event, kind)]


@pytest.fixture
def night(tmp_path):
    night = Night(tmp_path / "run")
    yield night
    night.log.finish()


def test_a_calm_night_ends_with_0_and_the_journal_says_every_edge(night):
    ending = night.carry_out(bins=(BinRule(bin="slow", hard=9, when="good < 50 %"),))
    assert (ending.code, ending.text) == (0, "")
    assert set(night.states.values()) == {State.DONE}
    state = read_state(night.folder)
    assert state == night.log.state
    (only,) = state.dies["B"].tries
    assert (only.bin, only.hard, only.sha256, only.stage) == ("measured", 99, "ab", "survey")


def test_a_bin_and_the_rule_that_gave_it_are_in_the_journal_and_the_run_ends_with_1(night):
    rules = (BinRule(bin="poor", hard=9, when="good < 50 %"),)
    assert night.carry_out(bins=rules, script={"B": [good(good=0.25)]}).code == 1
    last = night.log.state.dies["B"].last
    assert (last.bin, last.hard, last.rule) == ("poor", 9, "good < 50 %: it is 0.25")


def test_an_exception_costs_one_try_of_one_die_and_its_new_try_has_a_number_of_its_own(night):
    ending = night.carry_out(Batch(tries=1), script={"B": [wrong(), good()]})
    assert ending.code == 0
    assert night.executor.begun == ["A", "B", "C", "D", "B~2"]
    first, second = night.log.state.dies["B"].tries
    assert (first.state, first.bin, second.state, second.bin) == (State.ERROR, "error", State.DONE, "measured")


def test_new_tries_are_as_many_as_the_campaign_allows(night):
    ending = night.carry_out(Batch(tries=2), script={"B": [wrong(f"a bug: {k}") for k in range(9)]})
    assert ending.code == 70
    assert len(night.log.state.dies["B"].tries) == 3


def test_a_journal_that_cannot_go_on_gives_a_new_try_at_once(night):
    damaged = replace(wrong("the journal of this try cannot go on"), again=True)
    assert night.carry_out(script={"B": [damaged]}).code == 0
    assert night.executor.begun == ["A", "B", "B~2", "C", "D"]


def test_the_same_exception_on_two_dies_stops_the_run(night):
    ending = night.carry_out(script={"B": [wrong()], "C": [wrong()]})
    assert ending.code == 70
    assert night.states["D"] is State.PENDING
    (rule,) = night.rows(RuleBroken)
    assert rule.rule == "same_exception"
    assert rule.text == ending.text


def test_three_dies_without_contact_stop_the_run_with_exit_code_3(night):
    no = result(State.CONTACT_FAIL, 1, "no contact")
    ending = night.carry_out(script={"A": [no], "B": [no], "C": [no]})
    assert ending.code == 3
    assert night.states == {**dict.fromkeys("ABC", State.CONTACT_FAIL), "D": State.PENDING}
    assert night.log.state.dies["A"].bin == "contact"


def test_a_run_that_a_rule_has_stopped_goes_on_and_counts_anew(night):
    no = result(State.CONTACT_FAIL, 1, "no contact")
    night.carry_out(Batch(stop=StopRules(contact_failures=1)), script={"A": [no]})
    ending = night.again().carry_out(Batch(stop=StopRules(contact_failures=1)), only="BCD")
    assert ending.code == 1
    assert night.executor.begun == ["B", "C", "D"]


def test_a_die_under_which_two_workers_died_is_the_cause_and_is_worked_on_alone(night):
    died = [Lost("", "it died")] * 2
    assert night.carry_out(width=3, script={"B": died}).code == 70
    assert night.states == {**dict.fromkeys("ACD", State.DONE), "B": State.ERROR}
    assert [event.what for event in night.rows(WatchdogActed)] == [WorkerFate.DIED] * 2
    assert night.executor.begun.count("B") == 2
    assert night.log.state.dies["B"].reason == "it died, for the 2nd time"


def test_a_bench_that_went_away_is_tried_again_with_pauses_and_given_up_in_the_end(night, monkeypatch):
    monkeypatch.setattr(scheduler, "BACK_OFF", 0.001)
    gone = Lost("", "smu1 is gone", 3)
    assert night.carry_out(script={"B": [gone, gone, good()]}).code == 0
    assert len(night.log.state.dies["B"].tries) == 1
    other = Night(night.folder.with_name("other"))
    with other.log:
        ending = other.carry_out(Batch(reconnects=2), script={"B": [gone] * 9})
    assert ending.code == 3
    assert "smu1 is gone" in ending.text
    texts = [event.text for event in other.rows(Alarm)]
    assert [text.split(", ")[-1] for text in texts] == ["for the 1st time", "for the 2nd time"]
    assert other.states["B"] is State.INTERRUPTED
    assert other.executor.begun == ["A", "B", "B", "B"]


def test_outputs_that_are_not_verified_off_end_the_run_with_6(night):
    ending = night.carry_out(script={"B": [Lost("", "smu1 may be live", 6)]})
    assert (ending.code, ending.text) == (6, "smu1 may be live")
    assert night.states["C"] is State.PENDING


def test_a_full_disk_ends_the_run_with_5_and_the_die_can_go_on(night):
    full = result(State.INTERRUPTED, 5, "the disk is full")
    assert night.carry_out(script={"B": [full]}).code == 5
    assert (night.states["B"], night.states["C"]) == (State.INTERRUPTED, State.PENDING)
    assert night.again().carry_out(only="BCD").code == 0
    assert len(night.log.state.dies["B"].tries) == 1


def test_a_die_that_cannot_be_stored_is_left_for_later_while_the_disk_takes_the_others(night):
    broken = result(State.INTERRUPTED, 5, "dies/B/journal.db is damaged")
    ending = night.carry_out(
        script={"B": [broken]}, housekeeping=Housekeeping(night.folder, "night", "labctl run", {"B": 1000})
    )
    assert (ending.code, ending.text) == (5, "")
    assert night.states == {n: State.INTERRUPTED if n == "B" else State.DONE for n in "ABCD"}
    (alarm,) = night.rows(Alarm)
    assert alarm.die == "B"
    assert "dies/B/journal.db is damaged" in alarm.text
    assert night.again().carry_out(only="B").code == 0


def test_a_disk_that_takes_no_other_die_ends_the_run(night):
    housekeeping = Housekeeping(night.folder, "night", "labctl run", {"B": 1000})
    full = StorageError("the disk is full")
    broken = result(State.INTERRUPTED, 5, "the disk is full")
    assert (
        night.carry_out(
            script={"A": [broken]}, housekeeping=housekeeping, during=lambda job: housekeeping.relieve(full)
        ).code
        == 5
    )
    assert (night.states["A"], night.states["B"]) == (State.INTERRUPTED, State.PENDING)


def test_a_die_that_is_begun_again_while_it_was_being_sealed_was_interrupted(night):
    def again(job):
        if job.die == "B":
            night.engine.take_message("B", "state", State.SEALING)
            night.engine.take_message("B", "state", State.RUNNING)

    assert night.carry_out(during=again).code == 0
    assert night.states["B"] is State.DONE
    assert len(night.log.state.dies["B"].tries) == 1


def test_a_cluster_that_is_gone_ends_the_run_with_3_and_all_dies_can_go_on(night):
    ending = night.carry_out(script={"B": [Lost("", GONE, 3, gone=True)]}, width=2)
    assert (ending.code, ending.text) == (3, GONE)
    assert night.states["B"] is State.INTERRUPTED
    assert State.PENDING in night.states.values()
    assert night.again().carry_out().code == 0


def test_a_request_to_stop_is_written_down_and_ends_the_run_with_4(night, monkeypatch):
    monkeypatch.setattr(scheduler, "REQUESTS", 0.0)

    def during(job):
        if job.die == "B":
            ask(night.folder, Request(RequestKind.STOP, by="somebody", reason="tea"))

    ending = night.carry_out(during=during)
    assert (ending.code, night.states["C"]) == (4, State.PENDING)
    assert night.rows(Requested) == [Requested(what=RequestKind.STOP, by="somebody", reason="tea")]
    assert night.going.reason("C") is not None


SWITCHED_OFF = Latch("alice", "lab3", 4711, 1e9, "hands on the needles")
BY_ALICE = str(SWITCHED_OFF)


def test_a_run_whose_bench_is_switched_off_is_hurried_and_ends_with_4_naming_by_whom(night, monkeypatch):
    monkeypatch.setattr(scheduler, "REQUESTS", 0.0)
    off = []
    stopped = result(State.INTERRUPTED, 4, BY_ALICE)
    ending = night.carry_out(
        Batch(tries=2, reconnects=2),
        script={"B": [stopped]},
        during=lambda job: job.die == "B" and off.append(SWITCHED_OFF),
        latch=lambda: off[0] if off else None,
    )
    assert (ending.code, ending.text) == (4, BY_ALICE)
    assert "alice on lab3 (pid 4711)" in ending.text
    assert night.executor.hurried == 1
    assert night.states == {"A": State.DONE, "B": State.INTERRUPTED, "C": State.PENDING, "D": State.PENDING}
    assert night.rows(Requested) == [Requested(what=RequestKind.OFF, by="alice@lab3", reason="hands on the needles")]
    assert night.going.reason("C") is not None
    assert night.again().carry_out(only="BCD").code == 0
    assert len(night.log.state.dies["B"].tries) == 1


def test_a_latch_that_was_released_before_anybody_looked_ends_the_run_all_the_same(night):
    ending = night.carry_out(script={"B": [result(State.INTERRUPTED, 4, BY_ALICE)]})
    assert (ending.code, ending.text, night.states["C"]) == (4, BY_ALICE, State.PENDING)


@pytest.mark.parametrize(
    ("lost", "code"),
    [
        (Lost("", "smu1 is gone", 3), 4),
        (Lost("", "it did not answer and was ended", logged=True), 4),
        (Lost("", BY_ALICE, 4), 4),
        (Lost("", "smu1 may be live", 6), 6),
    ],
    ids=["the link", "the worker", "refused", "unsafe"],
)
def test_a_bench_that_is_switched_off_is_not_connected_anew(night, monkeypatch, lost, code):
    monkeypatch.setattr(scheduler, "REQUESTS", 1e9)
    off = []
    ending = night.carry_out(
        Batch(reconnects=5),
        script={"B": [lost]},
        during=lambda job: job.die == "B" and off.append(SWITCHED_OFF),
        latch=lambda: off[0] if off else None,
    )
    assert ending.code == code
    assert night.executor.begun == ["A", "B"]
    assert night.states["B"] is State.INTERRUPTED
    assert night.rows(Alarm) == []


def test_who_asks_it_to_stop_as_well_does_not_hide_who_switched_off(night, monkeypatch):
    monkeypatch.setattr(scheduler, "REQUESTS", 0.0)
    ask(night.folder, Request(RequestKind.STOP, by="bob"))
    assert night.carry_out(latch=lambda: SWITCHED_OFF).text == BY_ALICE


def test_a_die_is_skipped_whether_it_waits_or_is_under_way(night, monkeypatch):
    monkeypatch.setattr(scheduler, "REQUESTS", 0.0)

    def during(job):
        if job.die == "B":
            ask(night.folder, Request(RequestKind.SKIP, "B", "somebody", "a scratch"))
            ask(night.folder, Request(RequestKind.SKIP, "D", "somebody"))

    stopped = result(State.INTERRUPTED, 4, "skipped by the operator")
    assert night.carry_out(during=during, script={"B": [stopped]}).code == 0
    assert night.states == {"A": State.DONE, "B": State.SKIPPED, "C": State.DONE, "D": State.SKIPPED}
    assert "a scratch" in night.log.state.dies["B"].reason


def test_a_die_that_a_killed_run_was_working_on_goes_on_in_its_try(night):
    night.log.set_state("A", State.RUNNING, 1)
    night.log.set_state("B", State.RUNNING, 1)
    night.log.set_state("B", State.ERROR, 1, "a bug", exit_code=70)
    assert night.again().carry_out().code == 0
    assert len(night.log.state.dies["A"].tries) == 1
    assert [t.state for t in night.log.state.dies["B"].tries] == [State.ERROR, State.DONE]


def test_no_more_dies_at_once_than_the_executor_takes(night):
    assert night.carry_out(width=2).code == 0
    assert night.executor.most == 2


class SealingExecutor(ScriptedExecutor):
    """A bench whose dies are measured at once, and sealed when the scheduler has looked once more for another die."""

    def __init__(self, notify, script, **more):
        super().__init__(notify, script, **more)
        self.looked, self.beside = False, []

    def begin(self, job):
        super().begin(job)
        self.beside.append(sorted(self.notify.__self__._active))
        whole = self._ended[-1]
        if whole.outcome.status is Status.SUCCESS:
            self.notify(job.die, "state", State.SEALING)
            self.notify(job.die, "measured", replace(whole, sealed="", unsealed=True))

    def wait(self, seconds):
        self.looked = not self.looked
        if self.looked:
            return []
        ended, self._ended = self._ended[:1], self._ended[1:]
        return ended


@pytest.fixture
def sealing(night):
    night.kind = SealingExecutor
    return night


def test_a_die_is_sealed_while_the_next_one_is_measured_and_no_third_one_begins(sealing):
    assert sealing.carry_out(bins=(BinRule(bin="slow", hard=9, when="good < 50 %"),)).code == 0
    assert sealing.executor.begun == ["A", "B", "C", "D"]
    assert sealing.executor.beside == [["A"], ["A", "B"], ["B", "C"], ["C", "D"]]
    assert read_state(sealing.folder) == sealing.log.state
    (only,) = sealing.log.state.dies["B"].tries
    assert (only.bin, only.sha256, only.stage) == ("measured", "ab", "survey")


def test_a_die_that_breaks_a_rule_is_sealed_and_judged_before_another_one_begins(sealing):
    bins, stop = (BinRule(bin="poor", hard=9, when="good < 50 %"),), StopRules(low_yield=Yield(below=0.6, after=2))
    ending = sealing.carry_out(Batch(stop=stop), bins, script={"B": [good(good=0.25)]})
    assert (ending.code, sealing.executor.begun) == (3, ["A", "B"])
    (rule,) = sealing.rows(RuleBroken)
    assert rule.rule == "low_yield"


def test_a_die_that_did_not_end_well_has_nothing_beside_it(sealing):
    assert sealing.carry_out(Batch(tries=1), script={"B": [wrong(), good()]}).code == 0
    assert sealing.executor.begun == ["A", "B", "C", "D", "B~2"]
    assert sealing.executor.beside == [["A"], ["A", "B"], ["C"], ["C", "D"], ["B", "D"]]


def test_a_die_that_cannot_be_sealed_ends_the_run_behind_the_one_that_has_begun(sealing):
    full = result(State.INTERRUPTED, 5, "no space left on device")
    measured = replace(good(), die="A", unsealed=True)

    def during(job):
        if job.die == "A":  # measured, and then not sealed
            sealing.engine.take_message("A", "state", State.SEALING)
            sealing.engine.take_message("A", "measured", measured)

    ending = sealing.carry_out(script={"A": [full]}, during=during)
    assert (ending.code, sealing.executor.begun) == (5, ["A", "B"])
    assert sealing.states == {"A": State.INTERRUPTED, "B": State.DONE, "C": State.PENDING, "D": State.PENDING}
    assert sealing.again().carry_out(only="ACD").code == 0


def test_a_die_that_a_bug_keeps_from_being_sealed_is_never_begun_anew(sealing):
    bug = result(State.INTERRUPTED, 70, "a bug: MemoryError()")
    assert sealing.carry_out(Batch(tries=1), script={"A": [bug]}).code == 70
    assert sealing.executor.begun == ["A", "B", "C", "D"]
    assert sealing.states == {"A": State.INTERRUPTED, **dict.fromkeys("BCD", State.DONE)}
    (alarm,) = sealing.rows(Alarm)
    assert (alarm.die, alarm.text) == ("A", "measured and not sealed, which resume does: a bug: MemoryError()")
    assert sealing.again().carry_out(Batch(tries=1), only="A").code == 0
    assert (sealing.executor.begun, len(sealing.log.state.dies["A"].tries)) == (["A"], 1)


def test_on_a_disk_that_is_full_when_a_die_is_sealed_the_next_one_ends_at_its_safe_point(sealing):
    housekeeping = Housekeeping(sealing.folder, "night", "labctl run", {"A": 1000})
    housekeeping.works = lambda: False
    measured, reasons = replace(good(), die="A", unsealed=True), []

    class FullExecutor(SealingExecutor):
        """Looks at the go-file as the worker of B would when A could not be sealed."""

        def wait(self, seconds):
            if self.begun == ["A", "B"] and sealing.states["A"] is State.INTERRUPTED:
                reasons.append(sealing.going.reason("B"))
            return super().wait(seconds)

    def during(job):
        if job.die == "A":  # measured, and then not sealed
            sealing.engine.take_message("A", "state", State.SEALING)
            sealing.engine.take_message("A", "measured", measured)

    sealing.kind = FullExecutor
    full = result(State.INTERRUPTED, 5, "no space left on device")
    ending = sealing.carry_out(script={"A": [full]}, during=during, housekeeping=housekeeping)
    assert (ending.code, sealing.executor.begun) == (5, ["A", "B"])
    assert set(reasons) == {requests.FULL}


def test_a_disk_that_takes_no_two_dies_takes_the_next_one_when_the_one_before_it_is_sealed(sealing):
    housekeeping, asked = Housekeeping(sealing.folder, "night", "labctl run", dict.fromkeys("ABCD", 1000)), []

    def enough(dies):
        asked.append(list(dies))
        if len(asked[-1]) > 1:
            raise StorageError("3 kB are free, and 6 kB are needed")

    housekeeping.enough = enough
    assert sealing.carry_out(housekeeping=housekeeping).code == 0
    assert sealing.executor.beside == [["A"], ["B"], ["C"], ["D"]]
    assert ["A", "B"] in asked


def test_a_run_that_was_killed_while_one_die_was_sealed_and_another_measured_goes_on_with_both(sealing):
    for state in (State.RUNNING, State.SEALING):
        sealing.log.set_state("A", state, 1)
    sealing.log.set_state("B", State.RUNNING, 1)
    assert sealing.again().carry_out().code == 0
    assert sealing.executor.begun == ["A", "B", "C", "D"]
    assert [len(die.tries) for die in sealing.log.state.subjects] == [1, 1, 1, 1]


def test_the_time_of_a_die_that_was_sealed_beside_another_is_that_of_its_measurement(sealing, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now, sleep=lambda seconds: None)
    monkeypatch.setattr(scheduler, "time", clock)

    def during(job):
        clock.now += 10.0

    assert sealing.carry_out(during=during).code == 0
    assert [die.last.seconds for die in sealing.log.state.subjects] == [10.0] * 4


def test_a_warning_of_an_instrument_is_a_row_of_the_run_and_no_alarm(night):
    def warn(job):
        night.engine.take_message(job.die, "warning", "matrix: 5517 Interlock not asserted")

    assert night.carry_out(during=warn).code == 0
    rows = night.rows(Alarm)
    assert [(row.die, row.level) for row in rows] == [(name, Level.NOTE) for name in "ABCD"]
    assert rows[0].text == "matrix: 5517 Interlock not asserted"


def test_an_injected_fault_is_in_the_journal_and_happens_once_also_after_a_resume(tmp_path):
    night, faults = Night(tmp_path, "AB"), tuple(PlannedFault(k, "busy", "A", "smu1", k) for k in (1, 2, 3))
    given = []

    def during(job):
        given.append((job.die, [fault.number for fault in job.faults]))
        for fault in job.faults[:1]:
            night.engine.take_message(job.die, "fault", (fault, "at 'print(1)'"))

    night.carry_out(faults=faults, during=during, script={"A": [wrong()]})
    night.again().carry_out(faults=faults, during=during)
    assert given == [("A", [1, 2, 3]), ("B", []), ("A", [2, 3])]
    struck = [row.event for row in night.log.state.events if isinstance(row.event, FaultInjected)]
    assert [(event.number, event.what, event.instrument) for event in struck] == [
        (1, "busy", "smu1"),
        (2, "busy", "smu1"),
    ]


def test_dies_wait_for_a_worker_and_it_is_told_once_for_each_time_that_there_is_none(night):
    class ComingAndGoing(ScriptedExecutor):
        """Has no worker in the first three rounds, and none again while the second die is worked on."""

        rounds = 0

        @property
        def width(self):
            self.rounds += 1
            return int(self.rounds > 3 and self.rounds != 5)

        @width.setter
        def width(self, width):
            pass

    log, jobs = night.log, {name: Job(night.folder, Name(name), LIMITS) for name in "ABCD"}
    engine = Scheduler(log, jobs, Rules(Batch(), ()), night.going, lambda notify: ComingAndGoing(notify, {}))
    assert engine.run().code == 0
    assert set(night.states.values()) == {State.DONE}
    alarms = [(alarm.level, alarm.text) for alarm in night.rows(Alarm)]
    assert alarms == [(Level.WARNING, "there is no worker any more; the dies wait for one")] * 2
