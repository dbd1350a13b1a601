"""Sleep is held off where the system allows it, ends with us, and is noticed where it came all the same."""

import array
import gc
import itertools
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import warnings

import pytest

from labctl.batch.keep_awake import Clocks, awake
from tests.waiting import PATIENCE

linux = pytest.mark.skipif(sys.platform != "linux", reason="D-Bus is how Linux is asked")
OK = b"OK 1234deadbeef\r\n"
COOKIE = 4711


class Bus:
    """A message bus with the two services that hold off sleep: logind gives a pipe, GNOME's session manager a number.

    Args:
        refuse: what logind does not grant.
        desktop: whether there is a session manager.
    """

    def __init__(self, path, *, refuse=(), desktop=False):
        self.refuse, self.desktop, self.calls = refuse, desktop, []
        self.ended = threading.Event()
        """Set when nobody holds logind's lock any more."""
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen()
        self.address = f"unix:path={path}"
        self.threads = []
        self.closing = False
        self._start(self._accept)

    def _start(self, target, *arguments):
        thread = threading.Thread(target=target, args=arguments)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            connection, _ = self.listening.accept()
            if self.closing:
                connection.close()
                return
            self._start(self._serve, connection)

    def _serve(self, connection):
        from jeepney import Parser

        with connection:
            connection.recv(1)
            for line in connection.makefile("rb", buffering=0):
                if line == b"BEGIN\r\n":
                    break
                connection.sendall(b"AGREE_UNIX_FD\r\n" if line.startswith(b"NEGOTIATE") else OK)
            parser, serial = Parser(), itertools.count(1)
            while data := connection.recv(4096):
                parser.add_data(data)
                while (message := parser.get_next_message()) is not None:
                    self._answer(connection, message, next(serial))

    def _answer(self, connection, message, serial):
        from jeepney import HeaderFields, new_error, new_method_return

        member, service = message.header.fields[HeaderFields.member], message.header.fields[HeaderFields.destination]
        self.calls.append((service, member, message.body))
        descriptors = array.array("i")
        reply = new_error(message, "org.freedesktop.DBus.Error.AccessDenied")
        if member == "Hello":
            reply = new_method_return(message, "s", (":1.1",))
        elif (service, member) == ("org.freedesktop.login1", "Inhibit") and message.body[0] not in self.refuse:
            ours, theirs = os.pipe()
            self._start(self._watch, ours)
            data = new_method_return(message, "h", (theirs,)).serialise(serial, fds=descriptors)
            connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
            os.close(theirs)
            return
        elif self.desktop and service == "org.gnome.SessionManager":
            reply = new_method_return(message, "u", (COOKIE,)) if member == "Inhibit" else new_method_return(message)
        connection.sendall(reply.serialise(serial))

    def _watch(self, pipe):
        """Wait until the other end of a pipe is closed in every process."""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.select()
        os.close(pipe)
        self.ended.set()

    def close(self):
        self.closing = True
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.address.partition("=")[2])
        for thread in self.threads:
            thread.join(PATIENCE)
        self.listening.close()

    def asked(self, service):
        return [body for name, member, body in self.calls if (name, member) == (service, "Inhibit")]


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """The function that starts a bus, as that of the system or as that of a desktop."""
    started = []
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path / 'none'}")
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)

    def start(name, **settings):
        started.append(Bus(tmp_path / name, **settings))
        monkeypatch.setenv(f"DBUS_{name}_BUS_ADDRESS", started[-1].address)
        return started[-1]

    yield start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # wakepy leaves the socket of a refusal to be collected
        gc.collect()
    for each in started:
        each.close()


@linux
def test_logind_holds_off_sleep_for_as_long_as_the_block(bus):
    system = bus("SYSTEM")
    with awake("measuring W12") as granted:
        assert granted == "logind"
        assert not system.ended.is_set()
    assert system.ended.wait(PATIENCE)
    assert system.asked("org.freedesktop.login1") == [
        ("sleep:idle:handle-lid-switch", "labctl", "measuring W12", "block")
    ]


@linux
def test_a_session_that_may_not_hold_the_lid_holds_off_sleep_alone(bus):
    system = bus("SYSTEM", refuse=("sleep:idle:handle-lid-switch",))
    with awake("x") as granted:
        assert granted == "logind"
    asked = system.asked("org.freedesktop.login1")
    assert [what for what, *_ in asked] == ["sleep:idle:handle-lid-switch", "sleep:idle"]
    assert system.ended.wait(PATIENCE)


@linux
def test_the_lock_ends_with_a_process_that_is_killed_though_its_child_lives(bus):
    system = bus("SYSTEM")
    program = (
        "from labctl.batch.keep_awake import awake; import subprocess, sys\n"
        "with awake('x') as granted:\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, close_fds=False)\n"
        "    print(granted, flush=True); input()"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "logind\n"
        assert not system.ended.is_set()
        os.kill(running.pid, signal.SIGKILL)
    assert system.ended.wait(PATIENCE)


@linux
def test_a_desktop_is_asked_too_and_hears_when_it_is_over(bus):
    desktop = bus("SESSION", desktop=True)
    with awake("x") as granted:
        assert granted == "org.gnome.SessionManager"
    assert [(member, body) for name, member, body in desktop.calls if name == "org.gnome.SessionManager"] == [
        ("Inhibit", ("wakepy", 42, "wakelock active", 4)),
        ("Uninhibit", (COOKIE,)),
    ]
    bus("SYSTEM")
    with awake("x") as granted:
        assert granted == "logind and org.gnome.SessionManager"


@linux
def test_where_sleep_cannot_be_held_off_the_run_goes_on_without(bus, monkeypatch):
    with awake("x") as granted:
        assert granted == ""
    bus("SYSTEM", refuse=("sleep:idle:handle-lid-switch", "sleep:idle"))
    bus("SESSION")
    with awake("x") as granted:
        assert granted == ""
    monkeypatch.setenv("WAKEPY_FAKE_SUCCESS", "yes")  # a success that is pretended counts for nothing
    with awake("x") as granted:
        assert granted == ""


def test_an_error_in_the_block_is_not_hidden():
    with pytest.raises(ZeroDivisionError), awake("x"):
        raise ZeroDivisionError


def test_this_system_can_be_asked():
    with awake("a test") as granted:
        assert isinstance(granted, str)


class World:
    """Three clocks and what happens to them."""

    def __init__(self):
        self.utc, self.uptime, self.since_boot = 1.7e9, 50.0, 70.0

    def passes(self, seconds):
        self.sleeps(seconds)
        self.uptime += seconds

    def sleeps(self, seconds):
        self.utc += seconds
        self.since_boot += seconds

    def clocks(self, *, third=True):
        return Clocks(
            utc=lambda: self.utc,
            uptime=lambda: self.uptime,
            since_boot=(lambda: self.since_boot) if third else None,
        )


@pytest.mark.parametrize("third", [True, False])
def test_time_that_passes_is_nothing_to_speak_of(third):
    world = World()
    clocks = world.clocks(third=third)
    for seconds in (0.0, 1.0, 3600.0, 1e6):
        world.passes(seconds)
        world.utc += 5e-4 * seconds  # as fast as a time server makes a clock run
        assert clocks.check() is None


def test_sleep_is_a_gap_and_told_once():
    world = World()
    clocks = world.clocks()
    world.passes(30.0)
    world.sleeps(2 * 3600 + 600)
    jump = clocks.check()
    assert (jump.gap, jump.step) == (pytest.approx(7800.0), 0.0)
    assert jump.text == "the computer slept for 2 h 10 min"
    assert clocks.check() is None


@pytest.mark.parametrize(("by", "text"), [(3600.0, "forward by 1 h 0 min"), (-90.0, "back by 1 min 30 s")])
def test_a_clock_that_is_set_is_a_step_and_no_gap(by, text):
    world = World()
    clocks = world.clocks()
    world.passes(30.0)
    world.utc += by
    jump = clocks.check()
    assert (jump.gap, jump.step) == (0.0, pytest.approx(by))
    assert jump.text == f"the clock was set {text}"
    assert clocks.check() is None


def test_sleep_and_a_set_clock_are_told_apart():
    world = World()
    clocks = world.clocks()
    world.sleeps(600.0)
    world.utc -= 3600.0
    jump = clocks.check()
    assert (jump.gap, jump.step) == (pytest.approx(600.0), pytest.approx(-3600.0))
    assert jump.text == "the computer slept for 10 min 0 s and the clock was set back by 1 h 0 min"


def test_without_a_third_clock_what_may_be_sleep_is_taken_for_it():
    world = World()
    clocks = world.clocks(third=False)
    world.passes(10.0)
    world.sleeps(600.0)
    jump = clocks.check()
    assert (jump.gap, jump.step) == (pytest.approx(600.0), 0.0)
    assert jump.text == "the computer slept for 10 min 0 s, or its clock was set forward by that much"
    world.utc -= 600.0
    jump = clocks.check()
    assert (jump.gap, jump.step) == (0.0, pytest.approx(-600.0))


def test_sleep_between_two_readings_of_one_check_is_no_set_clock():
    world = World()
    clocks, asleep = world.clocks(), [True]

    def uptime():
        if asleep:
            asleep.pop()
            world.sleeps(300.0)
        return world.uptime

    clocks._uptime = uptime
    jump = clocks.check()
    assert (jump.gap, jump.step) == (pytest.approx(300.0), 0.0)


def test_the_clocks_of_this_computer_agree():
    clocks = Clocks()
    assert clocks.check() is None
