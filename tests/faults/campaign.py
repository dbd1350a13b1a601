"""Dies on a bench, surveyed, written and read out as a network, session after session until they have ended.

A session is what `labctl run` and `labctl resume` do in the process that owns the bench: make safe, connect, go on with
the journal, leave safe. Sealing is left out: it is in a process of its own, and no instrument is part of it.
"""

import shutil
import sqlite3
import tempfile
import traceback
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from e2e.small_dies import LIMITS
from faults.bench import FaultyTwin
from faults.benches import BENCHES
from faults.kinds import DoesNotApply, Injection, Killed
from faults.timeline import names

from instruments import emergency
from instruments.bench_io import BenchIO
from instruments.drivers import has_prober
from instruments.emergency import make_safe
from labctl.config.campaign import Accept
from labctl.core.die_state import FINAL, State
from labctl.core.errors import InstrumentError, LabError, LeftUnverified
from labctl.core.exit_codes import ExitCode
from labctl.core.site import Site
from labctl.execution import die_job, recorded_die
from labctl.execution.die_job import Job, run_die
from labctl.execution.stop import Stop
from labctl.station.bench_setup import on_bench
from labctl.station.simulated import simulated
from labctl.storage.journal import Journal
from sim_backend.faults.boards import RESTARTED

SEED = 5
CHUNK = 0.5
"""Expected time of the operations between two commits of the journal, s; a longer one leaves less to resume."""
SESSIONS = 12
"""Sessions after which a die has not ended; more than any fault may need."""
PHASES = (State.MOVING, State.CONTACT_CHECK)
"""States of a die that are phases of the campaign; while it runs, its stages are."""
MEMORY = Path("/dev/shm")


@dataclass
class Ended:
    """How one die ended: its state, bin and try, and the tables of its journal by "table.column".

    Args:
        counts: pulses of each cell in the try in which it ended, as its journal counts them.
        lost_rows: rows of a journal that were acknowledged in one session and are not there, or not the same, later.
    """

    state: State = State.PENDING
    bin: str = ""
    try_no: int = 1
    sessions: int = 0
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    lost_rows: int = 0
    counts: np.ndarray | None = None


@dataclass
class Course:
    """What happened in a run with an injection.

    Args:
        peak, peak_gate: highest voltages of a cell and of a gate, V, by the twin's audit.
        most: highest voltage of a cell that the campaign asks for and its limits allow, V; `limit_gate` is the bench's.
        told: exit code and reason of everything that did not go well, in order.
        bugs: tracebacks of exceptions that are no errors of this suite.
        untold: outputs left on at the end of a session that did not end with 6 and the names of their instruments.
        late: outputs that went off later after the detection of a fault than they may, in words.
        names: of instruments and pads in the bench file.
        rows_share: a pulse counts for all cells of its row, as behind one gate.
    """

    injection: Injection
    dies: dict[str, Ended] = field(default_factory=dict)
    told: list[tuple[int, str]] = field(default_factory=list)
    bugs: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    names: tuple[str, ...] = ()
    peak: float = 0.0
    most: float = 0.0
    rows_share: bool = False
    peak_gate: float = 0.0
    limit_gate: float = 0.0
    incidents: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def tell(self, code, reason):
        """Record an exit code and its reason; a bug is one wherever it is said."""
        self.told.append((int(code), reason))
        if code == ExitCode.BUG:
            self.bugs.append(reason)


@contextmanager
def watched(twin):
    """Leave out sealing, which is another process, commit often, and note in the twin's timeline when errors arise.

    The patience of making safe counts by the twin's clock, as everything else does.
    """
    timeline, idle = twin.timeline, BenchIO.idle

    def arise(error, *args):
        Exception.__init__(error, *args)
        timeline.arose(error)

    def make_idle(bench_io):
        before = timeline.moment()
        try:
            idle(bench_io)
        finally:
            if len(timeline.errors) > before.errors:
                timeline.detect(timeline.first_error(before))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(die_job, "seal_in_subprocess", lambda run, die: "")
        patch.setattr(recorded_die, "CHUNK", CHUNK)
        patch.setattr(LabError, "__init__", arise, raising=False)
        patch.setattr(BenchIO, "idle", make_idle)
        patch.setattr(emergency, "time", SimpleNamespace(monotonic=lambda: twin.world.now))
        yield


class _Watching(Stop):
    """Requests to stop, of which there are none; notes in a timeline which errors end the work on a die."""

    def __init__(self, timeline):
        super().__init__()
        self.timeline = timeline

    def ending(self, error):
        """Return how an exception ends the work on a die."""
        self.timeline.caught(error)
        return super().ending(error)


@cache
def bench_of(name):
    """Return a bench of the harness as its file is read."""
    return BENCHES[name].model()


@cache
def description(name):
    """Return a sound die of a bench of the harness."""
    return BENCHES[name].description()


def carry_out(injection, name="matrix"):
    """Carry out the campaign on a bench to which `injection` happens, until all dies have ended; return its course.

    The course ends with the message to which alone the injection was to happen, if it does not apply there.
    """
    bench, chosen = bench_of(name), BENCHES[name]
    subjects = [Site(f"D{k}", description(name), SEED, (k, 0)) for k in range(chosen.dies)]
    twin = FaultyTwin(bench, {subject.spot: simulated(subject) for subject in subjects}, SEED, injection)
    course, procedures = Course(injection), chosen.stages()
    course.names, course.rows_share = chosen.names(), chosen.rows_share
    with watched(twin), tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for subject in subjects:
            die = course.dies[subject.name] = Ended()
            while die.state not in FINAL and die.sessions < SESSIONS and die.try_no <= injection.tries:
                job = Job(Path(folder), subject, chosen.limits, Accept(fidelity=0.9).rules, try_no=die.try_no)
                with suppress(DoesNotApply):
                    _session(bench, twin, subjects, job, procedures, course, die)
                if not injection.applies:
                    return course
                if injection.lasting and die.sessions >= 2:
                    injection.repaired = True  # somebody has come and repaired the instrument
                    if injection.kind in RESTARTED:
                        twin.power_cycle(injection.instrument)
            _read(Path(folder), subject, die, injection.tries)
    audit = twin.ledger
    course.peak, course.seconds = audit.peak_cell_voltage, twin.world.now
    course.most = min(chosen.most, chosen.limits.v_towards_p, chosen.limits.v_towards_ap)
    course.peak_gate, course.limit_gate = audit.peak_gate_voltage, bench.limits.v_gate
    course.incidents = [f"{event.what}: {event.detail}" for event in audit.events if event.what != "refused"]
    return course


def _session(bench, twin, subjects, job, procedures, course, die):
    """Work on one die until it ends or the bench does not go on, or whoever works on it is killed."""
    die.sessions += 1
    before, result, code = _rows(job), None, 0
    injection, timeline = course.injection, twin.timeline
    known, detected = len(course.told), len(timeline.detections)
    kept = job.folder / "as killed"

    def keep_journal():
        if job.place.is_dir():
            shutil.copytree(job.place, kept)

    injection.begin(job.die)
    if not has_prober(bench):
        twin.world.touch(True)  # by a person, as everywhere where nothing moves
    injection.at_kill = keep_journal

    def notify(name, what, detail):
        if what == "alarm":
            course.tell(0, detail)
        elif what == "stage" or (what == "state" and detail in PHASES):
            injection.phase = detail
        elif what == "done":
            injection.phase = "leaving"

    try:
        if die.sessions > 1:
            injection.phase = "making safe"
            timeline.detect()
            _make_safe_first(bench, twin)
        injection.phase = "opening" if die.sessions == 1 else "reopening"
        with on_bench(bench, subjects, "bytes", twin=twin) as body:
            body.anew = False  # the cells are those of the session before, as on a real bench
            result = run_die(job, procedures, notify, _Watching(timeline), body)
    except KeyboardInterrupt:
        code = ExitCode.OPERATOR
        course.tell(code, "interrupted while the bench was being opened or left")
    except Killed:
        pass
    except LabError as error:
        code = error.exit_code
        timeline.caught(error)
        course.tell(code, str(error))
    except Exception:
        code = ExitCode.BUG
        course.tell(code, traceback.format_exc())
    if injection.killed:  # what came after that has not happened
        del course.told[known:], timeline.detections[detected:]
        shutil.rmtree(job.place, ignore_errors=True)
        if kept.is_dir():
            kept.rename(job.place)
    elif result is not None:
        code = max(code, result.outcome.exit_code) if code != ExitCode.NOT_OFF else code
        if result.outcome.reason:
            course.tell(result.outcome.exit_code, f"{result.outcome.reason}\n{result.outcome.trace}")
        die.state, die.bin = result.state, result.bin
        untouched = result.state is State.CONTACT_FAIL and not has_prober(bench)
        if result.again or result.state is State.ERROR or untouched:
            die.try_no, die.state = die.try_no + 1, State.PENDING
    rows = _rows(job)
    die.lost_rows += sum(row != rows[k : k + 1] for k, row in enumerate([[row] for row in before]))
    if injection.killed:
        return
    words = " ".join(text for _, text in course.told[known:])
    for channel in twin.live():
        name = channel.partition(".")[0]
        if code != ExitCode.NOT_OFF or not names(words, name):
            course.untold.append(f"{channel} is on after exit code {int(code)}: {words or 'nothing'}")
    course.late += timeline.late(detected, {name: entry.patience for name, entry in bench.instruments.items()})


def _make_safe_first(bench, twin):
    """Make the bench safe, as every session does that goes on with a run."""
    try:
        make_safe(bench, connect=twin.connect, wait=twin.wait)
    except InstrumentError as error:
        raise LeftUnverified(str(error)) from error


def _rows(job):
    """Return the rows of a try's journal, as they are stored; none if there is no journal."""
    path = job.place / "journal.db"
    if not path.is_file():
        return []
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT * FROM log ORDER BY seq").fetchall()


def _read(run, subject, die, tries):
    """Read the tables of the try in which a die ended."""
    folder = Job(run, subject, LIMITS, try_no=min(die.try_no, tries)).place
    if not (folder / "journal.db").is_file():
        return
    with Journal.open(folder) as journal:
        ends = [event.body for event in journal.events() if event.kind == "stage_ended"]
        die.counts = np.asarray(ends[-1]["pulses_per_cell"]) if ends else None
        for table in journal.tables:
            for column, values in journal.table(table).items():
                if column not in ("seq", "utc", "stage"):
                    die.columns[f"{table}.{column}"] = np.asarray(values)
