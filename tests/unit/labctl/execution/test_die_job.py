"""A die from its journal's first row to its sealed file, and on from where an earlier run left it."""

import itertools
import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from labctl.analysis import figures
from labctl.analysis.measurements import measure
from labctl.config.bins import BinRule
from labctl.core.die import DieWrapper
from labctl.core.die_state import State
from labctl.core.errors import BenchError, ContactError, StorageError
from labctl.core.events import ContactProved, DieEnded, DieEvent, DieResumed, InstrumentWarned, StageEnded, StageStarted
from labctl.core.figure import Figure, Figures
from labctl.core.limits import Limits
from labctl.core.operations import Glance
from labctl.core.rebuild import Rebuild
from labctl.core.site import Site
from labctl.execution import die_job
from labctl.execution.die_job import Job, run_die
from labctl.execution.stop import Stop
from labctl.station.simulated import Simulated
from labctl.storage.event_rows import event_rows
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.hdf5_writer import seal
from labctl.storage.journal import Journal
from labctl.storage.locks import hold
from labctl.storage.results import DieData
from protocols.bias import read_bias
from protocols.survey import Survey
from sim_backend.description import DieDescription

LIMITS = Limits(v_towards_p=0.7, v_towards_ap=0.7, width=1e-2, compliance=1e-2, v_count=0.35, pulses_per_cell=100)
STAGES = (Survey(v_start=0.4, v_max=0.5, v_step=0.05),)
DIE = DieDescription.model_validate(
    {"name": "small", "geometry": {"n_rows": 2, "n_cols": 3}, "junction": {"diameter": "80 nm"}},
    context={"file": True},
)


@pytest.fixture(autouse=True)
def sealed_here(monkeypatch):
    monkeypatch.setattr(die_job, "seal_in_subprocess", seal)


def job(run, **more):
    return Job(run, Site("D1", DIE, 5), LIMITS, **more)


class Touched(Simulated):
    """A die under needles that touch at the end of so many stages."""

    def __init__(self, stages):
        super().__init__()
        self.left, self.warned = stages, ["smu1: 1234 the fan is slow"]

    def prove(self):
        self.left -= 1
        if self.left < 0:
            raise ContactError("no contact: r0-c0 open")
        return {"r0-c0": 2400.0}

    def warnings(self):
        warned, self.warned = self.warned, []
        return warned

    def approach(self, *about):
        return replace(super().approach(*about), prove=self.prove, warnings=self.warnings)


def carry_out(run, stop_at=None, stages=STAGES, body=None, **more):
    """Run the die, asked to stop at a safe point; return the result and all messages."""
    messages, safe_points = [], itertools.count()
    stop = Stop(lambda: "stopped by the operator" if next(safe_points) == stop_at else None)
    result = run_die(job(run, **more), stages, lambda *message: messages.append(message), stop, body or Simulated())
    return result, messages


def test_a_die_tells_where_it_stands_and_how_long_it_may_be_silent(tmp_path):
    result, messages = carry_out(tmp_path)
    assert (result.state, result.bin, result.again, result.try_no) == (State.DONE, "measured", False, 1)
    assert [d for _, what, d in messages if what == "state"] == [State.RUNNING, State.SEALING]
    whats = [what for _, what, _ in messages]
    assert all(d > 0 for _, what, d in messages if what == "lease")
    for what in ("patterns", "state"):
        at = [k for k, w in enumerate(whats) if w == what]
        assert all("lease" in whats[:k] for k in at)
    assert whats[-2:] == ["lease", "done"]
    assert result.figures["good"] == 1.0


def test_the_figures_of_a_die_are_computed_once_from_its_tables_and_stored_with_it(tmp_path):
    values = carry_out(tmp_path)[0].figures
    with SealedDie(tmp_path / "dies" / "D1.h5") as die:
        survey, attempt = die.table("survey"), die.table("attempt")
        assert figures.stored(list(event_rows(DieEvent, die.events()))) == values
        assert figures.compute(figures.declared(STAGES), figures.DieTables(die), {}, die.meta) == values
    with Journal.open(tmp_path / "dies" / "D1") as journal:
        assert figures.stored(list(event_rows(DieEvent, journal.events()))) == values
    good = survey["defect"] == 0
    for name, column in (("r_p", "g_p"), ("r_ap", "g_ap")):
        conductance = np.sort(survey[column][good])
        low, high = np.percentile(conductance, (25, 75))
        inner = conductance[(conductance >= low) & (conductance <= high)]
        assert values[name] == pytest.approx(1 / inner.mean(), rel=1e-12)
    assert values["good"] == good.mean()
    assert values["defects"] == sum(values[n] for n in ("short", "open", "stuck_p", "stuck_ap", "low_tmr"))
    verified, to_p = attempt["verified"], attempt["target"]
    assert values["v_switch_p"] == pytest.approx(attempt["voltage"][verified & to_p].mean())
    assert values["v_switch_ap"] == pytest.approx(attempt["voltage"][verified & ~to_p].mean())


def test_a_formula_that_fails_costs_its_own_figure_and_an_alarm_names_it(tmp_path):
    class Own(Survey):
        name = "own"
        figures = (*Survey.figures, Figure("own", "own", "", lambda tables: 1 / 0))

    rule = BinRule(bin="odd", hard=9, when="own < 3")
    result, messages = carry_out(tmp_path, stages=(Own(v_start=0.4, v_max=0.5, v_step=0.05),), bins=(rule,))
    assert np.isnan(result.figures["own"])
    assert result.figures["good"] == 1.0
    assert (result.state, result.bin) == (State.DONE, "odd")
    alarms = [detail for _, what, detail in messages if what == "alarm"]
    (alarm,) = alarms
    text, _, place = alarm.partition(" (")
    assert text == "the figure 'own' cannot be computed and is NaN: ZeroDivisionError: division by zero"
    assert place.startswith("test_die_job.py:")


class Twice(Survey):
    name = "twice"


def test_a_die_whose_contact_is_gone_at_the_end_of_a_stage_is_void_and_has_no_figures(tmp_path):
    stages = (*STAGES, Twice(v_start=0.4, v_max=0.5, v_step=0.05))
    result, messages = carry_out(tmp_path, stages=stages, body=Touched(1))
    assert (result.state, result.bin, result.outcome.exit_code) == (State.ERROR, "error", 3)
    assert result.outcome.reason.startswith("void: at the end of the stage: no contact: r0-c0 open; ")
    assert result.figures == {}
    with SealedDie(tmp_path / "dies" / "D1.h5") as die:
        events = [(row.stage, row.event) for row in event_rows(DieEvent, die.events())]
    assert [(s, e) for s, e in events if isinstance(e, ContactProved)] == [
        ("survey", ContactProved(by="structures", resistance={"r0-c0": 2400.0}))
    ]
    assert [s for s, e in events if isinstance(e, StageEnded) and e.reason.startswith("void: ")] == ["twice"]
    ended = next(e for _, e in events if isinstance(e, DieEnded))
    assert (ended.state, ended.figures) == (State.ERROR, {})
    measured, counts = measure(DieData.of_run(tmp_path, "D1", "D1", ""), Figures(()))
    assert measured.void
    assert measured.cells == 6  # what its tables hold is shown, and counts nowhere
    assert (counts.sizes, counts.pulses) == ([], {})
    assert [(s, e.text) for s, e in events if isinstance(e, InstrumentWarned)] == [
        ("survey", "smu1: 1234 the fan is slow")
    ]
    assert [detail for _, what, detail in messages if what == "warning"] == ["smu1: 1234 the fan is slow"]


class Lifted(DieWrapper):
    """A die whose needles lift after so many operations."""

    def __init__(self, die, operations):
        super().__init__(die)
        self.left = operations

    def perform(self, operation):
        self.left -= 1
        if self.left < 0:
            raise ContactError("station: the needles are not in contact; no output goes on. Look at the station")
        return self._die.perform(operation)


@pytest.mark.parametrize("operations", [0, 1, 3])
def test_a_die_whose_needles_lift_in_a_stage_is_void_and_no_die_without_contact(tmp_path, operations):
    class Station(Simulated):
        def approach(self, *about):
            ready = super().approach(*about)
            return replace(ready, die=Lifted(ready.die, operations))

    result, _ = carry_out(tmp_path, body=Station())
    assert (result.state, result.bin, result.outcome.exit_code) == (State.ERROR, "error", 3)
    assert result.outcome.void
    assert result.outcome.reason.startswith("void: station: the needles are not in contact; ")


def test_a_stage_that_has_ended_is_not_proved_again_and_the_rest_is(tmp_path):
    stages = (*STAGES, Twice(v_start=0.4, v_max=0.5, v_step=0.05))
    whole, _ = carry_out(tmp_path / "whole", stages=stages, body=Touched(2))
    assert whole.state is State.DONE
    with Journal.open(tmp_path / "whole" / "dies" / "D1") as journal:
        operations = sum(1 for _ in journal.operations())
    first, _ = carry_out(tmp_path, stop_at=operations - 1, stages=stages, body=Touched(1))
    assert first.state is State.INTERRUPTED
    second, _ = carry_out(tmp_path, stages=stages, body=Touched(1))
    assert second.state is State.DONE
    with Journal.open(tmp_path / "dies" / "D1") as journal:
        assert [e.stage for e in journal.events() if e.kind == ContactProved.kind] == ["survey", "twice"]


def test_the_file_of_a_die_that_goes_on_is_set_aside_before_it_is_sealed_again(tmp_path):
    first, _ = carry_out(tmp_path, stop_at=4)
    assert (first.state, first.bin, first.outcome.exit_code) == (State.INTERRUPTED, "interrupted", 4)
    sealed = tmp_path / "dies" / "D1.h5"
    old = sealed.read_bytes()
    second, _ = carry_out(tmp_path)
    assert (second.state, second.bin) == (State.DONE, "measured")
    assert (tmp_path / "quarantine" / "D1.h5").read_bytes() == old
    with SealedDie(sealed) as die:
        kinds = [event.kind for event in die.events()]
        assert die.table("survey").rows == 1
    assert kinds.count(DieResumed.kind) == 1
    assert kinds.count(DieEnded.kind) == 2
    assert kinds.count(StageStarted.kind) == 1


def test_a_die_that_was_done_is_sealed_again_as_it_was_and_nothing_is_written(tmp_path):
    first, _ = carry_out(tmp_path)
    before = (tmp_path / "dies" / "D1" / "journal.db").read_bytes()
    second, messages = carry_out(tmp_path)
    assert second == first
    assert (tmp_path / "dies" / "D1" / "journal.db").read_bytes() == before
    assert not (tmp_path / "quarantine").exists()
    assert State.RUNNING not in [d for _, what, d in messages if what == "state"]
    (tmp_path / "dies" / "D1.h5").unlink()
    third, _ = carry_out(tmp_path)
    assert third == first


def test_a_die_that_cannot_be_sealed_goes_on_with_sealing(tmp_path, monkeypatch):
    def full(run, die):
        raise StorageError("the disk is full")

    monkeypatch.setattr(die_job, "seal_in_subprocess", full)
    first, _ = carry_out(tmp_path)
    assert (first.state, first.outcome.exit_code, first.sealed) == (State.INTERRUPTED, 5, "")
    monkeypatch.setattr(die_job, "seal_in_subprocess", seal)
    second, _ = carry_out(tmp_path)
    assert (second.state, second.bin, len(second.sealed)) == (State.DONE, "measured", 64)


def test_what_a_killed_writer_left_beside_the_journal_is_kept_in_quarantine(tmp_path):
    carry_out(tmp_path, stop_at=4)
    arrays = tmp_path / "dies" / "D1" / "arrays"
    arrays.mkdir(exist_ok=True)
    for name in (f"{'0' * 64}.npy", f"{'1' * 64}.npy.part"):
        (arrays / name).write_bytes(b"left behind")
    carry_out(tmp_path)
    assert not list(arrays.iterdir())
    assert {p.name for p in (tmp_path / "quarantine").iterdir()} == {
        "D1.h5", f"{'0' * 64}.npy", f"{'1' * 64}.npy.part",
    }  # fmt: skip


@pytest.mark.parametrize("damage", ["row", "pages", "empty", "not a database"])
def test_a_damaged_journal_is_left_as_it_is_and_the_die_needs_a_new_try(tmp_path, damage):
    carry_out(tmp_path, stop_at=4)
    path = tmp_path / "dies" / "D1" / "journal.db"
    if damage == "row":
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE log SET body = replace(body, '0', '1') WHERE seq = 3")
            db.commit()
    else:
        data = bytearray(path.read_bytes())
        data[4096:12288] = b"\xff" * 8192
        path.write_bytes({"pages": bytes(data), "empty": b"", "not a database": b"torn" * 2000}[damage])
    before = path.read_bytes()
    result, messages = carry_out(tmp_path)
    assert (result.again, result.state, result.sealed) == (True, State.ERROR, "")
    assert "needs a new one" in result.outcome.reason
    assert [what for _, what, _ in messages] == ["lease", "alarm"]
    assert path.read_bytes() == before
    new, _ = carry_out(tmp_path, try_no=2)
    assert (new.state, new.try_no) == (State.DONE, 2)
    assert (tmp_path / "dies" / "D1~2.h5").is_file()
    assert path.read_bytes() == before


def test_other_settings_than_those_of_the_run_leave_the_journal_and_need_a_new_try(tmp_path):
    carry_out(tmp_path, stop_at=4)
    result, _ = carry_out(tmp_path, stages=(Survey(v_start=0.41, v_max=0.5, v_step=0.05),))
    assert (result.state, result.bin, result.outcome.exit_code) == (State.ERROR, "error", 1)
    assert "the journal tells of another operation" in result.outcome.reason
    with Journal.open(tmp_path / "dies" / "D1") as journal:
        journal.verify()


def test_a_bug_leaves_its_trace_in_the_record_of_the_die(tmp_path):
    class Buggy(Survey):
        name = "buggy"

        def run(self, die, history):
            yield from ()
            raise ZeroDivisionError("no")

    result, _ = carry_out(tmp_path, stages=(Buggy(),))
    assert (result.state, result.outcome.error) == (State.ERROR, ("ZeroDivisionError", "no"))
    with Journal.open(tmp_path / "dies" / "D1") as journal:
        ended = next(e for e in journal.events() if e.kind == StageEnded.kind)
    assert "in run" in ended.body["trace"]
    assert "Traceback" not in ended.body["reason"]


def test_a_die_that_somebody_is_still_at_work_on_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr(die_job, "ORPHANED", 0.0)
    folder = tmp_path / "dies" / "D1"
    folder.mkdir(parents=True)
    with hold(folder, "work of a killed run"), pytest.raises(BenchError, match="work of a killed run"):
        carry_out(tmp_path)
    assert [p.name for p in folder.glob("journal*")] == []


class Glancing(Survey):
    """A survey, and then a read of it all that nobody writes down."""

    name = "glancing"

    @property
    def glances(self):
        return True

    def run(self, die, history):
        yield from super().run(die, history)
        bias = read_bias(die.geometry, *(np.zeros(3, np.int64),) * 2, np.arange(3), 0.1)
        assert die.sense(Glance(bias, np.arange(3))).current.shape == (3, 3)


def test_what_is_not_written_down_is_in_no_journal_and_of_simulated_dies_only(tmp_path):
    stages = (Glancing(v_start=0.4, v_max=0.5, v_step=0.05),)
    first, _ = carry_out(tmp_path, stages=stages)
    assert (first.state, first.bin) == (State.DONE, "measured")
    with Journal.open(tmp_path / "dies" / "D1") as journal:
        kinds = [row.kind for row, _ in journal.intents()]
    (tmp_path / "plain").mkdir()
    carry_out(tmp_path / "plain")
    with Journal.open(tmp_path / "plain" / "dies" / "D1") as journal:
        assert kinds == [row.kind for row, _ in journal.intents()]
    # once it was done it is sealed again as it was
    (tmp_path / "dies" / "D1.h5").unlink()
    second, _ = carry_out(tmp_path, stages=stages)
    assert (second.state, second.figures, second.sealed) == (first.state, first.figures, first.sealed)
    real = Touched(9)
    real.rebuild = Rebuild.NOTHING
    refused, _ = carry_out(tmp_path / "bench", stages=stages, body=real)
    assert (refused.bin, refused.outcome.exit_code) == ("error", 1)
    assert "is not written down, and this die does not give the same reading again" in refused.outcome.reason


class Mapped(Simulated):
    """Dies whose bins are shown; one that is not taken with `error`."""

    def __init__(self, error=None):
        super().__init__()
        self.error, self.shown = error, []

    def mark(self, subject, hard):
        if self.error is not None:
            raise self.error
        self.shown.append((subject.name, hard))


def test_the_hard_bin_of_a_die_is_shown_when_it_has_ended_and_not_when_it_goes_on_later(tmp_path, monkeypatch):
    bins = (BinRule(bin="no-cells", hard=12, when="good > 0"),)
    body = Mapped()
    result, _ = carry_out(tmp_path / "one", body=body, bins=bins)
    assert (result.bin, body.shown) == ("no-cells", [("D1", 12)])
    carry_out(tmp_path / "one", body=body, bins=bins)
    assert body.shown == [("D1", 12)], "a die that is only replayed is not shown again"
    monkeypatch.setitem(globals(), "LIMITS", LIMITS.model_copy(update={"pulses_per_cell": 1}))
    limited = Mapped()
    result, _ = carry_out(tmp_path / "limit", body=limited)
    assert (result.state, result.bin, limited.shown) == (State.LIMIT_STOP, "limit", [("D1", 6)])
    monkeypatch.undo()
    stopped = Mapped()
    assert carry_out(tmp_path / "two", stop_at=3, body=stopped)[0].bin == "interrupted"
    assert stopped.shown == []
    golden = Mapped()
    visit = job(tmp_path / "three", stages=STAGES)
    run_die(visit, STAGES, lambda *message: None, Stop(), golden)
    assert golden.shown == [], "the visit of a reference die has no bin"


def test_a_bin_that_is_not_shown_is_an_alarm_and_the_die_is_whole(tmp_path):
    result, messages = carry_out(tmp_path, body=Mapped(BenchError("the table is too short")))
    assert result.bin == "measured"
    (alarm,) = [message[2] for message in messages if message[1] == "alarm"]
    assert alarm == "the bin of this die is not on the prober's map: the table is too short"
    with Journal.open(tmp_path / "dies" / "D1", readonly=True) as journal:
        rows = [row.event for row in event_rows(DieEvent, journal.events())]
    assert [event.text for event in rows if isinstance(event, InstrumentWarned)] == [alarm]
    assert isinstance(rows[-1], DieEnded)
