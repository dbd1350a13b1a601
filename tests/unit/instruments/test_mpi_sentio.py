"""Every command of the prober driver against transcripts of public facts."""

from pathlib import Path

import pytest

from instruments.chuck_prober import EndOfRoute, NeedlesDown
from instruments.mpi_sentio import MpiSentio, SentioOptions
from instruments.sentio_loader import Cassette
from instruments.sentio_reply import ERRORS, parse_reply
from instruments.stepping import ChuckPlace, misled
from instruments.transcript import TranscriptReplay
from labctl.core.errors import ContactError, InstrumentError
from labctl.core.prober import (
    BinMap,
    Cleaning,
    Compensated,
    Heating,
    Heights,
    Loading,
    Position,
    Prober,
    Subsite,
    WaferOnChuck,
)

FILES = Path(__file__).parents[2] / "golden" / "transcripts"
OPTIONS = SentioOptions(overtravel_ceiling=50e-6)
SITE = [(">", "get_chuck_site_status Wafer"), ("<", "0,0,1,1,1,1")]
HEIGHTS = [(">", "get_chuck_site_heights Wafer"), ("<", "0,0,11300,11000,30,100")]
MODE = [(">", "set_stepping_contact_mode StepToSeparation"), ("<", "0,0,OK")]
PITCH = [(">", "map:get_index_size"), ("<", "0,0,5000,4000")]


def z(height):
    return [(">", "get_chuck_z Z"), ("<", f"0,0,{height}")]


def at(die, site=0, xy=None):
    """Return what SENTIO says when it is asked where it is: the die (None for none), the subsite, x and y in um."""
    index = "0,0,No die active" if die is None else f"0,0,3,{die[0]},{die[1]}"
    talk = [(">", "map:die:get_current_index"), ("<", index)]
    talk += [(">", "map:die:get_current_subsite"), ("<", f"0,0,{site}")]
    return talk + ([(">", "get_chuck_xy Wafer, Z"), ("<", f"0,0,{xy[0]},{xy[1]}")] if xy else [])


def separating(before, after):
    return HEIGHTS + z(before) + [(">", "move_chuck_separation "), ("<", f"0,0,{after}")] + z(after)


def stepping(die, reply=None, site=0):
    return [*SITE, (">", f"map:step_die {die[0]}, {die[1]}, {site}"), ("<", reply or f"0,0,{die[0]},{die[1]},{site}")]


def off():
    pass


def replay(name):
    return TranscriptReplay.of(FILES / f"sentio-{name}.txt")


def prober(talk, permit=off, **options):
    return MpiSentio(talk, "prober", OPTIONS.model_copy(update=options), permit)


def test_connecting_reads_version_and_heights_and_moves_and_sets_nothing():
    with replay("connect") as talk:
        made = prober(talk)
        assert isinstance(made, Prober)
        assert isinstance(made, Compensated)
        assert made.connect() == "Version: 24.0.1"


def test_a_step_separates_sets_the_mode_once_and_asks_where_it_is():
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


def test_a_wafer_that_is_not_aligned_is_not_stepped_on():
    unset = [(">", "get_chuck_site_status Wafer"), ("<", "0,0,0,1,1,1")]
    talk = HEIGHTS + separating(11330, 11000) + MODE + at((3, 7), xy=(0, 0)) + unset
    with (
        TranscriptReplay(talk) as wire,
        pytest.raises(InstrumentError, match="wafer is not aligned: the home position"),
    ):
        prober(wire).step(4, 7)


def test_a_bin_is_set_on_the_map_and_read_back_without_a_permit():
    def on():
        raise InstrumentError("smua is on")

    with replay("bin") as talk:
        made = prober(talk, on, bins_on_map=True)
        assert isinstance(made, BinMap)
        assert made.bins_on_map
        made.set_bin(4, 7, None, 5)
        made.set_bin(4, 7, Subsite("c", 2, 0.0, 0.0), 1)
    assert not prober(TranscriptReplay([])).bins_on_map


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        ([("<", "0,0,5")], r"has the bins 0 to 4, and the hard bin is 5; lengthen the table"),
        ([("<", "0,0,16"), (">", "map:bins:set_bin 5, 4, 7"), ("<", "8,0,no die")], "parameter is out of bounds"),
        (
            [("<", "0,0,16"), (">", "map:bins:set_bin 5, 4, 7"), ("<", "0,0,OK"), (">", "map:bins:get_bin 4, 7"),
             ("<", "0,0,0")],
            r"bin 5 was set at \(4, 7\), and SENTIO's map has '0' there",
        ),
    ],
)  # fmt: skip
def test_a_bin_that_is_not_taken_is_an_error(talk, words):
    with TranscriptReplay([(">", "map:bins:get_num_bins"), *talk]) as wire, pytest.raises(InstrumentError, match=words):
        prober(wire).set_bin(4, 7, None, 5)


CONTACT = SITE + HEIGHTS + HEIGHTS + z(11000) + [(">", "move_chuck_contact"), ("<", "0,0,11330")] + z(11330)


def test_needles_are_cleaned_from_separation_and_end_separated():
    calls = []
    with replay("clean") as talk:
        made = prober(talk, lambda: calls.append("off?"), clean_touchdowns=5)
        assert isinstance(made, Cleaning)
        assert not made.cleans_bad_contact
        made.clean()
        assert made._place is None
    assert len(calls) == 3, "before the separation, the cleaning and the separation"


def test_cleaning_is_due_after_so_many_touches_of_the_connection():
    cleaning = HEIGHTS + separating(11330, 11000) + [(">", "aux:cleaning:start"), ("<", "0,0,OK")]
    cleaning += separating(11000, 11000)
    with TranscriptReplay(CONTACT + separating(11330, 11000) + CONTACT + cleaning) as wire:
        made = prober(wire, clean_every=2)
        made.contact()
        assert made.cleaning_due() == ""
        made.separate()
        made.contact()
        assert made.cleaning_due() == "2 touches"
        made.clean()
        assert made.cleaning_due() == ""
    assert prober(TranscriptReplay([])).cleaning_due() == "", "never, where nobody asks for it"


def test_no_needle_is_cleaned_without_the_permit_or_where_the_chuck_does_not_separate():
    verdicts = ["", "smua is on"]

    def permit():
        if verdict := verdicts.pop(0):
            raise InstrumentError(verdict)

    talk = HEIGHTS + separating(11330, 11000)
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="smua is on"):
        prober(wire, permit).clean()
    stays = HEIGHTS + separating(11330, 11330)
    with TranscriptReplay(stays) as wire, pytest.raises(NeedlesDown, match="did not separate"):
        prober(wire).clean()
    refused = HEIGHTS + separating(11330, 11000) + [(">", "aux:cleaning:start"), ("<", "3,0,no cleaning")]
    with TranscriptReplay(refused) as wire:
        made = prober(wire)
        with pytest.raises(InstrumentError, match=r"refused 'aux:cleaning:start': this station has no such module"):
            made.clean()
        assert not made.separated(), "nobody knows where the chuck is"


HOT = {"hottest": 400.0, "soak": 10.0, "heating_patience": 60.0}


def held(made, kelvin=358.15, go_on=off):
    """Have a chuck at a temperature; return what is read then and how long was waited, s."""
    waited = []
    return made.hold_temperature(kelvin, waited.append, go_on), sum(waited)


def test_a_chuck_is_set_read_back_and_has_stayed_before_it_counts_as_settled():
    calls = []
    with replay("temperature") as talk:
        made = prober(talk, lambda: calls.append("off?"), **HOT)
        assert isinstance(made, Heating)
        assert made.heating_patience == 70.0
        assert held(made) == (pytest.approx(358.15), 15.0)
    assert len(calls) == 2, "the permit, before the separation and before the chuck is set"
    assert prober(TranscriptReplay([])).heating_patience == 0.0


def at_temperature(celsius, contact=11300):
    """Return how a driver looks at which temperature which contact height is."""
    return [
        *((">", "status:get_chuck_temp"), ("<", f"0,0,{celsius}")),
        *((">", "get_chuck_site_heights Wafer"), ("<", f"0,0,{contact},{contact - 300},30,100")),
    ]


def test_contact_of_another_temperature_is_refused_until_it_was_trained_again():
    def now(talk):
        made._link.transport = TranscriptReplay(talk)
        return made._link.transport

    made = prober(TranscriptReplay([]), **HOT)
    made._trained.see(11300e-6, 298.15)
    with (
        now(at_temperature(85)),
        pytest.raises(InstrumentError, match=r"at 358.15 K, another temperature than the 298"),
    ):
        made.contact()
    trained = [(">", "get_chuck_site_heights Wafer"), ("<", "0,0,11330,11030,30,100")]
    up = [(">", "move_chuck_contact"), ("<", "0,0,11360")]
    with now(at_temperature(85, 11330) + SITE + trained + trained + z(11030) + up + z(11360)):
        made.contact()
    with (
        now(at_temperature(40, 11330)),
        pytest.raises(InstrumentError, match="at which its contact height was trained"),
    ):
        made.contact()


def test_a_hold_that_failed_does_not_let_needles_touch_at_the_height_of_another_temperature():
    class Link:
        """A station whose chuck warms by 0.23 K a second, 57.5 of 60 K in the patience."""

        celsius, setpoint = 25.0, 25.0

        def query(self, text, wait=None, extra=0.0):
            command, _, argument = text.partition(" ")
            if command == "status:set_chuck_temp":
                self.setpoint = float(argument.split(",")[0])
            answers = {
                "status:get_chuck_temp": f"{self.celsius}", "status:get_chuck_temp_setpoint": f"{self.setpoint}",
                "status:get_chuck_thermo_state": "Heating", "get_chuck_site_heights": "11300,11000,30,100",
                "get_chuck_z": "11000",
            }  # fmt: skip
            return f"0,0,{answers.get(command, 'OK')}"

        def wait(self, seconds):
            self.celsius = min(self.setpoint, self.celsius + 0.23 * seconds)

    link = Link()
    made = prober(link, **{**HOT, "heating_patience": 250.0})
    with pytest.raises(InstrumentError, match="after 250 s"):
        made.hold_temperature(358.15, link.wait, off)
    assert made.hold_temperature(358.15, link.wait, off) == pytest.approx(358.15, abs=0.5)
    with pytest.raises(InstrumentError, match=r"another temperature than the 298\.15 K"):
        made.contact()


@pytest.mark.parametrize(
    ("options", "kelvin", "words"),
    [
        ({}, 358.15, "the campaign says 358.15 K, and the chuck of the bench file is not set at all"),
        (HOT, 450.0, "the campaign says 450 K, and the chuck of the bench file goes from 293.15 to 400 K"),
        (HOT, 250.0, "goes from 293.15 to 400 K"),
    ],
)
def test_a_temperature_out_of_the_bounds_of_the_bench_file_is_refused_before_anything_is_sent(options, kelvin, words):
    with TranscriptReplay([]) as wire, pytest.raises(InstrumentError, match=words):
        held(prober(wire, **options), kelvin)


def test_a_station_without_a_thermo_chuck_is_named_before_anything_moves():
    talk = [(">", "status:get_chuck_temp"), ("<", "3,0,no thermo")]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="this station has no such module"):
        held(prober(wire, **HOT))


CASSETTE = [(">", "loader:has_cassette cas1"), ("<", "0,0,1,200")]


def chuck(reply):
    return [(">", "loader:query_wafer_status chuck, 1"), ("<", reply)]


def loader(talk, permit=off, **options):
    return prober(talk, permit, cassette=Cassette.FIRST, **options)


def test_the_wafer_of_a_slot_is_loaded_tells_its_id_and_is_aligned():
    calls = []
    with replay("load") as talk:
        made = loader(talk, lambda: calls.append("off?"))
        assert isinstance(made, Loading)
        assert made.load_wafer(3, "LOT42/03") == WaferOnChuck(3, "LOT42-03", True)
        assert made.loading_patience == 1800.0
    assert len(calls) == 3, "before the separation, the exchange and the separation"


@pytest.mark.parametrize(("asked", "replies"), [(True, "0,0,OK"), (True, "21,0,not found"), (False, "")])
def test_a_wafer_that_is_on_the_chuck_stays_and_is_aligned_as_another(asked, replies):
    talk = CASSETTE + chuck("0,0,Cassette1,3,NaN,0,50") + separating(11330, 11000)
    talk += [(">", "loader:query_wafer_id chuck, 1"), ("<", "3,0,no reader")]
    talk += [(">", "vis:align_wafer"), ("<", replies)] if asked else []
    if replies.startswith("21"):
        with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="the pattern was not found"):
            loader(wire).load_wafer(3, "W03")
        return
    with TranscriptReplay(talk + separating(11000, 11000)) as wire:
        assert loader(wire, align_wafer=asked).load_wafer(3, "W03") == WaferOnChuck(3, "", asked)


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (CASSETTE + chuck("0,0,Cassette2,3,200,0,50"), "a wafer from 'Cassette2' is on the chuck"),
        (CASSETTE + chuck("0,0,hello"), "a wafer from 'hello' is on the chuck"),
        (CASSETTE + chuck("12,0,initialise first"), "not allowed in the present state"),
        (
            CASSETTE + chuck("65,0,empty") + separating(11330, 11000)
            + [(">", "loader:load_wafer cas1, 3"), ("<", "65,0,Slot is empty")],
            "the slot or station is empty",
        ),
        (
            CASSETTE + chuck("65,0,empty") + separating(11330, 11000)
            + [(">", "loader:load_wafer cas1, 3"), ("<", "0,0,OK"), (">", "loader:query_wafer_id chuck, 1"),
               ("<", "0,0,LOT41-03")],
            "says it is 'LOT41-03', and the wafer file says 'LOT42-03'; it is on the chuck, and nothing was aligned",
        ),
        (
            CASSETTE + chuck("65,0,empty") + separating(11330, 11000)
            + [(">", "loader:load_wafer cas1, 3"), ("<", "0,0,OK"), (">", "loader:query_wafer_id chuck, 1"),
               ("<", "0,0,OK"), (">", "vis:align_wafer"), ("<", "21,0,not found")],
            "the pattern was not found",
        ),
    ],
)  # fmt: skip
def test_a_wafer_that_is_not_the_one_or_not_there_is_an_error(talk, words):
    with TranscriptReplay(talk) as wire:
        made = loader(wire)
        with pytest.raises(InstrumentError, match=words):
            made.load_wafer(3, "LOT42-03")


def test_no_wafer_is_moved_without_the_permit_and_none_where_no_cassette_is():
    def on():
        raise InstrumentError("smua is on")

    with TranscriptReplay(CASSETTE + chuck("65,0,empty")) as wire, pytest.raises(InstrumentError, match="smua is on"):
        loader(wire, on).load_wafer(3, "W03")
    with TranscriptReplay([(">", "loader:has_cassette cas1"), ("<", "0,0,0,0")]) as wire:
        assert loader(wire, on).load_wafer(3, "W03") is None
    wallet = [(">", "loader:has_station ww"), ("<", "0,0,0")]
    with TranscriptReplay(wallet) as wire:
        assert prober(wire, on, cassette=Cassette.WALLET).load_wafer(3, "W03") is None
    with TranscriptReplay([]) as wire:
        assert prober(wire, on).load_wafer(3, "W03") is None
        assert prober(wire).loading_patience == 0.0


def test_a_station_with_a_cassette_is_connected_with_an_empty_chuck():
    with TranscriptReplay([(">", "*RCS 1\nstatus:get_version"), ("<", "0,0,Version: 24.0.1")]) as wire:
        assert loader(wire).connect() == "Version: 24.0.1"


def test_an_open_door_is_told_in_operator_words():
    with replay("door") as talk, pytest.raises(InstrumentError, match="the front door is open, error 60"):
        prober(talk).contact()


def test_the_end_of_the_route_has_its_own_error():
    with replay("end-of-route") as talk, pytest.raises(EndOfRoute, match="end of the route"):
        prober(talk).step(9, 9)


@pytest.mark.parametrize("move", [lambda p: p.contact(), lambda p: p.separate(), lambda p: p.step(4, 7)])
def test_nothing_moves_unless_the_permit_lets_it(move):
    def on():
        raise InstrumentError("smua is on")

    with pytest.raises(InstrumentError, match="smua is on"):
        move(prober(TranscriptReplay(HEIGHTS), on))


def test_needles_that_were_proved_up_do_not_make_a_step_without_the_permit():
    verdicts = ["", "smua is on"]

    def permit():
        if verdict := verdicts.pop(0):
            raise InstrumentError(verdict)

    with TranscriptReplay(separating(11330, 11000) + HEIGHTS + z(11000)) as wire:
        made = prober(wire, permit)
        made.separate()
        with pytest.raises(InstrumentError, match="smua is on"):
            made.step(4, 7)


@pytest.mark.parametrize("offset", [-100, -60, -40, 0, 20, 100])
@pytest.mark.parametrize("shifted", [True, False], ids=["separation shifted", "contact alone"])
def test_in_a_fresh_session_needles_that_are_down_are_lifted_and_only_once(offset, shifted):
    """The faulty proof was z < contact - clearance: at -60 um it took needles that are down for needles that are up."""
    down, up = 11330 + offset, 11000 + offset * shifted
    with TranscriptReplay(separating(down, up) + z(up)) as wire:
        made = prober(wire)
        assert not made.separated()
        made.separate()
        made.separate()


@pytest.mark.parametrize("offset", [-100, -60, 0, 100])
def test_in_a_fresh_session_needles_that_are_up_are_told_to_separate_and_stand_clear(offset):
    with TranscriptReplay(separating(11000 + offset, 11000 + offset) + z(11000 + offset)) as wire:
        made = prober(wire)
        made.separate()
        assert made.separated()


@pytest.mark.parametrize("offset", [-100, -60, 0, 100])
def test_a_chuck_that_stays_where_it_was_told_to_separate_stops_everything(offset):
    stays = separating(11330 + offset, 11330 + offset)
    with TranscriptReplay(HEIGHTS + stays) as wire, pytest.raises(NeedlesDown, match="did not separate"):
        prober(wire).step(4, 7)


def test_a_chuck_that_was_put_down_here_has_to_fall_whatever_the_heights_say_by_then():
    """Somebody trains the contact 300 um higher while the needles are down: they now stand where separation is."""
    up = [(">", "move_chuck_contact"), ("<", "0,0,11330")]
    trained = [(">", "get_chuck_site_heights Wafer"), ("<", "0,0,11600,11300,30,100")]
    stays = [(">", "move_chuck_separation "), ("<", "0,0,11300")]
    talk = SITE + HEIGHTS + HEIGHTS + z(11000) + up + z(11330) + trained + z(11330) + stays + z(11330)
    with TranscriptReplay(talk) as wire:
        made = prober(wire)
        made.contact()
        with pytest.raises(NeedlesDown, match="did not separate"):
            made.separate()
    with TranscriptReplay(trained + z(11330) + stays + z(11330)) as wire:
        prober(wire).separate()


def test_a_chuck_that_somebody_has_moved_is_told_to_separate_again():
    with TranscriptReplay(separating(11330, 11000) + z(11330) + separating(11330, 11000)) as wire:
        made = prober(wire)
        made.separate()
        made.separate()


@pytest.mark.parametrize("height", [11150, 11500, 11000])
def test_a_chuck_that_cannot_touch_there_is_a_contact_error(height):
    up = [(">", "move_chuck_contact"), ("<", f"0,0,{height}")]
    talk = SITE + HEIGHTS + HEIGHTS + z(11000) + up + z(height)
    with TranscriptReplay(talk) as wire, pytest.raises(ContactError, match="did not reach contact"):
        prober(wire).contact()


@pytest.mark.parametrize("height", [11200, 11260, 11320, 11450])
def test_a_chuck_that_may_touch_is_left_to_the_contact_check(height):
    up = [(">", "move_chuck_contact"), ("<", f"0,0,{height}")]
    reads = z(height) + SITE + HEIGHTS
    with TranscriptReplay(SITE + HEIGHTS + HEIGHTS + z(11000) + up + z(height) + reads + HEIGHTS + z(height)) as wire:
        made = prober(wire)
        made.contact()
        assert made.in_contact()
        assert made.at_contact_height() == (height == 11320)


def test_needles_that_were_separated_here_are_not_in_contact_although_their_height_would_allow_it():
    beyond = 11000 + 330 + 60  # a station that compensates by more than the bound
    with TranscriptReplay(separating(beyond + 330, beyond) + z(beyond) + SITE + HEIGHTS) as wire:
        made = prober(wire)
        made.separate()
        assert not made.in_contact()
    with TranscriptReplay(z(beyond) + SITE + HEIGHTS + HEIGHTS) as wire:
        assert prober(wire).in_contact(), "in a fresh session it may be"


def test_needles_that_somebody_moved_after_contact_are_not_in_contact():
    up = [(">", "move_chuck_contact"), ("<", "0,0,11330")]
    talk = SITE + HEIGHTS + HEIGHTS + z(11000) + up + z(11330) + z(11300) + SITE + HEIGHTS
    with TranscriptReplay(talk) as wire:
        made = prober(wire)
        made.contact()
        assert not made.in_contact()


@pytest.mark.parametrize("move", ["contact", "step"])
def test_a_gap_too_small_to_tell_up_from_down_is_refused_before_anything_moves(move):
    small = [(">", "get_chuck_site_heights Wafer"), ("<", "0,0,11300,200,30,100")]
    words = "gap is 200 um; with up to 100 um of compensation at least 250 um"
    with TranscriptReplay(SITE + small + small + z(11100) if move == "contact" else small) as wire:
        made = prober(wire)
        with pytest.raises(InstrumentError, match=words):
            made.contact() if move == "contact" else made.step(4, 7)
    with TranscriptReplay(small + z(11100)) as wire:
        assert prober(wire, compensation=50e-6).standing() == ("separated by its heights", [])
    with TranscriptReplay(small + z(11100)) as wire:
        assert words in prober(wire).standing()[1][0]


def test_a_chuck_that_goes_up_by_itself_after_a_step_is_taken_down_and_told():
    talk = HEIGHTS + separating(11000, 11000) + MODE + at((0, 0), xy=(0, 0)) + stepping((1, 0))
    talk += z(11330) + HEIGHTS + separating(11330, 11000)
    with TranscriptReplay(talk) as wire:
        made = prober(wire)
        with pytest.raises(InstrumentError, match=r"went up to 11330\.0 um by itself after a step"):
            made.step(1, 0)


def step_from(start, end, *, xy, site=0, reply=None, subsite=None, pitch=True, die=None):
    """Step once in a fresh session between two dies; the chuck ends at `xy` um, SENTIO says `die` when asked again."""
    talk = [] if subsite is None else [(">", f"map:subsite:get {site}, UR"), ("<", "0,0,b,250,-120")]
    talk += HEIGHTS + separating(11000, 11000) + MODE + at(start, xy=(0, 0) if start else None)
    talk += stepping(end, reply, site) + z(11000) + at(die or end, site, xy) + (PITCH if pitch else [])
    with TranscriptReplay(talk) as wire:
        return prober(wire).step(*end, subsite) if subsite else prober(wire).step(*end)


def test_a_prober_that_answers_with_another_die_is_an_error():
    talk = HEIGHTS + separating(11000, 11000) + MODE + at((0, 0), xy=(0, 0)) + stepping((4, 7), "0,0,7,4,0") + z(11000)
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=r"stands at \(7, 4, 0\)"):
        prober(wire).step(4, 7)


@pytest.mark.parametrize("xy", [(20000, -28000), (-20100, 28300)])
def test_a_step_counts_when_the_chuck_has_moved_as_far_as_the_map_says(xy):
    assert step_from((0, 0), (4, 7), xy=xy) == Position(4, 7)


@pytest.mark.parametrize(
    ("xy", "words"),
    [
        ((0, 0), "moved by 0 um in x where the map says 20000 um"),
        ((20000, 24000), "moved by 24000 um in y where the map says 28000 um"),
        ((15000, 28000), "moved by 15000 um in x"),
        (("nan", 28000), "'get_chuck_xy Wafer, Z' was answered by 'nan,28000'; expected finite numbers"),
    ],
)
def test_an_echo_is_not_believed_when_the_chuck_has_not_moved_so_far(xy, words):
    with pytest.raises(InstrumentError, match=words):
        step_from((0, 0), (4, 7), xy=xy)


def test_an_echo_is_not_believed_when_sentio_says_otherwise_when_asked_again():
    talk = HEIGHTS + separating(11000, 11000) + MODE + at((0, 0), xy=(0, 0)) + stepping((4, 7)) + z(11000)
    again = [(">", "map:die:get_current_index"), ("<", "0,0,0,0,0")]
    with (
        TranscriptReplay(talk + again) as wire,
        pytest.raises(InstrumentError, match=r"stands at die \(0, 0\); look at"),
    ):
        prober(wire).step(4, 7)


def test_a_step_that_did_not_happen_is_refused_again_when_it_is_asked_for_again():
    first = HEIGHTS + separating(11000, 11000) + MODE + at((0, 0), xy=(0, 0)) + stepping((1, 0)) + z(11000)
    again = HEIGHTS + z(11000) + stepping((1, 0)) + z(11000)
    with TranscriptReplay(first + at((1, 0), xy=(0, 0)) + PITCH + again + at((1, 0), xy=(0, 0)) + PITCH) as wire:
        made = prober(wire)
        for _ in range(2):
            with pytest.raises(InstrumentError, match="moved by 0 um in x where the map says 5000 um"):
                made.step(1, 0)


def test_where_the_chuck_came_from_may_be_unknown():
    talk = HEIGHTS + separating(11000, 11000) + MODE + at(None, "No subsite active") + stepping((4, 7)) + z(11000)
    with TranscriptReplay(talk + at((4, 7), "No subsite active", (1, 2)) + PITCH) as wire:
        assert prober(wire).step(4, 7) == Position(4, 7)


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
    go = HEIGHTS + separating(11000, 11000) + MODE + at((4, 7), xy=(0, 0))
    go += stepping((4, 7), "2048,0,4,7,1", 1) + z(11000) + at((4, 7), 1, (-250, -120)) + PITCH
    with TranscriptReplay(ask + ([] if words else go)) as wire:
        if words:
            with pytest.raises(InstrumentError, match=words):
                prober(wire).step(4, 7, subsite)
        else:
            assert prober(wire).step(4, 7, subsite) == Position(4, 7)


def test_a_session_may_begin_at_another_subsite():
    start = [*at((4, 7), 1), (">", "map:subsite:get 1, UR"), ("<", "0,0,b,250,-120"), *at(None, 0, (0, 0))[4:]]
    talk = HEIGHTS + separating(11000, 11000) + MODE + start + stepping((4, 7)) + z(11000)
    with TranscriptReplay(talk + at((4, 7), 0, (250, 120)) + PITCH) as wire:
        assert prober(wire).step(4, 7) == Position(4, 7)


@pytest.mark.parametrize(("moved", "good"), [(250e-6, True), (130e-6, True), (0.0, False), (500e-6, False)])
def test_between_subsites_half_their_distance_decides(moved, good):
    spots = Subsite("a", 0, 0.0, 0.0), Subsite("b", 1, 250e-6, 0.0)
    start, end = ChuckPlace((3, 2), spots[0], (0.0, 0.0)), ChuckPlace((3, 2), spots[1], (-moved, 0.0))
    assert (misled(start, end, (5e-3, 4e-3)) == "") is good


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
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=words):
        prober(wire).contact()


def test_heights_are_metres():
    with TranscriptReplay(SITE + HEIGHTS) as wire:
        heights = prober(wire).heights()
    assert heights == Heights(*(pytest.approx(v) for v in (11.3e-3, 11e-3, 30e-6, 100e-6)))


@pytest.mark.parametrize("separation", ["300", "11000"])
def test_separation_may_be_told_as_a_gap_or_as_a_height(separation):
    talk = [(">", "get_chuck_site_heights Wafer"), ("<", f"0,0,11300,{separation},30,100")]
    with TranscriptReplay(talk + z(11000)) as wire:
        assert prober(wire).standing() == ("separated by its heights", [])


@pytest.mark.parametrize(
    ("height", "where", "doubt"),
    [
        (11330, "in contact", ""),
        (11240, "60.0 um below the contact height", "the station compensates the contact, or somebody has moved"),
        (11400, "100.0 um above", "the station compensates"),
        (10940, r"separated by its heights, -60.0 um from the separation height", ""),
        (11170, "neither up nor down", "neither in contact nor clear"),
    ],
)
def test_where_the_chuck_stands_is_told_and_what_is_strange_about_it(height, where, doubt):
    with TranscriptReplay(HEIGHTS + z(height)) as wire:
        standing = prober(wire).standing()
    assert where in standing[0]
    assert len(standing[1]) == bool(doubt)
    assert doubt in "".join(standing[1])


def test_every_code_in_use_has_words_and_the_reply_is_taken_apart():
    assert set(ERRORS) <= set(range(1, 70))
    assert {11, 12, 19, 23, 38, 60, 68} <= set(ERRORS)
    reply = parse_reply("2071,3,a message, with a comma")
    assert (reply.error, reply.end_of_route, reply.text) == (23, False, "a message, with a comma")
    with pytest.raises(InstrumentError, match="not a reply of SENTIO"):
        parse_reply("hello")


@pytest.mark.parametrize(
    ("setpoint", "temperature"), [("0,0,85.00", ["chuck at 24.80 C, set to 85.00 C"]), ("3,0,no thermo", [])]
)
def test_the_diagnosis_tells_heights_touches_temperature_and_what_cannot_be_read(setpoint, temperature):
    talk = SITE + HEIGHTS + HEIGHTS + z(11000) + [(">", "setup:contact_counter:get"), ("<", "0,0,17")] + SITE
    talk += [
        (">", "status:get_chuck_temp"),
        ("<", "0,0,24.80"),
        (">", "status:get_chuck_temp_setpoint"),
        ("<", setpoint),
    ]
    with TranscriptReplay(talk) as wire:
        state, doubts = prober(wire).diagnosis()
    assert state == [
        "chuck separated by its heights; contact 11300.0 um, overtravel 30.0 um, separation 11000.0 um, hover 100.0 um",
        "17 touches on its counter",
        "stepping contact mode and compensation: they cannot be read; StepToSeparation is set before the first step",
        "home position of the wafer is set",
        *temperature,
    ]
    assert not doubts


def test_the_diagnosis_doubts_a_wafer_that_is_not_aligned():
    unset = [(">", "get_chuck_site_status Wafer"), ("<", "0,0,0,1,1,1")]
    talk = SITE + HEIGHTS + HEIGHTS + z(11000) + [(">", "setup:contact_counter:get"), ("<", "0,0,17")] + unset
    talk += [(">", "status:get_chuck_temp"), ("<", "3,0,no"), (">", "status:get_chuck_temp_setpoint"), ("<", "3,0,no")]
    with TranscriptReplay(talk) as wire:
        state, (doubt,) = prober(wire).diagnosis()
    assert "the wafer is not aligned" in doubt
    assert "home position of the wafer is set" not in state


def test_a_subsite_that_is_asked_again_and_is_another_is_an_error():
    table = [(">", "map:subsite:get 2, UR"), ("<", "0,0,b,250,-120")]
    talk = table + HEIGHTS + separating(11330, 11000) + MODE + at((4, 7), xy=(0, 0))
    talk += stepping((4, 7), site=2) + z(11000) + at((4, 7), site=1)
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=r"step to subsite 2 .* reports '1'"):
        prober(wire).step(4, 7, Subsite("b", 2, 250e-6, -120e-6))


@pytest.mark.parametrize("reply", ["b", "b,2", "b,x,y"])
def test_a_subsite_without_a_place_is_none(reply):
    talk = [(">", "map:subsite:get 2, UR"), ("<", f"0,0,{reply}")]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match="is no subsite; expected name,x,y"):
        prober(wire).step(4, 7, Subsite("b", 2, 250e-6, -120e-6))


def test_a_site_status_with_too_few_flags_says_nothing_about_the_vacuum():
    talk = [(">", "get_chuck_site_status Wafer"), ("<", "0,0,1,1,1")]
    with (
        TranscriptReplay(talk) as wire,
        pytest.raises(InstrumentError, match=r"answered by '1,1,1'; expected home"),
    ):
        prober(wire).heights()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("up", "was answered by 'up'; expected numbers"),
        ("11300,11000,30", "'11300,11000,30'; expected 4 numbers"),
        ("11300,nan,30,0", "expected finite numbers"),
        ("inf,11000,30,0", "expected finite numbers"),
        ("11300,11000,9.91e37,0", "expected finite numbers"),
    ],
)
def test_heights_that_are_not_four_numbers_are_an_error(reply, words):
    talk = [*SITE, (">", "get_chuck_site_heights Wafer"), ("<", f"0,0,{reply}")]
    with TranscriptReplay(talk) as wire, pytest.raises(InstrumentError, match=words):
        prober(wire).heights()


def test_touches_are_a_whole_number():
    talk = [(">", "setup:contact_counter:get"), ("<", "0,0,many")]
    with (
        TranscriptReplay(talk) as wire,
        pytest.raises(InstrumentError, match="answered by 'many'; expected whole"),
    ):
        prober(wire).touches()


def test_the_table_of_errors_has_the_codes_of_the_vendor():
    assert sorted(ERRORS) == [*range(1, 28), 30, 31, 32, *range(35, 39), *range(60, 70)]
    assert all(ERRORS.values())
    assert len(set(ERRORS.values())) == len(ERRORS)
    assert ERRORS[26] == "a probe tip was not found"
    assert (ERRORS[38], ERRORS[68]) == (
        "the chuck is not low enough to step; separate first",
        "the vacuum has failed; the wafer is not held",
    )
