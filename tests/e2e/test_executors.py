"""One, two and eight processes and a cluster give the same files to the bit, and so does one die made alone."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from instruments.bench import Bench
from labctl import files, open_run
from labctl.batch import dask_executor, session
from labctl.batch.session import RunOptions
from labctl.core.die_state import State
from labctl.core.errors import BenchError, StorageError
from labctl.station import composition
from labctl.station.rehearse import rehearsed
from labctl.storage.journal import Journal
from labctl.storage.locks import holder
from labctl.storage.run_log import read_state
from tests.e2e.conftest import EXAMPLES
from tests.waiting import PATIENCE, until

SAID = ("entry/provenance/run/", *(f"entry/provenance/die/{key}" for key in ("dies", "git_commit", "cwd")))
"""Where a file says what else the run was about."""
TIMES = (
    "start_time",
    "time",
    "end_time",
    "utc",
    "monotonic",
    "start_utc",
    "start_monotonic",
    "end_utc",
    "end_monotonic",
)
"""Names of what differs between two runs: when things were done."""


@pytest.fixture(scope="module")
def wafer(tmp_path_factory, few_solutions):
    """A campaign over a wafer of 3 chips of 3 kernels of 14 x 13 cells."""
    folder = tmp_path_factory.mktemp("wafer")
    (folder / "wafer.yaml").write_text("name: W\nmap: [.X, XX]\n")
    path = folder / "chips.yaml"
    path.write_text(f"""
name: chips
seed: 7
wafer:
  file: wafer.yaml
  die: {json.dumps(str(EXAMPLES / "dies/chip-32x25x25.yaml"))}
  change: {{geometry: {{kernels: 3, n_rows: 14, n_cols: 13}}}}
limits:
  {{v_towards_p: 1.2 V, v_towards_ap: 1.2 V, v_gate: 3.3 V, width: 10 ms, compliance: 5 mA, v_count: 350 mV,
    pulses_per_cell: 100000}}
stages: [survey: {{}}, chip_inference: {{solutions: {json.dumps(str(few_solutions))}, data: wine}}]
batch: {{order: shuffled}}
""")
    return path


def carry_out(path, folder, ways, only=None):
    prepared, plans = rehearsed(composition.read(path).some(only))
    ending, state = session.start(folder, prepared, plans, sys.argv, ways)
    assert ending.code == 0, ending
    assert all(d.state is State.DONE for d in state.dies.values())
    assert read_state(folder) == state
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory, wafer):
    """The run of one process."""
    return carry_out(wafer, tmp_path_factory.mktemp("one") / "run", RunOptions(1))


def content(path):
    """Return every dataset of a sealed file but times and what says who ran it."""
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and name.split("/")[-1] not in TIMES and not name.startswith(SAID):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def assert_same(folder, other, names):
    for name in names:
        a, b = (content(f / "dies" / f"{name}.h5") for f in (folder, other))
        assert a.keys() == b.keys()
        assert len(a) > 100
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=f"{name}: {key}")


@pytest.mark.skipif(os.name != "posix", reason="rights of a folder are inherited there")
def test_a_run_is_for_its_owner_alone(alone):
    assert stat.S_IMODE(alone.stat().st_mode) == 0o700
    assert {path.name for path in alone.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077} == set()


@pytest.mark.parametrize("workers", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_more_processes_give_the_same_files(wafer, alone, tmp_path, workers):
    folder = carry_out(wafer, tmp_path / "run", RunOptions(workers))
    assert_same(folder, alone, open_run(alone).dies)


@pytest.mark.slow
def test_a_cluster_gives_the_same_files(wafer, alone, tmp_path, monkeypatch):
    said = []
    with local_cluster(2) as cluster:
        ways = RunOptions(1, f"dask={cluster.scheduler_address}", lambda *message: said.append(message))
        monkeypatch.chdir(tmp_path)  # the workers stand elsewhere
        folder = carry_out(wafer, Path("run"), ways)
    assert_same(folder, alone, open_run(alone).dies)
    stages = {detail for _, what, detail in said if what == "stage"}
    assert {"survey", "chip_inference"} <= stages
    assert sum(detail for _, what, detail in said if what == "patterns") > 0


def test_what_is_no_cluster_is_refused(wafer, tmp_path, monkeypatch):
    prepared, plans = rehearsed(composition.read(wafer))
    monkeypatch.chdir(tmp_path)
    for executor in ("ray=tcp://127.0.0.1:1", "dask"):
        with pytest.raises(BenchError, match="expected dask=ADDRESS"):
            session.start(Path(executor[:4]), prepared, plans, sys.argv, RunOptions(1, executor))
    bench = files.read(EXAMPLES / "bench-two-arrays.yaml", Bench).value
    with pytest.raises(BenchError, match="worked on by the computer"):
        session.start(
            Path("bench"), replace(prepared, bench=bench), plans, sys.argv, RunOptions(1, "dask=tcp://127.0.0.1:1")
        )
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_that_does_not_answer_is_refused_before_a_folder_is_made(wafer, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    monkeypatch.setattr(dask_executor, "PATIENCE", 0.2)
    prepared, plans = rehearsed(composition.read(wafer))
    with pytest.raises(BenchError, match="no scheduler answers there"):
        session.start(tmp_path / "run", prepared, plans, sys.argv, RunOptions(1, "dask=tcp://127.0.0.1:1"))
    assert list(tmp_path.iterdir()) == []


def local_cluster(workers):
    """Return a cluster of this computer with worker processes of one thread."""
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", scheduler_port=0
    )


@pytest.mark.slow
def test_workers_may_come_later_and_go_and_those_of_another_version_are_not_used(wafer, tmp_path, monkeypatch):
    lines, ours = [], dask_executor.versions()
    monkeypatch.setattr(dask_executor, "LOOK", 0.05)
    with local_cluster(0) as cluster:
        address = cluster.scheduler_address

        def comes(text):
            lines.append(text)
            cluster.scale(1)

        connected = dask_executor.Dask(address, comes)
        assert connected.width == 1
        assert "the scheduler has no workers yet; waiting for one" in lines[0]
        cluster.scale(0)
        until(lambda: connected.width == 0)
        connected._ours = {**connected._ours, "numpy": "1.0"}
        cluster.scale(1)
        until(lambda: connected.width == 0 and "it is not used" in lines[-1])
        assert f"has numpy {ours['numpy']}, not 1.0" in lines[-1]
        connected.disconnect()

        prepared, plans = rehearsed(composition.read(wafer))
        monkeypatch.setattr(dask_executor, "versions", lambda: {**ours, "numpy": "1.0"})
        with pytest.raises(BenchError, match=r"has numpy \S+, not 1.0.*results would differ"):
            session.start(tmp_path / "run", prepared, plans, sys.argv, RunOptions(1, f"dask={address}"))
        cluster.scale(0)
        monkeypatch.setattr(dask_executor, "WORKERS", 0.1)
        with pytest.raises(BenchError, match="has had no workers for 0 s"):
            session.start(tmp_path / "run", prepared, plans, sys.argv, RunOptions(1, f"dask={address}"))
    assert list(tmp_path.iterdir()) == []


def test_one_die_made_alone_is_that_of_the_whole_wafer(wafer, alone, tmp_path):
    folder = carry_out(wafer, tmp_path / "run", RunOptions(1), only=["W-x0y1"])
    assert open_run(folder).dies == ("W-x0y1",)
    assert_same(folder, alone, ["W-x0y1"])


def test_the_comparison_notices_another_seed(wafer, alone, tmp_path):
    prepared, plans = rehearsed(composition.read(wafer, seed=8).some(["W-x0y1"]))
    session.start(tmp_path / "run", prepared, plans, sys.argv, RunOptions(1))
    with pytest.raises(AssertionError):
        assert_same(tmp_path / "run", alone, ["W-x0y1"])


def in_mid_die(process, folder, rows):
    """Wait until a die that is under way has more than `rows` rows in its journal; return its name."""

    def name():
        with contextlib.suppress(StorageError):  # it is just being made
            for die in read_state(folder).dies.values():
                if die.state is State.RUNNING:
                    with Journal.open(folder / "dies" / die.folder) as journal:
                        if journal.last.seq > rows:
                            return die.name
        return ""

    return until(name, process)


def on_cluster(wafer, folder, address):
    """Start a run on a cluster in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "labctl", "run", str(wafer), "--out", str(folder), "--executor", f"dask={address}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_die_whose_cluster_worker_is_killed_goes_on_elsewhere(wafer, alone, tmp_path):
    folder = tmp_path / "run"
    with (
        local_cluster(2) as cluster,
        on_cluster(wafer, folder, cluster.scheduler_address) as process,
    ):
        name = in_mid_die(process, folder, 20)
        os.kill(holder(folder / "dies" / name).pid, signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    state = read_state(folder)
    assert {die.state for die in state.dies.values()} == {State.DONE}
    assert {len(die.tries) for die in state.dies.values()} == {1}
    resumed = []
    for name in state.dies:
        with Journal.open(folder / "dies" / name) as journal:
            resumed += [name for event in journal.events() if event.kind == "resumed"]
    assert len(resumed) == 1
    assert_same_measurements(folder, alone)


def assert_same_measurements(folder, other):
    """Two runs came to the same tables; when things were done, and in which row of a journal, may differ."""
    first, second = open_run(folder), open_run(other)
    assert (first.dies, first.tables) == (second.dies, second.tables)
    for table in first.tables:
        one, two = first.table(table), second.table(table)
        assert one.rows == two.rows > 0
        for column in one:
            if column not in ("utc", "seq"):
                np.testing.assert_array_equal(one[column], two[column], err_msg=f"{table}.{column}")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_scheduler_that_is_killed_ends_the_run_with_3_and_it_goes_on_without(wafer, alone, tmp_path, labctl):
    distributed = pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    folder, told = tmp_path / "run", tmp_path / "scheduler.json"
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    where = ["--scheduler-file", str(told), "--dashboard-address", ":0"]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    scheduler = subprocess.Popen([*command, *where], **options)
    worker = None
    try:
        until(told.exists, scheduler)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny"]
        scratch = ["--death-timeout", "5", "--local-directory", str(tmp_path)]
        worker = subprocess.Popen([*command, *where, *scratch], **options)
        with distributed.Client(scheduler_file=str(told), set_as_default=False) as client:
            client.wait_for_workers(1, timeout=PATIENCE)
            address = client.scheduler.address
        with on_cluster(wafer, folder, address) as process:
            in_mid_die(process, folder, 20)
            scheduler.kill()
            _, said = process.communicate(timeout=PATIENCE)
    finally:
        for child in (scheduler, worker):
            if child is not None:
                child.kill()
                child.wait()
    assert process.returncode == 3, said
    said = " ".join(said.split())
    assert "the cluster is gone: its scheduler does not answer any more" in said
    assert f"labctl resume {folder}" in said
    assert "a bug of ours" not in said
    state = read_state(folder)
    assert (state.outcome, state.exit_code) == ("abort", 3)
    assert {die.state for die in state.dies.values()} <= {State.DONE, State.INTERRUPTED, State.PENDING}
    assert (folder / "run.h5").is_file()
    labctl("resume", folder, "--workers", "1")
    assert_same_measurements(folder, alone)
