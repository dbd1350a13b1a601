"""A session is written message by message, read back as exchanges, and replayed over all its connections."""

import io
import os
from itertools import count

import pytest

from instruments.session import Session, SessionFile, SessionReplay, as_test, read_session, recorded
from instruments.transcript import TranscriptError
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError, LinkTimeoutError
from tests.unit.instruments.test_probed_die import bench

HEAD = Session("read", "name: b\n", "2026-01-02T03:04:05+00:00", False, {"seed": 3}, {"die": "name: d\n"})


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
        times = count()
        messages = SessionFile(file, lambda: next(times))
        messages.begin(HEAD)
        connect = recorded(lambda name, entry: BytesTransport(Upper(), name, probe=None), messages)
        conversation(connect("smu1", entry))
    return path


def test_what_was_recorded_is_read_back_with_what_was_asked_for(session):
    made = read_session(session)
    assert (made.command, made.bench, made.options, made.files) == (
        "read", "name: b\n", {"seed": 3}, {"die": "name: d\n"}
    )  # fmt: skip
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
        BenchError, match="line 4: no recorded session; expected what a command with '--record FILE' has written"
    ):
        read_session(session)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_a_pipe_is_no_session_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BenchError, match="it is no regular file; expected a recorded session"):
        read_session(tmp_path / "pipe")


def test_only_wires_of_text_are_recorded():
    messages, entry = SessionFile(io.StringIO(), lambda: 0.0), bench().instruments["smu1"]
    library = object()
    assert recorded(lambda name, entry: library, messages)("smu1", entry) is library


class Full(io.StringIO):
    """A file on a disk that is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def test_a_disk_that_is_full_ends_the_recording_and_no_conversation():
    messages, entry = SessionFile(Full(), lambda: 0.0), bench().instruments["smu1"]
    connect = recorded(lambda name, entry: BytesTransport(Upper(), name, probe=None), messages)
    conversation(connect("smu1", entry))
    assert messages.failure == "No space left on device"


def test_a_recorded_wire_asks_nothing_first_where_the_wire_would_not():
    wire, entry = BytesTransport(Upper(), "smu1", probe="probe"), bench().instruments["smu1"]
    one = recorded(lambda name, entry: wire, SessionFile(io.StringIO(), lambda: 0.0))("smu1", entry)
    sent = []
    wire._handler.handle = lambda data: sent.append(data) or data.upper()
    one.ask_nothing_first()
    one.resync()
    assert one.query("now") == "NOW"
    assert sent == [b"now\n"]


@pytest.mark.parametrize(
    "head", ['{"session": 1}', '{"session": 2, "command": "run", "bench": "", "utc": "", "simulated": true}']
)
def test_what_cannot_be_carried_out_again_is_refused(tmp_path, head):
    (tmp_path / "s.jsonl").write_text(head + "\n")
    with pytest.raises(BenchError, match=r"expected (2|one of check, off, read, pulse, map)"):
        read_session(tmp_path / "s.jsonl")


def test_the_test_has_the_exchanges_and_says_what_they_are_of(session):
    text = as_test(read_session(session))
    assert "Recorded by `labctl read` on a bench, 2026-01-02T03:04:05+00:00" in text
    assert "command='read', options=OPTIONS, files=FILES, simulated=False" in text
    assert "        ('two\\nlines', 'TWO\\nLINES')," in text
    compile(text, "test_of_it.py", "exec")
