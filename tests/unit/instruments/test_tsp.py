"""The dialect of Keithley's instruments: error queues without end, scripts that did not run, too few numbers."""

import pytest

from instruments.transcript import TranscriptReplay
from instruments.transport import CHECK
from instruments.tsp import COUNTED, LONGEST_CHUNK, MOST_ERRORS, Refused, Tsp
from labctl.core.errors import InstrumentError, LinkTimeoutError

NEXT = (">", 'print(string.format("%d\\t%s\\t%d",errorqueue.next()))')


def before(count):
    """Return the question how many entries stood in the queue before a command, and its answer."""
    return (">", "print(mtj_e or 0) mtj_e=nil"), ("<", count)


def test_a_reply_of_too_few_numbers_is_an_error():
    words = r"smu: 'a,b' was answered by '1'; expected 2 numbers"
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
        (">", f'{COUNTED}mtj_r={{"done-1"}} r[2]=7\n{ASK}'), ("<", "0\tdone-1;7"),
        (">", f'{COUNTED}mtj_r={{"done-2"}} r[2]=8\n{ASK}'), ("<", "0\tdone-1;7"),
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
    start = COUNTED + 'mtj_r={"done-1"} '
    line = "x" * (length - len(start))
    body = start + line if length <= LONGEST_CHUNK else f"loadandrunscript\n{start.strip()}\n{line}\nendscript"
    with TranscriptReplay([(">", f"{body}\n{ASK}"), ("<", "0\tdone-1")]) as wire:
        assert Tsp(wire, "smu").script([line]) == []


def test_a_setting_that_is_refused_without_a_message_is_told_by_the_count():
    talk = [(">", f"{COUNTED}x=1\nprint(errorqueue.count)"), ("<", "1"), *before("0"), NEXT, ("<", "0\tQueue Is Empty")]
    with (
        TranscriptReplay(talk) as wire,
        pytest.raises(Refused, match=r"'x=1': its error queue counts 1 and is empty; "),
    ):
        Tsp(wire, "smu").set("x=1")


@pytest.mark.parametrize(("count", "blamed", "told"), [("0", "0; 1; 2", ""), ("1", "1; 2", "0"), ("2", "2", "0 1")])
def test_what_stood_in_the_queue_before_a_command_is_told_and_not_blamed_on_it(count, blamed, told):
    entries = [(NEXT, ("<", f"-22{k}\tof whom\t20")) for k in range(3)]
    talk = [(">", f"{COUNTED}x=1\nprint(errorqueue.count)"), ("<", "3"), *before(count)]
    talk += [line for entry in entries for line in entry] + [NEXT, ("<", "0\tQueue Is Empty")]
    with TranscriptReplay(talk) as wire:
        tsp = Tsp(wire, "smu")
        with pytest.raises(Refused) as caught:
            tsp.set("x=1")
        reason = str(caught.value).partition(": ")[2].removesuffix(f"; {CHECK}")
        assert sorted(part[3] for part in reason.split("; ")) == sorted(blamed.split("; "))
        warnings = tsp.warnings()
        assert sorted(text[3] for text in warnings) == sorted(told.split())
        assert all("of before a command" in text for text in warnings)
        assert tsp.warnings() == []


@pytest.mark.parametrize("count", ["4", "-1", "nan", "inf"])
def test_a_count_that_is_none_of_the_queue_excuses_nothing(count):
    talk = [(">", f"{COUNTED}x=1\nprint(errorqueue.count)"), ("<", "1"), *before(count)]
    talk += [NEXT, ("<", "-221\tSettings conflict\t20"), NEXT, ("<", "0\tQueue Is Empty")]
    with TranscriptReplay(talk) as wire, pytest.raises(Refused, match="-221 Settings conflict"):
        Tsp(wire, "smu").set("x=1")


def test_a_queue_that_overflowed_may_have_lost_the_error_of_the_command_and_excuses_nothing():
    talk = [(">", f"{COUNTED}x=1\nprint(errorqueue.count)"), ("<", "2"), *before("2")]
    talk += [NEXT, ("<", "802\tOUTPUT blocked\t20"), NEXT, ("<", "-350\tQueue overflow\t30"), NEXT, ("<", "0\t\t0")]
    with TranscriptReplay(talk) as wire, pytest.raises(Refused, match="802 OUTPUT blocked; -350 Queue overflow"):
        Tsp(wire, "smu").set("x=1")


def test_a_command_before_which_every_error_stood_is_carried_out():
    talk = [(">", f"{COUNTED}x=1\nprint(errorqueue.count)"), ("<", "1"), *before("1")]
    talk += [NEXT, ("<", "5042\tOver temperature\t20"), NEXT, ("<", "0\tQueue Is Empty")]
    with TranscriptReplay(talk) as wire:
        tsp = Tsp(wire, "smu")
        tsp.set("x=1")
        assert tsp.warnings() == ["5042 Over temperature, of before a command: from its panel, or another program"]
