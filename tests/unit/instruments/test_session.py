"""A session is written message by message, read back as exchanges, and replayed over all its connections."""

import io
import os
from itertools import count

import pytest

from instruments.session import Session, SessionReplay, as_test, begin, read_session, recorded
from instruments.transcript import TranscriptError
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError, LinkTimeoutError
from tests.unit.instruments.test_probed_die import bench

HEAD = Session("name: b\n", "2026-01-02T03:04:05+00:00", first_day=True, settings=False, simulated=False)


class Upper:
    """Answers in capitals; a lone "?" not at all."""

    def handle(self, data):
        return b"" if data == b"?\n" else data.upper()


def conversation(wire):
    assert wire.query("one\ttab") == "ONE\tTAB"
    assert wire.converse("two\nlines", lambda line: line == "LINES") == ["TWO", "LINES"]
    with pytest.raises(LinkTimeoutError):
        wire.query("?")
    assert wire.cut_in("abort", "now", lambda line: line == "NOW") == ["ABORT", "NOW"]
    wire.resync()
    wire.write("last")


@pytest.fixture
def session(tmp_path):
    path, entry = tmp_path / "s.jsonl", bench().instruments["smu1"]
    with path.open("x") as file:
        begin(file, HEAD)
        times = count()
        connect = recorded(lambda name, entry: BytesTransport(Upper(), name, probe=None), file, lambda: next(times))
        conversation(connect("smu1", entry))
    return path


def test_what_was_recorded_is_read_back_with_what_was_asked_for(session):
    made = read_session(session)
    assert (made.bench, made.first_day, made.settings) == ("name: b\n", True, False)
    assert made.exchanges["smu1"] == [
        ("one\ttab", "ONE\tTAB"), ("two\nlines", "TWO\nLINES"), ("?", None), ("abort\nnow", "ABORT\nNOW"),
        ("last", None),
    ]  # fmt: skip


def test_a_replay_goes_on_after_a_reply_that_never_came(session):
    replay = SessionReplay(read_session(session).exchanges["smu1"], "smu1")
    conversation(replay)
    replay.finish()


def test_a_replay_keeps_the_first_difference_that_somebody_has_caught():
    replay = SessionReplay([("a", "1")], "smu1")
    assert replay.query("a") == "1"
    for text in ("b", "c"):
        with pytest.raises(TranscriptError):
            replay.query(text)
    with pytest.raises(TranscriptError, match="nothing more was expected, got 'b'"):
        replay.finish()


def test_a_session_that_breaks_off_is_whole_up_to_there_and_a_broken_line_is_named(session):
    lines = session.read_text().splitlines(keepends=True)
    session.write_text("".join(lines[:3]))
    assert read_session(session).exchanges == {"smu1": [("one\ttab", "ONE\tTAB")]}
    session.write_text("".join(lines[:3]) + lines[3][:10])
    with pytest.raises(
        BenchError, match="line 4: no recorded session; expected what 'labctl check BENCH --record FILE' has written"
    ):
        read_session(session)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_is_no_session_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BenchError, match="it is no regular file; expected a recorded session"):
        read_session(tmp_path / "pipe")


def test_only_wires_of_text_are_recorded():
    file, entry = io.StringIO(), bench().instruments["smu1"]
    library = object()
    assert recorded(lambda name, entry: library, file, lambda: 0.0)("smu1", entry) is library


def test_the_test_has_the_exchanges_and_says_what_they_are_of(session):
    text = as_test(read_session(session))
    assert "Recorded by `labctl check --first-day` on a bench, 2026-01-02T03:04:05+00:00" in text
    assert "        ('two\\nlines', 'TWO\\nLINES')," in text
    compile(text, "test_of_it.py", "exec")
