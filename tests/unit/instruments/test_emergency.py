"""A bench is made safe whatever its instruments do and whoever wrote their drivers; "verified" is what was asked."""

import io
import itertools
import socket
import threading

import pytest
from pydantic import ValidationError

from instruments import emergency
from instruments.board_bench import BoardBench
from instruments.emergency import PAUSE, at_once, emergency_off, emergency_open, isolate, make_safe, persist
from instruments.entry import UNUSABLE
from instruments.keithley707b import Keithley707B, scheme
from instruments.keithley2600b import DRIVER, Keithley2600B, Keithley2600BOptions
from instruments.transcript import Recorder, TranscriptReplay
from instruments.transport import BytesTransport, Deadlines
from instruments.visa import VisaTransport
from labctl.core.bias import Geometry
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.model import Model
from labctl.core.plugins import BODIES, INSTRUMENTS
from labctl.core.switch_matrix import refuse
from sim_backend.emulators.link import Fault
from sim_backend.emulators.serve import Server
from tests.unit.instruments.test_host_timed import Box
from tests.unit.instruments.test_probed_die import Twin, bench, read
from tests.waiting import PATIENCE


class Rewrite:
    """A session whose replies are rewritten on their way."""

    def __init__(self, session, edit):
        self.session, self.edit = session, edit

    def handle(self, data):
        return self.edit(data, self.session.handle(data))

    def reconnect(self):
        self.session.reconnect()


def live(**options):
    """Return a bench that was left with a cell at 0.3 V by whoever drove it."""
    twin = Twin(**options)
    twin.instruments["matrix"].handle(b'channel.close("1A01,1B05")\n')
    for name in ("smu1", "smu2"):
        twin.instruments[name].handle(b"smua.source.levelv=0.3 smua.source.output=1\n")
    return twin


def assert_off(twin):
    states = [(s.set.output, s.set.levelv) for n in ("smu1", "smu2") for s in twin.instruments[n].smus.values()]
    assert states == [(0, 0.0)] * 4
    assert twin.world.ledger.hot_switches == 0


def safe(twin, file=None, **edits):
    """Make a twin safe, some instruments behind an edit of their replies; return what is said of it."""

    def connect(name, entry):
        session = twin.instruments[name].session()
        handler = Rewrite(session, edits[name]) if name in edits else session
        return BytesTransport(handler, name, probe=entry.declaration.question)

    return make_safe(file or bench(), connect=connect, wait=twin.world.advance)


def test_what_ends_a_source_are_the_first_bytes_and_nothing_is_asked_before():
    twin = live()
    lines = []
    obey = twin.instruments["smu1"].execute
    twin.instruments["smu1"].execute = lambda message: (lines.append(message), obey(message))[1]
    done = safe(twin)
    first = list(itertools.takewhile(lambda line: "print" not in line, lines))
    assert first[0] == "abort"
    for channel in ("smua", "smub"):
        for setting in ("levelv", "leveli", "output"):
            assert f"if {channel} then {channel}.source.{setting}=0 end" in first
    assert not [line for line in lines if "IDN" in line or "linefreq" in line]
    assert done.text == "smu1, smu2: outputs verified off at 0 V; matrix: relays verified open"
    assert done.met == {"smu1.smua": "on at 0.3 V", "smu2.smua": "on at 0.3 V", "matrix": "2 relays closed"}
    assert_off(twin)
    assert not twin.world.closed


def test_a_bench_at_rest_was_met_at_rest():
    twin = Twin()
    assert safe(twin).met == {}


@pytest.mark.parametrize("name", ["smu1", "smu2", "matrix"])
def test_an_instrument_that_obeys_nothing_but_abort_is_made_safe(name):
    twin = live()
    twin.instruments[name].busy = True
    assert "relays verified open" in safe(twin).text
    assert_off(twin)
    assert not twin.world.closed


IDENTITIES = (
    b"KEITHLEY INSTRUMENTS,MODEL 2602B, 04012345,4.0.1\n",
    b"Tektronix 2602B\n",
    b"Keithley Instruments Inc., Model 2636B, 1, 1\n",
    b"\xff\xfe\n",
    b"\n",
)


@pytest.mark.parametrize("identity", IDENTITIES)
def test_no_identity_stands_in_the_way(identity):
    twin = live()

    def edit(data, reply):
        return identity if b"*IDN?" in data else reply

    assert "outputs verified off" in safe(twin, smu1=edit, smu2=edit, matrix=edit).text
    assert_off(twin)
    assert not twin.world.closed


@pytest.mark.parametrize(
    "dirt",
    ["format.asciiprecision=1", "format.data=format.REAL64", "smua.measure.delay=20", "smua.measure.count=1000"],
)
def test_no_format_and_no_setting_stands_in_the_way(dirt):
    twin = live()
    twin.instruments["smu1"].handle(f"{dirt}\nbad =\nlocalnode.nothing.here=1\n".encode())
    safe(twin)
    assert_off(twin)


@pytest.mark.parametrize("noise", [b"nan\n", b"safe\n", b"1\t2\t3\n", b"9.91e37\n" * 3])
def test_a_reply_that_is_not_understood_leaves_the_source_off_and_is_told_as_not_verified(noise):
    twin = live()
    with pytest.raises(InstrumentError, match=r"NOT verified safe: smu1: .*; relays stay as they are"):
        safe(twin, smu1=lambda data, reply: noise if reply else reply)
    assert_off(twin)
    assert twin.world.closed, "smu1 is off, and nobody knows"


def test_what_still_had_to_be_said_is_passed_over():
    twin = live()
    assert safe(twin, smu1=lambda data, reply: b"1.2e-3\n7\n" + reply if b"safe-" in data else reply).met
    assert_off(twin)


@pytest.mark.parametrize("model", ["2601B", "2602B", "2636B"])
def test_a_channel_that_is_not_there_is_no_reason_to_fail(model):
    twin = live()
    del twin.instruments["smu1"].lua.globals["smub"]
    smu = Keithley2600B(BytesTransport(twin.instruments["smu1"].session(), "smu1"), "smu1", model=model)
    assert list(smu.emergency_off()) == ["smua"]
    assert twin.smu("smu1", "smua").set.output == 0


def test_a_dead_source_delays_no_other():
    """smu1 does not answer before smu2 is off: whoever works on them one after the other never ends."""
    twin, off = live(), threading.Event()
    obey = twin.instruments["smu2"].execute

    def execute(message):
        reply = obey(message)
        if twin.smu("smu2", "smua").set.output == 0:
            off.set()
        return reply

    twin.instruments["smu2"].execute = execute

    class Patient(Rewrite):
        def handle(self, data):
            assert off.wait(PATIENCE)
            return self.session.handle(data)

    def connect(name, entry):
        session = twin.instruments[name].session()
        return BytesTransport(
            Patient(session, None) if name == "smu1" else session, name, probe=entry.declaration.question
        )

    make_safe(bench(), connect=connect, wait=twin.world.advance)
    assert_off(twin)


def test_one_that_refuses_for_a_while_is_met_with_patience():
    twin, waited = live(), []

    def connect(name, entry):
        return BytesTransport(twin.instruments[name].session(), name, probe=entry.declaration.question)

    refusals = itertools.chain([Fault.DROP] * 7, itertools.repeat(Fault.NONE))
    twin.instruments["smu2"].fault = lambda line: next(refusals)
    make_safe(bench(), connect=connect, wait=waited.append)
    assert_off(twin)
    assert set(waited) == {PAUSE}


def test_patience_is_bounded_and_belongs_to_the_instrument():
    twin, waited = live(), []
    twin.instruments["smu1"].fault = lambda line: Fault.DEAF
    file = bench(instruments__smu1__patience="2 s")
    with pytest.raises(InstrumentError, match=r"smu1: .*did not answer"):
        make_safe(file, connect=twin.connect, wait=waited.append)
    assert 0 < sum(waited) <= 2.0


def test_a_second_try_is_counted_by_the_clock_that_is_handed_in():
    tries = []

    def act():
        tries.append(1)
        raise InstrumentError("no")

    with pytest.raises(InstrumentError, match="no"):
        persist(act, 1.0, lambda seconds: None)
    assert 2 <= len(tries) <= 5


def test_an_interrupt_ends_no_making_safe():
    ended = threading.Event()

    def slow():
        for _ in range(3):
            threading.main_thread()
        ended.set()

    class Interrupting(threading.Thread):
        def join(self, timeout=None):
            if not ended.is_set():
                super().join(timeout)
                raise KeyboardInterrupt
            super().join(timeout)

    original, threading.Thread = threading.Thread, Interrupting
    try:
        assert at_once({"smu1": slow}, {}) == {}
    finally:
        threading.Thread = original
    assert ended.is_set()


# -- strangers


class Switch:
    """A working matrix that somebody else wrote over the dialect of the 707B; it knows no emergency."""

    def __init__(self, wire, name, moody=False):
        self.inner, self.name, self.permit, self.moody = Keithley707B(wire, name), name, lambda: None, moody

    def connect(self):
        raise RuntimeError("I do not like this identity")

    def closed(self):
        if self.moody:
            raise ZeroDivisionError("cards")
        return self.inner.closed()

    def route(self, closed):
        self.inner.permit = self.permit
        self.inner.route(closed)

    def close(self):
        raise OSError("closing is for others")


class Source:
    """A source that somebody else wrote over the dialect of the 2600B; it knows no emergency."""

    def __init__(self, wire, name, fails="", made=True):
        if not made:
            raise ValueError("no such slot")
        self.inner, self.name, self.fails = Keithley2600B(wire, name), name, fails

    def __getattr__(self, attribute):
        if attribute == "emergency_off":
            raise AttributeError(attribute)
        if attribute == self.fails:
            raise KeyError(f"{attribute} is not for today")
        return getattr(self.inner, attribute)


class Chuck:
    """A prober that somebody else wrote."""

    def __init__(self, wire, name):
        self.name, self.permit, self.up, self.calls = name, refuse, False, []
        raise_later.append(self)

    def connect(self):
        self.calls.append("connect")
        return "chuck"

    def step(self, col, row, subsite=None): ...

    def contact(self): ...

    def separate(self):
        self.calls.append("separate")
        self.permit()
        self.up = True

    def close(self): ...


raise_later = []


class SwitchOptions(Model):
    moody: bool = False


class SourceOptions(Model):
    fails: str = ""
    made: bool = True


class WorseOptions(Model):
    connects: str | None = None
    closed: str | None = None
    route: str | None = None
    closing: str | None = None


class LaxOptions(Model):
    lacks: tuple[str, ...] = ()
    emergency_off: str | None = None
    verify_off: str | None = None
    connects: str | None = None


def made_by(name):
    """Return the function of a declaration that makes the class of that name in this module."""
    return lambda title, options, wire: globals()[name](wire, title, **options.model_dump(exclude_none=True))


def known(options):
    return DRIVER.capabilities(Keithley2600BOptions())


SWITCH = Driver(DriverKind.MATRIX, made_by("Switch"), SwitchOptions, scheme=lambda options: scheme("707B"))
SOURCE = Driver(DriverKind.SOURCE, made_by("Source"), SourceOptions, capabilities=known)
CHUCK = Driver(DriverKind.PROBER, made_by("Chuck"))
WORSE = Driver(DriverKind.MATRIX, made_by("Worse"), WorseOptions, scheme=lambda options: scheme("707B"))
BOARD_DRIVER = Driver(
    DriverKind.BOARD, made_by("Source"), geometry=lambda options: Geometry(1, 2, 3), planned=lambda *arguments: None
)
LAX = Driver(DriverKind.SOURCE, made_by("Lax"), LaxOptions, capabilities=known)


@pytest.fixture
def strangers(register):
    raise_later.clear()
    here = "tests.unit.instruments.test_emergency"
    own = {name: f"{here}:{name.upper()}" for name in ("switch", "source", "chuck", "worse", "lax")}
    register(INSTRUMENTS, {**own, "nothing": f"{here}:Chuck", "broken": "tests.unit.no_such_module:DRIVER"})


def with_stranger(name, driver, context=None, **options):
    entry = {"driver": driver, "resource": name, **options}
    return bench(context, **{f"instruments__{name}": entry})


def test_a_strangers_matrix_is_opened_and_verified_like_ours(strangers):
    twin = live()
    done = safe(twin, with_stranger("matrix", "switch"))
    assert done.text == "smu1, smu2: outputs verified off at 0 V; matrix: relays verified open"
    assert not twin.world.closed
    assert_off(twin)


def test_verified_is_said_of_nothing_that_was_not_asked(strangers):
    twin = live()
    with pytest.raises(InstrumentError, match=r"matrix: its driver 'switch', which is not part of this suite, failed"):
        safe(twin, with_stranger("matrix", "switch", moody=True))
    assert_off(twin)


def test_a_strangers_source_is_switched_off_like_ours(strangers):
    twin = live()
    assert "smu1, smu2: outputs verified off at 0 V" in safe(twin, with_stranger("smu1", "source")).text
    assert_off(twin)
    assert not twin.world.closed


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"fails": "off"}, "KeyError: 'off is not for today'"),
        ({"fails": "verify_off"}, "KeyError: 'verify_off is not for today'"),
        ({"made": False}, "when it was made: ValueError: no such slot"),
    ],
)
def test_whatever_a_stranger_raises_the_others_are_made_safe_and_it_is_named(strangers, options, where):
    twin = live()
    with pytest.raises(InstrumentError) as caught:
        safe(twin, with_stranger("smu1", "source", **options))
    text = str(caught.value)
    assert "smu1: its driver 'source', which is not part of this suite," in text
    assert where in text
    assert "bug" not in text
    assert twin.smu("smu2", "smua").set.output == 0
    assert twin.world.closed, "smu1 may be live: no relay moves"
    assert twin.clean()


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        ("nothing", r"driver 'nothing' of lab-things 1\.0 .* is type; expected a labctl\.core\.driver\.Driver"),
        ("broken", r"driver 'broken' of lab-things 1\.0 .* cannot be loaded: ModuleNotFoundError"),
        ("surce", r"driver 'surce' is not installed .* did you mean 'source'\?"),
    ],
)
def test_a_driver_that_cannot_be_used_is_refused_and_keeps_no_other_from_being_made_safe(strangers, driver, words):
    with pytest.raises(ValidationError, match=words):
        with_stranger("smu1", driver)
    twin = live()
    with pytest.raises(InstrumentError, match=rf"NOT verified safe: smu1: {words}.*; relays stay as they are"):
        safe(twin, with_stranger("smu1", driver, {UNUSABLE: True}))
    assert twin.smu("smu2", "smua").set.output == 0


def test_a_stranger_in_the_middle_of_idle_keeps_no_other_from_being_made_safe(strangers):
    twin = Twin(with_stranger("smu1", "source"))
    twin.die.idle()
    twin.die.sense(read([0], [0]))
    twin.die.sources["smu1"]._driver.fails = "off"
    with pytest.raises(InstrumentError, match=r"NOT verified safe: smu1: its driver 'source'"):
        twin.die.idle()
    assert [s.set.output for s in twin.instruments["smu2"].smus.values()] == [0, 0]
    with pytest.raises(InstrumentError, match="must be made safe first"):
        twin.die.sense(read([0], [0]))
    twin.die.sources["smu1"]._driver.fails = ""
    twin.die.idle()
    assert_off(twin)
    assert not twin.world.closed


# -- the last resort


def test_isolating_says_that_relays_opened_under_possible_current(strangers):
    twin = live()
    twin.instruments["smu1"].fault = lambda line: Fault.DEAF
    text = isolate(with_stranger("matrix", "switch"), connect=twin.connect, wait=twin.world.advance)
    assert text == "matrix: relays opened under possible current; prober: needles lifted under possible current"
    assert not twin.world.closed


def test_isolating_lifts_a_strangers_needles(strangers):
    twin = live()
    text = isolate(with_stranger("prober", "chuck"), connect=twin.connect, wait=twin.world.advance)
    assert "prober: needles lifted under possible current" in text
    assert [chuck.up for chuck in raise_later] == [True]
    assert raise_later[0].calls == ["connect", "separate"]


def test_a_source_of_ours_that_knows_no_emergency_is_switched_off_as_usual_and_verified():
    box = Box()
    box.channels["a"][:2] = True, 0.3
    assert emergency_off("smu1", box) == {}
    assert not any(on or level for on, level, _ in box.channels.values())
    stuck = Box(deaf=["output"])
    stuck.channels["a"][0] = True
    with pytest.raises(InstrumentError, match="NOT verified off"):
        emergency_off("smu1", stuck)


def test_a_matrix_that_keeps_a_relay_raises_what_it_was_refused_with_else_how_many_are_closed():
    class Stuck:
        permit = None

        def __init__(self, error):
            self.error = error

        def closed(self):
            return ["1A01", "1B05"]

        def route(self, closed):
            if self.error:
                raise self.error

    asked = Stuck(ZeroDivisionError())
    asked.permit = print
    with pytest.raises(ZeroDivisionError):
        emergency_open("matrix", asked)
    assert asked.permit is print, "it is asked again by whoever goes on"
    with pytest.raises(InstrumentError, match="matrix: 2 relays are still closed"):
        emergency_open("matrix", Stuck(None))


def test_isolating_tells_of_wires_that_nothing_separates_if_the_needles_stay_down():
    twin = live()
    channels = {"smu1.smua": "A", "smu1.smub": "B", "smu2.smua": "C"}
    file = bench(wiring__channels=channels, wiring__pads__c02="smu2.smub")
    twin.instruments["prober"].fault = lambda line: Fault.DEAF
    text = isolate(file, connect=twin.connect, wait=twin.world.advance)
    assert "matrix: relays opened under possible current; prober: " in text
    assert text.endswith("; c02 is NOT separated from smu2.smub, a wire")


def test_isolating_tells_that_no_board_is_ever_separated_from_its_die(register):
    register(BODIES, {"board": "tests.unit.instruments.test_emergency:BOARD_DRIVER"})
    limits = {"v_towards_p": "1 V", "v_towards_ap": "1 V", "width": "1 ms", "compliance": "1 mA"}
    limits["ramp_rate"] = "10 V/s"
    file = {"name": "tester", "body": {"driver": "board", "resource": "b"}, "limits": limits}
    board = BoardBench.model_validate(file, context={"file": True})
    text = isolate(board, connect=lambda name, entry: None, wait=lambda seconds: None)
    assert text == "the die is NOT separated from the board of bench 'tester'"


def test_where_the_wiring_cannot_be_known_nothing_is_said_of_it(strangers):
    twin = live()
    file = with_stranger("smu1", "surce", {UNUSABLE: True})
    twin.instruments["prober"].fault = lambda line: Fault.DEAF
    text = isolate(file, connect=twin.connect, wait=twin.world.advance)
    assert "matrix: relays opened under possible current" in text
    assert "NOT separated" not in text


def test_what_is_no_error_of_the_lab_is_told_as_its_drivers():
    def fail():
        raise ZeroDivisionError("cards")

    def refuse():
        raise InstrumentError("no vacuum")

    assert at_once({"smu1": fail, "prober": refuse}, {}) == {
        "smu1": "smu1: its driver failed: ZeroDivisionError: cards",
        "prober": "prober: no vacuum",
    }


@pytest.mark.parametrize("act", ["silence", "open_relays", "lift"])
def test_nothing_is_done_to_an_instrument_whose_kind_is_not_known(strangers, monkeypatch, act):
    class Untouched:
        def __getattr__(self, attribute):
            raise AssertionError(f"{attribute} was asked for")

    monkeypatch.setattr(emergency, "driver_of", lambda *arguments: Untouched())
    entry = with_stranger("smu1", "surce", {UNUSABLE: True}).instruments["smu1"]
    box = emergency._Box("smu1", entry, lambda name, entry: None, lambda seconds: None)
    getattr(box, act)()
    assert (box.verified, box.done, box.met) == ("", False, {})


def test_a_wire_that_is_recorded_is_no_reason_to_fail():
    twin, file = live(), io.StringIO()
    make_safe(bench(), connect=lambda n, e: Recorder(twin.connect(n, e), file), wait=twin.world.advance)
    assert_off(twin)
    assert "# cut in" in file.getvalue()


# -- idle after a fault


def test_a_source_that_is_stuck_in_a_script_is_ended_and_no_relay_moves_hot():
    twin = Twin()
    twin.die.idle()
    twin.die.sense(read([0], [0]))
    twin.instruments["smu1"].busy = True
    with pytest.raises(InstrumentError):
        twin.die.sense(read([1], [0]))
    twin.die.idle()
    assert_off(twin)
    assert not twin.world.closed
    assert twin.clean()
    assert twin.die.sense(read([0], [0])).current.size == 1


def test_nan_in_the_error_queue_is_an_error_of_the_instrument():
    talk = [(">", 'print(string.format("%d\\t%s\\t%d",errorqueue.next()))'), ("<", "nan\tno\t0\t1")]
    with (
        TranscriptReplay(talk) as wire,
        pytest.raises(InstrumentError, match=r"errorqueue.*answered by 'nan'; expected the number of an error"),
    ):
        Keithley2600B(wire, "smu1")._tsp.errors()


# -- over sockets


class OneAtATime:
    """A box on a socket that takes one connection, until its dead-socket port is touched; it obeys the instrument."""

    def __init__(self, instrument, refusals=0):
        self.instrument, self.refusals, self.ended = instrument, refusals, threading.Event()
        self.raw, self.dead = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.holders = [socket.create_connection(self.raw.getsockname()), self.raw.accept()[0]]
        self.held = True
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._serve, self._free)]
        for thread in self.threads:
            thread.start()

    def _serve(self):
        while not self.ended.is_set():
            try:
                connection, _ = self.raw.accept()
            except OSError:
                return
            if self.held:
                connection.close()
                continue
            session = self.instrument.session()
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(session.handle(data))

    def _free(self):
        while not self.ended.is_set():
            try:
                connection, _ = self.dead.accept()
            except OSError:
                return
            connection.close()
            self.held = False

    def close(self):
        self.ended.set()
        for server in (self.raw, self.dead):
            server.shutdown(socket.SHUT_RDWR)
            server.close()
        for holder in self.holders:
            holder.close()
        for thread in self.threads:
            thread.join(PATIENCE)


def test_the_dead_socket_port_frees_an_instrument_that_takes_no_other_connection():
    twin = live()
    box = OneAtATime(twin.instruments["smu1"])
    port, dead = (server.getsockname()[1] for server in (box.raw, box.dead))
    deadlines = Deadlines(query=PATIENCE, setting=PATIENCE)

    def connect(name, entry):
        if name == "smu1":
            return VisaTransport(f"TCPIP::127.0.0.1::{port}::SOCKET", deadlines=deadlines, dead_socket=dead)
        return twin.connect(name, entry)

    try:
        make_safe(bench(), connect=connect, wait=lambda seconds: None)
    finally:
        box.close()
    assert_off(twin)


def test_where_the_transport_has_a_device_clear_it_goes_first():
    twin, order = live(), []
    smu = twin.instruments["smu1"]
    clear, obey = smu.device_clear, smu.execute
    smu.device_clear = lambda: (order.append("device clear"), clear())[1]
    smu.execute = lambda message: (order.append(message), obey(message))[1]
    with Server([smu]) as server:
        wire = VisaTransport(server.served[0].hislip, deadlines=Deadlines(query=PATIENCE, setting=PATIENCE))
        assert Keithley2600B(wire, "smu1").emergency_off()["smua"].level == pytest.approx(0.3)
        wire.close()
    assert order[:2] == ["device clear", "abort"]
    assert smu.smus["smua"].set.output == 0


# -- strangers that do worse than raise


class Worse(Switch):
    """A matrix that does one thing amiss."""

    def __init__(self, wire, name, **amiss):
        super().__init__(wire, name)
        self.__dict__["amiss"] = amiss

    def connect(self):
        if "connects" in self.amiss:
            raise SystemExit("out of here")
        return "worse"

    def closed(self):
        if (what := self.amiss.get("closed")) == "hangs":
            release.wait(PATIENCE)
        elif what == "exits":
            raise SystemExit("out of here")
        elif what is not None:
            return {"none": None, "text": "1A01", "list": sorted(self.inner.closed())}[what]
        return self.inner.closed()

    def route(self, closed):
        if self.amiss.get("route") == "exits":
            raise SystemExit("out of here")
        self.inner.permit = lambda: None
        self.inner.route(closed)

    def close(self):
        if self.amiss.get("closing") == "hangs":
            release.wait(PATIENCE)
        raise SystemExit("out of here")


class Lax(Source):
    """A source with only part of what a source has, or whose own ways are not what they say."""

    def __init__(self, wire, name, lacks=(), **ways):
        super().__init__(wire, name)
        self.lacks, self.ways = lacks, ways

    def __getattr__(self, attribute):
        if attribute in self.lacks:
            raise AttributeError(attribute)
        if attribute in self.ways or (attribute == "connect" and "connects" in self.ways):
            return {"nothing": lambda: None, "true": lambda: True, "false": lambda: False, "exits": leave}[
                self.ways["connects" if attribute == "connect" else attribute]
            ]
        return super().__getattr__(attribute)


def leave():
    raise SystemExit("out of here")


release = threading.Event()


@pytest.fixture
def worse(strangers, monkeypatch):
    release.clear()
    monkeypatch.setattr(emergency, "OVERTIME", 0.2)
    monkeypatch.setattr(emergency, "CLOSING", 0.2)
    monkeypatch.setattr(emergency, "LAST_PATIENCE", 0.2)
    yield
    release.set()


@pytest.mark.parametrize("amiss", [{"closed": "list"}, {"connects": "exits"}, {"closing": "hangs"}, {}])
def test_relays_of_a_matrix_are_verified_open_whatever_else_it_does(worse, amiss):
    twin = live()
    assert "matrix: relays verified open" in safe(twin, with_stranger("matrix", "worse", **amiss)).text
    assert not twin.world.closed


@pytest.mark.parametrize("closed", ["none", "text", "exits"])
def test_relays_are_told_to_open_before_an_answer_counts(worse, closed):
    twin = live()
    with pytest.raises(InstrumentError, match=r"NOT verified safe: matrix: its driver 'worse'"):
        safe(twin, with_stranger("matrix", "worse", closed=closed))
    assert not twin.world.closed, "open, and nobody could verify it"
    assert_off(twin)


@pytest.mark.parametrize(
    "amiss", [{"closed": "hangs"}, {"route": "exits"}, {"closed": "exits"}, {"closing": "hangs"}, {"connects": "exits"}]
)
def test_the_last_resort_lifts_the_needles_whatever_a_matrix_does(worse, amiss):
    twin = live()
    text = isolate(with_stranger("matrix", "worse", **amiss), connect=twin.connect, wait=twin.world.advance)
    assert "prober: needles lifted under possible current" in text
    assert not twin.world.in_contact


@pytest.mark.parametrize("reply", [b"1A01,2B04", b"1a01", b"1A1", b"TSP>", b"1A01;1A911", b"\xff"])
def test_no_reply_of_our_matrix_keeps_its_relays_closed(reply):
    twin = live()
    with pytest.raises(InstrumentError, match=r"NOT verified safe: matrix"):
        safe(twin, matrix=lambda data, answer: reply + b"\n" if answer else answer)
    assert not twin.world.closed
    assert_off(twin)


@pytest.mark.parametrize(
    ("options", "verified"),
    [
        ({"emergency_off": "nothing"}, True),
        ({"emergency_off": "true"}, True),
        ({"emergency_off": "exits"}, True),
        ({"verify_off": "false"}, False),
        ({"lacks": ["verify_off"]}, True),
        ({"lacks": ["state"]}, True),
        ({"lacks": ["verify_off", "state"]}, False),
        ({"connects": "exits"}, True),
    ],
)
def test_a_source_is_told_off_with_whatever_it_has_and_verified_only_if_it_was_asked(worse, options, verified):
    twin = live()
    file = with_stranger("smu1", "lax", **options)
    if verified:
        assert "smu1, smu2: outputs verified off" in safe(twin, file).text
        assert_off(twin)
    else:
        with pytest.raises(InstrumentError, match="smu1: its driver 'lax', which is not part of this suite"):
            safe(twin, file)
        assert twin.smu("smu2", "smua").set.output == 0


def test_a_driver_that_lacks_part_of_its_interface_is_not_worked_with(worse):
    with pytest.raises(BenchError, match="smu1: driver 'lax' is a source and lacks verify_off"):
        Twin(with_stranger("smu1", "lax", lacks=["verify_off"]))


@pytest.mark.parametrize("closed", ["none", "text"])
def test_an_answer_that_is_none_is_the_fault_of_the_driver_that_gave_it(worse, closed):
    with pytest.raises(InstrumentError, match=r"matrix: its driver 'worse', which is not part .* in closed\(\)"):
        Twin(with_stranger("matrix", "worse", closed=closed)).die.idle()


def test_a_host_that_nobody_knows_is_an_instrument_that_cannot_be_reached():
    with pytest.raises(InstrumentError, match=r"nobody listens at TCPIP::no\.such\.host\.invalid"):
        VisaTransport("TCPIP::no.such.host.invalid::5025::SOCKET", open_timeout=0.5).resync()
