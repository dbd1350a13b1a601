"""A journal that another program holds is waited for, with words, as long as it takes within reason."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from labctl.core.errors import StorageError
from labctl.core.events import UnknownEvent
from labctl.storage import journal
from labctl.storage.filesystem import no_locks
from labctl.storage.held import ENDING, PATIENCE, Holding
from labctl.storage.journal import Journal


@pytest.fixture(autouse=True)
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOOK", 1)


class Clock:
    """A clock on which `step` s go by at each look at the journal."""

    def __init__(self, step: float) -> None:
        self.step, self.now, self.said = step, 0.0, list[str]()

    def __call__(self) -> float:
        return self.now

    def look(self) -> bool:
        self.now += self.step
        return False


@contextmanager
def viewer(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold a journal as a viewer of databases does that has a change to write."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield db


def test_a_journal_held_for_45_s_fifty_times_loses_nothing_and_never_hangs(tmp_path: Path) -> None:
    clock = Clock(1.0)
    with Journal.create(tmp_path, {}, monotonic=clock) as one:
        for number in range(50):
            clock.step, clock.now = 1.0 + number / 5, 0.0
            clock.said.clear()
            with viewer(one.path) as other:

                def look(other: sqlite3.Connection = other) -> bool:
                    if clock.now >= 45.0 and other.in_transaction:
                        other.execute("ROLLBACK")
                    return clock.look()

                one.holding = Holding(clock.said.append, look)
                one.event(UnknownEvent("noise", {"number": number}))
                one.commit()
            assert 45.0 <= clock.now < 70.0
            held, free = clock.said
            assert held.startswith(f"{one.path}: another program holds it since ")
            assert "close it there" in held
            assert free.startswith(f"{one.path}: the other program let go of it after ")
    with Journal.open(tmp_path) as read:
        assert [event.body for event in read.events()] == [{"number": number} for number in range(50)]


@pytest.mark.parametrize(("asked_to_end", "patience"), [(False, PATIENCE), (True, ENDING)])
def test_the_patience_ends_in_an_error_and_the_rows_can_be_written_later(
    tmp_path: Path, asked_to_end: bool, patience: float
) -> None:
    clock = Clock(7.0)
    one = Journal.create(tmp_path, {}, monotonic=clock)
    one.holding = Holding(clock.said.append, lambda: clock.look() or asked_to_end)
    one.event(UnknownEvent("noise", {}))
    with viewer(one.path) as other:
        with pytest.raises(StorageError, match=r"journal\.db: cannot commit .*another program holds it open"):
            one.commit()
        assert patience <= clock.now < patience + 21.0
        # it is not waited for in full again, when the die and the run are brought to their end
        with pytest.raises(StorageError):
            one.commit()
        assert clock.now < patience + ENDING + 42.0
        other.execute("ROLLBACK")
    one.commit()
    one.event(UnknownEvent("noise", {}))
    before = clock.now
    with viewer(one.path), pytest.raises(StorageError):
        one.commit()
    assert clock.now - before >= patience
    one.close()
    with Journal.open(tmp_path) as read:
        assert len(list(read.events())) == 2


def test_what_goes_on_is_waited_for_when_it_is_opened(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as one:
        one.finish()
    clock = Clock(10.0)
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def look() -> bool:
            if clock.now >= 30.0 and other.in_transaction:
                other.execute("ROLLBACK")
            return clock.look()

        with Journal.open(tmp_path, readonly=False, holding=Holding(clock.said.append, look), monotonic=clock) as again:
            assert again.finished
    assert clock.now >= 30.0
    assert len(clock.said) == 2


def test_a_file_system_without_locks_is_told_from_a_journal_that_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite makes SQLITE_BUSY of both; nobody waits ten minutes for locks that never come."""
    fcntl = pytest.importorskip("fcntl", reason="this system locks files otherwise")
    clock = Clock(1.0)
    one = Journal.create(tmp_path, {}, monotonic=clock)
    one.commit()
    with viewer(one.path):

        def none(*_: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "lockf", none)
        one.holding = Holding(clock.said.append, clock.look)
        one.event(UnknownEvent("noise", {}))
        with pytest.raises(StorageError, match=r"files cannot be locked in this folder of \w+, .*\(No locks avail"):
            one.commit()
        one.abandon()
    assert (clock.now, clock.said) == (1.0, [])


def test_what_cannot_be_tried_is_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert no_locks(tmp_path) == ""
    assert no_locks(tmp_path / "nowhere") == ""
    monkeypatch.setattr("sys.platform", "win32")
    assert no_locks(tmp_path) == ""
