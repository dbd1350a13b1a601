"""Every command of the driver of Velox in both framings, against transcripts of public facts and the emulated one."""

from pathlib import Path

import pytest

from instruments.chuck_prober import ChuckOptions, EndOfRoute, NeedlesDown
from instruments.transcript import TranscriptReplay
from instruments.velox import QUESTION, REGISTER, Velox
from instruments.velox_link import MOST_FRAMES, VeloxLink
from labctl.core.errors import InstrumentError
from labctl.core.prober import Heights, Position, Prober, Subsite
from sim_backend.emulators.sentio_model import SiteHeights, StationMap
from sim_backend.emulators.velox import Velox as Emulated
from sim_backend.emulators.world import Cables, World

FILES = Path(__file__).parents[2] / "golden" / "transcripts"
OPTIONS = ChuckOptions(overtravel_ceiling=50e-6)
STATUS = ("ReadChuckStatus", "15 16 0 0 D 1 S F 0 N 0")
HEIGHTS = ("ReadChuckHeights Y", "11300 30 100 300 200")
FRAMED = pytest.mark.parametrize("framed", [False, True], ids=["GPIB", "message server"])


def off():
    pass


def replay(name):
    return TranscriptReplay.of(FILES / f"velox-{name}.txt")


def said(*pairs, framed=False):
    """Return what is said with these commands and values in a framing; a code other than 0 comes with its values."""
    lines = []
    for number, (asked, value) in enumerate(pairs, 1):
        code, text = value if isinstance(value, tuple) else (0, value)
        name, _, rest = asked.partition(" ")
        lines.append((">", f"Cmd={number}:{name}:{rest}" if framed else asked))
        lines.append(("<", f"Rsp={number}:{code}:{text}" if framed else f"{code}: {text}"))
    return TranscriptReplay(lines)


def prober(talk, permit=off, *, framed=False, **options):
    return Velox(talk, "prober", OPTIONS.model_copy(update=options), permit, framed=framed)


class Wire:
    """A transport of queries to an emulated station, which notes what is sent."""

    name = "prober"

    def __init__(self, box):
        self.box, self.sent = box, []

    def query(self, text, **_):
        self.sent.append(text)
        return self.box.execute(text).rstrip("\n")

    def close(self):
        self.sent.append("closed")


class Station:
    """A driver at an emulated station."""

    def __init__(self, framed=False, heights=None, **wafer):
        world = World(Cables({}, {}), lambda *place: None, in_contact=False)
        route = ((0, 0), (1, 0), (2, 0), (2, 1))
        self.box = Emulated("prober", world, wafer=StationMap(route, **wafer), heights=heights)
        self.wire = Wire(self.box)
        self.driver = prober(self.wire, framed=framed)

    def counted(self, name):
        return sum(name in line for line in self.wire.sent)


@pytest.mark.parametrize("name", ["connect", "server-connect"])
def test_connecting_reads_version_and_heights_and_moves_and_sets_nothing(name):
    with replay(name) as talk:
        made = prober(talk, framed=name.startswith("server"))
        assert isinstance(made, Prober)
        assert made.connect() == "FormFactor,Velox,0,3.2.1 Velox"


@pytest.mark.parametrize("name", ["step", "server-step"])
def test_a_step_separates_sets_autoz_off_and_asks_where_it_is(name):
    with replay(name) as talk:
        assert prober(talk, framed=name.startswith("server")).step(4, 7) == Position(4, 7)


def test_contact_is_read_back_and_twice_is_harmless():
    with replay("contact") as talk:
        made = prober(talk)
        made.contact()
        made.contact()


def test_the_end_of_the_route_has_its_own_error():
    with replay("end-of-route") as talk, pytest.raises(EndOfRoute, match="error 703"):
        prober(talk).step(9, 9)


@FRAMED
def test_a_wafer_is_measured_from_its_first_die_to_its_last(framed):
    station = Station(framed)
    made = station.driver
    made.connect()
    assert made.heights() == Heights(*map(pytest.approx, (15e-3, 250e-6, 30e-6, 50e-6)))
    station.box.handle(b"Cmd=1:StepFirstDie:\n" if framed else b"StepFirstDie\n")
    for number, (col, row) in enumerate(station.box.wafer.route, 1):
        assert made.step(col, row) == Position(col, row, number == 4)
        assert station.box.world.place == (col, row, 0)
        made.contact()
        assert station.box.world.in_contact
        assert made.in_contact()
        made.separate()
        assert not station.box.world.in_contact
        assert made.separated()
    assert station.counted("SetChuckMode") == 1
    made.close()


def test_a_subsite_is_refused_before_anything_moves():
    station = Station(sites=2, table=(("a", 0.0, 0.0), ("b", 250.0, -120.0)))
    with pytest.raises(InstrumentError, match=r"subsite 1 \(b\) cannot be asked"):
        station.driver.step(0, 0, Subsite("b", 1, 250e-6, -120e-6))
    assert station.wire.sent == []


def test_a_station_that_stands_at_a_subsite_steps_to_the_home_of_a_die():
    station = Station(sites=2, table=(("a", 0.0, 0.0), ("b", 250.0, -120.0)))
    station.box.execute("StepNextDie 0 0 1")
    assert station.driver.step(1, 0) == Position(1, 0)
    assert station.box.world.place == (1, 0, 0)


@pytest.mark.parametrize("move", [lambda p: p.contact(), lambda p: p.separate(), lambda p: p.step(4, 7)])
def test_nothing_moves_unless_the_permit_lets_it(move):
    def on():
        raise InstrumentError("smua is on")

    with pytest.raises(InstrumentError, match="smua is on"):
        move(prober(said(HEIGHTS), on))


def test_autoz_that_stays_on_stops_the_step():
    station = Station()
    station.box.execute("SetChuckMode 2 1")
    station.box._set_flags = lambda *flags: None
    with pytest.raises(InstrumentError, match="AutoZ is on after it was set off; nothing steps"):
        station.driver.step(1, 0)
    assert station.counted("StepNextDie") == 0


def test_autoz_that_somebody_sets_on_between_two_steps_stops_the_second():
    station = Station()
    station.driver.step(1, 0)
    station.box.execute("SetChuckMode 2 1")
    with pytest.raises(InstrumentError, match="AutoZ is on after it was set off; nothing steps"):
        station.driver.step(0, 0)
    assert (station.counted("StepNextDie"), station.box.world.in_contact) == (1, False)
    station.box.execute("SetChuckMode 2 0")
    assert station.driver.step(0, 0) == Position(0, 0)


def test_autoz_that_was_left_on_is_off_before_the_first_step():
    station = Station()
    station.box.execute("SetChuckMode 1 1")
    assert "AutoZ on: it is set off before the first step" in station.driver.diagnosis()[0]
    station.driver.step(1, 0)
    assert not station.box.world.in_contact
    assert "AutoZ off" in station.driver.diagnosis()[0]
    assert station.box.overtravel_on


def test_a_chuck_that_does_not_fall_stops_everything():
    separation = ("MoveChuckSeparation 100", "")
    up = ("ReadChuckPosition Y Z", "0 0 11300")
    with said(HEIGHTS, HEIGHTS, up, separation, up) as talk, pytest.raises(NeedlesDown, match="did not separate"):
        prober(talk).step(4, 7)


def test_a_station_that_answers_a_step_and_has_not_moved_is_found_out():
    station = Station()
    station.driver.step(0, 0)
    station.box._step_to = lambda step, site: (0, f"1,0,{site}")
    with pytest.raises(InstrumentError, match=r"stands at die \(0, 0\)"):
        station.driver.step(1, 0)


def test_a_step_elsewhere_is_told():
    station = Station()
    go = station.box._stepped
    station.box._stepped = lambda step, site: go(step + 1, site)
    with pytest.raises(InstrumentError, match=r"but stands at \(2, 0, 0\)"):
        station.driver.step(1, 0)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([("ReadChuckStatus", "15 16 0 0 D 0 S")], "the vacuum has failed"),
        ([("ReadChuckStatus", "15 0 0 0 D 1 S")], "the contact height is not set"),
        ([("ReadChuckStatus", "15 16 0")], "expected flags, compensation, vacuum, height"),
        ([("ReadChuckStatus", "15 up 0 0 D 1 S")], "expected flags, compensation, vacuum, height"),
        ([("ReadChuckStatus", (11, "Chuck is not initialised"))], r"error 11 \('Chuck is not initialised'\)"),
        ([STATUS, ("ReadChuckHeights Y", "-1 30 100 300")], "the contact height is not set"),
        ([STATUS, ("ReadChuckHeights Y", "11300 30 100")], "expected 4 finite numbers"),
        ([STATUS, ("ReadChuckHeights Y", "11300 30 100 inf")], "expected 4 finite numbers"),
        ([STATUS, ("ReadChuckHeights Y", "high 30 100 300")], "expected numbers"),
        (
            [("ReadChuckStatus", "15 17 0 0 D 1 S"), ("ReadChuckHeights Y", "11300 80 100 300")],
            "overtravel is set to 80 um, the bench file allows 50 um",
        ),
    ],
)
@FRAMED
def test_heights_that_are_none_are_refused(pairs, told, framed):
    with said(*pairs, framed=framed) as talk, pytest.raises(InstrumentError, match=told):
        prober(talk, framed=framed).heights()


def test_overtravel_beyond_the_ceiling_that_is_off_is_none():
    with said(STATUS, ("ReadChuckHeights Y", "11300 80 100 300")) as talk:
        assert prober(talk).heights().overtravel == pytest.approx(80e-6)


@pytest.mark.parametrize("reply", ["", "11300 30 100 300", "Rsp=2:0:11300 30 100 300", "-1: no"])
def test_what_is_no_reply_is_told(reply):
    talk = TranscriptReplay([(">", QUESTION), ("<", reply)])
    with pytest.raises(InstrumentError, match="expected code: values"):
        VeloxLink(talk, "prober", framed=False).ask(QUESTION)


@pytest.mark.parametrize(
    ("reply", "told"),
    [("Rsp=2:0:3.2", "expected the reply to frame 1"), ("0: 3.2", "expected Rsp=number:code:values")],
)
def test_a_reply_to_another_frame_is_none(reply, told):
    talk = TranscriptReplay([(">", f"Cmd=1:{QUESTION}:"), ("<", reply)])
    with pytest.raises(InstrumentError, match=told):
        VeloxLink(talk, "prober", framed=True).ask(QUESTION)


def test_frames_are_numbered_over_and_over():
    station = Station(framed=True)
    link = VeloxLink(station.wire, "prober", framed=True)
    for _ in range(MOST_FRAMES + 1):
        link.ask(QUESTION)
    assert link._number == 1


@pytest.mark.parametrize("values", ["4", "four seven 0"])
def test_a_step_that_names_no_die_is_refused(values):
    link = VeloxLink(said(("StepNextDie 4 7 0", values)), "prober", framed=False)
    with pytest.raises(InstrumentError, match="whole numbers"):
        link.integers("StepNextDie", link.ask("StepNextDie", 4, 7, 0), 3)


def test_a_place_on_the_map_that_is_none_is_refused():
    with pytest.raises(InstrumentError, match="expected column, row, x, y, subsite, subsites, die, dies"):
        prober(said(("ReadMapPosition2", "4 7")))._current_die()


def test_a_station_that_names_no_die_has_none():
    refused = ("ReadMapPosition2", (12, "No die"))
    made = prober(said(refused, refused))
    assert made._current_place() is None


def test_check_tells_where_the_chuck_is_and_doubts_what_velox_calls_it():
    station = Station()
    told, doubts = station.driver.diagnosis()
    assert told[0].startswith("chuck separated")
    assert "contact 15000.0 um, overtravel 30.0 um, separation 250.0 um, align 50.0 um" in told[0]
    assert told[2] == "Velox names its height S, compensation D"
    assert doubts == []
    station.box._read_status = lambda: "15 16 0 0 D 1 C F 0 N 0"
    assert "Velox names the height of the chuck C, and it stands separated" in station.driver.diagnosis()[1][0]


def test_a_station_without_a_contact_height_is_not_connected():
    with pytest.raises(InstrumentError, match="set it by hand"):
        Station(heights=SiteHeights(contact=None)).driver.connect()


def test_the_server_is_told_who_it_is_before_it_is_asked():
    station = Station(framed=True)
    station.driver.connect()
    assert station.wire.sent[0] == REGISTER
    assert all(line.startswith("Cmd=") for line in station.wire.sent[1:])
