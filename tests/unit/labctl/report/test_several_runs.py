"""Several runs beside each other: what changed, how well figures repeat, and what is not compared."""

import math
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from labctl.core.die_state import State
from labctl.core.errors import BenchError, NotThereError, StorageError
from labctl.core.figure import Figure
from labctl.report import several_changes, several_page, several_runs
from labctl.report.several_changes import Moved
from labctl.report.several_maps import colours_of_bins, maps_of
from labctl.report.several_runs import OneRun, Runs, Wafer
from labctl.storage.identity import Identity
from labctl.storage.run_log import DieState, RunState, Try

Night = Callable[[str], Path]
R_P = Figure("r_p", "R_P", "of good cells", unit="ohm", shown_unit="kΩ", factor=1e-3, digits=2)
PLACES = ((1, 0), (2, 0), (0, 1))
META = {"name": "c", "title": "", "body": "simulated", "dies": [], "stages": [], "bins": [], "figures": [R_P.plain()]}


def run(
    label: str, bins: Mapping[str, tuple[str, int]], r_p: Mapping[str, float], meta: Mapping[str, object] = {}
) -> OneRun:
    """Return a run on three dies; one without a bin was not begun."""
    dies = {}
    for name, at in zip(("D1", "D2", "D3"), PLACES, strict=True):
        if name not in bins:
            dies[name] = DieState(name, at)
            continue
        soft, hard = bins[name]
        figures = {"r_p": r_p[name]} if name in r_p else {}
        last = Try(1, State.DONE, 0.0, 1.0, bin=soft, hard=hard, rule="a rule", figures=figures)
        dies[name] = DieState(name, at, (last,), State.DONE)
    state = RunState(META | dict(meta), dies, since=ord(label) * 60.0, exit_code=0)
    return OneRun(label, Path(f"runs/{label}"), state, Identity("W1", "L1", 0, None, PLACES), "wafer W1", "2 x 3", dies)


A = run("A", {"D1": ("good", 1), "D2": ("good", 1), "D3": ("weak", 2)}, {"D1": 2000.0, "D2": 2200.0, "D3": 3000.0})
B = run("B", {"D1": ("good", 1), "D2": ("weak", 2), "D3": ("good", 1)}, {"D1": 2010.0, "D2": 2250.0, "D3": 2970.0})
C = run("C", {"D1": ("weak", 2)}, {"D1": math.nan})


def both_of(*runs: OneRun) -> Runs:
    return Runs(runs, (), (Wafer("wafer W1", "2 x 3", runs),), (R_P,))


def test_dies_are_counted_by_the_bins_they_leave_and_enter() -> None:
    assert several_changes.moved(A, B) == [Moved("good", "weak", ("D2",)), Moved("weak", "good", ("D3",))]
    assert several_changes.moved(A, A) == []
    assert several_changes.moved(A, C) == [Moved("good", "weak", ("D1",))], "others were not tried again"
    assert (several_changes.both(A, B), several_changes.both(A, C)) == (3, 1)


def test_the_final_bin_of_a_die_is_that_of_the_newest_run_that_gave_it_one() -> None:
    assert several_changes.final(Wafer("W1", "", (A, B))) == (2, 3)
    assert several_changes.final(Wafer("W1", "", (A, B, C))) == (1, 3), "D2 and D3 were not tried again"


def test_a_figure_is_compared_die_by_die() -> None:
    known = several_changes.difference(R_P, A, B)
    assert known is not None
    assert (known.dies, known.worst, known.most) == (3, "D2", 50.0)
    assert known.mean == pytest.approx(10.0)  # of 10, 50 and -30
    assert known.spread == pytest.approx(40.0)
    assert known.repeatability == pytest.approx(40.0 / math.sqrt(2))
    assert known.between == pytest.approx(514.2, abs=0.1)  # of 2005, 2225 and 2985
    assert several_changes.difference(R_P, A, C) is None


def test_all_runs_have_one_scale_and_one_colour_for_a_bin() -> None:
    these = both_of(A, B)
    bins, r_p = maps_of(these, [R_P], colours_of_bins(these))
    assert [(name, n) for name, _, _, n in bins.legend] == [("good", 4), ("weak", 2)]
    (one,) = r_p.kinds
    assert one.scale is not None
    assert one.scale[1] == ("2.00", "2.50", "3.00")
    ((first, second, change),) = ([svg for _, _, svg in row.maps] for row in one.rows)
    assert "A, D3: R_P 3.00 kΩ; weak" in first
    assert "B, D3: R_P 2.97 kΩ; good" in second
    assert "D2: R_P 2.20 kΩ, then 2.25 kΩ" in change
    assert [label for label, _, _ in one.rows[0].maps] == ["A", "B", "B less A"]
    assert "the notch is below" in one.rows[0].note


def test_dies_of_another_kind_have_a_scale_of_their_own() -> None:
    other = run("B", {"D1": ("good", 1)}, {"D1": 90e3})
    two = Runs((A, other), (), (Wafer("wafer W1", "2 x 3", (A,)), Wafer("wafer W1", "25 x 25", (other,))), (R_P,))
    _, r_p = maps_of(two, [R_P], colours_of_bins(two))
    assert [one.scale and one.scale[1] for one in r_p.kinds] == [("2.00", "2.50", "3.00"), ("90.00", "90.00", "90.00")]


def test_the_page_says_what_changed_and_leads_from_maps_to_dies() -> None:
    page = several_page.html(both_of(A, B, C))
    assert "3 runs on wafer W1: 3 dies changed their bin." in page
    assert "66.7" in page  # yield of A
    targets = set(re.findall(r'href="#([^"]+)"', page))
    ids = re.findall(r'id="([^"]+)"', page)
    assert targets <= set(ids)
    assert len(ids) == len(set(ids))
    assert not re.findall(r"https?://|src=|@import", page)


def test_what_is_not_the_same_is_said_before_it_is_compared() -> None:
    other = run(
        "B", {"D1": ("good", 1)}, {}, {"stages": [{"procedure": "survey"}], "bins": [{"bin": "weak", "when": "x"}]}
    )
    notes = " ".join(both_of(A, other).notes)
    assert "the stages differ (A: none; B: survey)" in notes
    assert "the rules of bins differ, so that a die may change its bin without having changed" in notes
    assert both_of(A, B).notes == []
    seeds = " ".join(both_of(run("A", {}, {}, {"seed": 1}), run("B", {}, {}, {"seed": 2})).notes)
    assert "simulated with several seeds (A: 1; B: 2): these are other dies" in seeds


def test_runs_are_read_from_their_folders_and_one_that_cannot_be_read_is_left_out(night: Night, tmp_path: Path) -> None:
    copy = shutil.copytree(night("kill"), tmp_path / "again")
    nothing = tmp_path / "nothing"
    these = several_page.write_page([night("end"), copy, nothing], tmp_path / "page.html")
    assert {run.folder for run in these.runs} == {night("end"), copy}
    assert [str(nothing) in text for text in these.unread] == [True]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "A run is left out" in page
    assert "it was broken off, and can be resumed" in page
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    with pytest.raises(BenchError, match="nothing is ever written over"):
        several_page.write_page([night("end"), copy], tmp_path / "page.html")
    with pytest.raises(BenchError, match="is named twice"):
        several_runs.gather([copy, copy])
    with pytest.raises(BenchError, match="are the same run, one a copy of the other"):
        several_runs.gather([night("end"), night("kill"), copy])
    with pytest.raises(NotThereError):
        several_runs.gather([nothing, tmp_path / "nor here"])


def test_the_kind_of_dies_is_read_from_the_first_die_that_can_be_read(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(name: str) -> SimpleNamespace:
        if name != "E":
            raise StorageError(f"{name} is damaged")
        return SimpleNamespace(meta={"description": {"geometry": {"kind": "1T1R", "n_rows": 3, "n_cols": 4}}})

    opened = SimpleNamespace(dies=("golden", "A", "B", "C", "D", "E"), die=die)
    monkeypatch.setattr(several_runs, "open_run", lambda folder: opened)
    first, second = several_runs.gather([night("kill"), night("end")]).runs
    assert (first.kind, second.kind) == ("1T1R, 3 x 4 cells",) * 2
    opened.dies = ("golden", "A", "B", "C", "D")
    first, _ = several_runs.gather([night("kill"), night("end")]).runs
    assert (first.kind, "what its dies are cannot be read: D is damaged" in first.notes) == ("", True)
