"""What the report says of a run: from the run folder alone, whatever state it was left in."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from labctl.analysis.distributions import Comparison, Line, LineKind
from labctl.analysis.figures import SECONDS
from labctl.analysis.measurements import measure
from labctl.analysis.zones import Zone
from labctl.config.pass_range import limits_of
from labctl.core.errors import StorageError
from labctl.core.figure import Figures
from labctl.core.planned_fault import InjectedFaults, PlannedFault
from labctl.core.record import Record
from labctl.core.retest import GivenBin, Retest
from labctl.core.units import Conductances
from labctl.report import report_data
from labctl.report.rehearsal import rehearsal
from labctl.report.report_data import Facts, gather
from labctl.report.report_json import as_json
from labctl.report.run_folder import worked
from labctl.storage.journal import Journal
from labctl.storage.results import DieData
from labctl.storage.run_log import RunState
from tests.declared import FIGURES

Night = Callable[[str], Path]
ROOT = Path(__file__).parents[4]


def test_every_die_with_its_bin_and_what_it_measured(night: Night) -> None:
    facts = gather(night("kill"))
    assert [d.name for d in facts.dies] == ["A", "B", "C", "D", "E", "F", "X"]
    assert (facts.good, facts.meant) == (1, 6)
    assert facts.bins == {"good": 1, "pending": 2, "left out": 1, "broken off": 1, "contact": 1, "low-fidelity": 1}
    a, b = facts.dies[:2]
    assert (a.at, a.good, a.hard, a.file) == ((3, 1), True, 1, "dies/A.h5")
    expected = {
        "r_p": 2500, "r_ap": 5000, "tmr": 1, "defects": 1, "contact": 6, "touches": 2, "seconds": 125,
        "fidelity": 0.975, "accuracy_test": 0.9, "accuracy_train": 0.95, "v_switch": (3 * 0.44 + 6 * 0.42) / 9,
        "v_switch_p": (0.44 + 3 * 0.42) / 4, "v_switch_ap": (2 * 0.44 + 3 * 0.42) / 5, "good": 39 / 40,
        "software_test": 0.96, "software_train": 0, "accuracy_untuned": 0, "networks": 1, "short": 1,
        "accuracy_drop": 0.16, "information": 3, "labels": 100,
        **dict.fromkeys(("open", "stuck_p", "stuck_ap", "low_tmr", "unreadable", "not_reached"), 0),
    }  # fmt: skip
    assert dict(a.figures) == pytest.approx(expected)
    assert a.measured.cells == 40
    assert a.measured.contact == {"1-2": 4.0, "3-4": 8.0}
    assert b.file == "dies/B~2.h5"
    assert b.measured.defects == {"short": 6}
    assert b.suspect
    assert [(t.number, t.state, t.bin) for t in b.tries] == [(1, "error", "error"), (2, "done", "low-fidelity")]
    assert b.figures["seconds"] == 135
    assert b.measured.networks[0]["fidelity_interval"] == [0.87, 0.99]
    assert b.measured.networks[0]["software_test"] == 0.96


def test_a_die_under_which_the_run_was_killed_tells_what_its_journal_has(night: Night) -> None:
    facts = gather(night("kill"))
    d = facts.dies[3]
    assert (d.state, d.bin, d.file, d.measured.sealed) == ("broken off", "", "dies/D/journal.db", False)
    assert d.figures["r_p"] == pytest.approx(2500)
    assert d.figures["seconds"] == 60
    assert "accuracy_test" not in d.figures
    assert [(s.name, s.outcome) for s in d.measured.stages] == [("survey", "success"), ("network", "")]
    assert facts.text.startswith("broken off")
    assert (facts.alive, facts.exit_code) == ("", None)


def test_golden_visits_count_in_no_yield_but_show_the_drift(night: Night) -> None:
    facts = gather(night("kill"))
    assert [d.name for d in facts.golden] == ["A@1"]
    assert sum(facts.bins.values()) == 7
    series = {s.key: s for s in facts.series}
    points = {p.die: p for p in series["r_p"].points}
    assert [name for name, p in points.items() if p.golden] == ["A@1"]
    assert points["A@1"].value == pytest.approx(2500 / 1.05)
    assert points["A"].value == pytest.approx(2500)
    assert points["A"].utc < points["B"].utc < points["A@1"].utc <= points["D"].utc


def test_distributions_are_of_the_good_cells_of_all_dies_but_golden_visits(night: Night) -> None:
    conductance, tmr, voltage, pulses = gather(night("kill")).distributions
    n = 3 * 40 - 1 - 6
    assert {b.name: sum(b.counts) for b in conductance.bars} == {"P": n, "AP": n}
    assert conductance.beyond == 0
    p = next(b for b in conductance.bars if b.name == "P")
    at = int(np.argmax(p.counts))
    assert p.edges[at] <= 400 <= p.edges[at + 1]
    assert {b.name: sum(b.counts) for b in voltage.bars} == {"to P": 3 * 4, "to AP": 3 * 5}
    assert sum(tmr.bars[0].counts) == n
    assert sum(pulses.bars[0].counts) == 3 * 12


def test_time_is_that_of_the_sessions_not_of_the_pause_between(night: Night) -> None:
    assert gather(night("end")).seconds == gather(night("kill")).seconds + 20
    assert worked([]) == 0.0
    assert gather(night("end")).resumes == 1


def test_predicted_stands_beside_taken(night: Night) -> None:
    facts = gather(night("end"))
    assert facts.predicted == {"seconds": 900.0, "bytes": 3e6}
    folder = night("end")
    assert facts.bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def test_what_is_left_to_do_is_a_command_to_paste(night: Night) -> None:
    start, kill, end = (night(name) for name in ("start", "kill", "end"))
    assert gather(start).redo == (("go on: 6 dies not begun", f"labctl resume {start}"),)
    commands = [command for _, command in gather(kill).redo]
    again = "labctl run night.yaml --set 'accept.fidelity=97 %' --only"
    retest = again.replace("--only", "--retest")
    assert commands == [
        f"labctl resume {kill}",
        f"labctl resume {kill} --only D",
        f"{retest} {kill} --bins contact",
        f"{again} B",
    ]
    whys = {command: why for why, command in gather(end).redo}
    assert whys[f"{again} E"] == "1 die: skipped; measure in a new run"
    assert whys[f"labctl resume {end} --only D"] == "go on with these only: 1 interrupted"


def test_every_row_of_the_journal_is_an_event(night: Night) -> None:
    facts = gather(night("end"))
    with Journal.open(night("end")) as journal:
        assert [e.seq for e in facts.events] == [e.seq for e in journal.events()]
    assert facts.events[-1].text == "run stopped by the operator"
    assert facts.text == "stopped by the operator"


def test_a_run_of_which_nothing_has_happened_yet(night: Night) -> None:
    facts = gather(night("start"))
    assert facts.bins == {"pending": 6, "left out": 1}
    assert facts.since == facts.until > 1e9
    assert facts.dies[-1].reason == "excluded by the campaign"
    assert (facts.series, facts.distributions, facts.seconds) == ((), (), 0.0)


def test_the_json_is_the_same_with_null_for_what_is_no_number(night: Night) -> None:
    facts = gather(night("kill"))
    plain = json.loads(as_json(facts), parse_constant=pytest.fail)
    assert (plain["format"], plain["good"], plain["dies"][1]["tries"][0]["state"]) == (1, 1, "error")
    assert plain["dies"][0]["figures"] == pytest.approx(dict(facts.dies[0].figures))
    assert plain["dies"][0]["measured"]["networks"][0]["wer_to_p"] is None
    assert plain["redo"][0] == {"why": facts.redo[0].why, "command": facts.redo[0].command}
    assert plain["series"][0]["points"][0] == facts.series[0].points[0]._asdict()


def test_every_accuracy_has_its_terms(night: Night) -> None:
    facts = gather(night("kill"))
    text = (
        "tuned: one set of weights, die information 3 (labelled tuning images), 100 labels, digital help: none; "
        "periphery: that of the bench"
    )
    assert facts.accuracies == (text,)
    (accuracy,) = facts.dies[0].measured.accuracies
    assert (accuracy["solution"], accuracy["way"], accuracy["information"]) == (7, "tuned", 3)
    assert accuracy["drop_test"] == pytest.approx(0.96 - 0.8)
    assert (accuracy["labelled"], accuracy["unlabelled"], accuracy["analog"]) == (100, 0, True)


def with_limits(facts: Facts) -> Facts:
    """Return facts of a retest of a wafer with zones and rules, whose dies have a nominal size and limits."""
    rule = {"bin": "low-fidelity", "hard": 2, "when": "fidelity < 98 %"}
    line = (Line(LineKind.LIMIT, 98.0, "write fidelity ≥ 98.00 %"),)
    nominal = {"80 nm": {"g_p": 4e-4, "g_ap": 2e-4, "tmr": 1.0}}
    dies = [replace(d, zone=Zone.EDGE, measured=replace(d.measured, nominal=nominal)) for d in facts.dies]
    before = {d.name: GivenBin("contact", 5) for d in facts.dies}
    return replace(
        facts,
        retest=Retest("runs/a", "4f", ("contact",), before, before),
        dies=tuple(dies),
        series=tuple(replace(one, lines=line) for one in facts.series),
        distributions=tuple(replace(one, lines=line) for one in facts.distributions),
        comparison=Comparison(limits_of([rule]), FIGURES),
        provenance={**facts.provenance, "bins": [rule]},
    )


def test_the_document_describes_every_key(night: Night) -> None:
    text = (ROOT / "docs" / "report-json.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE))
    # what is under other keys that the run gives their names, bins for instance, is described once
    free = {name.removesuffix(".<name>") for name in described if name.endswith(".<name>")}

    def keys(value: object, at: str) -> set[str]:
        if isinstance(value, list):
            return set().union(*(keys(v, f"{at}[]") for v in value))
        if not isinstance(value, dict):
            return set()
        under = {f"{at}.<name>" if at in free else f"{at}.{k}".lstrip("."): v for k, v in value.items()}
        return set(under).union(*(keys(v, name) for name, v in under.items()))

    runs = [json.loads(as_json(gather(night(n)))) for n in ("kill", "end")]
    assert {"argv", "files", "seed", "git_commit"} <= set(runs[0]["provenance"])
    night_with_faults = InjectedFaults("typical", 1, (PlannedFault(1, "busy", "A"),))
    runs.append({"faults": rehearsal(RunState({"faults": night_with_faults.plain()}, {}))})
    runs.append(json.loads(as_json(with_limits(gather(night("kill"))))))
    found = {k for run in runs for k in keys({**run, "provenance": 0}, "") if not k.startswith("golden[].")}
    assert keys(runs[0]["golden"], "dies") <= found
    assert found - described == set()
    assert described - found == set()


def test_the_document_has_every_figure_as_it_is_declared() -> None:
    text = (ROOT / "docs" / "report-json.md").read_text(encoding="utf-8").partition("## Figures of a die")[2]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    table = [f"| {f.key} | {f.title} | {f.unit or 1} | {f.number} | {f.note} |" for f in (FIGURES[k] for k in FIGURES)]
    assert lines == ["| figure | title | unit | STDF | what it is |", *table]


def test_a_damaged_file_costs_its_own_figures_only(night: Night, tmp_path: Path) -> None:
    folder = shutil.copytree(night("kill"), tmp_path / "run")
    sealed = folder / "dies" / "A.h5"
    sealed.write_bytes(sealed.read_bytes()[:3000])
    a, b = gather(folder).dies[:2]
    assert "A.h5" in a.measured.note
    assert a.bin == "good"
    assert "r_p" not in a.figures
    assert b.figures["r_p"] == pytest.approx(2500)
    sealed.unlink()
    shutil.rmtree(sealed.with_suffix(""))
    gone = gather(folder).dies[0]
    assert "A.h5 is gone, and so is its journal" in gone.measured.note
    assert gone.file == ""


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no run here"):
        gather(tmp_path)


@dataclass(frozen=True, eq=False, kw_only=True)
class SomebodyElses(Record):
    table: ClassVar[str] = "survey"

    g: Conductances


def test_tables_of_the_same_name_that_hold_something_else_are_left_alone(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "X", {"die": "X"}) as journal:
        journal.record("survey", SomebodyElses(g=np.ones(3)))
    found, _ = measure(DieData("X", tmp_path / "X", False), Figures(()))
    assert (found.figures, found.note) == ({}, "")


def test_the_time_of_dies_is_in_seconds_until_one_took_two_minutes() -> None:
    figures, seconds = Figures([SECONDS]), SECONDS.key
    dies = [SimpleNamespace(figures={seconds: time}) for time in (0.4, 119.0)]
    assert report_data._in_seconds(figures, dies)[seconds].text(0.4) == "0.4 s"  # type: ignore[arg-type]
    longer = [*dies, SimpleNamespace(figures={seconds: 120.0}), SimpleNamespace(figures={})]
    assert report_data._in_seconds(figures, longer)[seconds].text(120.0) == "2.00 min"  # type: ignore[arg-type]
