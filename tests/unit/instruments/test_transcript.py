"""A replay fails on whatever was not in the conversation, and on whatever of it was not said."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instruments.transcript import Recorder, TranscriptError, TranscriptReplay, parse, render
from instruments.transport import BytesTransport
from labctl.core.errors import LinkTimeoutError
from labctl.core.transport import Transport

TALK = [(">", "*IDN?"), ("<", "Model 2602B"), (">", "a=1\nprint(b)"), ("<", "1\t2"), ("<", "done")]

messages = st.text(st.characters(min_codepoint=9, max_codepoint=126))


@given(st.lists(st.tuples(st.sampled_from("><"), messages)))
def test_a_transcript_file_is_read_as_it_was_written(pairs):
    assert parse(render(pairs)) == pairs


def test_a_line_that_is_no_message_is_refused_with_its_number():
    with pytest.raises(ValueError, match="line 2"):
        parse("> fine\nnot fine\n")


def test_the_recorded_conversation_is_replayed():
    with TranscriptReplay(TALK) as replay:
        assert isinstance(replay, Transport)
        assert replay.query("*IDN?") == "Model 2602B"
        assert replay.converse("a=1\nprint(b)", lambda line: line == "done") == ["1\t2", "done"]


def test_another_message_than_the_recorded_one_fails():
    with pytest.raises(TranscriptError, match=r"expected '\*IDN\?', got '\*RST'"):
        TranscriptReplay(TALK).write("*RST")


def test_one_message_more_than_recorded_fails():
    replay = TranscriptReplay([(">", "a")])
    replay.write("a")
    with pytest.raises(TranscriptError, match="nothing more was expected, got 'b'"):
        replay.write("b")


def test_what_was_never_sent_fails_at_the_end():
    with (
        pytest.raises(TranscriptError, match=r"1 messages left.*never sent: 'b'"),
        TranscriptReplay([(">", "a"), (">", "b")]) as r,
    ):
        r.write("a")


def test_what_was_never_read_fails():
    with pytest.raises(TranscriptError, match="never read: '1'"), TranscriptReplay([(">", "a"), ("<", "1")]) as replay:
        replay.write("a")
    replay = TranscriptReplay([(">", "a"), ("<", "1"), (">", "b")])
    replay.write("a")
    with pytest.raises(TranscriptError, match="was not read before 'b'"):
        replay.write("b")


def test_a_reply_that_was_not_recorded_is_a_timeout():
    with pytest.raises(LinkTimeoutError):
        TranscriptReplay([(">", "a")]).query("a")


def test_an_error_inside_is_not_hidden_by_the_leftovers():
    with pytest.raises(ZeroDivisionError), TranscriptReplay(TALK):
        _ = 1 / 0


class Upper:
    def handle(self, data):
        return data.upper()


def test_what_passes_through_a_recorder_replays_the_same():
    file = io.StringIO()
    recorder = Recorder(BytesTransport(Upper(), "upper"), file, "echo in capitals")
    assert isinstance(recorder, Transport)
    recorder.query("one\ttab")
    recorder.converse("two\nlines", lambda line: line == "LINES")
    recorder.write("three")
    assert file.getvalue() == "# echo in capitals\n> one\\ttab\n< ONE\\tTAB\n> two\n| lines\n< TWO\n< LINES\n> three\n"
    with TranscriptReplay(parse(file.getvalue())) as replay:
        assert replay.query("one\ttab") == "ONE\tTAB"
        assert replay.converse("two\nlines", lambda line: line == "LINES") == ["TWO", "LINES"]
        replay.write("three")
