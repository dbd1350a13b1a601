"""Every command of the prober driver against transcripts of public facts."""

from pathlib import Path

import pytest

from instruments.mpi_sentio import ERRORS, EndOfRoute, MpiSentio, NeedlesDown, SentioOptions, parse_reply
from instruments.transcript import Replay
from labctl.core.errors import ContactError, InstrumentError
from labctl.core.instrument import Heights, Position, Prober, Subsite

FILES = Path(__file__).parents[1] / "golden" / "transcripts"
OPTIONS = SentioOptions(overtravel_ceiling=50e-6)
SITE = [(">", "get_chuck_site_status Wafer"), ("<", "0,0,1,1,1,1")]
HEIGHTS = [(">", "get_chuck_site_heights Wafer"), ("<", "0,0,11300,11000,30,100")]


def z(height):
    return [(">", "get_chuck_z Z"), ("<", f"0,0,{height}")]


def off():
    pass


def replay(name):
    return Replay.of(FILES / f"sentio-{name}.txt")


def prober(talk, guard=off):
    return MpiSentio(talk, "prober", OPTIONS, guard)


def test_connecting_reads_version_and_heights_and_moves_nothing():
    with replay("connect") as talk:
        made = prober(talk)
        assert isinstance(made, Prober)
        assert made.connect() == "Version: 24.0.1"


def test_a_step_separates_first_reads_that_back_and_tells_the_end_of_the_route():
    with replay("step") as talk:
        made = prober(talk)
        assert made.step(4, 7) == Position(4, 7)
        assert made.step(5, 7) == Position(5, 7, end_of_route=True)


def test_contact_is_read_back_and_twice_is_harmless():
    with replay("contact") as talk:
        made = prober(talk)
        made.contact()
        made.contact()
        assert made.touches() == 17
        made.close()


def test_an_open_door_is_told_in_operator_words():
    with replay("door") as talk, pytest.raises(InstrumentError, match="the front door is open, error 60"):
        prober(talk).contact()


def test_the_end_of_the_route_has_its_own_error():
    with replay("end-of-route") as talk, pytest.raises(EndOfRoute, match="end of the route"):
        prober(talk).step(9, 9)


@pytest.mark.parametrize("move", [lambda p: p.contact(), lambda p: p.separate(), lambda p: p.step(4, 7)])
def test_nothing_moves_unless_the_guard_lets_it(move):
    def on():
        raise InstrumentError("smua is on")

    talk = HEIGHTS + z(11330)
    with pytest.raises(InstrumentError, match="smua is on"):
        move(prober(Replay(talk), on))


def test_a_chuck_that_does_not_come_down_stops_everything():
    talk = HEIGHTS + z(11330) + [(">", "move_chuck_separation "), ("<", "0,0,11330")] + HEIGHTS + z(11330) + z(11330)
    with Replay(talk) as wire, pytest.raises(NeedlesDown, match="did not separate"):
        prober(wire).step(4, 7)


def test_a_chuck_that_does_not_reach_contact_is_a_contact_error():
    up = [(">", "move_chuck_contact"), ("<", "0,0,11200")]
    talk = SITE + HEIGHTS + SITE + HEIGHTS + z(11000) + up + SITE + HEIGHTS + z(11200) + z(11200)
    with Replay(talk) as wire, pytest.raises(ContactError, match="did not reach contact"):
        prober(wire).contact()


def test_a_prober_that_stands_elsewhere_is_an_error():
    talk = HEIGHTS + z(11000) + [(">", "map:step_die 4, 7, 0"), ("<", "0,0,7,4,0")]
    with Replay(talk) as wire, pytest.raises(InstrumentError, match=r"stands at \(7, 4, 0\)"):
        prober(wire).step(4, 7)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("0,0,b,250,-120", None),
        ("0,0,b,250,120", r"subsite 1 of SENTIO's project lies at \(250, 120\) um, and b is at \(250, -120\) um"),
        ("14,0,not routable", "the subsite is not on the route"),
    ],
)
def test_a_subsite_has_to_lie_where_it_is_said_to(reply, words):
    subsite = Subsite("b", 1, 250e-6, -120e-6)
    ask = [(">", "map:subsite:get 1, UR"), ("<", reply)]
    go = [*HEIGHTS, *z(11000), (">", "map:step_die 4, 7, 1"), ("<", "2048,0,4,7,1")]
    with Replay(ask + ([] if words else go)) as wire:
        if words:
            with pytest.raises(InstrumentError, match=words):
                prober(wire).step(4, 7, subsite)
        else:
            assert prober(wire).step(4, 7, subsite) == Position(4, 7)


@pytest.mark.parametrize(
    ("site", "heights", "words"),
    [
        ("0,0,1,0,1,1", None, "contact height is not set"),
        ("0,0,1,1,1,0", None, "vacuum has failed"),
        ("0,0,1,1,1,1", "0,0,11300,11000,51,100", "overtravel is set to 51 um, the bench file allows 50 um"),
    ],
)
def test_a_station_that_is_not_ready_is_refused(site, heights, words):
    talk = [(">", "get_chuck_site_status Wafer"), ("<", site)]
    talk += [(">", "get_chuck_site_heights Wafer"), ("<", heights)] if heights else []
    with Replay(talk) as wire, pytest.raises(InstrumentError, match=words):
        prober(wire).contact()


def test_heights_are_metres():
    with Replay(SITE + HEIGHTS) as wire:
        found = prober(wire).heights()
    assert found == Heights(*(pytest.approx(v) for v in (11.3e-3, 11e-3, 30e-6, 100e-6)))


def test_every_code_in_use_has_words_and_the_reply_is_taken_apart():
    assert set(ERRORS) <= set(range(1, 70))
    assert {11, 12, 19, 23, 38, 60, 68} <= set(ERRORS)
    reply = parse_reply("2071,3,a message, with a comma")
    assert (reply.error, reply.end_of_route, reply.text) == (23, False, "a message, with a comma")
    with pytest.raises(InstrumentError, match="not a reply of SENTIO"):
        parse_reply("hello")
