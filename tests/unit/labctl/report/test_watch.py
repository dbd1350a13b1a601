"""The watch screen: what it says of a run that goes on, was killed or ended, on terminals of any size."""

import io
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import Alarm, Level, RunEnded
from labctl.core.exit_codes import Status
from labctl.report.live_screen import line, screen
from labctl.report.live_state import Now, Watcher
from labctl.report.watch import watch
from labctl.storage.journal import Journal
from labctl.storage.latch import Addresses, release_latch, set_latch
from labctl.storage.locks import hold
from labctl.storage.run_log import Runlog
from tests.waiting import PATIENCE

Night = Callable[[str], Path]


@pytest.fixture
def going(night: Night, tmp_path: Path) -> Iterator[Path]:
    """A run that somebody carries out: die D is under way."""
    folder = shutil.copytree(night("kill"), tmp_path / "run")
    with hold(folder, "labctl run night.yaml"):
        yield folder


def drawn(now: Now, width: int, height: int, *, colour: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=colour, highlight=False)
    console.print(screen(now, width, height))
    return file.getvalue()


def test_a_run_that_goes_on(going: Path) -> None:
    now = Watcher(going).snapshot()
    assert (now.done, now.good, now.total) == (3, 1, 6)
    assert "labctl run night.yaml" in now.alive
    assert now.kinds == {"pending": 2, "left out": 1, "contact": 1, "good": 1, "low-fidelity": 1, "now": 1}
    (d,) = now.under_way
    assert (d.die, d.state, d.stage, d.try_no) == ("D", "running", "survey", 1)
    assert d.figures == ("R_P 2.50 kΩ", "TMR 100.0 %", "write fidelity 97.50 %")
    assert d.share is not None
    assert 0.5 < d.share < 1
    assert now.last == "A@1 good"
    assert now.left is not None
    soonest, likely, latest = now.left
    assert 0 <= soonest < likely < latest
    # D as far as it has not come, E and F, each as long as A and B took
    assert likely == pytest.approx((125 + 135) / 2 * (2 + 1 - d.share))
    assert now.warnings == 5
    assert (now.estimate, now.command) == (3e6, "")
    assert now.used > 10_000


def test_a_die_that_is_being_sealed_is_said_to_be_while_its_last_stage_stays_in_the_journal(going: Path) -> None:
    with Runlog.open(going) as log:
        log.set_state("D", State.SEALING, 1)
    now = Watcher(going).snapshot()
    (d,) = now.under_way
    assert (d.state, d.stage, d.doing) == ("sealing", "survey", "sealing")
    assert "; D sealing " in line(now)
    assert "survey" not in line(now)
    assert " sealing, " in drawn(now, 120, 40)


def test_a_bench_that_is_switched_off_is_an_alarm_of_the_runs_that_need_it(tmp_path: Path) -> None:
    meta = {"name": "n", "instruments": {"smu": "TCPIP::192.0.2.5::INSTR"}, "dies": [{"name": "A", "at": [2, 1]}]}
    log = Runlog.create(tmp_path / "run", meta)
    watcher = Watcher(tmp_path / "run")
    assert watcher.snapshot().latch == ""
    other = Addresses("another file", {"source": "tcpip0::192.0.2.5::inst0::instr"})
    latch = set_latch(other, "hands on the needles")
    now = watcher.snapshot()
    assert now.latch == str(latch)
    assert now.alarms[-1][1:3] == ("alarm", "")
    assert "hands on the needles" in line(now)
    assert "labctl off --release BENCH" in now.alarms[-1][3]
    assert "hands on the needles" in drawn(now, 200, 40)
    release_latch(other)
    assert (watcher.snapshot().latch, watcher.snapshot().alarms) == ("", ())
    set_latch(other)
    log.set_state("A", State.SKIPPED, 1, "not needed")
    log.write(RunEnded(outcome=Status.SUCCESS, exit_code=0, reason=""))
    assert watcher.snapshot().latch == "", "a run that has ended needs no bench"
    release_latch(other)
    log.finish()


def test_it_sees_what_is_new(going: Path) -> None:
    watcher = Watcher(going)
    assert watcher.snapshot().done == 3
    log = Runlog(Journal.open(going, readonly=False))
    log.set_state("D", State.LIMIT_STOP, 1, "too many shorts", seconds=9.0, bin="limit", hard=6)
    log.write(Alarm(text="too many shorts", die="D", level=Level.ALARM))
    now = watcher.snapshot()
    assert (now.done, now.under_way, now.last) == (4, (), "D limit, too many shorts")
    assert now.alarms[-1][1:] == ("alarm", "D", "too many shorts")
    log.write(RunEnded(outcome=Status.ABORT, exit_code=3, reason="enough"))
    now = watcher.snapshot()
    assert (now.alive, now.exit_code, now.left) == ("", 3, None)
    log.finish()


def test_looking_changes_nothing(going: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        # a reader of a write-ahead log takes part in its index, which is no data
        files = (p for p in going.rglob("*") if p.is_file() and not p.name.endswith("-shm"))
        return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in files}

    before = state()
    watcher = Watcher(going)
    for _ in range(3):
        watcher.snapshot()
    assert {p: s for p, s in state().items() if s[0]} == {p: s for p, s in before.items() if s[0]}


@pytest.mark.parametrize("size", [(80, 24), (140, 40), (60, 16)])
@pytest.mark.parametrize("until", ["start", "kill", "end"])
def test_the_screen_fits(night: Night, until: str, size: tuple[int, int]) -> None:
    width, height = size
    lines = drawn(Watcher(night(until)).snapshot(), width, height).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_the_map_can_be_read_without_colours(going: Path) -> None:
    text = drawn(Watcher(going).snapshot(), 100, 30)
    lines = [found.split("   ")[0].strip() for found in text.splitlines()]
    assert lines[3:5] == ["G F?C", "● · · –"]
    assert "G good 1" in text
    assert "\x1b" not in text
    assert "\x1b" in drawn(Watcher(going).snapshot(), 100, 30, colour=True)


def test_a_large_wafer_leaves_room_for_the_rest(going: Path) -> None:
    now = Watcher(going).snapshot()
    marks = tuple(replace(now.marks[0], at=(k % 40, k // 40)) for k in range(1200))
    text = drawn(replace(now, marks=marks), 80, 24)
    assert "G G" not in text
    assert "elapsed" in text
    assert len(text.splitlines()) <= 24


def test_one_line_says_it_all(going: Path, night: Night) -> None:
    text = line(Watcher(going).snapshot())
    assert "\n" not in text
    for said in ("3 of 6 dies done (1 contact, 1 good, 1 low-fidelity)", "ends in about", "D survey", "free", "row 3"):
        assert said in text
    assert "broken off" in line(Watcher(night("kill")).snapshot())
    assert "stopped by the operator" in line(Watcher(night("end")).snapshot())


def test_a_run_that_was_killed_says_how_to_go_on(night: Night) -> None:
    now = Watcher(night("kill")).snapshot()
    assert now.command == f"labctl resume {night('kill')}"
    assert now.command in drawn(now, 200, 40)
    assert [m.kind for m in now.marks][3] == "broken off"


def test_before_the_first_die_is_done_the_plan_says_how_long_a_bench_takes(night: Night, tmp_path: Path) -> None:
    folder = shutil.copytree(night("start"), tmp_path / "run")
    with hold(folder, "labctl run"):
        now = Watcher(folder).snapshot()
    assert now.left is not None
    assert now.left[1] == 900


def test_plain_lines_until_the_run_ends(going: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = Console(file=io.StringIO())
    now = watch(going, plain, once=True)
    assert now.alive
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    watch(going, plain, as_json=True)
    assert json.loads(capsys.readouterr().out)["done"] == 3
    log = Runlog(Journal.open(going, readonly=False))
    log.write(RunEnded(outcome=Status.ABORT, exit_code=4, reason=""))
    # not the main thread: no signal is touched there
    thread = threading.Thread(target=watch, args=(going, plain))
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert "stopped by the operator" in capsys.readouterr().out
    log.finish()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no run here"):
        watch(tmp_path, Console(file=io.StringIO()))
