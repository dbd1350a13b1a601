"""Whoever reads about a run that was broken off on a real bench reads whether the bench may be live."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from instruments.bench_file import read_bench
from labctl.core.die_state import State
from labctl.core.events import Alarm, DieEnded, GuardActed, GuardFate, Resumed, RunEnded, RunEvent
from labctl.core.exit_codes import Status
from labctl.report.bench_state import LIVE, NOBODY, bench_text, bench_text_of
from labctl.report.live_screen import line, screen
from labctl.report.live_state import Watcher
from labctl.report.report_data import gather
from labctl.report.run_folder import who
from labctl.station.guard_text import title
from labctl.storage.bench_locks import bench_lock
from labctl.storage.journal import Journal
from labctl.storage.latch import release_latch, set_latch
from labctl.storage.locks import NAME, hold
from labctl.storage.manifest import FORMAT
from labctl.storage.run_log import Runlog, read_state

EXAMPLE = Path(__file__).parents[4] / "examples" / "bench-two-needles.yaml"
SAFE = GuardActed(
    what=GuardFate.SAFE, text="smu: outputs verified off at 0 V", met={"smu.smua": "on at 0.1 V"}, seconds=0.3, pid=7
)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The folder of a run on a real bench, without a journal."""
    (tmp_path / "bench.yaml").write_bytes(EXAMPLE.read_bytes())
    folder = tmp_path / "run"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "01-bench.yaml").write_bytes(EXAMPLE.read_bytes())
    meta = {
        "format": FORMAT,
        "name": "night",
        "real": True,
        "body": "bench 'two needles'",
        "roles": {"bench": "01-bench.yaml"},
        "files": {"01-bench.yaml": {"path": "bench.yaml", "sha256": ""}},
        "cwd": str(tmp_path),
        "dies": [{"name": "D0", "at": [0, 0]}],
    }
    (folder / "run.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


def broken_off(folder: Path, *events: RunEvent) -> Path:
    """Return the folder of a run that was killed after these events."""
    log = Runlog.create(folder, json.loads((folder / "run.json").read_text(encoding="utf-8")))
    for event in events:
        log.write(event)
    log._journal.close()
    (folder / NAME).touch()  # what is left of the lock of a process that was killed
    return folder


def text(folder: Path) -> str:
    assert bench_text(folder, read_state(folder), "") == bench_text_of(folder)
    return bench_text_of(folder)


def test_where_nobody_made_it_safe_it_may_be_live_and_the_command_is_named(begun: Path) -> None:
    words = text(broken_off(begun))
    assert words == f"{LIVE}: labctl off {begun.parent / 'bench.yaml'}; {NOBODY}"
    (begun.parent / "bench.yaml").unlink()
    assert f"labctl off {begun / 'files' / '01-bench.yaml'}" in text(begun)


def test_a_guard_that_made_it_safe_is_told_with_what_it_met(begun: Path) -> None:
    words = text(broken_off(begun, SAFE))
    assert words.startswith("bench made safe by its guard at ")
    assert words.endswith(": smu.smua was on at 0.1 V")


def test_a_bench_that_was_met_at_rest_is_told_as_well(begun: Path) -> None:
    assert text(broken_off(begun, replace(SAFE, met={}))).endswith(": no output was seen on")


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (GuardFate.UNSAFE, "its guard could not verify it safe: smu is silent"),
        (GuardFate.LEFT, "its guard left the bench alone: smu is silent"),
    ],
)
def test_a_guard_that_did_not_make_it_safe_is_told_with_the_command(begun: Path, what: GuardFate, why: str) -> None:
    words = text(broken_off(begun, GuardActed(what=what, text="smu is silent")))
    assert words == f"{LIVE}: labctl off {begun.parent / 'bench.yaml'}; {why}"


def test_a_guard_of_before_says_nothing_of_a_run_that_was_taken_up_and_broken_off_again(begun: Path) -> None:
    assert text(broken_off(begun, SAFE, Resumed())).startswith(LIVE)


def test_a_process_that_still_works_on_the_bench_is_named(begun: Path) -> None:
    bench = read_bench(broken_off(begun) / "files" / "01-bench.yaml").value
    with bench_lock(bench, "labctl run night.yaml", part="worker"):
        assert "a process still works on the bench" in text(begun)
        with bench_lock(bench, title(begun)):
            assert "its guard makes the bench safe at this moment" in text(begun)
    assert text(begun).startswith(LIVE)


def test_a_guard_that_writes_its_record_does_not_carry_the_run_out(begun: Path) -> None:
    folder = broken_off(begun, SAFE)
    with hold(folder, title(folder)):
        assert who(folder, read_state(folder)) == ""
        assert text(folder).startswith("bench made safe by its guard")


def test_somebody_who_switched_it_off_since_is_named(begun: Path) -> None:
    bench = read_bench(broken_off(begun) / "files" / "01-bench.yaml").value
    set_latch(bench, "found it on")
    assert text(begun).startswith(LIVE)
    assert "; since then switched off by" in text(begun)
    assert "found it on" in text(begun)
    release_latch(bench)


def test_a_run_that_ended_or_goes_on_or_is_simulated_has_no_such_bench(begun: Path) -> None:
    folder = broken_off(begun, Alarm(text="hot"))
    state = read_state(folder)
    assert bench_text(folder, state, "alice on lab3") == ""
    assert bench_text(folder, replace(state, meta={**state.meta, "real": False}), "") == ""
    with hold(folder, "labctl resume"):
        assert bench_text_of(folder) == ""
    log = Runlog.open(folder)
    log.write(RunEnded(outcome=Status.ABORT, exit_code=4))
    log.finish()
    assert text(folder) == ""


def test_what_is_no_run_folder_has_none(tmp_path: Path) -> None:
    assert bench_text_of(tmp_path) == bench_text_of(tmp_path / "D0.h5") == ""


def test_work_by_hand_that_was_broken_off_may_have_left_it_live(begun: Path) -> None:
    (begun / NAME).touch()
    assert bench_text_of(begun).startswith(LIVE)
    with hold(begun, "labctl map"):
        assert bench_text_of(begun) == ""
    with Journal.create(begun / "dies" / "D0", {"die": "D0"}) as journal:
        journal.commit()
        assert bench_text_of(begun).startswith(LIVE)
        journal.event(DieEnded(bin="", outcome=Status.SUCCESS, state=State.DONE))
    assert bench_text_of(begun) == "", "not sealed, but it came to its end"


def test_watch_and_report_say_it(begun: Path) -> None:
    folder = broken_off(begun)
    now = Watcher(folder).snapshot()
    for words in (now.bench, now.text, line(now), gather(folder).text):
        assert f"{LIVE}: labctl off" in words
    file = io.StringIO()
    Console(file=file, width=60, height=24).print(screen(now, 60, 24))
    drawn = "".join(line.rstrip() + " " for line in file.getvalue().splitlines())
    assert f"{LIVE}: labctl off" in drawn
    assert "no guard has made the bench safe" in drawn, "it is not cut"
