"""Worker processes of this computer: a run ends whatever becomes of them."""

import subprocess
import sys

from tests.waiting import PATIENCE

PROGRAM = """
from pathlib import Path
from labctl.batch import requests
from labctl.batch.executors import Processes

if __name__ == "__main__":
    workers = Processes(1, (), requests.session(Path.cwd()))
    executor, _ = workers.open()
    workers._queue._wlock.acquire()  # what a worker leaves that is killed while it sends a message
    workers.wake()
    workers.close(executor, broken=True)
    print("closed", flush=True)
"""


def test_a_worker_killed_while_it_sends_a_message_does_not_keep_the_run_from_ending(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr
