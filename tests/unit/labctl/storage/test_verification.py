"""`verify` finds whatever was damaged or exchanged, says the way back, and `--repair` goes it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from labctl.cli.verify import register
from labctl.core.errors import BenchError, StorageError
from labctl.report.html import write_report
from labctl.storage.locks import hold
from labctl.storage.manifest import run_meta
from labctl.storage.repair import repair
from labctl.storage.results import open_run
from labctl.storage.run_log import read_state, recorded_digests
from labctl.storage.sealing import seal_in_subprocess
from labctl.storage.verification import Mend, verify_run
from tests.small_run import write_die, write_run


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def problems(run: Path) -> dict[str, Mend | None]:
    return {problem.path: problem.mend for problem in verify_run(run).problems}


def numbers(run: Path) -> Any:
    opened = open_run(run)
    return [opened.meta, {c: column.tolist() for c, column in opened.table("map").items()}, read_state(run).dies]


def test_a_whole_run_is_whole(run: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    verification = verify_run(run, lambda *step: steps.append(step))
    assert verification.problems == []
    assert verification.whole
    assert verification.notes == []
    named = [path for path, _, _ in steps]
    assert [n for _, n, _ in steps] == list(range(len(steps)))
    assert {of for _, _, of in steps} == {len(steps)}
    assert {"journal.db", "run.json", "dies/A/journal.db", "dies/B~2.h5", "files/00-small.yaml"} <= set(named)
    assert {"run.h5", "report.json", "report.html"} <= set(named)
    assert verification.checked == len(steps)
    assert verification.bytes == sum(p.stat().st_size for p in run.rglob("*") if p.is_file() and "-" not in p.suffix)


MENDABLE: dict[str, tuple[str, Mend]] = {
    "journal.db": ("journal.db", Mend.JOURNAL),
    "run.json": ("run.json", Mend.MANIFEST),
    "files/00-small.yaml": ("files/00-small.yaml", Mend.INPUT),
    "dies/A.h5": ("dies/A.h5", Mend.SEAL),
    "dies/B~2.h5": ("dies/B~2.h5", Mend.SEAL),
    "run.h5": ("run.h5", Mend.RUN_FILE),
    "report.json": ("report.json", Mend.REPORT),
    "report.html": ("report.html", Mend.REPORT),
}


@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "gone"])
@pytest.mark.parametrize("name", MENDABLE)
def test_what_is_damaged_is_named_and_made_again(run: Path, name: str, how: str) -> None:
    before = numbers(run)
    path = run / name
    whole = path.read_bytes()
    match how:
        case "flipped":
            # in a journal, a byte of a row: most of the others are not used
            at = whole.index(b"the worker died") / len(whole) + 1e-9 if name == "journal.db" else 0.5
            flip(path, at)
        case "cut":
            path.write_bytes(whole[: len(whole) // 2])
        case "emptied":
            path.write_bytes(b"")
        case "gone":
            path.unlink()
    if how == "gone" and name.startswith("report"):
        assert problems(run) == {}, "a report is written when somebody asks for one"
        return
    assert problems(run).get(name) is MENDABLE[name][1]
    assert repair(run, verify_run(run).problems, write_report) == []
    assert problems(run) == {}
    assert numbers(run) == before
    if how == "flipped" and not name.startswith("report"):
        assert any((run / "quarantine").iterdir())
    if name in ("run.json", "files/00-small.yaml"):
        assert path.read_bytes() == whole


def test_a_copy_over_another_die_is_refused_by_name(run: Path) -> None:
    shutil.copy(run / "dies" / "A.h5", run / "dies" / "B~2.h5")
    with pytest.raises(StorageError, match=r"is the file of die A, not of B~2.*labctl verify .* --repair"):
        open_run(run).table("map", "B")
    assert open_run(run).table("map", "A").rows == 2
    assert problems(run) == {"dies/B~2.h5": Mend.SEAL}


def test_a_file_that_no_journal_knows_is_refused_by_name_and_by_verify(run: Path) -> None:
    shutil.copy(run / "dies" / "A.h5", run / "dies" / "C.h5")
    with pytest.raises(StorageError, match="is the file of die A, not of C"):
        open_run(run).table("map")
    assert problems(run) == {"dies/C.h5": None}


def test_another_sealing_of_the_same_die_is_not_the_one_that_was_recorded(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other")
    shutil.copy(other / "dies" / "A.h5", run / "dies" / "A.h5")
    with pytest.raises(StorageError, match="not the file that was sealed here"):
        open_run(run).table("map", "A")
    assert problems(run) == {"dies/A.h5": Mend.SEAL}


def test_a_journal_of_another_die_is_refused_by_name(run: Path) -> None:
    (run / "dies" / "A.h5").unlink()
    shutil.copy(run / "dies" / "B~2" / "journal.db", run / "dies" / "A" / "journal.db")
    with pytest.raises(StorageError, match="is the journal of die B, not of A"):
        open_run(run).table("map", "A")
    assert set(problems(run)) == {"dies/A/journal.db", "dies/A.h5"}


def test_a_damaged_journal_of_a_sealed_die_costs_nothing(run: Path) -> None:
    before = numbers(run)
    flip(next((run / "dies" / "A" / "arrays").glob("*.npy")))
    (problem,) = verify_run(run).problems
    assert (problem.path, problem.mend) == ("dies/A/journal.db", None)
    assert problem.way_back == "dies/A.h5 has everything that it held; keep that file"
    assert numbers(run) == before


def test_both_gone_is_said_to_be_lost(run: Path) -> None:
    flip(next((run / "dies" / "A" / "arrays").glob("*.npy")))
    flip(run / "dies" / "A.h5")
    by_path = {problem.path: problem.way_back for problem in verify_run(run).problems}
    assert "lost unless there is a backup" in by_path["dies/A/journal.db"]
    assert "take it from a backup" in by_path["dies/A.h5"]


def test_everything_at_once_is_mended_in_order(run: Path) -> None:
    before = numbers(run)
    for name in ("run.json", "files/00-small.yaml", "dies/B~2.h5", "report.json"):
        flip(run / name)
    assert repair(run, verify_run(run).problems, write_report) == []
    assert problems(run) == {}
    assert numbers(run) == before


def test_a_manifest_is_found_in_a_sealed_die_where_the_journal_is_gone(run: Path) -> None:
    before = run_meta(run)
    for name in ("journal.db", "run.h5"):
        (run / name).unlink()
    (run / "run.json").write_text("{", encoding="utf-8")
    assert problems(run) == {"journal.db": None, "run.json": Mend.MANIFEST}
    assert repair(run, verify_run(run).problems, write_report) == []
    assert run_meta(run) == before


def test_a_copy_of_the_journal_that_is_too_old_is_not_put_in_its_place(run: Path) -> None:
    write_die(run, "C", 3.0)
    (run / "journal.db").write_bytes(b"nothing")
    (failed,) = repair(run, verify_run(run).problems, write_report)
    assert "is older than C" in failed
    assert (run / "journal.db").read_bytes() == b"nothing"


def test_a_die_that_is_sealed_otherwise_is_recorded_anew(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of a library writes other bytes of the same content."""
    was = recorded_digests(run)["A"]
    (run / "dies" / "A.h5").unlink()

    def seal(run: Path, die: str) -> str:
        seal_in_subprocess(run, die)
        path = run / "dies" / f"{die}.h5"
        import h5py

        from labctl.storage.vouching import put_seal, vouch

        with h5py.File(path, "r+") as file:
            file["entry/another"] = 1
        put_seal(path)
        return vouch(path)

    monkeypatch.setattr("labctl.storage.repair.seal_in_subprocess", seal)
    assert repair(run, verify_run(run).problems, write_report) == []
    assert recorded_digests(run)["A"] != was
    assert read_state(run).exit_code == 0
    assert problems(run) == {}
    assert open_run(run).table("map", "A").rows == 2


def test_a_damaged_manifest_is_a_storage_error_wherever_it_is_read(run: Path) -> None:
    text = (run / "run.json").read_text()
    for damaged in (text.replace('"seed": 7', '"seed": 5'), text[:-40], "", "[]", "[" * 100_000):
        (run / "run.json").write_text(damaged)
        with pytest.raises(StorageError, match=r"run\.json .*--repair' writes it again"):
            open_run(run)


def test_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no run here"):
        verify_run(tmp_path)


@pytest.fixture
def command() -> Callable[..., Any]:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)

    def call(*words: object, expect: int) -> Any:
        done = CliRunner().invoke(app, ["verify", *map(str, words)])
        assert done.exit_code == expect, (done.output, done.exception)
        return done

    return call


def test_the_command_says_it_in_words_and_in_json(run: Path, command: Callable[..., Any]) -> None:
    done = command(run, "--json", expect=0)
    assert json.loads(done.stdout)["whole"] is True
    assert "all is whole" in done.stderr
    flip(run / "dies" / "A.h5")
    done = command(run, "--json", expect=5)
    said = json.loads(done.stdout)
    assert said["whole"] is False
    (problem,) = said["problems"]
    assert (problem["path"], problem["mendable"], problem["mended"]) == ("dies/A.h5", True, False)
    assert "dies/A.h5: is not as it was sealed" in done.stderr
    assert "1 problem left; 'labctl verify" in done.stderr
    done = command(run, "--json", "--repair", expect=0)
    (problem,) = json.loads(done.stdout)["problems"]
    assert problem["mended"] is True
    assert "MENDED." in done.stderr


def test_a_run_that_goes_on_is_not_mended(run: Path, command: Callable[..., Any]) -> None:
    flip(run / "dies" / "A.h5")
    with hold(run, "labctl run"):
        done = CliRunner()
        app = typer.Typer()
        register(app)
        result = done.invoke(app, [str(run), "--repair"])
    assert isinstance(result.exception, BenchError)
    command(run, expect=5)


def test_journals_that_were_copied_over_each_other_are_told_apart(run: Path) -> None:
    of_die, of_run = run / "dies" / "A" / "journal.db", run / "journal.db"
    whole = of_run.read_bytes()
    of_run.write_bytes(of_die.read_bytes())
    with pytest.raises(StorageError, match=r"journal\.db is the journal of die A, not of the run: it was copied over"):
        open_run(run)
    with pytest.raises(StorageError, match=r"journal\.db is the journal of die A, not of the run"):
        read_state(run)
    by_path = {problem.path: problem for problem in verify_run(run).problems}
    assert by_path["journal.db"].mend is Mend.JOURNAL
    of_run.write_bytes(whole)
    of_die.write_bytes(whole)
    (run / "dies" / "A.h5").unlink()
    with pytest.raises(StorageError, match=r"journal\.db is the journal of a run, not of A"):
        open_run(run).die("A").table("map")
    by_path = {problem.path: problem for problem in verify_run(run).problems}
    assert by_path["dies/A/journal.db"].mend is None
    assert "its journal is gone or damaged too" in by_path["dies/A.h5"].way_back


def test_what_was_copied_from_another_run_is_not_mended_into_this_one(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", utc="2026-10-01T18:00:00+00:00", monotonic=7.0)
    other = write_run(tmp_path / "other", utc="2026-10-02T18:00:00+00:00", monotonic=9.0)
    (first / "journal.db").write_bytes((other / "journal.db").read_bytes())
    by_path = {problem.path: problem for problem in verify_run(first).problems}
    assert by_path["run.json"].text == "is of another run than journal.db"
    assert by_path["run.json"].mend is None
    damaged = json.loads((other / "run.json").read_text(encoding="utf-8"))
    (other / "run.json").write_text(json.dumps({**damaged, "monotonic": 9.5}), encoding="utf-8")
    assert problems(other) == {"run.json": Mend.MANIFEST}, "one damaged number is no other run"
