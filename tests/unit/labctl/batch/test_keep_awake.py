"""Sleep is held off where the system allows it, ends with us, and is noticed where it came all the same."""

import os
import signal
import subprocess
import sys
import time

import pytest

from labctl.batch.keep_awake import Clocks, awake

linux = pytest.mark.skipif(sys.platform != "linux", reason="systemd-inhibit is a command of Linux")
# stands where the real one would, takes the same words, and leaves a note of who it is
INHIBIT = """\
#!/bin/sh
echo "$@" >> "$NOTE.words"
[ "$1" = "--what=$REFUSE" ] && exit 1
echo $$ > "$NOTE.pid"
shift 4
"$@"
echo ended >> "$NOTE.words"
"""


@pytest.fixture
def inhibit(tmp_path, monkeypatch):
    """Put a command systemd-inhibit into the way; return the path of its notes."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "systemd-inhibit"
    command.write_text(INHIBIT)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTE", str(tmp_path / "note"))
    monkeypatch.setenv("REFUSE", "")
    return tmp_path / "note"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@linux
def test_the_inhibitor_lives_as_long_as_the_block(inhibit):
    with awake("measuring W12") as granted:
        pid = int(inhibit.with_suffix(".pid").read_text())
        assert granted == "systemd-inhibit"
        assert alive(pid)
    assert not alive(pid)
    words, ended = inhibit.with_suffix(".words").read_text().splitlines()
    assert words.startswith("--what=sleep:idle:handle-lid-switch --who=labctl --why=measuring W12 --mode=block ")
    assert ended == "ended"


@linux
def test_a_session_that_may_not_hold_the_lid_holds_off_sleep_alone(inhibit, monkeypatch):
    monkeypatch.setenv("REFUSE", "sleep:idle:handle-lid-switch")
    with awake("x") as granted:
        assert granted == "systemd-inhibit"
    first, second, _ = inhibit.with_suffix(".words").read_text().splitlines()
    assert (first.split()[0], second.split()[0]) == ("--what=sleep:idle:handle-lid-switch", "--what=sleep:idle")


@linux
def test_the_inhibitor_ends_with_a_process_that_is_killed(inhibit):
    program = (
        "from labctl.batch.keep_awake import awake; import sys\nwith awake('x') as g: print(g, flush=True); input()"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "systemd-inhibit\n"
        pid = int(inhibit.with_suffix(".pid").read_text())
        assert alive(pid)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        end = time.monotonic() + 20
        while alive(pid) and time.monotonic() < end:
            time.sleep(0.01)
    assert not alive(pid)


@linux
def test_where_sleep_cannot_be_held_off_the_run_goes_on_without(inhibit, monkeypatch):
    for program in ("#!/bin/sh\nexit 1\n", "#!/no/such/shell\n", "#!/bin/sh\necho no\n"):
        (inhibit.parent / "bin" / "systemd-inhibit").write_text(program)
        with awake("x") as granted:
            assert granted == ""
    monkeypatch.setenv("PATH", "")
    with awake("x") as granted:
        assert granted == ""


def test_this_system_can_be_asked():
    with awake("a test") as granted:
        assert granted in ("", "systemd-inhibit", "caffeinate", "SetThreadExecutionState")


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
