"""`prune` drops what sealed files hold as well, proves that first, and can be killed at any moment."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from labctl.batch.pruning import ledger_of, refuse_unverified
from labctl.cli import prune as command
from labctl.core.errors import BenchError, NotThereError, StorageError
from labctl.core.events import Pruned, Resumed, RunEnded
from labctl.core.exit_codes import ExitCode, Status
from labctl.export.csv import write_csv
from labctl.files import digest
from labctl.fleet.rows import rows_of
from labctl.report.html import write_report
from labctl.report.run_folder import is_reported, read_run, worked
from labctl.storage import pruning
from labctl.storage.locks import hold
from labctl.storage.manifest import run_meta
from labctl.storage.pruning import plan_pruning, prune
from labctl.storage.repair import repair
from labctl.storage.results import open_run
from labctl.storage.run_log import Runlog, read_state
from labctl.storage.stress_ledger import VARIABLE, StressLedger
from labctl.storage.verification import Mend, verify_run
from tests.small_run import INPUT, write_run

EXAMPLES = Path(__file__).parents[4] / "examples"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", utc="2026-12-01", monotonic=1.0)


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def invoke(*words: str | Path) -> Any:
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def files(run: Path) -> list[Path]:
    """Return the files of a run, without those that reading a journal and holding a run leave."""
    return sorted(p for p in run.rglob("*") if p.name != "lock" and not p.name.endswith(("-shm", "-wal")))


def content(run: Path, tmp: Path) -> Any:
    """Return what readers make of a run: tables, operations, events, figures, CSV, rows of the fleet, its state."""
    opened = open_run(run)
    table = {column: values.tolist() for column, values in opened.table("map").items()}
    operations = [(o.seq, o.kind, o.result["current"].tolist()) for o in opened.die("A").operations()]
    written = {p.name: p.read_bytes() for p in write_csv(read_state(run), opened, tmp)}
    state = read_state(run)
    rows = [{k: v for k, v in row.items() if k != "run"} for row in rows_of(run).rows]
    return [table, operations, written, rows, rows_of(run).run_id, state.dies, state.until, opened.figures.rows]


def test_readers_find_the_same_afterwards_and_verify_says_why_there_are_no_journals(run: Path, tmp_path: Path) -> None:
    before, sealed = content(run, tmp_path / "a"), {p.name: p.read_bytes() for p in run.glob("dies/*.h5")}
    was_worked = worked(read_run(run)[1])
    size = sum(p.stat().st_size for name in ("A", "B~2") for p in (run / "dies" / name).rglob("*") if p.is_file())
    plan = plan_pruning(run)
    assert [one.name for one in plan.redundant] == ["A", "B~2"]
    assert plan.kept == ("B",)  # a try that was not sealed
    assert plan.bytes == size
    prune(plan, "ana@lab3")
    assert sorted(p.name for p in run.glob("dies/*")) == ["A.h5", "B", "B~2.h5"]
    assert {p.name: p.read_bytes() for p in run.glob("dies/*.h5")} == sealed
    assert content(run, tmp_path / "b") == before
    assert is_reported(run, read_state(run))  # what is done to the folder later makes no report old
    assert worked(read_run(run)[1]) == was_worked
    mark = json.loads((run / "run.json").read_text(encoding="utf-8"))["pruned"]
    assert (mark["dies"], mark["bytes"], mark["by"]) == (["A", "B~2"], size, "ana@lab3")
    assert run_meta(run)["pruned"] == mark == open_run(run).meta["pruned"]
    found = verify_run(run)
    assert found.problems == []
    assert "the sealed files of A, B~2 are all there is of them" in found.notes[0]
    write_report(run)
    assert "pruned by ana@lab3: 2 journals dropped" in (run / "report.html").read_text(encoding="utf-8")


def test_nothing_is_done_without_yes_and_the_second_time_there_is_nothing_to_do(run: Path) -> None:
    before = files(run)
    said = invoke(run)
    assert (said.exit_code, "would drop 2 journals of sealed dies" in said.stderr) == (0, True)
    assert "kept, because no sealed file holds the same: B" in said.stderr
    assert files(run) == before
    assert "pruned" not in run_meta(run)
    done = invoke(run, "--yes", "--json")
    assert json.loads(done.stdout)["dies"] == ["A", "B~2"]
    assert "nothing to drop; it was pruned before" in invoke(run, "--yes").stderr
    assert sum(isinstance(row.event, Pruned) for row in read_state(run).events) == 1


@pytest.mark.parametrize("at", [0, 1, 3, 5])
def test_killed_at_any_file_it_is_finished_by_running_it_again(run: Path, monkeypatch: Any, at: int) -> None:
    sealed = {p.name: p.read_bytes() for p in run.glob("dies/*.h5")}
    unlink, left = Path.unlink, [at]

    def killed(path: Path, **more: Any) -> None:
        if path.parent.parent.name in ("dies", "A", "B~2"):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
        unlink(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        try:
            prune(plan_pruning(run))
        except KeyboardInterrupt:
            assert run_meta(run)["pruned"]["dies"] == ["A", "B~2"]
            assert verify_run(run).problems == []
            assert open_run(run).table("map").rows == 4
    prune(plan_pruning(run))
    assert sorted(p.name for p in run.glob("dies/*")) == ["A.h5", "B", "B~2.h5"]
    assert {p.name: p.read_bytes() for p in run.glob("dies/*.h5")} == sealed
    assert run_meta(run)["pruned"]["dies"] == ["A", "B~2"]


def test_killed_between_the_journal_and_run_json_it_is_marked_all_the_same(run: Path, monkeypatch: Any) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pruning, "write_meta", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(plan_pruning(run))
    assert run_meta(run)["pruned"]["dies"] == ["A", "B~2"]
    assert "broken off before A, B~2; 'labctl prune" in " ".join(verify_run(run).notes)
    prune(plan_pruning(run))
    assert "pruned" in json.loads((run / "run.json").read_text(encoding="utf-8"))


def test_what_made_files_again_says_that_it_was_dropped(run: Path) -> None:
    prune(plan_pruning(run))
    path = run / "dies" / "A.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (problem,) = verify_run(run).problems
    assert problem.mend is None
    assert problem.way_back.startswith("its journal cannot make it again: 'labctl prune' dropped it on ")
    with pytest.raises(StorageError, match=r"'labctl prune' dropped it on .*; take it from a backup"):
        open_run(run).table("map")
    path.unlink()
    with pytest.raises(StorageError, match=r"'labctl prune' dropped it on .*; take it from a backup"):
        _ = open_run(run).die("A").tables
    with pytest.raises(StorageError, match=r"nothing is dropped: dies/A\.h5 is gone; 'labctl verify"):
        plan_pruning(run)


def test_run_json_and_the_journal_are_made_again_with_the_mark(run: Path) -> None:
    prune(plan_pruning(run))
    mark = run_meta(run)["pruned"]
    (run / "run.json").unlink()
    assert repair(run, verify_run(run).problems, write_report) == []
    assert run_meta(run)["pruned"] == mark
    (run / "journal.db").unlink()
    assert [p.mend for p in verify_run(run).problems] == [Mend.JOURNAL]
    (run / "run.json").unlink()  # so that run.h5, which was written again with the mark, is all there is
    assert repair(run, verify_run(run).problems, write_report) == []
    assert run_meta(run)["pruned"] == mark
    assert sum(isinstance(row.event, Pruned) for row in read_state(run).events) == 1
    assert verify_run(run).problems == []


def test_a_run_that_goes_on_or_can_be_resumed_is_refused(run: Path, tmp_path: Path) -> None:
    with hold(run, "labctl run small.yaml"):
        refused = invoke(run, "--yes")
    assert isinstance(refused.exception, BenchError)
    assert "labctl run small.yaml" in str(refused.exception)
    with Runlog.open(run) as log:
        log.write(Resumed())  # and was killed
    with pytest.raises(BenchError, match=r"has not ended: .* labctl resume"):
        plan_pruning(run)
    other = write_run(tmp_path / "other")
    state = read_state(other)
    with pytest.raises(BenchError, match=r"left to do: B; expected .* labctl resume"):
        pruning._refuse_unfinished(
            other, type(state)(state.meta, {"B": type(state.dies["B"])("B", (0, 0))}, exit_code=4)
        )


def test_a_bench_that_was_not_verified_off_keeps_its_journals(run: Path) -> None:
    refuse_unverified(run)
    with Runlog.open(run) as log:
        log.write(RunEnded(outcome=Status.FAIL, exit_code=ExitCode.NOT_OFF))
        log.finish()
    refused = invoke(run, "--yes")
    assert isinstance(refused.exception, BenchError)
    assert "ended without its outputs verified off (exit code 6)" in str(refused.exception)


def test_pulses_of_real_dies_are_in_the_ledger_before_their_journals_go(tmp_path: Path, monkeypatch: Any) -> None:
    run = write_run(tmp_path / "run", real=True)
    with pytest.raises(BenchError, match=r"found no ledger at .*stress.db; expected the ledger of the lab"):
        ledger_of(run, tmp_path / "stress.db")
    StressLedger.open(tmp_path / "stress.db").close()
    assert ledger_of(run, tmp_path / "stress.db") == tmp_path / "stress.db"
    assert ledger_of(write_run(tmp_path / "simulated"), None) is None
    entered: list[tuple[Path, bool]] = []

    def account_run(ledger: StressLedger, of: Path) -> None:
        entered.append((ledger.path, (of / "dies" / "A" / "journal.db").is_file()))

    monkeypatch.setattr(StressLedger, "account_run", account_run)
    assert invoke(run, "--yes", "--ledger", tmp_path / "stress.db").exit_code == 0
    assert entered == [(tmp_path / "stress.db", True)]
    assert not (run / "dies" / "A").exists()
    monkeypatch.undo()
    shutil.rmtree(run / "dies" / "B")
    with (
        StressLedger.open(tmp_path / "stress.db") as ledger,
        pytest.raises(StorageError, match="was pruned; what its journals held of stress was entered"),
    ):
        ledger.account_run(run)


def test_the_ledger_is_the_one_that_the_bench_file_of_the_run_names(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    files = {"00-small.yaml": {"path": "small.yaml", "sha256": digest(INPUT)}}
    bench = EXAMPLES / "bench-two-arrays.yaml"
    files["01-bench.yaml"] = {"path": str(tmp_path / "lab" / "bench.yaml"), "sha256": digest(bench.read_bytes())}
    run = write_run(tmp_path / "run", real=True, cwd="/", files=files, roles={"bench": "01-bench.yaml"})
    shutil.copy(bench, run / "files" / "01-bench.yaml")
    with pytest.raises(BenchError, match=r"found no ledger at .*lab.stress\.db"):
        ledger_of(run, None)
    (tmp_path / "lab").mkdir()
    StressLedger.open(tmp_path / "lab" / "stress.db").close()
    assert ledger_of(run, None) == tmp_path / "lab" / "stress.db"


@pytest.mark.parametrize("name", ["dies/A.h5", "dies/A/journal.db", "files/00-small.yaml", "journal.db"])
def test_a_damaged_run_is_refused(run: Path, name: str) -> None:
    if name.endswith(".db"):
        with closing(sqlite3.connect(run / name)) as db, db:
            db.execute("UPDATE log SET utc = utc + 1 WHERE seq = 2")
    else:
        (run / name).write_bytes((run / name).read_bytes()[:-1] + b"x")
    with pytest.raises(StorageError):
        plan_pruning(run)
    assert (run / "dies" / "A" / "journal.db").is_file()


def test_a_sealed_file_that_lacks_something_of_its_journal_is_refused(run: Path, monkeypatch: Any) -> None:
    for part, other in (("operations", iter(())), ("events", iter(())), ("meta", {})):
        value = property(lambda _, o=other: o) if part == "meta" else lambda _, o=other: o
        with monkeypatch.context() as patch:
            patch.setattr(pruning.SealedDie, part, value)
            with pytest.raises(StorageError, match="than its journal; nothing is dropped"):
                plan_pruning(run)
    assert not pruning._same({"a": np.zeros(2)}, {"a": [0.0, 0.0]})
    assert not pruning._same([1], [1, 2])


@pytest.mark.parametrize("name", ["dies", "dies/A", "dies/A/arrays"])
def test_folders_that_are_links_are_refused_and_the_other_runs_files_stay(run: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "other-run"
    shutil.copytree(run, other)
    (other / "dies" / "A" / "arrays").mkdir(exist_ok=True)
    shutil.rmtree(run / name, ignore_errors=True)
    try:
        (run / name).symlink_to(other / name, target_is_directory=True)
    except OSError:
        pytest.skip("this user may make no links")
    before = files(other)
    with pytest.raises(BenchError, match=r"is a link to .*other-run.*, whose files may be another run's"):
        plan_pruning(run)
    assert files(other) == before


def test_a_file_that_is_not_of_the_journal_stays_and_does_not_make_the_pruning_unfinished(run: Path) -> None:
    (run / "dies" / "A" / "arrays").mkdir(exist_ok=True)
    (run / "dies" / "A" / "arrays" / ".DS_Store").write_bytes(b"x")
    prune(plan_pruning(run))
    assert files(run / "dies" / "A") == [run / "dies" / "A" / "arrays", run / "dies" / "A" / "arrays" / ".DS_Store"]
    assert "broken off" not in " ".join(verify_run(run).notes)


def test_no_lock_is_left_where_there_is_no_run_or_nothing_is_to_be_changed(
    run: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "photos").mkdir()
    for name, said in (("photos", "it is an empty folder"), ("gone", "no such file or folder")):
        for more in ([], ["--yes"]):
            refused = invoke(tmp_path / name, *more)
            assert isinstance(refused.exception, NotThereError)
            assert said in str(refused.exception)
    assert list((tmp_path / "photos").iterdir()) == []
    with hold(run, "labctl archive"):  # as if nothing could be locked there
        assert "would drop 2 journals" in invoke(run).stderr


def test_a_run_by_hand_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dies").mkdir()
    (tmp_path / "run.json").write_text(json.dumps({"format": 2, "kind": "by hand"}), encoding="utf-8")
    with pytest.raises(BenchError, match="made by hand: nobody has recorded digests"):
        plan_pruning(tmp_path)
    assert "made by hand" in str(invoke(tmp_path, "--yes").exception)
    assert not (tmp_path / "lock").exists()
