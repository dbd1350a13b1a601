"""Every command of the driver of a B2200 against transcripts of public facts."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from instruments.keysightb2200 import KeysightB2200, KeysightB2200Options, parse_closed, scheme
from instruments.transcript import TranscriptReplay
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.switch_matrix import Matrix

FILES = Path(__file__).parents[2] / "golden" / "transcripts"


def replay(name):
    return TranscriptReplay.of(FILES / f"b2200-{name}.txt")


def cold():
    pass


def test_connecting_reads_who_and_what_is_closed_and_moves_nothing():
    with replay("connect") as talk:
        matrix = KeysightB2200(talk)
        assert isinstance(matrix, Matrix)
        assert "B2200A" in matrix.connect()
        assert matrix.old_errors == ("-113 Undefined header",)


def test_in_the_normal_configuration_closed_channels_are_counted_over_all_modules():
    with replay("normal") as talk:
        assert KeysightB2200(talk).closed() == {"00215", "01424", "00137"}


def test_a_route_breaks_before_it_makes_and_is_read_back():
    calls = []
    with replay("route") as talk:
        matrix = KeysightB2200(talk, permit=lambda: calls.append("cold?"))
        matrix.route(["00303", "00202", "01248"])
        matrix.route(["01248", "00202", "00303"])
        assert calls == ["cold?"]
        matrix.route([])
        assert calls == ["cold?", "cold?"]


def test_no_relay_moves_unless_the_permit_lets_it():
    def hot():
        raise InstrumentError("smu.out is at 0.3 V")

    talk = [(">", ":ROUT:FUNC?"), ("<", "ACON"), (">", ":ROUT:CLOS:CARD? 0"), ("<", "(@00101)")]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=r"0\.3 V"):
        KeysightB2200(wire, permit=hot).route([])
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="before a permit has verified"):
        KeysightB2200(wire).route([])


@pytest.mark.parametrize(
    ("at", "reply", "words"),
    [
        (5, '-221,"Settings conflict"', "refused ':ROUT:FUNC ACON.*-221 Settings conflict"),
        (7, "ACON;1;0;0;FREE;BBM", ":ROUT:BIAS is 1 after 0 was set; no relay moves"),
        (7, "ACON;0;0;0;SROU;BBM", ":ROUT:CONN:RULE is SROU after FREE was set; no relay moves"),
        (7, "ACON;0;0;0;FREE", "expected 6 replies"),
    ],
)
def test_relays_that_would_not_move_as_they_are_set_to_do_not_move(at, reply, words):
    with replay("route") as talk:
        talk._remaining = [*talk._remaining[:at], ("<", reply)]
        if at == 5:
            talk._remaining += [(">", ":SYST:ERR?"), ("<", '0,"No error"')]
        with pytest.raises(InstrumentError, match=words):
            KeysightB2200(talk, permit=cold).route(["00303"])


def test_a_relay_that_does_not_open_is_named_and_no_other_closes():
    with replay("stuck") as talk, pytest.raises(InstrumentError, match="should be none; missing none, too many 00202"):
        KeysightB2200(talk, permit=cold).route(["00303"])


def test_a_module_that_is_not_there_is_told_in_the_words_of_the_instrument():
    with replay("refused") as talk, pytest.raises(InstrumentError, match="refused a route: -222 Parameter data out"):
        KeysightB2200(talk, permit=cold).route(["00101", "00202", "00348"])


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("(@00202)", r"expected 1, an error and a list of channels"),
        ('0;0,"No error";(@00202)', "'\\*OPC\\?' was answered by '0'; expected 1"),
        ('1;0,"No error";(00202)', "expected channels such as"),
        ('1;0,"No error";(@10202)', "expected channels such as"),
        ('1;0,"No error";(@01549)', "expected channels such as"),
    ],
)
def test_a_reply_that_is_no_proof_of_a_route_is_an_error(reply, words):
    with replay("route") as talk:
        talk._remaining = [*talk._remaining[:13], ("<", reply)]
        with pytest.raises(InstrumentError, match=words):
            KeysightB2200(talk, permit=cold).route(["00202"])


def test_a_long_list_goes_in_lines_that_are_not_too_long():
    names = sorted(f"0{i:02d}{o:02d}" for i in range(1, 4) for o in range(1, 31))
    lists = [f":ROUT:CLOS (@{','.join(names[at : at + 40])})" for at in (0, 40, 80)]
    with replay("route") as talk:
        talk._remaining = talk._remaining[:12]
        for k in (3, 11):
            talk._remaining[k] = ("<", "(@)")
        ask = "*OPC?;:SYST:ERR?;:ROUT:CLOS:CARD? 0"
        talk._remaining += [(">", "\n".join([*lists, ask])), ("<", f'1;0,"No error";(@{",".join(names)})')]
        KeysightB2200(talk, permit=cold).route(names)
    assert max(map(len, lists)) < 300


@pytest.mark.parametrize("crosspoint", ["00149", "01501", "10101", "0101", "out1", "00001", "00100"])
def test_what_is_no_crosspoint_is_refused_before_anything_is_sent(crosspoint):
    with TranscriptReplay([]) as talk, pytest.raises(BenchError, match="not a crosspoint of a B2200A"):
        KeysightB2200(talk, permit=cold).route([crosspoint])


def known(*channels, beyond):
    """Return what is said of channels that there are, and of one that there is not."""
    talk = [(">", ":ROUT:FUNC?"), ("<", "ACON")]
    for channel in channels:
        talk += [(">", f":ROUT:CLOS? (@{channel});:SYST:ERR?"), ("<", '0;0,"No error"')]
    return [*talk, (">", f":ROUT:CLOS? (@{beyond});:SYST:ERR?"), ("<", '-222,"Parameter data out of range"')]


def test_what_the_wiring_uses_beyond_its_modules_is_told():
    with TranscriptReplay(known("00112", "00124", beyond="00136")) as wire:
        assert KeysightB2200(wire).unusable(iter(["00125", "00124", "01448"])) == [
            "its modules have outputs 1 to 24, and the wiring uses 00125, 01448 beyond them"
        ]
    with TranscriptReplay(known("00112", "00124", beyond="00136")) as wire:
        assert KeysightB2200(wire).unusable(["00124"]) == []


def test_the_check_tells_modules_settings_and_old_errors():
    ask = ":ROUT:FUNC?;:ROUT:BIAS? 0;:ROUT:AGND? 0;:ROUT:COUP? 0;:ROUT:CONN:RULE? 0;:ROUT:CONN:SEQ? 0"
    talk = known("00112", beyond="00124")
    talk += [(">", ":ROUT:FUNC?"), ("<", "ACON"), (">", ask), ("<", "ACON;0;1;0;SROU;MBBR")]
    with TranscriptReplay(talk) as wire:
        matrix = KeysightB2200(wire)
        matrix.old_errors = ("-113 Undefined header",)
        state, faults = matrix.diagnosis()
    assert state[0] == "1 module from slot 1 on, outputs 1 to 12"
    assert ":ROUT:AGND 1, :ROUT:CONN:RULE SROU, :ROUT:CONN:SEQ MBBR" in state[1]
    assert "-113 Undefined header" in state[2]
    assert not faults


def test_the_check_of_a_normal_configuration_asks_for_no_modes_of_all_modules():
    talk = [(">", ":ROUT:FUNC?"), ("<", "NCON")]
    talk += [(">", ":ROUT:CLOS? (@10101);:SYST:ERR?"), ("<", '-222,"Parameter data out of range"')]
    with TranscriptReplay([*talk, *talk[:2]]) as wire:
        state, _ = KeysightB2200(wire).diagnosis()
    assert state == [
        "0 modules from slot 1 on, outputs 1 to 0",
        "not as after a reset, and set anew before a relay moves: :ROUT:FUNC NCON",
    ]


@pytest.mark.parametrize("reply", ["", '0,"No error"', '1;"No error"'])
def test_a_reply_that_says_neither_what_there_is_nor_an_error_is_one(reply):
    talk = known(beyond="00112")
    talk[-1] = ("<", reply)
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=r"\(@00112\);:SYST:ERR\?' was answered"):
        KeysightB2200(wire).unusable(["00101"])


def test_a_configuration_that_it_does_not_have_is_an_error():
    talk = [(">", ":ROUT:FUNC?"), ("<", "1")]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="expected ACON or NCON"):
        KeysightB2200(wire).closed()


class Wire(TranscriptReplay):
    """A wire on which an emergency is answered."""

    reply = "ACON;(@)"

    def cut_in(self, text, ask, last):
        assert text.splitlines() == [":ROUT:BIAS ALL,0", ":ROUT:AGND ALL,0", ":ROUT:OPEN:CARD ALL", ":ROUT:FUNC ACON"]
        assert ask == ":ROUT:FUNC?;:ROUT:CLOS:CARD? 0"
        assert not last('1;0,"No error";(@00101)')  # the reply to a route that was under way
        return [self.reply]


ERRORS = [(">", ":SYST:ERR?"), ("<", '-222,"x"'), (">", ":SYST:ERR?"), ("<", '0,"No error"')]


def test_an_emergency_ends_the_modes_that_would_close_relays_again_before_it_opens():
    with Wire(ERRORS) as wire:
        assert KeysightB2200(wire).emergency_open() == frozenset()


@pytest.mark.parametrize("reply", ["ACON;(@00101)", "NCON;(@)", "0;(@)"])
def test_an_emergency_is_over_only_when_every_relay_is_read_open(reply):
    with Wire(ERRORS) as wire:
        wire.reply = reply
        with pytest.raises(InstrumentError, match="every relay open"):
            KeysightB2200(wire).emergency_open()


def test_closed_sets_are_parsed_and_nonsense_is_not():
    assert parse_closed("(@248, 01012)") == {"00248", "01012"}  # leading zeros may be missing
    for reply in ("(@bar1)", "00248", "(@00248", "(@00000)"):
        with pytest.raises(InstrumentError):
            parse_closed(reply)


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ("in15", "out1", "'in15' is not an input of a B2200, in1 to in14"),
        ("1", "out1", "'1' is not an input"),
        ("in1", "out49", "'out49' is not an output of a B2200, out1 to out48"),
        ("in1", "out01", "'out01' is not an output"),
    ],
)
def test_an_input_or_output_that_it_lacks_has_no_crosspoint(row, column, words):
    assert scheme("in14", "out7") == "01407"
    with pytest.raises(ValueError, match=words):
        scheme(row, column)


def test_a_model_that_is_not_of_the_family_is_refused():
    with pytest.raises(ValidationError, match="model 'E5250A' is not one of B2200A, B2201A"):
        KeysightB2200Options(model="E5250A")
    talk = [(">", "*IDN?"), ("<", "AGILENT TECHNOLOGIES,B2201A,0,A.01.00")]
    with TranscriptReplay(talk) as wire, pytest.raises(BenchError, match="and the bench file says B2200A"):
        KeysightB2200(wire).connect()
