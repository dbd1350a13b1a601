"""The run's own journal: what is written is what everybody folds, live, after the end and after a kill."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.core.die_state import ACTIVE, EDGES, FINAL, State
from labctl.core.errors import StorageError
from labctl.core.events import Alarm, DiesInDoubt, Level, Resumed, RunEnded, RunEvent, StageBegun, VisitBegun
from labctl.core.exit_codes import Status
from labctl.storage.event_rows import event_rows
from labctl.storage.run_log import Runlog, fold, read_state

META = {"dies": [{"name": "A", "at": [0, 0]}, {"name": "B", "at": [1, 0]}]}


def _two_tries(log: Runlog) -> None:
    log.set_state("A", State.RUNNING, 1)
    log.write(StageBegun(die="A", stage="survey"))
    log.set_state("A", State.SEALING, 1)
    log.set_state("A", State.ERROR, 1, "the worker died", seconds=2.5, bin="error", hard=9)
    log.set_state("A", State.PENDING, 1)
    log.set_state("A", State.RUNNING, 2)
    log.set_state("A", State.SEALING, 2, figures={"fidelity": 0.99})
    log.set_state("A", State.DONE, 2, bin="good", hard=1, rule="nothing missed", sha256="ab", figures={"accuracy": 0.9})


def test_tries_of_a_die_are_kept_apart(tmp_path: Path) -> None:
    with Runlog.create(tmp_path, META) as log:
        _two_tries(log)
        log.set_state("B", State.SKIPPED, 1, "asked by alice")
        die = log.state.dies["A"]
        assert [(t.number, t.state, t.bin, t.hard) for t in die.tries] == [
            (1, "error", "error", 9),
            (2, "done", "good", 1),
        ]
        assert die.tries[0].stage == "survey"
        assert die.tries[0].seconds == 2.5
        assert die.last is not None
        assert die.last.figures == {"fidelity": 0.99, "accuracy": 0.9}
        assert die.folder == "A~2"
        assert log.state.dies["B"].state is State.SKIPPED
        assert log.state.dies["B"].tries == ()
        assert log.state.unfinished == ()


def test_a_reader_sees_every_commit_and_only_what_is_new(tmp_path: Path) -> None:
    with Runlog.create(tmp_path, META) as log:
        first = read_state(tmp_path)
        assert first.unfinished == ("A", "B")
        log.write(Alarm(text="row 3 in compliance", die="A", level=Level.WARNING))
        _two_tries(log)
        again = read_state(tmp_path, first)
        assert again == read_state(tmp_path)
        assert again == log.state
        assert [row.event.kind for row in again.events] == [Alarm.kind]


def test_a_run_that_ended_and_goes_on_has_no_outcome_until_it_ends_again(tmp_path: Path) -> None:
    log = Runlog.create(tmp_path, META)
    log.write(RunEnded(outcome=Status.ABORT, exit_code=4, reason="stopped by the operator"))
    log.finish()
    assert (read_state(tmp_path).outcome, read_state(tmp_path).exit_code) == ("abort", 4)
    with Runlog.open(tmp_path) as log:
        log.write(Resumed(argv=(), pid=1, reason="", only=(), accepted=()))
        assert (log.state.outcome, log.state.exit_code, log.state.resumes) == ("", None, 1)
        log.write(RunEnded(outcome=Status.SUCCESS, exit_code=0))
        assert read_state(tmp_path).outcome == "success"


def test_visits_of_the_golden_die_are_no_subjects(tmp_path: Path) -> None:
    with Runlog.create(tmp_path, META) as log:
        log.write(VisitBegun(die="A@1", at=(0, 0)))
        log.set_state("A@1", State.RUNNING, 1)
        log.write(DiesInDoubt(dies=("B",), text="the golden die drifted"))
        assert [d.name for d in log.state.subjects] == ["A", "B"]
        assert log.state.dies["A@1"].golden
        assert log.state.dies["B"].suspect == "the golden die drifted"


def test_an_edge_that_is_none_is_refused(tmp_path: Path) -> None:
    with Runlog.create(tmp_path, META) as log:
        with pytest.raises(ValueError, match="die A cannot go from 'pending' to 'done'"):
            log.set_state("A", State.DONE, 1)
        assert read_state(tmp_path).dies["A"].state is State.PENDING


def test_every_state_is_left_or_final_and_every_active_one_can_be_interrupted() -> None:
    assert set(EDGES) == set(State)
    assert {s for s in State if not EDGES[s]} == FINAL
    assert all(State.INTERRUPTED in EDGES[s] for s in ACTIVE)


def test_folding_in_two_parts_is_folding_at_once(tmp_path: Path) -> None:
    with Runlog.create(tmp_path, META) as log:
        start = replace(log.state)
        _two_tries(log)
        entries = list(event_rows(RunEvent, log._journal.events()))
        for cut in range(len(entries) + 1):
            assert fold(fold(start, entries[:cut]), entries[cut:]) == log.state


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE log SET what = 'evemt' WHERE seq = 3", "row 3 is damaged"),
        ("UPDATE log SET kind = 'ended' WHERE seq = 4", "row 4 is damaged"),
        ("DELETE FROM log WHERE seq = 4", "row 4 is missing"),
    ],
)
def test_a_row_that_no_query_finds_is_missed(tmp_path: Path, damage: str, words: str) -> None:
    with Runlog.create(tmp_path, META) as log:
        _two_tries(log)
    read_state(tmp_path)
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as journal:
        journal.execute(damage)
    with pytest.raises(StorageError, match=words):
        read_state(tmp_path)


def test_a_description_of_a_table_that_cannot_be_decoded_is_damage(tmp_path: Path) -> None:
    with Runlog.create(tmp_path, META) as log:
        _two_tries(log)
    path = tmp_path / "journal.db"
    content = path.read_bytes()
    assert content.count(b"CREATE TABLE log") == 1
    path.write_bytes(content.replace(b"CREATE TABLE log", b"CREATE TABLE \xcc\x01g"))
    with pytest.raises(StorageError, match="it is damaged"):
        read_state(tmp_path)


def test_no_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no run here"):
        read_state(tmp_path)
