"""When a golden die is visited, what a visit comes to, and whom it puts in doubt."""

import random
from dataclasses import replace

import numpy as np
import pytest

from labctl.batch import requests
from labctl.batch.decisions import Rules
from labctl.batch.reference_die import ReferenceVisits, due
from labctl.batch.scheduler import Scheduler
from labctl.config.reference_die import Golden
from labctl.config.rules import Batch, StopRules
from labctl.core.die_state import State
from labctl.core.errors import BenchError
from labctl.core.events import (
    Alarm,
    DieMoved,
    DiesInDoubt,
    Level,
    Resumed,
    RuleBroken,
    RunEvent,
    VisitBegun,
    VisitJudged,
)
from labctl.core.exit_codes import Status
from labctl.core.limits import Limits
from labctl.core.outcome import Outcome
from labctl.core.record import History
from labctl.core.site import Site
from labctl.execution.die_job import DieResult, Job
from labctl.station.reference_visit import stages_of
from labctl.station.simulated import simulated
from labctl.storage.event_rows import event_rows
from labctl.storage.run_log import Runlog, read_state
from protocols.by_hand import MapCells
from protocols.survey import Survey
from sim_backend.description import DieDescription
from tests.declared import FIGURES

DIES = ("D1", "D2", "D3", "D4", "D5")
META = {"dies": [{"name": n, "at": [k, 0]} for k, n in enumerate(DIES)], "figures": [FIGURES["r_p"].plain()]}
LIMITS = Limits(v_towards_p=0.7, v_towards_ap=0.7, width=1e-2, compliance=1e-2, v_count=0.35, pulses_per_cell=200)
KIND = DieDescription.model_validate(
    {
        "name": "small",
        "geometry": {"kind": "passive", "kernels": 1, "n_rows": 2, "n_cols": 3},
        "junction": {"diameter": "80 nm"},
    },
    context={"file": True},
)
GOLDEN = Golden(die="G", every=2, drift={"r_p": 0.03})


class FatedExecutor:
    """Ends dies in an order that its seed decides; `fate` says what they come to."""

    def __init__(self, width, fate):
        self.width, self._fate, self._hand, self._luck = width, fate, [], random.Random(width)

    def begin(self, job):
        self._hand.append(job)

    def wait(self, seconds):
        job = self._hand.pop(self._luck.randrange(len(self._hand)))
        outcome, figures = self._fate(job)
        return [DieResult(job.die, "good", outcome, [], try_no=job.try_no, figures=figures)]

    def hurry(self):
        pass

    def close(self):
        pass


def fine(job):
    """Every die is as it should be; the resistance of the golden one goes up by 0.1 % per visit."""
    visit = job.subject.visit
    return Outcome(Status.SUCCESS), {"r_p": 2000.0 * (1 + 1e-3 * visit)} if visit else {}


def drifting(at):
    """Return what makes the golden die 5 % more resistive at these visits."""

    def fate(job):
        outcome, figures = fine(job)
        return outcome, {n: v * 1.05 for n, v in figures.items()} if job.subject.visit in at else figures

    return fate


def carry_out(folder, fate, width=1, *, log=None, kind=None, **batch):
    """Run a campaign with a golden die, or go on with that of `log`; return how it ended and its state."""
    batch = Batch(golden=GOLDEN, **batch)
    folder.mkdir(exist_ok=True)
    log = log or Runlog.create(folder, META)
    jobs = {n: Job(folder, Site(n, KIND, 1, (k, 0)), LIMITS) for k, n in enumerate(DIES)}
    visits = ReferenceVisits.of(batch, Job(folder, Site("G", KIND, 1, (7, 2)), LIMITS, stages=(MapCells(),)))
    going = requests.session(folder)
    engine = Scheduler(
        log, jobs, Rules(batch), going, kind or (lambda notify: FatedExecutor(width, fate)), visits=visits
    )
    ending = engine.run()
    requests.close(going)
    log.finish()
    return ending, log.state


def rows(state, *kinds):
    return [row.event for row in state.events if isinstance(row.event, kinds)]


def order(state_folder):
    """Return what was begun, in order."""
    with Runlog.open(state_folder)._journal as journal:
        moves = [row.event for row in event_rows(RunEvent, journal.events()) if isinstance(row.event, DieMoved)]
    return [event.die for event in moves if event.state is State.RUNNING]


def test_the_golden_die_is_measured_first_after_every_two_dies_and_at_the_end(tmp_path):
    ending, state = carry_out(tmp_path / "run", fine)
    assert ending.code == 0
    assert order(tmp_path / "run") == ["G@1", "D1", "D2", "G@2", "D3", "D4", "G@3", "D5", "G@4"]
    golden = rows(state, VisitJudged)
    assert [g.ok for g in golden] == [True] * 4
    assert golden[0].drift == {}
    assert golden[3].drift["r_p"] == pytest.approx(1.004 / 1.001 - 1)
    assert "R_P +0.30 %" in golden[3].text
    assert {d.name for d in state.dies.values() if d.golden} == {"G@1", "G@2", "G@3", "G@4"}
    assert state.dies["G@2"].at == (7, 2)
    assert state.dies["G@2"].bin == ""
    assert not any(d.suspect for d in state.subjects)
    assert not due(state)


@pytest.mark.parametrize("width", [2, 8])
def test_more_workers_make_the_same_visits_and_doubt_the_same_dies(tmp_path, width):
    def fate(job):
        if job.die in ("D1", "D2", "D4") and job.try_no == 1:
            return Outcome(Status.FAIL, f"a bug on {job.die}", 70, "error", State.ERROR), {}
        return drifting({3})(job)

    def made(n):
        _, state = carry_out(tmp_path / f"{n}", fate, n, tries=1)
        return rows(state, VisitBegun, VisitJudged, DiesInDoubt), {d.name: d.suspect for d in state.dies.values()}

    alone, doubted = made(1)
    assert made(width) == (alone, doubted)
    visits = [event.dies for event in alone if isinstance(event, VisitBegun)]
    assert visits == [(), ("D1", "D2"), ("D3", "D4"), ("D1~2", "D5"), ("D2~2", "D4~2")]
    # D4 failed between the bad visit and the one before and was measured again when the bench was as before
    assert {n for n, why in doubted.items() if why} == {"D1", "D3", "D5"}


def test_a_drift_is_an_alarm_and_the_dies_since_the_last_good_visit_are_in_doubt(tmp_path):
    ending, state = carry_out(tmp_path / "run", drifting({3}))
    assert ending.code == 0
    (alarm,) = rows(state, Alarm)
    assert alarm.level is Level.WARNING
    assert alarm.die == "G@3"
    assert alarm.text == "the golden die has drifted since the first visit: R_P +5.21 % (3 % allowed)"
    suspects = [event.dies for event in rows(state, DiesInDoubt)]
    assert suspects == [("D3", "D4"), ("D5",)]  # D5 was measured after a visit that was not good
    assert state.dies["D5"].suspect == state.dies["D3"].suspect == alarm.text
    assert [d.name for d in state.subjects if not d.suspect] == ["D1", "D2"]
    assert rows(state, RuleBroken) == []


def test_with_the_stop_rule_a_drift_ends_the_run_and_after_a_resume_a_visit_comes_first(tmp_path):
    folder, stop = tmp_path / "run", StopRules(golden_drift=True)
    ending, state = carry_out(folder, drifting({2}), stop=stop)
    assert (ending.code, ending.text) == (3, rows(state, Alarm)[0].text)
    (rule,) = rows(state, RuleBroken)
    assert rule.rule == "golden_drift"
    assert [d.name for d in state.subjects if d.state is State.PENDING] == ["D3", "D4", "D5"]
    log = Runlog.open(folder)
    log.write(Resumed(argv=(), pid=1, reason="", only=(), accepted=()))
    ending, state = carry_out(folder, fine, log=log, stop=stop)
    assert ending.code == 0
    assert order(folder)[3:] == ["G@2", "G@3", "D3", "D4", "G@4", "D5", "G@5"]
    golden = {event.die: event for event in rows(state, VisitJudged)}
    assert golden["G@3"].drift["r_p"] == pytest.approx(1.003 / 1.001 - 1)  # still against the first visit
    assert [d.name for d in state.subjects if d.suspect] == ["D1", "D2"]


@pytest.mark.parametrize("died_in", [State.RUNNING, State.SEALING, State.DONE])
def test_a_visit_that_was_broken_off_goes_on_under_its_number(tmp_path, died_in):
    folder = tmp_path / "run"
    carry_out(folder, drifting({2}), stop=StopRules(golden_drift=True))
    # the same up to the second visit, of which nothing was said before the process died
    (tmp_path / "cut").mkdir()
    log = Runlog.create(tmp_path / "cut", META)
    with Runlog.open(folder)._journal as journal:
        for row in event_rows(RunEvent, journal.events()):
            log.write(row.event)
            if isinstance(row.event, DieMoved) and (row.event.die, row.event.state) == ("G@2", died_in):
                break
    log.write(Resumed(argv=(), pid=1, reason="", only=(), accepted=()))
    assert due(log.state)
    _, state = carry_out(tmp_path / "cut", drifting({2}), log=log)
    visits = [event.die for event in rows(state, VisitBegun)]
    assert visits == ["G@1", "G@2", "G@3", "G@4"]
    assert len(state.dies["G@2"].tries) == 1
    assert [d.name for d in state.subjects if d.suspect] == ["D1", "D2", "D3", "D4"]


def test_a_golden_die_that_cannot_be_measured_is_as_bad_as_one_that_drifts(tmp_path):
    def fate(job):
        if job.die == "G@2":
            return Outcome(Status.FAIL, "no contact after 3 touches", 1, "contact", State.CONTACT_FAIL), {}
        return fine(job)

    ending, state = carry_out(tmp_path / "run", fate)
    assert ending.code == 0
    (alarm,) = rows(state, Alarm)
    assert "could not be measured (contact fail: no contact after 3 touches)" in alarm.text
    assert [event.dies for event in rows(state, DiesInDoubt)] == [("D1", "D2"), ("D3", "D4")]


def test_a_bench_that_a_visit_left_live_is_what_the_run_ends_with(tmp_path):
    def fate(job):
        if job.die == "G@4":
            return Outcome(Status.FAIL, "SMU may be live", 6, "error", State.ERROR), {}
        return fine(job)

    ending, _ = carry_out(tmp_path / "run", fate)
    assert ending.code == 6
    assert "G@4" not in read_state(tmp_path / "run").unfinished


def test_without_a_first_visit_that_measured_the_next_one_is_the_reference(tmp_path):
    def fate(job):
        outcome, figures = fine(job)
        return outcome, {} if job.die == "G@1" else figures

    _, state = carry_out(tmp_path / "run", fate)
    golden = rows(state, VisitJudged)
    assert [g.ok for g in golden] == [False, True, True, True]
    assert "without coming to R_P" in golden[0].text
    assert golden[2].drift["r_p"] == pytest.approx(1.003 / 1.002 - 1)
    assert [event.dies for event in rows(state, DiesInDoubt)] == [("D1", "D2")]


def test_a_visit_reads_as_the_campaign_reads_and_pulses_only_if_asked():
    survey = Survey(v_read=0.08, aperture=2e-3)
    (read,) = stages_of(GOLDEN, [survey])
    assert isinstance(read, MapCells)
    assert (read.v_read, read.aperture) == (0.08, 2e-3)
    surveyed = Golden(die="G", every=2, drift={"v_switch": 0.05}, measure="survey")
    assert stages_of(surveyed, [survey]) == (survey,)
    with pytest.raises(BenchError, match="no stage 'survey'"):
        stages_of(surveyed, [MapCells()])


def test_a_simulated_golden_die_is_the_same_at_each_visit_and_its_noise_is_not():
    first, second = (Site(f"G@{k}", KIND, 3) for k in (1, 2))
    assert first.serial == second.serial == "G"
    dies = [simulated(s) for s in (first, second, replace(first))]
    maps = [next(iter(MapCells().run(die, History()))).conductance for die in dies]
    np.testing.assert_array_equal(maps[0], maps[2])
    assert (maps[0] != maps[1]).any()
    np.testing.assert_array_equal(dies[0].truth()["state"], dies[1].truth()["state"])


def test_no_die_begins_beside_one_that_is_being_sealed_since_a_visit_may_have_to_judge_it(tmp_path):
    beside = []

    class Sealing(FatedExecutor):
        """A bench whose dies are measured at once and sealed when the scheduler has looked for another one."""

        looked = False

        def __init__(self, notify):
            super().__init__(1, fine)
            self.notify = notify

        def begin(self, job):
            super().begin(job)
            beside.append(len(self._hand))
            outcome, figures = fine(job)
            self.notify(job.die, "state", State.SEALING)
            self.notify(job.die, "measured", DieResult(job.die, "good", outcome, [], figures=figures, unsealed=True))

        def wait(self, seconds):
            self.looked = not self.looked
            return [] if self.looked else super().wait(seconds)

    ending, state = carry_out(tmp_path / "run", fine, kind=Sealing)
    assert (ending.code, {die.state for die in state.dies.values()}) == (0, {State.DONE})
    assert set(beside) == {1}
