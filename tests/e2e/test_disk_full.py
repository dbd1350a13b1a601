"""A disk that some other program fills during a run: it ends in order, nothing is lost, and it goes on afterwards."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import pytest

import labctl as package
from labctl.core.die_state import State
from labctl.storage.run_log import read_state
from tests.e2e.conftest import EXAMPLES
from tests.waiting import PATIENCE, until

DIES = ["W02-x1y1", "W02-x2y1", "W02-x1y2"]


@pytest.fixture
def disk(tmp_path):
    """Return a folder on a disk of 80 MB of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def eat(path):
    """Fill the disk to the last byte."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while free := shutil.disk_usage(path.parent).free:
            file.write(b"x" * min(free, 1 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_ends_the_run_in_order_and_resume_goes_on(disk, few_solutions, labctl, workers):
    run = disk / "run"
    settings = ["--set", f"solutions={few_solutions}", "--set", f"wafer.only=[{', '.join(DIES)}]"]
    command = ["run", str(EXAMPLES / "overnight-bench.yaml"), "--out", str(run), "--workers", workers, *settings]
    with subprocess.Popen(
        [sys.executable, "-m", "labctl", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            until((run / "dies" / f"{DIES[0]}.h5").exists, process)
            eat(disk / "junk")
            _, said = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 5, said
    assert "the disk is full" in said
    assert not (run / "ballast").exists()
    state = read_state(run)
    assert (state.outcome, state.exit_code) == ("fail", 5)
    stands = {name: die.state for name, die in state.dies.items()}
    assert stands[DIES[0]] is State.DONE
    assert set(stands.values()) <= {State.DONE, State.INTERRUPTED, State.PENDING}
    assert all("operator" not in die.reason for die in state.dies.values())
    opened = package.open_run(run)
    for name in (n for n, s in stands.items() if s is State.DONE):
        assert opened.die(name).sealed
        assert opened.table("inference", name)["accuracy_tuned_train"].min() > 0.9
    (disk / "junk").unlink()
    done = labctl("resume", run, "--json", "--accept-changes", "--workers", workers)
    assert {d["die"]: d["bin"] for d in json.loads(done.stdout)["dies"]} == dict.fromkeys(DIES, "good")


def test_a_disk_that_is_full_from_the_start_makes_no_folder(disk, few_solutions, labctl):
    eat(disk / "junk")
    campaign = EXAMPLES / "overnight-bench.yaml"
    done = labctl("run", campaign, "--out", disk / "run", "--set", f"solutions={few_solutions}", expect=2)
    assert "0 bytes are free and" in done.stderr
    assert not (disk / "run").exists()
