"""Nobody takes a rehearsed night for a measurement: everything that is made of it says what it is."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from labctl.core.errors import BenchError
from labctl.core.events import FaultInjected
from labctl.core.planned_fault import InjectedFaults, PlannedFault
from labctl.export.bins import write_bins
from labctl.export.csv import die_rows
from labctl.export.stdf import write_stdf
from labctl.report.html import write_report
from labctl.report.rehearsal import rehearsal_text_of
from labctl.report.report_data import gather
from labctl.report.summary import show, summary
from labctl.storage.journal import Journal
from labctl.storage.manifest import FORMAT, run_meta
from labctl.storage.run_log import Runlog, read_state

FAULTS = InjectedFaults("typical", 7, (PlannedFault(1, "busy", "D0", "smu1", 3), PlannedFault(2, "dead die", "D1")))
TEXT = (
    "REHEARSAL, AND NO MEASUREMENT: injected faults (typical, seed 7), 1 of 2 have happened: busy (smu1, die D0); "
    "not: dead die (die D1)"
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    meta = {
        "format": FORMAT,
        "name": "night",
        "body": "simulated, with injected faults (typical, seed 7)",
        "dies": [{"name": name, "at": [k, 0], "excluded": ""} for k, name in enumerate(("D0", "D1"))],
        "faults": FAULTS.plain(),
    }
    with Runlog.create(tmp_path / "run", meta) as log:
        log.write(FaultInjected(number=1, what="busy", die="D0", instrument="smu1", text="at 'print(1)'"))
    (tmp_path / "run" / "run.json").write_text(json.dumps(meta), encoding="utf-8")
    return tmp_path / "run"


def test_the_report_of_a_rehearsed_night_says_so_and_what_has_happened(run: Path) -> None:
    facts = gather(run)
    assert facts.rehearsal == TEXT
    assert facts.faults is not None
    assert [(fault["number"], fault["happened"]) for fault in facts.faults["list"]] == [(1, True), (2, False)]
    assert "faults" not in facts.provenance
    text = write_report(run).read_text(encoding="utf-8")
    assert TEXT in text
    assert "<title>Rehearsal: night" in text
    assert "injected fault 1: busy at smu1" in text
    written = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert (written["rehearsal"], written["faults"]["happened"]) == (TEXT, 1)


def test_the_screen_says_so_too(run: Path) -> None:
    screen = io.StringIO()
    Journal.create(run / "dies" / "D0", {"die": "D0"}).finish()
    show(run, Console(file=screen, width=100))
    assert TEXT in screen.getvalue()
    assert rehearsal_text_of(run / "dies" / "D0.h5", run_meta(run)) == TEXT.partition(", 1 of")[0]
    assert summary(run)["faults"]["seed"] == 7


def test_what_is_exported_says_so_or_is_refused(run: Path) -> None:
    state = read_state(run)
    header, *rows = die_rows(state)
    assert [row[header.index("rehearsal")] for row in rows] == [FAULTS.text] * 2
    assert {len(row) for row in rows} == {len(header)}
    with pytest.raises(BenchError, match="is no measurement, and a map of bins could not say so"):
        write_bins(state, run / "bins.xml")
    write_stdf(state, run / "run.stdf")
    assert b"with injected faults" in (run / "run.stdf").read_bytes()


def test_of_a_run_without_faults_nothing_is_said(tmp_path: Path) -> None:
    Runlog.create(tmp_path / "run", {"dies": []}).finish()
    assert rehearsal_text_of(tmp_path / "run", {}) == rehearsal_text_of(tmp_path, {}) == ""
