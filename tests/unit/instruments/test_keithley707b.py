"""Every command of the matrix driver against transcripts of the manual's facts."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.keithley707b import Keithley707B, Keithley707BOptions, parse_closed, scheme
from instruments.transcript import TranscriptReplay
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.switch_matrix import Matrix

FILES = Path(__file__).parents[2] / "golden" / "transcripts"


def replay(name):
    return TranscriptReplay.of(FILES / f"707b-{name}.txt")


def cold():
    pass


def test_connecting_reads_who_and_what_is_closed_and_moves_nothing():
    with replay("connect") as talk:
        matrix = Keithley707B(talk)
        assert isinstance(matrix, Matrix)
        assert "707B" in matrix.connect()
        assert matrix.old_errors == ("1115 Parameter error: channel does not exist",)


SLOTS = ",".join(f"slot[{n}] and slot[{n}].idn" for n in range(1, 7))
CARDS = [
    (">", f'print({SLOTS},"end")'),
    ("<", "7174A, 8x12 Matrix, 01.00a, 123\t7173-50,4X12,1,2\tnil\tEmpty Slot\tcard\t\tend"),
]


SETTING = 'channel.connectsequential=0 channel.connectrule=1 channel.setdelay("allslots",0)'
DELAYS = 'print(channel.getdelay("allslots"))'
FORBIDDEN = 'print(channel.getforbidden("allslots"))'
LABELS = 'print(channel.getlabel("allslots"))'
PATTERNS = 'local n="" for p in channel.pattern.catalog() do n=n..p.." " end print(n)'


def asked(forbidden, images, names="1H12,2D12,5H12"):
    """Return what is said of crosspoints that the cards have."""
    talk = [*CARDS, (">", FORBIDDEN), ("<", forbidden)]
    return [*talk, (">", f'print(channel.getimage("{names}"))'), ("<", images)]


@pytest.mark.parametrize(
    ("forbidden", "images", "words"),
    [
        ("nil", "1H12;2D12;5H12", []),
        ("3A01,3A02", "1H12;2D12;5H12", []),
        ("2D12;3A01", "1H12;2D12;5H12", ["2D12 forbidden to close there"]),
        ("nil", "1H12;2A01;5H12", ["labels of channels are those of others (channel.setlabel): 2D12 stands for 2A01"]),
        ("nil", "1H12;1H11,2D12;5H12", ["2D12 stands for 1H11,2D12"]),
        ("nil", "nil", ["1H12 stands for nil"]),
    ],
)
def test_crosspoints_that_are_forbidden_or_stand_for_others_cannot_be_used(forbidden, images, words):
    with TranscriptReplay(asked(forbidden, images)) as wire:
        unusable = Keithley707B(wire).unusable(["5H12", "1H12", "2D12"])
    assert len(unusable) == len(words)
    assert all(text in line for text, line in zip(words, unusable, strict=True))


def test_a_bench_of_many_crosspoints_asks_for_them_in_messages_that_are_not_too_long():
    names = [f"1{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
    names += [f"2{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]
    talk = [CARDS[0], ("<", "7174A, 8x12 Matrix, 1, 1\t7174A, 8x12 Matrix, 1, 1\tnil\tnil\tnil\tnil\tend")]
    talk += [(">", FORBIDDEN), ("<", "nil")]
    for part in (names[:150], names[150:]):
        talk += [(">", f'print(channel.getimage("{",".join(part)}"))'), ("<", ";".join(part))]
    assert max(len(text) for mark, text in talk if mark == ">") < 1000
    with TranscriptReplay(talk) as wire:
        assert Keithley707B(wire).unusable(names) == []


def test_a_card_of_no_hardware_is_told():
    talk = [CARDS[0], ("<", "7174A,Pseudo 8x12 Matrix,0,0\tnil\tnil\tnil\tnil\tnil\tend")]
    with TranscriptReplay(talk) as wire:
        (text,) = Keithley707B(wire).unusable(["1A01"])
    assert "a card of no hardware, which closes no relay" in text


def test_cards_are_asked_for_and_what_the_wiring_uses_beyond_them_is_told():
    with TranscriptReplay(CARDS) as wire:
        assert Keithley707B(wire).unusable(iter(["2E01", "1A01", "3A01", "4A02"])) == [
            "slot 2 has '7173-50,4X12,1,2', which lacks 2E01",
            "slot 3 has no card, and the wiring uses 3A01 of it",
            "slot 4 has no card, and the wiring uses 4A02 of it",
        ]


def test_the_check_lists_cards_settings_and_old_errors():
    settings = 'print(string.format("%.9e,%.9e",channel.connectsequential,channel.connectrule))'
    talk = [*CARDS, (">", settings), ("<", "1.000000000e+00,1.000000000e+00")]
    talk += [(">", DELAYS), ("<", "0.000,3.100,0.500"), (">", FORBIDDEN), ("<", "1A05,1A06")]
    talk += [(">", LABELS), ("<", "1A01,start,1A03"), (">", PATTERNS), ("<", "route1 route2 ")]
    talk += [(">", 'print(string.format("%.9e",scan.stepcount))'), ("<", "3.000000000e+00")]
    with TranscriptReplay(talk) as wire:
        matrix = Keithley707B(wire)
        matrix.old_errors = ("1115 Parameter error",)
        state, faults = matrix.diagnosis()
    assert state[0].startswith("cards in slots 1: 7174A, 8x12 Matrix, 01.00a, 123, 2: 7173-50")
    assert "3: none, 4: none" in state[0]
    assert "connectsequential 1" in state[1]
    assert "channel.setdelay, up to 3.1 s for 2 channels" in state[1]
    assert state[2:6] == [
        "forbidden to close: 1A05, 1A06",
        "labels of channels: start",
        "patterns of channels: route1, route2",
        "a scan of 3 steps is stored; it moves no relay unless somebody starts it",
    ]
    assert "1115 Parameter error" in state[6]
    assert not faults


def test_relays_that_would_not_move_as_they_are_set_to_do_not_move():
    with replay("route") as talk:
        talk._remaining = [
            *talk._remaining[:5],
            ("<", "1.000000000e+00,1.000000000e+00"),
        ]
        matrix = Keithley707B(talk, permit=cold)
        with pytest.raises(InstrumentError, match="connectsequential is 1 after 0 was set; no relay moves"):
            matrix.route(["1C03"])


def test_a_matrix_whose_relays_move_by_themselves_is_refused():
    talk = [(">", "*IDN?"), ("<", "Keithley Instruments Inc., Model 707B, 1300001, 3.2.2")]
    talk += [(">", 'print("unasked-1",string.format("%d,%d",localnode.prompts,localnode.showerrors))')]
    talk += [("<", "unasked-1\t0,0"), (">", 'print(string.format("%.9e",(scan.state())))'), ("<", "2.000000000e+00")]
    with TranscriptReplay(talk) as wire, pytest.raises(BenchError, match="a scan is running there"):
        Keithley707B(wire).connect()


def test_relays_that_would_wait_after_closing_do_not_move():
    with replay("route") as talk:
        talk._remaining = [*talk._remaining[:7], ("<", "0.000,0.000,3.100")]
        matrix = Keithley707B(talk, permit=cold)
        with pytest.raises(InstrumentError, match=r'a channel waits 3.1 s after channel.setdelay\("allslots",0\) was'):
            matrix.route(["1C03"])


def test_a_route_breaks_before_it_makes_and_is_read_back():
    calls = []
    with replay("route") as talk:
        matrix = Keithley707B(talk, permit=lambda: calls.append("cold?"))
        matrix.route(["1C03", "1B02", "2H12"])
        matrix.route(["2H12", "1B02", "1C03"])
        assert calls == ["cold?"]
        matrix.route([])
        assert calls == ["cold?", "cold?"]


def test_no_relay_moves_unless_the_permit_lets_it():
    def hot():
        raise InstrumentError("smua is at 0.3 V")

    talk = [(">", 'print(channel.getclose("allslots"))'), ("<", "1A01")]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=r"0\.3 V"):
        Keithley707B(wire, permit=hot).route([])
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="before a permit has verified"):
        Keithley707B(wire).route([])


def test_a_relay_that_sticks_is_named():
    with replay("stuck") as talk, pytest.raises(InstrumentError, match="missing 1A02, too many none"):
        Keithley707B(talk, permit=cold).route(["1A01", "1A02"])


def test_a_card_that_is_not_there_is_told_in_the_words_of_the_instrument():
    with replay("refused") as talk, pytest.raises(InstrumentError, match="1115 Parameter error"):
        Keithley707B(talk, permit=cold).route(["3A01"])


@pytest.mark.parametrize("crosspoint", ["1A13", "1I01", "7A01", "A01", "1a01", "1A1"])
def test_what_is_no_crosspoint_is_refused_before_anything_is_sent(crosspoint):
    with TranscriptReplay([]) as talk, pytest.raises(BenchError, match="not a crosspoint of a 707B"):
        Keithley707B(talk, permit=cold).route([crosspoint])


def test_a_708b_has_one_slot():
    with TranscriptReplay([]) as talk, pytest.raises(BenchError, match="of a 708B"):
        Keithley707B(talk, model="708B", permit=cold).route(["2A01"])


def test_closed_sets_are_parsed_and_nonsense_is_not():
    assert parse_closed("1A01;2B12") == {"1A01", "2B12"}
    assert parse_closed("nil") == frozenset()
    with pytest.raises(InstrumentError, match="bar1"):
        parse_closed("bar1")


@pytest.mark.parametrize(
    ("model", "row", "column", "words"),
    [
        ("707B", "I", "1-05", "'I' is not a row of a 707B"),
        ("707B", "a", "1-05", "'a' is not a row"),
        ("707B", "A", "7-05", "'7-05' is not a column of a 707B, .* slots up to 6"),
        ("707B", "A", "1-13", "'1-13' is not a column"),
        ("707B", "A", "1-5", "'1-5' is not a column"),
        ("708B", "A", "2-05", "'2-05' is not a column of a 708B, .* slots up to 1"),
    ],
)
def test_a_row_or_column_that_a_model_lacks_has_no_crosspoint(model, row, column, words):
    assert scheme(model)("H", "1-12") == "1H12"
    with pytest.raises(ValueError, match=words):
        scheme(model)(row, column)


def test_a_model_that_is_not_of_the_family_is_refused():
    with pytest.raises(ValidationError, match="model '707A' is not one of 707B, 708B"):
        Keithley707BOptions(model="707A")
    with TranscriptReplay([]) as wire, pytest.raises(BenchError, match="model '707A' is not one of"):
        Keithley707B(wire, model="707A")


@pytest.mark.parametrize("reply", ["nil", "1A01\tnil", "nil\tnil\tnil"])
def test_an_emergency_is_over_only_when_every_relay_is_read_open(reply):
    class Wire(TranscriptReplay):
        def cut_in(self, text, ask, last):
            opening = ["scan.abort()", 'channel.open("allslots")', "waitcomplete()"]
            assert text.splitlines()[:5] == ["abort", f"mtj_met={closed}", *opening]
            return [f"safe-1\t{reply}"]

    closed = 'channel.getclose("allslots")'
    with pytest.raises(InstrumentError, match="expected 'nil', every relay open"):
        Keithley707B(Wire([])).emergency_open()


COUNTED = "mtj_e=errorqueue.count "
BEFORE = [(">", "print(mtj_e or 0) mtj_e=nil"), ("<", "0.00000e+00")]
CLOSE = 'if errorqueue.count==mtj_e then channel.close("1A02") waitcomplete() end'
ASK = '\nprint(errorqueue.count,channel.getclose("allslots"))'
EMPTY = ("<", "0.00000e+00\tQueue Is Empty\t0.00000e+00\t1.00000e+00")
WARNING = ("<", "5.51700e+03\tInterlock not asserted\t1.00000e+01\t1.00000e+00")
NEXT = (">", 'print(string.format("%d\\t%s\\t%d",errorqueue.next()))')


def beginning(closed):
    """Return what a matrix and its driver say before the first move."""
    talk = [(">", 'print(channel.getclose("allslots"))'), ("<", closed)]
    talk += [
        (">", f"{COUNTED}{SETTING}\nprint(errorqueue.count)"),
        ("<", "0.00000e+00"),
    ]
    talk += [(">", 'print(string.format("%.9e,%.9e",channel.connectsequential,channel.connectrule))')]
    return [*talk, ("<", "0.000000000e+00,1.000000000e+00"), (">", DELAYS), ("<", "0.000,0.000")]


def test_a_warning_at_every_close_ends_nothing_and_is_told_once():
    talk = beginning("nil")
    talk += [(">", COUNTED + CLOSE + ASK), ("<", "1.00000e+00\t1A02"), *BEFORE, NEXT, WARNING, NEXT, EMPTY]
    talk += [
        (">", COUNTED + CLOSE.replace("1A02", "1A03") + ASK),
        ("<", "1.00000e+00\t1A02;1A03"),
        *BEFORE,
        NEXT,
        WARNING,
        NEXT,
        EMPTY,
    ]
    with TranscriptReplay(talk) as wire:
        matrix = Keithley707B(wire, permit=cold)
        matrix.route(["1A02"])
        assert matrix.warnings() == ["5517 Interlock not asserted"]
        matrix.route(["1A02", "1A03"])
        assert matrix.warnings() == []


@pytest.mark.parametrize(("closed", "opening"), [("1A01", 'channel.open("1A01") waitcomplete() '), ("nil", "")])
def test_a_warning_before_it_does_not_keep_a_route_from_closing(closed, opening):
    talk = beginning(closed)
    talk += [(">", COUNTED + opening + CLOSE + ASK), ("<", "1.00000e+00\tnil"), *BEFORE, NEXT, WARNING, NEXT, EMPTY]
    talk += [(">", COUNTED + CLOSE + ASK), ("<", "0.00000e+00\t1A02")]
    with TranscriptReplay(talk) as wire:
        Keithley707B(wire, permit=cold).route(["1A02"])


@pytest.mark.parametrize("severity", ["2.00000e+01", "3.00000e+01", "4.00000e+01", "nan"])
def test_an_error_beside_a_warning_is_one_whatever_its_severity(severity):
    error = ("<", f"1.11500e+03\tParameter error\t{severity}\t1.00000e+00")
    talk = beginning("nil")
    talk += [(">", COUNTED + CLOSE + ASK), ("<", "2.00000e+00\tnil"), *BEFORE, NEXT, WARNING, NEXT, error, NEXT, EMPTY]
    with (
        TranscriptReplay(talk) as wire,
        pytest.raises(InstrumentError, match=r"a route: 1115 Parameter error; 'labctl check'"),
    ):
        Keithley707B(wire, permit=cold).route(["1A02"])


@pytest.mark.parametrize("reply", ["nil\tnil\tend", "a\tb\tc\td\te\tf\tg\tend", "a\tb\tc\td\te\tf"])
def test_cards_are_known_only_if_every_slot_has_answered(reply):
    asked = ",".join(f"slot[{n}] and slot[{n}].idn" for n in range(1, 7))
    talk = [(">", f'print({asked},"end")'), ("<", reply)]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="expected 6 slots"):
        Keithley707B(wire).cards()


def test_errors_of_what_was_aborted_are_taken_from_the_queue_when_every_relay_is_open():
    class Wire(TranscriptReplay):
        def cut_in(self, text, ask, last):
            return ["safe-1\tnil\t1A01;2B12"]

    aborted = ("<", "-2.86000e+02\tTSP Runtime error\t2.00000e+01\t1.00000e+00")
    with Wire([NEXT, aborted, NEXT, EMPTY]) as wire:
        assert Keithley707B(wire).emergency_open() == {"1A01", "2B12"}
