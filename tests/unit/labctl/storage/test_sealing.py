"""The process that seals: one for many dies, mourned by nobody, and never the owner of anything but its own file."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from labctl.core.errors import StorageError
from labctl.core.events import UnknownEvent
from labctl.storage.hdf5_writer import seal
from labctl.storage.journal import Journal
from labctl.storage.sealing import Sealer, _Child, seal_in_subprocess, write_run_file_in_subprocess
from tests.waiting import until


def finished(run: Path, *dies: str) -> Path:
    for die in dies:
        with Journal.create(run / "dies" / die, {"die": die}) as journal:
            journal.event(UnknownEvent("noise", {"array": np.random.default_rng(len(die)).random((30, 2000))}))
            journal.finish()
    return run


def pid(sealer: Sealer) -> int:
    assert sealer._child is not None
    return sealer._child.process.pid


def test_one_process_seals_one_die_after_the_other_and_outlives_a_refusal(tmp_path: Path) -> None:
    run = finished(tmp_path, "A", "B")
    with Sealer() as sealer:
        assert sealer.seal(run, "A") == seal(run, "A")
        first = pid(sealer)
        with pytest.raises(StorageError, match=r"no journal at .*journals have everything"):
            sealer.seal(run, "none")
        assert sealer.seal(run, "B") == seal(run, "B")
        assert sealer.write_run_file(run) == run / "run.h5"
        assert pid(sealer) == first
    assert sealer._child is None
    sealer.close()


class Killed(Sealer):
    """Its process is killed at each of its first `kills` orders, when it has the order and has not carried it out."""

    def __init__(self, kills: int) -> None:
        super().__init__()
        self.kills, self.pids = kills, list[int]()

    def _request(self, order: list[str]) -> dict[str, Any] | None:
        if self._child is None:
            self._child = _Child.start()
        self.pids.append(pid(self))
        if len(self.pids) > self.kills:
            return super()._request(order)
        os.kill(self.pids[-1], signal.SIGSTOP)
        killer = threading.Timer(0.05, os.kill, (self.pids[-1], signal.SIGKILL))
        killer.start()
        return super()._request(order)


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
def test_killed_it_is_started_once_more_and_its_die_is_sealed(tmp_path: Path) -> None:
    run = finished(tmp_path, "A")
    with Killed(1) as sealer:
        assert sealer.seal(run, "A") == seal(run, "A")
        first, second = sealer.pids
        assert first != second
        os.kill(second, signal.SIGKILL)  # while it has no order
        assert sealer._child is not None
        sealer._child.process.wait()
        assert sealer.write_run_file(run) == run / "run.h5"


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
def test_killed_because_it_hangs_it_is_not_started_once_more_and_the_next_order_has_a_new_one(tmp_path: Path) -> None:
    class Hanging(Sealer):
        """Its first order hangs."""

        orders = 0

        def _request(self, order: list[str]) -> dict[str, Any] | None:
            self.orders += 1
            if self.orders == 1:
                self._child = _Child.start()
                os.kill(pid(self), signal.SIGSTOP)
                self.kill(run, "B")  # the process seals another die, and is left to it
                assert self._killed is None
                threading.Timer(0.05, self.kill, (run, "A")).start()
            return super()._request(order)

    run = finished(tmp_path, "A")
    with Hanging() as sealer:
        with pytest.raises(StorageError, match="seals A was killed by SIGKILL"):
            sealer.seal(run, "A")
        assert sealer.orders == 1
        sealer.kill(run, "A")  # too late: nothing is being sealed
        assert sealer.seal(run, "A") == seal(run, "A")
        child = sealer._child
        sealer.kill(run, "A")
        assert child is not None
        assert child.process.poll() is None


def test_in_a_folder_that_is_gone_a_die_cannot_be_sealed_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(path: object) -> str:
        raise FileNotFoundError("no such folder")

    monkeypatch.setattr("os.path.abspath", gone)
    with Sealer() as sealer, pytest.raises(StorageError, match="run: the folder that this path begins in is gone"):
        sealer.seal(Path("run"), "A")


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
@pytest.mark.parametrize(
    ("free", "pids", "says"),
    [
        (1 << 40, 2, r"the process that seals A was killed by SIGKILL, a new one was killed by SIGKILL; the journals"),
        (1 << 20, 1, r"the process that seals A was killed by SIGKILL; the journals have everything"),
    ],
)
def test_killed_again_or_on_a_disk_that_may_be_full_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, pids: int, says: str
) -> None:
    run = finished(tmp_path, "A")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    with Killed(2) as sealer, pytest.raises(StorageError, match=says):
        sealer.seal(run, "A")
    assert len(set(sealer.pids)) == pids


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
def test_when_its_owner_is_killed_it_finishes_what_was_ordered_and_ends(tmp_path: Path) -> None:
    run = finished(tmp_path, "A", "B")
    owner = f"""
import pathlib, threading
from labctl.storage.sealing import Sealer
sealer = Sealer()
sealer.seal(pathlib.Path({str(run)!r}), "A")
sealer._child.orders.write({json.dumps(["seal", str(run), "B"])!r} + "\\n")
sealer._child.orders.flush()
print(sealer._child.process.pid, flush=True)
threading.Event().wait()
"""
    process = subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    until(lambda: not _alive(child))
    assert (run / "dies" / "B.h5").exists()


def _alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    # nobody may have waited for it yet
    status = Path(f"/proc/{number}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_the_functions_use_one_process_for_all(tmp_path: Path) -> None:
    run = finished(tmp_path, "A")
    assert seal_in_subprocess(run, "A") == seal(run, "A")
    assert write_run_file_in_subprocess(run) == run / "run.h5"
    assert (run / "run.h5").is_file()
