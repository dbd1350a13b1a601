"""The list of runs: which there are, where each stands, and what is left out."""

import os
import sys
import threading
from pathlib import Path

import pytest

from labctl.core.errors import StorageError
from labctl.core.events import RunEnded
from labctl.core.exit_codes import Status
from labctl.report.pace import Pace
from labctl.serve import run_list
from labctl.serve.run_list import RunList
from labctl.storage.journal import Journal
from labctl.storage.run_log import Runlog
from tests.waiting import PATIENCE


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_list, "_LEAST", 0.0)
    monkeypatch.setattr(run_list, "_SHARE", 1e9)


def test_what_goes_on_comes_first_and_what_is_damaged_says_so(runs: Path) -> None:
    listed = RunList(runs).runs()
    assert listed[0].id == "going"
    of = {run.id: run for run in listed}
    assert set(of) == {"going", "killed", "ended", "damaged"}
    assert "labctl run night.yaml" in of["going"].alive
    assert of["going"].text == "still running"
    assert (of["going"].done, of["going"].good, of["going"].total) == (3, 1, 6)
    assert of["killed"].text.startswith("broken off")
    assert of["ended"].text == "stopped by the operator"
    assert "is damaged" in of["damaged"].problem
    assert not any(of[name].problem for name in ("going", "killed", "ended"))


def test_a_run_that_has_ended_is_read_once_and_one_that_goes_on_is_followed(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = RunList(runs)
    every.runs()
    read = list[str]()
    original = run_list.read_run
    monkeypatch.setattr(run_list, "read_run", lambda folder, *more: read.append(folder.name) or original(folder, *more))
    every.runs()
    assert sorted(read) == ["damaged", "going", "killed"]  # of these something may be new without a new row
    with Runlog.open(runs / "going") as log:
        log.write(RunEnded(outcome=Status.ABORT, exit_code=4, reason="enough"))
    of = {run.id: run for run in every.runs()}
    assert (of["going"].alive, of["going"].exit_code) == ("", 4)
    read.clear()
    every.runs()
    assert sorted(read) == ["damaged", "killed"]
    read.clear()
    every._again = Pace(1e9, 1e9)
    with every._again.work():
        pass
    every.runs()
    assert read == [], "they have a pace of their own"


def test_what_is_said_of_a_bench_follows_its_locks_and_its_latch(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["its guard makes the bench safe at this moment", "OUTPUTS MAY BE ON"])
    every = RunList(runs)
    for text in said:
        monkeypatch.setattr(run_list, "bench_text", lambda *_, text=text: text)
        (killed,) = [run for run in every.runs() if run.id == "killed"]
        assert killed.text.endswith(text)


def test_a_run_that_was_mended_is_listed_again_though_its_journal_was_not_written(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, *_: object) -> None:
        raise StorageError(f"{folder}: cannot be read: Permission denied")

    every = RunList(runs)
    with monkeypatch.context() as denied:
        denied.setattr(run_list, "read_run", refuse)
        assert all("Permission denied" in run.problem for run in every.runs())
    assert [run.id for run in every.runs() if run.problem] == ["damaged"]


def test_many_who_look_at_once_read_once_and_get_the_list_of_before(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = RunList(runs)
    before = every.runs()
    inside, leave, looks = threading.Event(), threading.Event(), list[int]()

    def look() -> list[run_list.Listed]:
        looks.append(1)
        inside.set()
        assert leave.wait(PATIENCE)
        return []

    monkeypatch.setattr(every, "_look", look)
    first = threading.Thread(target=every.runs)
    first.start()
    assert inside.wait(PATIENCE)
    assert every.runs() == before
    leave.set()
    first.join(PATIENCE)
    assert (every._listed, len(looks)) == ((), 1)


def test_a_folder_that_is_a_run_has_that_one(runs: Path) -> None:
    single = RunList(runs / "ended")
    assert single.single == "ended"
    assert [run.id for run in single.runs()] == ["ended"]
    assert single.folder("ended") == runs / "ended"
    assert RunList(runs).single == ""


def test_names_that_are_no_run_lead_nowhere(runs: Path) -> None:
    (runs / "notes").mkdir()
    (runs.parent / "secret").mkdir()
    (runs.parent / "secret" / "run.json").write_text("{}")
    every = RunList(runs)
    for name in ("notes", "..", ".", "", "../secret", "ended/../killed", "ended/dies", "/etc", "ended\0"):
        assert every.folder(name) is None, name


@pytest.mark.skipif(sys.platform == "win32", reason="a link needs a right there")
def test_a_link_that_leads_out_of_the_folder_is_left_out(runs: Path) -> None:
    other = runs.parent / "other"
    (runs / "ended").rename(other)
    os.symlink(other, runs / "out")
    os.symlink(runs / "killed", runs / "newest")
    names = {run.id for run in RunList(runs).runs()}
    assert "out" not in names
    assert "newest" in names


def test_work_by_hand_and_a_run_without_its_journal_say_what_they_are(runs: Path) -> None:
    for name, text in (("hand", '{"kind": "by hand"}'), ("lost", '{"name": "n"}')):
        (runs / name).mkdir()
        (runs / name / "run.json").write_text(text)
    of = {run.id: run.problem for run in RunList(runs).runs()}
    assert "a session by hand" in of["hand"]
    assert "the journal of the run is gone" in of["lost"]


def test_a_folder_that_is_gone_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read: No such file"):
        RunList(tmp_path / "nowhere").runs()


def test_a_folder_that_goes_away_is_said_as_long_as_it_is_away(runs: Path) -> None:
    every = RunList(runs)
    every.runs()
    runs.rename(runs.parent / "away")
    every._pace = Pace(1e9, 1e9)
    for _ in range(2):
        with pytest.raises(StorageError, match="cannot be read: No such file"):
            every.runs()


def test_only_the_newest_are_listed(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_list, "MOST", 2)
    os.utime(runs / "killed" / "journal.db", (1, 1))
    os.utime(runs / "killed" / "run.json", (1, 1))
    listed = [run.id for run in RunList(runs).runs()]
    assert len(listed) == 2
    assert "killed" not in listed


def test_looking_leaves_journals_as_they_are(runs: Path) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        files = (p for p in runs.rglob("*") if p.is_file() and not p.name.endswith(("-shm", "-wal")))
        return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in files}

    before = state()
    RunList(runs).runs()
    assert state() == before
    with Journal.open(runs / "going", readonly=False):  # nobody is in the way of who writes
        pass
