"""What `show` prints of runs that are finished, killed, defective, or have not come to much yet."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from rich.console import Console

from labctl.core.defects import Defect, DefectArray
from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import DieEnded, StageStarted
from labctl.core.exit_codes import Status
from labctl.core.record import Record
from labctl.core.units import Amperes, BoolArray, Conductances, FloatArray, IntArray, Ratio
from labctl.report import die_figures, pictures, summary
from labctl.storage.hdf5_writer import seal
from labctl.storage.journal import Journal
from labctl.storage.manifest import FORMAT
from tests.declared import DECLARED


@dataclass(frozen=True, eq=False, kw_only=True)
class Survey(Record):
    table: ClassVar[str] = "survey"

    kernel: int
    g_p: Conductances
    g_ap: Conductances
    tmr: FloatArray
    defect: DefectArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Write(Record):
    table: ClassVar[str] = "write"

    solution: int
    fidelity: Ratio


@dataclass(frozen=True, eq=False, kw_only=True)
class Inference(Record):
    table: ClassVar[str] = "inference"

    solution: int
    accuracy_untuned_train: Ratio
    accuracy_untuned_test: Ratio
    accuracy_tuned_train: Ratio
    accuracy_tuned_test: Ratio
    float_tuned_train: Ratio
    confusion_tuned_test: IntArray


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerCurrent(Record):
    table: ClassVar[str] = "layer_current"

    untuned: Amperes
    untuned_ideal: Amperes


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadBack(Record):
    table: ClassVar[str] = "readback"
    columnar: ClassVar[bool] = True

    target: BoolArray
    conductance: Conductances


def survey(defect: dict[tuple[int, int], Defect]) -> Survey:
    rng = np.random.default_rng(3)
    codes = np.zeros((5, 4), np.uint8)
    g_p = 4e-4 * rng.normal(1, 0.02, codes.shape)
    for at, kind in defect.items():
        codes[at] = kind
        g_p[at] = {Defect.SHORT: 1e-2, Defect.OPEN: 1e-7}.get(kind, 4e-4)
    g_ap = g_p / 2.1
    return Survey(kernel=0, g_p=g_p, g_ap=g_ap, tmr=g_p / g_ap - 1, defect=codes)


def begin(run: Path, die: str, meta: dict[str, Any] | None = None) -> Journal:
    return Journal.create(run / "dies" / die, {"die": die, "seed": 7, "body": "simulated", **DECLARED, **(meta or {})})


def learn(journal: Journal, **defect: Any) -> None:
    rng = np.random.default_rng(4)
    journal.event(StageStarted(settings={"v_read": 0.1, "inference": {"v_read": 0.05}}), stage="network")
    journal.record("survey", survey({(1, 2): Defect.SHORT, (4, 0): Defect.OPEN} if defect else {}))
    for k in range(3):
        journal.record("network", Write(solution=k, fidelity=1 - k / 100))
        right = [[8, 1], [0, 9]]
        figures = dict.fromkeys(("accuracy_untuned_train", "accuracy_untuned_test"), 0.9 - k / 50)
        tuned = dict.fromkeys(("accuracy_tuned_train", "accuracy_tuned_test", "float_tuned_train"), 0.99)
        journal.record("network", Inference(solution=k, **figures, **tuned, confusion_tuned_test=np.array(right)))
        ideal = rng.normal(0, 1e-4, (9, 5))
        journal.record("network", LayerCurrent(untuned=ideal * 1.01, untuned_ideal=ideal))
        g = np.where(np.arange(6) % 2, 4e-4, 1.9e-4)
        journal.record("network", ReadBack(target=np.arange(6) % 2 == 1, conductance=g))


def end(journal: Journal, bin_: str = "good", outcome: str = "success", reason: str = "") -> None:
    journal.event(DieEnded(bin=bin_, outcome=Status(outcome), state=State.DONE, reason=reason))
    journal.finish()
    journal.close()


def make(run: Path, *names: str) -> Path:
    (run / "dies").mkdir(parents=True)
    dies = [{"name": name, "excluded": ""} for name in names]
    meta = {"format": FORMAT, "name": "night", "title": "a title", "dies": dies, **DECLARED}
    (run / "run.json").write_text(json.dumps(meta), "utf-8")
    return run


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A run killed between the second die's survey and its end; a third ended but was not sealed; two never began."""
    run = make(tmp_path / "run", "D4", "D3", "D2", "D1", "D0")
    journal = begin(run, "D4")
    learn(journal, short=True)
    end(journal, "low-fidelity")
    seal(run, "D4")
    with begin(run, "D3") as journal:
        journal.record("survey", survey({}))
    journal = begin(run, "D2")
    learn(journal)
    end(journal, "error", "fail", "the reason\nmore")
    return run


def shown(run: Path, width: int = 130, **more: Any) -> str:
    file = io.StringIO()
    summary.show(run, Console(file=file, width=width, highlight=False), **more)
    return file.getvalue()


def test_a_killed_run_lists_every_die_and_what_became_of_it(killed: Path) -> None:
    rows = [line.split() for line in shown(killed).splitlines()]
    assert [row[:2] for row in rows if row and row[0][0] == "D" and row[0][1:].isdigit()] == [
        ["D4", "low-fidelity"],
        ["D3", "unfinished"],
        ["D2", "not"],
        ["D1", "not"],
        ["D0", "not"],
    ]
    said = shown(killed)
    assert "This run is unfinished: 1 die unfinished, 1 die not sealed, 2 dies not started." in said
    assert "D2: unfinished: the reason" in said
    assert "more\n" not in said
    found = summary.summary(killed)
    assert found["outcome"] == "unfinished"
    assert [d["bin"] for d in found["dies"]] == [
        *("low-fidelity", "unfinished", "not sealed", "not started", "not started")
    ]
    assert [len(d["solutions"]) for d in found["dies"]] == [3, 0, 3, 0, 0]


def test_a_finished_run_is_not_called_unfinished_and_its_sealed_die_alone_neither(killed: Path) -> None:
    assert summary.summary(killed / "dies" / "D4.h5")["outcome"] == "success"
    said = shown(killed / "dies" / "D4.h5")
    assert "unfinished" not in said
    assert "D0" not in said


@pytest.mark.parametrize("width", [60, 80, 100, 120, 130])
def test_the_table_fits_every_screen_and_says_what_it_leaves_out(killed: Path, width: int) -> None:
    said = shown(killed, width)
    assert "…" not in said
    assert max(len(line) for line in said.splitlines()) <= width
    assert "99.00" in said
    shown_part, _, gone = said.partition(f"Not shown in {width} columns: ")
    missing = " ".join(gone.partition("\n\n")[0].split())
    left_out = set()
    for title, unit in {"R_P": "kohm", "TMR": "%", "R_AP": "kohm", "defects": "", "worst fidelity": "%"}.items():
        absent = f"{title} {unit}".rstrip() in missing
        assert (f"\n{title}: " in shown_part) != absent
        left_out |= {title} if absent else set()
    assert ("worst fidelity" in left_out) == (width < 100)
    assert not left_out & {"R_P", "TMR"}


def test_the_legend_says_that_r_p_is_apparent(killed: Path) -> None:
    assert "of the good cells as they read in the array, wires included: mean of the middle half" in shown(killed, 200)


def test_maps_are_of_one_die_and_say_how_to_see_another(killed: Path) -> None:
    said = shown(killed, maps=True)
    assert "D4 kernel 0: G_P as surveyed, from" in said
    assert "S short, O open" in said
    lines = said[said.index("as surveyed, from") :].splitlines()[1:6]
    assert [len(line) for line in lines] == [10] * 5
    assert lines[1][6:8] == "SS"
    assert lines[4][2:4] == "OO"
    assert "Drawn is die D4 only" in said
    assert "--die D3" in said
    assert "D3 kernel 0" not in said


def test_a_die_can_be_named(killed: Path) -> None:
    said = shown(killed, maps=True, die="D3")
    assert "D3 kernel 0" in said
    assert "D4 kernel 0" not in said
    assert "short" not in said
    assert "nothing to draw of die D0 yet" in shown(killed, maps=True, die="D0")
    with pytest.raises(StorageError, match="no die 'X'; it has D4, D3, D2, D1, D0"):
        shown(killed, maps=True, die="X")


def test_a_run_of_which_nothing_has_begun_shows_its_dies(tmp_path: Path) -> None:
    said = shown(make(tmp_path / "run", "A", "B"), maps=True)
    assert "2 dies not started" in said
    assert "nothing to draw yet" in said


def test_a_short_does_not_take_the_scale_of_the_others() -> None:
    found = survey({(1, 2): Defect.SHORT, (4, 0): Defect.OPEN})
    low, high = die_figures.good_range(found.g_p, found.defect == 0)
    assert 3.7e-4 < low < high < 4.3e-4
    assert die_figures.good_range(np.array([np.nan, 2.0, 4.0]), np.zeros(3, np.bool_))[0] == pytest.approx(2.02)
    assert die_figures.good_range(np.array([np.nan]), np.ones(1, np.bool_)) == (0.0, 1.0)


@pytest.mark.slow
def test_pictures_are_drawn_into_the_run_from_wherever_it_was_opened(killed: Path) -> None:
    drawn = pictures.plot(killed)
    assert drawn == [killed / "plots" / f"{name}.png" for name in ("D4", "D3", "D2")]
    sizes = [picture.stat().st_size for picture in drawn]
    assert min(sizes) > 10_000
    assert sizes[0] > sizes[1]
    for picture in drawn:
        picture.unlink()
    assert pictures.plot(killed / "dies" / "D4.h5") == [killed / "plots" / "D4.png"]
    alone = killed.parent / "alone"
    alone.mkdir()
    (killed / "dies" / "D4.h5").rename(alone / "D4.h5")
    assert pictures.plot(alone / "D4.h5") == [alone / "plots" / "D4.png"]


def test_the_caption_says_what_is_known(killed: Path) -> None:
    from labctl.report import die_plots
    from labctl.storage.results import open_run

    assert die_plots.caption(open_run(killed).die("D4")) == (
        "5 x 4 cells  ·  simulated  ·  seed 7  ·  read at 50 mV, 100 mV"
    )
    described = {"description": {"junction": {"diameter": None, "kernel_diameters": [6.5e-8, 8e-8]}}}
    with begin(killed, "D0", described):
        pass
    assert die_plots.caption(open_run(killed).die("D0")) == "65/80 nm  ·  simulated  ·  seed 7"
