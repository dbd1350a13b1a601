"""A request is for the session that goes on when it is made: it is taken by that one, withdrawn, or of no effect."""

import json
from contextlib import ExitStack

import pytest

from labctl.batch.requests import PATIENCE, Answer, Request, ask, ask_and_wait, close, session, take
from labctl.core.errors import BenchError, StorageError
from labctl.core.events import RequestKind
from labctl.storage.locks import hold
from labctl.storage.run_log import Runlog

STOP = Request(RequestKind.STOP, by="somebody")


class Clock:
    """A clock on which time passes only while somebody sleeps; something happens at each sleep, in order."""

    def __init__(self, *happens):
        self.now, self._happens = 0.0, list(happens)

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self._happens:
            self._happens.pop(0)()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    Runlog.create(folder, {"dies": [{"name": "A", "at": [0, 0]}]}).finish()
    return folder


@pytest.fixture
def held(run):
    """Hold the run, as whoever carries it out does; closed, nobody does any more."""
    with ExitStack() as stack:
        stack.enter_context(hold(run, "labctl run night.yaml"))
        yield stack


def asking(run, *happens):
    clock = Clock(*happens)
    return ask_and_wait(run, STOP, clock=clock.time, sleep=clock.sleep), clock.now


def left(run):
    return sorted(path.name.split(".", 1)[1] for path in (run / "requests").glob("*"))


def whats(run, going):
    return [request.what for request in take(run, going.session)]


def test_a_run_that_goes_on_takes_its_requests_once(run, held):
    going = session(run)
    assert asking(run, lambda: None, lambda: whats(run, going))[0] is Answer.TAKEN
    assert left(run) == ["json.taken"]
    assert whats(run, going) == []


def test_two_requests_while_it_runs_are_both_taken(run, held):
    going = session(run)
    ask(run, STOP)
    going.stop()
    ask(run, STOP)
    assert whats(run, going) == ["stop", "stop"]


def test_nobody_is_asked_where_nobody_works(run):
    assert asking(run) == (Answer.NOBODY, 0.0)
    assert not (run / "requests").exists()
    with pytest.raises(BenchError, match="nobody carries out"):
        ask(run, STOP)
    with pytest.raises(StorageError, match="there is no run here"):
        ask_and_wait(run.parent, STOP)


def test_of_a_run_that_was_killed_the_request_is_withdrawn(run):
    session(run)
    answer, waited = asking(run)
    assert answer is Answer.NOBODY
    assert waited == pytest.approx(PATIENCE, abs=0.1)
    assert left(run) == []


def test_a_session_whose_lock_cannot_be_seen_from_here_takes_its_requests(run):
    going = session(run)
    assert asking(run, lambda: whats(run, going))[0] is Answer.TAKEN


def test_a_run_that_does_not_look_keeps_its_request_which_stops_no_later_session(run, held):
    going = session(run)
    assert asking(run)[0] is Answer.WAITING
    assert left(run) == ["json"]
    close(going)
    later = session(run)
    assert whats(run, later) == []
    assert left(run) == ["json.late"]
    ask(run, STOP)
    assert whats(run, later) == ["stop"]


def test_a_run_that_ends_while_it_is_asked_leaves_nothing(run, held):
    going = session(run)

    def end():
        close(going)
        held.close()

    assert asking(run, lambda: None, end)[0] is Answer.ENDED
    assert left(run) == []


def test_a_run_that_takes_the_request_as_its_last_deed_has_taken_it(run, held):
    going = session(run)

    def end():
        whats(run, going)
        close(going)
        held.close()

    assert asking(run, end)[0] is Answer.TAKEN


def test_a_run_that_is_being_started_is_asked_as_soon_as_it_can_be(run, held):
    sessions = []
    taken = asking(run, lambda: sessions.append(session(run)), lambda: None, lambda: whats(run, sessions[0]))
    assert taken[0] is Answer.TAKEN
    close(sessions[0])
    assert asking(run)[0] is Answer.BUSY
    assert left(run) == ["json.taken"]


def test_a_request_to_a_killed_session_is_made_again_to_the_one_that_takes_its_place(run):
    session(run)
    sessions = []

    def resume():
        sessions.append(session(run))
        assert whats(run, sessions[0]) == []

    assert asking(run, resume, lambda: None, lambda: whats(run, sessions[0]))[0] is Answer.TAKEN
    assert left(run) == ["json.late", "json.taken"]


def test_a_request_that_names_no_session_is_from_before_and_has_no_effect(run):
    (run / "requests").mkdir()
    (run / "requests" / "00000000000000000001-stop-abcdef.json").write_text(
        json.dumps({"what": "stop", "die": "", "by": "somebody", "reason": ""})
    )
    assert whats(run, session(run)) == []
    assert left(run) == ["json.late"]
