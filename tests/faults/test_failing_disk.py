"""A disk or share that fails while it is written: it is said in words, and nothing that was acknowledged is lost.

A small library, compiled here and preloaded, lets the n-th call that writes or synchronises a file of the run fail:
with an I/O error, a used-up quota, a disk that was mounted read-only, a stale handle of a network file system, or
without locks.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labctl.core.errors import StorageError
from labctl.core.events import UnknownEvent
from labctl.storage.hdf5_writer import seal
from labctl.storage.journal import Journal
from labctl.storage.run_log import read_state
from labctl.storage.verification import verify_run
from tests.small_run import write_die

ROOT = Path(__file__).parents[2]
ERRORS = {"EIO": "fails", "EDQUOT": "full", "EROFS": "rights", "ESTALE": "fails"}
"""Errors of a disk or a network file system, and a word of the advice."""

JOURNAL = """
import ctypes, sys
from pathlib import Path
import numpy as np
from labctl.core.errors import StorageError
from labctl.core.events import UnknownEvent
from labctl.storage.journal import Journal

disk = ctypes.CDLL(None)
place, code, count, step = Path(sys.argv[1]), *map(int, sys.argv[2:])
tried, told, words, acknowledged, at = 0, 0, set(), 0, 1
while True:
    folder = place / str(at)
    disk.failing_disk(str(folder).encode(), at, count, code, 0)
    done = -1
    try:
        with Journal.create(folder, {"die": "A"}) as journal:
            for k in range(4):
                # every other one has an array in a file of its own
                journal.event(UnknownEvent("x", {"k": k, "a": np.full(9000 if k % 2 else 3, float(k))}))
                journal.commit()
                done = k
            journal.finish()
    except StorageError as error:
        told += 1
        words.add(str(error).rpartition("; ")[2])
    reached = disk.failing_disk_calls() >= at
    disk.failing_disk(b"", 0, 0, 0, 0)
    if done >= 0:
        with Journal.open(folder) as journal:
            journal.verify()
            kept = [event.body["k"] for event in journal.events()]
            assert kept[: done + 1] == list(range(done + 1)), (at, kept, done)
        with Journal.open(folder, readonly=False) as journal:
            journal.event(UnknownEvent("afterwards"))
            journal.finish()
        with Journal.open(folder) as journal:
            journal.verify()
            assert journal.finished
        acknowledged += done + 1
    if not reached:
        break
    at, tried = at + step, tried + 1
print(tried, told, acknowledged, sorted(words))
"""


@pytest.fixture(scope="session")
def failing(tmp_path_factory):
    """Return the environment of a process whose disk can fail; skip where the library cannot be made."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("needs Linux and a C compiler (Debian: gcc)")
    library = tmp_path_factory.mktemp("failing") / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    return {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(ROOT)}


def python(failing, code, *words, **more):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env={**failing, **{key: str(value) for key, value in more.items()}},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.parametrize("error", ERRORS)
def test_a_journal_loses_nothing_wherever_its_disk_fails_for_good(failing, tmp_path, error):
    said = python(failing, JOURNAL, tmp_path, getattr(errno, error), 0, 4 if error == "EIO" else 9)
    tried, told, acknowledged, words = said.split(maxsplit=3)
    assert int(tried) >= 3
    assert int(told) == int(tried), "from whichever call on it fails, it is told"
    assert int(acknowledged) > 0
    assert ERRORS[error] in words


def test_a_journal_loses_nothing_wherever_one_call_fails(failing, tmp_path):
    tried, told, acknowledged, _ = python(failing, JOURNAL, tmp_path, errno.EIO, 1, 5).split(maxsplit=3)
    assert int(told) > int(tried) / 2
    assert int(acknowledged) > int(tried)


LOCK = """
import sys
from pathlib import Path
from labctl.core.errors import BenchError
from labctl.storage.locks import hold

try:
    with hold(Path(sys.argv[1]), "labctl run"):
        print("held")
except BenchError as error:
    print(error)
"""


def test_a_file_system_without_locks_is_refused_before_anything_is_begun(failing, tmp_path):
    assert python(failing, LOCK, tmp_path) == "held"
    words = python(failing, LOCK, tmp_path, FAIL_UNDER=tmp_path, FAIL_AT=1, FAIL_ERRNO=errno.ENOLCK, FAIL_LOCKS=1)
    assert "No locks available" in words


SEALING = """
import os, sys
from pathlib import Path
from labctl.core.errors import StorageError
from labctl.storage.sealing import Sealer

run = Path(sys.argv[1])
os.environ |= {"FAIL_UNDER": str(run / "dies" / "A.h5"), "FAIL_AT": sys.argv[2], "FAIL_ERRNO": sys.argv[3]}
with Sealer() as sealer:
    try:
        sealer.seal(run, "A")
    except StorageError as error:
        print(error)
"""


@pytest.mark.parametrize("at", [1, 4])
def test_a_die_that_cannot_be_written_keeps_its_journal_and_is_sealed_later(failing, tmp_path, at):
    write_die(tmp_path, "A", 3.0)
    words = python(failing, SEALING, tmp_path, at, errno.EIO)
    assert "the journals have everything" in words
    assert "Traceback" not in words
    assert not (tmp_path / "dies" / "A.h5").exists()
    assert seal(tmp_path, "A")


@pytest.mark.slow
@pytest.mark.parametrize(("error", "at"), [("EIO", 150), ("EDQUOT", 180), ("EROFS", 120)])
def test_a_run_on_a_disk_that_fails_ends_in_words_and_is_resumed(failing, tmp_path, error, at):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import damage
    finally:
        sys.path.pop(0)
    run = damage.written(tmp_path)
    command = [
        sys.executable,
        "-m",
        "labctl",
        "run",
        str(tmp_path / "campaign.yaml"),
        "--out",
        str(run),
        "--workers",
        "1",
    ]
    faults = {"FAIL_UNDER": str(run), "FAIL_AT": str(at), "FAIL_ERRNO": str(getattr(errno, error))}
    done = subprocess.run(command, env={**failing, **faults}, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    resumed = subprocess.run(
        [sys.executable, "-m", "labctl", "resume", str(run), "--workers", "1", "--json"], capture_output=True, text=True
    )
    assert resumed.returncode in (0, 1), resumed.stderr
    assert {die["die"] for die in json.loads(resumed.stdout)["dies"]} == {"D1"}
    assert read_state(run).unfinished == ()
    assert verify_run(run).problems == []


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that mounts a disk of its own anew with options, and its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*words):
        return subprocess.run(["mount", "-t", "tmpfs", *words, "tmpfs", folder], capture_output=True, text=True)

    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    if (done := mount("-o", "size=4m")).returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder, lambda mode: mount("-o", f"remount,{mode}")
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_mounted_read_only_under_a_journal_loses_nothing(small_disk):
    folder, remount = small_disk
    with Journal.create(folder / "A", {"die": "A"}) as journal:
        journal.event(UnknownEvent("x", {"k": 0}))
        journal.commit()
    with Journal.open(folder / "A", readonly=False) as journal:
        journal.finish()
    if remount("ro").returncode:
        pytest.skip("a disk cannot be mounted read-only here")
    with pytest.raises(StorageError, match="rights"):
        Journal.open(folder / "A", readonly=False)
    with pytest.raises(StorageError, match="rights"):
        Journal.create(folder / "B", {"die": "B"})
    with Journal.open(folder / "A") as journal:
        journal.verify()
        assert [event.body for event in journal.events()] == [{"k": 0}]
    assert remount("rw").returncode == 0
    with Journal.open(folder / "A", readonly=False) as journal:
        journal.event(UnknownEvent("x", {"k": 1}))
        journal.finish()
        assert [event.body for event in journal.events()] == [{"k": 0}, {"k": 1}]
