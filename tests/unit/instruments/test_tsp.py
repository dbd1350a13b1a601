"""The dialect of Keithley's instruments: error queues without end, scripts that did not run, too few numbers."""

import pytest

from instruments.transcript import TranscriptReplay
from instruments.tsp import LONGEST_CHUNK, MOST_ERRORS, Refused, Tsp
from labctl.core.errors import InstrumentError, LinkTimeoutError

NEXT = (">", 'print(string.format("%d\\t%s\\t%d",errorqueue.next()))')


def test_a_reply_of_too_few_numbers_is_an_error():
    words = r"smu: 2 numbers expected for 'a,b', got \[1.0\]"
    ask = 'print(string.format("%.9e,%.9e",a,b))'
    with TranscriptReplay([(">", ask), ("<", "1")]) as wire, pytest.raises(InstrumentError, match=words):
        Tsp(wire, "smu").numbers("a,b", 2)


def test_an_instrument_that_does_not_answer_may_be_loading_a_script_of_somebody():
    words = r"did not answer '\*IDN\?'.*'labctl off' ends it"
    with TranscriptReplay([(">", "*IDN?")]) as wire, pytest.raises(LinkTimeoutError, match=words):
        Tsp(wire, "smu").identity(["2602B"])


def test_errors_are_read_until_there_is_none():
    talk = [NEXT, ("<", "-2.21000e+02\tSettings conflict\t20\t1"), NEXT, ("<", "5"), NEXT, ("<", "0\tQueue Is Empty")]
    with TranscriptReplay(talk) as wire:
        assert Tsp(wire, "smu").errors() == ["-221 Settings conflict", "5"]


def test_what_stood_in_the_queue_before_is_told_once_and_is_no_warning_of_this_session():
    talk = [NEXT, ("<", "-221\tSettings conflict\t20"), NEXT, ("<", "820\tInterlock opened\t10"), NEXT, ("<", "0\t\t0")]
    with TranscriptReplay(talk) as wire:
        tsp = Tsp(wire, "smu")
        assert tsp.old_errors() == ("-221 Settings conflict", "820 Interlock opened (a warning)")
        assert tsp.warnings() == []


def test_an_error_queue_that_does_not_end_is_cleared():
    talk = [NEXT, ("<", "-104\tData type error")] * MOST_ERRORS
    talk += [(">", "errorqueue.clear()\nprint(errorqueue.count)"), ("<", "0")]
    with TranscriptReplay(talk) as wire:
        assert Tsp(wire, "smu").errors() == ["-104 Data type error"] * MOST_ERRORS + ["and more"]


ASK = 'print(errorqueue.count,table.concat(mtj_r or {},";"))'


def test_a_script_that_did_not_run_is_known_by_the_mark_of_the_one_before():
    talk = [
        (">", f'mtj_r={{"done-1"}} r[2]=7\n{ASK}'), ("<", "0\tdone-1;7"),
        (">", f'mtj_r={{"done-2"}} r[2]=8\n{ASK}'), ("<", "0\tdone-1;7"),
    ]  # fmt: skip
    with TranscriptReplay(talk) as wire:
        tsp = Tsp(wire, "smu")
        assert tsp.script(["r[2]=7"]) == ["7"]
        with pytest.raises(
            InstrumentError, match="script 'done-2' did not run; the last that did is 'done-1'"
        ) as caught:
            tsp.script(["r[2]=8"])
    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize("length", [LONGEST_CHUNK, LONGEST_CHUNK + 1])
def test_a_script_goes_as_one_message_as_long_as_a_message_may_be(length):
    start = 'mtj_r={"done-1"} '
    line = "x" * (length - len(start))
    body = start + line if length <= LONGEST_CHUNK else f"loadandrunscript\n{start.strip()}\n{line}\nendscript"
    with TranscriptReplay([(">", f"{body}\n{ASK}"), ("<", "0\tdone-1")]) as wire:
        assert Tsp(wire, "smu").script([line]) == []


def test_a_setting_that_is_refused_without_a_message_is_told_by_the_count():
    talk = [(">", "x=1\nprint(errorqueue.count)"), ("<", "1"), NEXT, ("<", "0\tQueue Is Empty")]
    with TranscriptReplay(talk) as wire, pytest.raises(Refused, match=r"smu refused 'x=1': 1$"):
        Tsp(wire, "smu").set("x=1")
