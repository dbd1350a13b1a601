"""Every command of the driver of a 7001 or 7002 against transcripts of public facts."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.keithley7001 import Keithley7001, Keithley7001Options, channels_in, scheme
from instruments.transcript import TranscriptReplay
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.switch_matrix import Matrix

FILES = Path(__file__).parents[2] / "golden" / "transcripts"


def replay(name):
    return TranscriptReplay.of(FILES / f"7001-{name}.txt")


def cold():
    pass


def test_connecting_reads_who_and_what_is_closed_and_moves_nothing():
    with replay("connect") as talk:
        matrix = Keithley7001(talk)
        assert isinstance(matrix, Matrix)
        assert "7001" in matrix.connect()
        assert matrix.old_errors == ("-113 Undefined header",)
        assert matrix._present == {"1!1!1", "1!1!2", "1!1!3", "2!4!10"}


def test_a_reset_comes_before_the_first_route_and_routes_break_before_they_make():
    calls = []
    with replay("route") as talk:
        matrix = Keithley7001(talk, permit=lambda: calls.append("cold?"))
        matrix.route(["1!2!2", "1!3!3", "2!4!10"])
        matrix.route(["1!3!5", "1!3!4", "1!3!3"])
        matrix.route(["1!3!3", "1!3!4", "1!3!5"])
    assert calls == ["cold?", "cold?"]


def test_no_relay_moves_unless_the_permit_lets_it():
    def hot():
        raise InstrumentError("smu.out is at 0.3 V")

    talk = [(">", ":ROUT:CLOS:STAT?"), ("<", "(@1!1!1)")]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=r"0\.3 V"):
        Keithley7001(wire, permit=hot).route([])
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="before a permit has verified"):
        Keithley7001(wire).route([])


def test_a_channel_that_is_closed_behind_the_reset_is_named_and_no_relay_moves():
    with replay("route") as talk:
        talk._remaining = [*talk._remaining[:5], ("<", "(@1!1!1)")]
        with pytest.raises(InstrumentError, match="1!1!1 closed after a reset; no relay moves"):
            Keithley7001(talk, permit=cold).route(["1!2!2"])


def test_what_moves_beside_what_was_named_is_told():
    with replay("route") as talk:
        talk._remaining = [*talk._remaining[:9], ("<", '1;0,"No error";(@1!2!2,2!2!2)')]
        with pytest.raises(InstrumentError, match=r"too many 2!2!2\. Look at its cards and its configuration"):
            Keithley7001(talk, permit=cold).route(["1!2!2", "1!3!3", "2!4!10"])


def test_a_card_that_is_not_there_is_told_in_the_words_of_the_instrument():
    with replay("refused") as talk, pytest.raises(InstrumentError, match="refused a route: -222 Parameter data out"):
        Keithley7001(talk, permit=cold).route(["2!1!1"])


@pytest.mark.parametrize("crosspoint", ["3!1!1", "1!5!1", "1!1!11", "1!1", "1!1!0", "0!1!1", "1A01"])
def test_what_is_no_crosspoint_is_refused_before_anything_is_sent(crosspoint):
    with TranscriptReplay([]) as talk, pytest.raises(BenchError, match="not a crosspoint of a 7001, such as 1!2!10"):
        Keithley7001(talk, permit=cold).route([crosspoint])


CTYPE = [
    (">", ":ROUT:CONF:SLOT1:CTYP?;:ROUT:CONF:SLOT2:CTYP?"),
    ("<", "C7012;CNONE"),
]


def test_slots_without_a_card_that_the_wiring_uses_are_told():
    with TranscriptReplay(CTYPE) as wire:
        assert Keithley7001(wire).unusable(iter(["1!1!1", "2!1!1", "2!4!2"])) == [
            "slot 2 has no card, and the wiring uses 2!1!1, 2!4!2 of it"
        ]
    with TranscriptReplay([CTYPE[0], ("<", 'C7012;"C7053"')]) as wire:
        assert Keithley7001(wire).cards() == {1: "7012", 2: "7053"}
    with TranscriptReplay([CTYPE[0], ("<", "C7012;?")]) as wire, pytest.raises(InstrumentError, match="type of a card"):
        Keithley7001(wire).cards()


def test_the_check_tells_cards_and_old_errors():
    with TranscriptReplay(CTYPE) as wire:
        matrix = Keithley7001(wire)
        matrix.old_errors = ("-113 Undefined header",)
        state, faults = matrix.diagnosis()
    assert state[0] == "cards in slots 1: 7012, 2: none"
    assert "a reset ends them before the first relay moves" in state[1]
    assert "-113 Undefined header" in state[2]
    assert not faults


class Wire(TranscriptReplay):
    """A wire on which an emergency is answered."""

    reply = "1;(@)"

    def cut_in(self, text, ask, last):
        assert text.splitlines() == [":ABOR", ":ROUT:OPEN ALL"]
        assert ask == "*OPC?;:ROUT:CLOS:STAT?"
        assert not last('1;0,"No error";(@1!1!1)')  # the reply to a route that was under way
        return [self.reply]


ERRORS = [(">", ":SYST:ERR?"), ("<", '0,"No error"')]


def test_an_emergency_opens_all_by_its_first_bytes():
    with Wire(ERRORS) as wire:
        assert Keithley7001(wire).emergency_open() == frozenset()


@pytest.mark.parametrize("reply", ["1;(@1!1!1)", "0;(@)"])
def test_an_emergency_is_over_only_when_every_relay_is_read_open(reply):
    with Wire(ERRORS) as wire:
        wire.reply = reply
        with pytest.raises(InstrumentError, match="every channel open"):
            Keithley7001(wire).emergency_open()


@pytest.mark.parametrize(
    "reply", ["(@1!1)", "1!1!1", "(@1!1!1:2!1!1)", "(@1!1!3:1!1!1)", "(@1!1!1:1!1!2:1!1!3)", "(@1!1!12)"]
)
def test_a_list_that_is_none_is_an_error(reply):
    talk = [(">", ":ROUT:CLOS:STAT?"), ("<", reply)]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=r"expected channels such as \(@1!2!10\)"):
        Keithley7001(wire).closed()


def test_ranges_go_row_by_row():
    assert list(channels_in("2!1!4:2!2!2", columns=5)) == ["2!1!4", "2!1!5", "2!2!1", "2!2!2"]


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("row5", "1-01", "'row5' is not a row of its cards, row1 to row4"),
        ("A", "1-01", "'A' is not a row"),
        ("row1", "3-01", "'3-01' is not a column of a 7001, .* slots up to 2, columns to 10"),
        ("row1", "1-11", "'1-11' is not a column"),
        ("row1", "1-1", "'1-1' is not a column"),
    ],
)
def test_a_row_or_column_that_it_lacks_has_no_crosspoint(row, column, words):
    assert scheme(Keithley7001Options())("row4", "2-10") == "2!4!10"
    assert scheme(Keithley7001Options(model="7002", rows=5, columns=20))("row5", "10-20") == "10!5!20"
    with pytest.raises(ValueError, match=words):
        scheme(Keithley7001Options())(row, column)


def test_a_model_that_is_not_of_the_family_is_refused():
    with pytest.raises(ValidationError, match="model '707A' is not one of 7001, 7002"):
        Keithley7001Options(model="707A")
    talk = [(">", "*IDN?"), ("<", "KEITHLEY INSTRUMENTS INC.,MODEL 7002,0503327,A04  /A01")]
    with TranscriptReplay(talk) as wire, pytest.raises(BenchError, match="and the bench file says 7001"):
        Keithley7001(wire).connect()
