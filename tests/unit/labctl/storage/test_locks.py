"""Locks name their holder, end with it however it dies, and are not inherited."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from labctl import files
from labctl.core.addresses import identity
from labctl.core.errors import BenchError
from labctl.storage import bench_locks, locks
from labctl.storage.addresses import Names
from labctl.storage.bench_locks import bench_lock, holders
from labctl.storage.locks import NAME, Holder, hold, holder
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).parents[4] / "examples"
kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

HOLD = """
import sys, pathlib
from labctl.storage.locks import hold
with hold(pathlib.Path(sys.argv[1]), "labctl run overnight.yaml"):
    print("held", flush=True)
    sys.stdin.read()
"""
# a holder that has started others in every way there is, and tells their process numbers
WITH_CHILDREN = """
import json, multiprocessing, os, pathlib, subprocess, sys, time
from labctl.storage.locks import hold

if __name__ == "__main__":
    with hold(pathlib.Path(sys.argv[1]), "a run with workers"):
        spawned = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
        spawned.start()
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        forked = os.fork() if hasattr(os, "fork") else 0
        if hasattr(os, "fork") and not forked:
            time.sleep(600)
            os._exit(0)
        print(json.dumps([spawned.pid, program.pid, forked]), flush=True)
        sys.stdin.read()
"""


@contextmanager
def process(program, *arguments):
    """Run `program` until it says one line; yield it and the line; it is gone afterwards."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield running, running.stdout.readline()
        finally:
            running.kill()


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_second_run_is_refused_and_told_by_whom(run):
    with process(HOLD, run) as (other, _), pytest.raises(BenchError) as refused, hold(run, "mine", patience=0):
        pass
    text = str(refused.value)
    assert text.startswith(f"{run} is in use by ")
    assert re.search(rf"\(pid {other.pid}\) since .*\d\d:\d\d: ", text)
    assert text.endswith(": labctl run overnight.yaml")
    assert refused.value.exit_code == 2


def test_the_holder_can_be_asked_for_and_asking_takes_nothing(run):
    assert holder(run) is None
    begun = time.time()
    with process(HOLD, run) as (other, _):
        current = holder(run)
        assert (current.pid, current.what) == (other.pid, "labctl run overnight.yaml")
        assert begun - 1.0 <= current.since <= time.time() + 1.0  # the text has whole seconds
        other.communicate("")
        assert other.returncode == 0
    assert holder(run) is None
    assert (run / NAME).read_bytes() == b""


@kill
def test_the_lock_of_a_killed_holder_is_free_and_its_text_blocks_nobody(run):
    with process(HOLD, run) as (other, _):
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        assert str(other.pid) in (run / NAME).read_text()
        assert holder(run) is None
        with hold(run, "mine", patience=0) as me:
            assert holder(run) == me
            assert me.pid == os.getpid()


@kill
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_processes_started_by_the_holder_do_not_hold_the_lock(run, tmp_path):
    program = tmp_path / "holder.py"
    program.write_text(WITH_CHILDREN)
    main = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    with process(main, program, run) as (other, line):
        children = json.loads(line)
        try:
            assert holder(run).pid == other.pid
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
            for child in children:
                os.kill(child, 0)
            # children that are just being forked let go within milliseconds; inherited, it would be held for ever
            with hold(run, "mine", patience=PATIENCE):
                for child in children:
                    os.kill(child, 0)
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)


def test_whoever_waits_gets_the_lock_when_it_is_let_go(run):
    with process(HOLD, run) as (other, _):
        threading.Timer(0.2, other.stdin.close).start()
        with hold(run, "mine", patience=PATIENCE) as me:
            assert holder(run) == me


def test_asking_all_the_time_keeps_nobody_from_the_lock(run):
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            holder(run)

    with hold(run, "first"):
        pass
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(20):
            with hold(run, "mine"):
                pass
    finally:
        stop.set()
        asking.join()


def test_one_process_cannot_hold_a_folder_twice(run):
    with hold(run, "once"), pytest.raises(BenchError, match=r"in use by .*: once"), hold(run, "twice", patience=0):
        pass
    with hold(run, "again", patience=0):
        pass


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody deletes an open file")
def test_a_lock_file_that_was_deleted_and_made_again_locks_the_new_one(run, monkeypatch):
    looked, is_there = [], locks._is_there

    def deleted_in_between(fd, path):
        if not looked:
            path.unlink()
        looked.append(is_there(fd, path))
        return looked[-1]

    monkeypatch.setattr(locks, "_is_there", deleted_in_between)
    with hold(run, "mine") as me:
        assert looked == [False, True]
        assert holder(run) == me


@pytest.mark.parametrize("text", ["", "{", '{"user": "alice"}', "[]", "\x00\xff"])
def test_a_holder_whose_text_cannot_be_read_holds_nevertheless(run, text):
    with hold(run, "mine"):
        assert (run / NAME).read_text().startswith(' {"user"')  # behind the byte that Windows locks
        (run / NAME).write_text(text, encoding="latin-1")
        assert holder(run) == Holder()
        with (
            pytest.raises(BenchError, match="in use by somebody who could not leave a name"),
            hold(run, "x", patience=0),
        ):
            pass


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert holder(tmp_path / "none") is None
    with pytest.raises(BenchError, match="cannot be locked"), hold(tmp_path / "none", "mine"):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_link_or_a_pipe_in_place_of_the_lock_file_is_refused(run, tmp_path):
    (tmp_path / "elsewhere").write_text("precious")
    (run / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BenchError, match="cannot be locked"), hold(run, "mine"):
        pass
    (run / NAME).unlink()
    os.mkfifo(run / NAME)
    with pytest.raises(BenchError, match="is not a plain file"), hold(run, "mine"):
        pass
    assert (tmp_path / "elsewhere").read_text() == "precious"


def test_a_holder_of_another_day_is_named_with_the_day():
    text = str(Holder("alice", "lab3", 4711, "labctl run overnight.yaml", time.time() - 3 * 86400))
    day = time.strftime("%Y-%m-%d", time.localtime(time.time() - 3 * 86400))
    assert text.startswith(f"alice on lab3 (pid 4711) since {day} ")


# benches


def bench(name, **resources):
    return SimpleNamespace(name=name, instruments={n: SimpleNamespace(resource=r) for n, r in resources.items()})


def test_benches_that_share_an_instrument_exclude_each_other_whatever_they_call_it(tmp_path):
    first = bench("left", smu="TCPIP::192.0.2.5::INSTR", matrix="GPIB0::16::INSTR")
    second = bench("right", source="tcpip0::192.0.2.5::inst0::instr", stage="TCPIP::192.0.2.9::35555::SOCKET")
    third = bench("apart", smu="TCPIP::192.0.2.6::INSTR", matrix="GPIB1::16::INSTR")
    with bench_lock(first, "labctl run a.yaml", place=tmp_path):
        with (
            pytest.raises(BenchError, match=r"^source \(tcpip0.*\) of bench 'right' is in use by .*run a.yaml"),
            bench_lock(second, "labctl run b.yaml", place=tmp_path, patience=0),
        ):
            pass
        with bench_lock(third, "labctl run c.yaml", place=tmp_path, patience=0):
            pass
    with bench_lock(second, "labctl run b.yaml", place=tmp_path, patience=0):
        pass


def test_a_bench_refused_for_its_second_instrument_lets_go_of_its_first(tmp_path):
    held, wanted = bench("b", prober="GPIB0::20"), bench("ab", smu="GPIB0::10", prober="GPIB0::20")
    with (
        bench_lock(held, "x", place=tmp_path),
        pytest.raises(BenchError, match=r"^prober"),
        bench_lock(wanted, "y", place=tmp_path, patience=0),
    ):
        pass
    with bench_lock(bench("a", smu="GPIB0::10"), "z", place=tmp_path, patience=0):
        pass


def test_a_worker_excludes_other_workers_and_not_its_parent(tmp_path):
    one = bench("b", smu="GPIB0::10")
    with bench_lock(one, "run", place=tmp_path), bench_lock(one, "worker", part="worker", place=tmp_path):
        with (
            pytest.raises(BenchError, match=": worker"),
            bench_lock(one, "w", part="worker", place=tmp_path, patience=0),
        ):
            pass
        with pytest.raises(BenchError, match=": run"), bench_lock(one, "r", place=tmp_path, patience=0):
            pass


def test_the_locks_of_a_bench_can_be_taken_by_every_user_of_the_computer(tmp_path):
    place = tmp_path / "locks"
    mask = os.umask(0o077)
    try:
        with bench_lock(bench("b", smu="GPIB0::10"), "run", place=place):
            (path,) = place.iterdir()
            assert path.name.startswith("GPIB0-10-")
            if os.name == "posix":
                assert place.stat().st_mode & 0o7777 == 0o1777
                assert path.stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(mask)


# becomes another user once all is imported: that user may not be able to read this installation
AS_ANOTHER_USER = """
import fcntl, filelock, os, pathlib, pwd, sys, types
from labctl.core.errors import BenchError
from labctl.storage.bench_locks import bench_lock
os.setgroups([]), os.setgid(65534), os.setuid(65534)
bench = types.SimpleNamespace(name="b", instruments={"smu": types.SimpleNamespace(resource="GPIB0::10")})
try:
    with bench_lock(bench, "theirs", place=pathlib.Path(sys.argv[1]), patience=0):
        print("taken", open(next(pathlib.Path(sys.argv[1]).iterdir())).read().strip())
except BenchError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_is_refused_while_a_bench_is_held_and_gets_it_and_signs_afterwards():
    place = Path(tempfile.mkdtemp(dir="/tmp")) / "locks"
    place.parent.chmod(0o755)
    try:
        ours = bench_lock(bench("b", smu="GPIB0::10"), "ours", place=place)
        with ours, process(AS_ANOTHER_USER, place) as (_, output):
            assert f"(pid {os.getpid()})" in output
        with process(AS_ANOTHER_USER, place) as (_, output):
            assert output.startswith("taken {")
            assert "theirs" in output
    finally:
        shutil.rmtree(place.parent)


def test_locks_of_instruments_are_in_one_place_for_all_users(monkeypatch, tmp_path):
    monkeypatch.delenv(bench_locks.VARIABLE)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert tmp_path not in bench_locks.locks_folder().parents
    assert bench_locks.locks_folder().parent.is_dir()


def test_a_file_in_place_of_the_folder_of_locks_is_refused(tmp_path):
    (tmp_path / "locks").write_text("")
    with (
        pytest.raises(BenchError, match="is not a folder"),
        bench_lock(bench("b", smu="GPIB0::10"), "run", place=tmp_path / "locks"),
    ):
        pass


def test_the_bench_of_the_examples_is_locked_instrument_by_instrument(tmp_path):
    from instruments.bench import Bench

    bench = files.load(EXAMPLES / "bench-2600b-707b-sentio.yaml", Bench)
    reached = [e.resource for e in bench.instruments.values()]
    with bench_lock(bench, "run", place=tmp_path):
        assert len(list(tmp_path.iterdir())) == len({identity(r) for r in reached}) == len(reached)


def test_the_holders_of_a_bench_are_named_once_and_by_part(tmp_path):
    shared = bench("left", smu="TCPIP::192.0.2.5::INSTR", matrix="GPIB0::16::INSTR")
    other = bench("right", source="TCPIP::192.0.2.5::5025::SOCKET", stage="TCPIP::192.0.2.9::INSTR")
    assert holders(shared, place=tmp_path / "none") == []
    with bench_lock(shared, "labctl run a.yaml", place=tmp_path):
        (holder,) = holders(other, place=tmp_path)
        assert (holder.pid, holder.what) == (os.getpid(), "labctl run a.yaml")
        assert holders(shared, part="worker", place=tmp_path) == []
        with bench_lock(other, "its worker", part="worker", place=tmp_path):
            assert [h.what for h in holders(shared, part="worker", place=tmp_path)] == ["its worker"]
    assert holders(shared, place=tmp_path) == []


def test_another_folder_for_locks_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv(bench_locks.VARIABLE, str(tmp_path / "elsewhere"))
    with bench_lock(bench("left", smu="TCPIP::192.0.2.5::INSTR"), "run"):
        assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_an_instrument_is_locked_by_its_name_and_by_its_addresses(tmp_path):
    names = Names({"smu.lab.example": ["192.0.2.11"]}.__getitem__)
    moved = Names({"smu.lab.example": ["192.0.2.12"]}.__getitem__)
    by_name, by_address = bench("n", smu="TCPIP::smu.lab.example::INSTR"), bench("a", smu="TCPIP::192.0.2.11::INSTR")
    with bench_lock(by_name, "labctl run n.yaml", place=tmp_path, names=names):
        assert [h.what for h in holders(by_address, place=tmp_path)] == ["labctl run n.yaml"]
        assert [h.what for h in holders(by_name, place=tmp_path, names=moved)] == ["labctl run n.yaml"]
        for other, resolver in ((by_address, names), (by_name, moved)):
            with (
                pytest.raises(BenchError, match=r"is in use by .*labctl run n.yaml"),
                bench_lock(other, "second", place=tmp_path, patience=0, names=resolver),
            ):
                pass
    with bench_lock(by_address, "labctl run a.yaml", place=tmp_path):
        assert [h.what for h in holders(by_name, place=tmp_path, names=names)] == ["labctl run a.yaml"]


def test_a_bench_that_names_one_host_twice_does_not_exclude_itself(tmp_path):
    names = Names({"smu.lab.example": ["192.0.2.11"]}.__getitem__)
    twice = bench("t", one="TCPIP::smu.lab.example::INSTR", two="TCPIP::192.0.2.11::5025::SOCKET")
    with bench_lock(twice, "run", place=tmp_path, patience=0, names=names):
        assert len(holders(twice, place=tmp_path, names=names)) == 1
