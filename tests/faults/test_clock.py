"""A clock that somebody sets while a run goes on: order and working time stay right, and the step is written down.

The clock of the process is set by libfaketime (Debian: faketime), as a person would set the computer's.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
COURSE = """
import sys, time
from pathlib import Path
from labctl.batch.keep_awake import Clocks
from labctl.core.die_state import State
from labctl.core.events import ClockJumped, Resumed, RunEnded
from labctl.core.exit_codes import Status
from labctl.report.run_folder import worked, read_run
from labctl.report.html import write_report
from labctl.storage.hdf5_writer import seal
from labctl.storage.run_log import Runlog
from labctl.storage.verification import verify_run
from small_run import write_die

run, clock, offset = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
begun = time.monotonic()
with Runlog.create(run, {"format": 2, "name": "n", "dies": [{"name": n, "at": [0, 0]} for n in "AB"]}) as log:
    clocks = Clocks()
    for name in "AB":
        log.set_state(name, State.RUNNING, 1)
        write_die(run, name, 3.0)
        log.set_state(name, State.SEALING, 1)
        log.set_state(name, State.DONE, 1, sha256=seal(run, name), seconds=0.1, bin="good", hard=1)
        if name == "A":
            before = time.time()
            clock.write_text(offset)
            step = time.time() - before
            jump = clocks.check()
            log.write(ClockJumped(gap=jump.gap, step=jump.step, text=jump.text))
            log.write(Resumed(argv=("labctl",), pid=1))
    log.write(RunEnded(outcome=Status.SUCCESS, exit_code=0, reason="", seconds=1.0, bytes=1))
    log.finish()
took = time.monotonic() - begun
state, rows = read_run(run)
assert [row.seq for row in rows] == sorted(row.seq for row in rows)
assert [die.state for die in state.dies.values()] == [State.DONE, State.DONE]
monotonic = [row.stamp.monotonic for row in rows]
assert monotonic == sorted(monotonic)
assert 0 <= worked(rows) <= took + 1, worked(rows)
assert state.exit_code == 0
(jumped,) = [row.event for row in rows if isinstance(row.event, ClockJumped)]
assert abs(jumped.step - step) < 60 and abs(step) > 1000, (jumped.step, step)
write_report(run)
left = [p for p in verify_run(run).problems if p.path not in ("run.json", "run.h5")]
assert left == [], left
print(jumped.text)
"""


@pytest.mark.parametrize(("offset", "words"), [("-400d", "set back by 9600 h"), ("+40m", "set forward by 40 min")])
def test_a_clock_that_is_set_during_a_run_changes_no_order_and_no_working_time(tmp_path, offset, words):
    if not LIBRARIES:
        pytest.skip("libfaketime is not installed (Debian: faketime)")
    (tmp_path / "clock").write_text("+0")
    faked = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    command = [sys.executable, "-c", COURSE, str(tmp_path / "run"), str(tmp_path / "clock"), offset]
    done = subprocess.run(command, env={**os.environ, **faked}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert words in done.stdout
