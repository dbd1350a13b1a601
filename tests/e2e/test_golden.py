"""A bench that drifts in the night: the alarm, the dies in doubt, the stop, and what report and watch screen show."""

import json
import subprocess
import sys

import pytest

from labctl.batch import session
from labctl.batch.session import RunOptions
from labctl.core.die_state import State
from labctl.core.events import DiesInDoubt, VisitBegun, VisitJudged
from labctl.core.site import Site
from labctl.report import report_data
from labctl.station import composition
from labctl.station.rehearse import rehearsed
from labctl.station.simulated import simulated
from labctl.storage.run_log import read_state
from tests.e2e.conftest import EXAMPLES
from tests.waiting import PATIENCE

DRIFT = 1.08
"""Of all resistances, from the third visit on."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A campaign over three small dies and a golden one, which stops when that has drifted."""
    die = json.dumps(str(EXAMPLES / "dies/passive-15x15.yaml"))
    change = "{geometry: {kernels: 1, n_rows: 9, n_cols: 8}}"
    dies = "".join(f"  - {{name: {name}, file: {die}, change: {change}}}\n" for name in "GABC")
    found = tmp_path_factory.mktemp("golden") / "golden.yaml"
    found.write_text(f"""
name: golden
seed: 7
dies:
{dies}
limits:
  {{v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV,
    pulses_per_cell: 1000}}
stages: [survey: {{}}]
batch: {{golden: {{die: G, every: 1, drift: {{r_p: 5 %, r_ap: 5 %}}}}, stop: {{golden_drift: true}}}}
""")
    return found


def test_a_drift_goes_from_the_visit_to_the_report(path, tmp_path, monkeypatch):
    whole = simulated

    def drifted(subject):
        if subject.visit < 3:
            return whole(subject)
        kind = subject.description
        junction = kind.junction.model_copy(update={"ra": kind.junction.ra * DRIFT})
        changed = Site(subject.name, kind.model_copy(update={"junction": junction}), subject.seed)
        monkeypatch.undo()
        return whole(changed)

    monkeypatch.setattr("labctl.station.simulated.simulated", drifted)
    prepared, plans = rehearsed(composition.read(path))
    assert [p.die for p in plans] == ["A", "B", "C", "G@1", "G@2", "G@3", "G@4"]
    assert sum(s.pulses for p in plans[3:] for s in p.stages) == 0
    ending, state = session.start(tmp_path / "run", prepared, plans, sys.argv, RunOptions(1))
    assert ending.code == 3
    assert "the golden die has drifted" in ending.text
    assert [state.dies[n].state for n in "ABC"] == [State.DONE, State.DONE, State.PENDING]
    drift = {row.event.die: row.event.drift for row in state.events if isinstance(row.event, VisitJudged)}
    assert abs(drift["G@2"]["r_ap"]) < 0.02
    assert drift["G@3"]["r_ap"] == pytest.approx(DRIFT - 1, abs=0.02)
    assert [d.name for d in state.subjects if d.suspect] == ["B"]

    found = report_data.gather(tmp_path / "run")
    assert [d.name for d in found.golden] == ["G@1", "G@2", "G@3"]
    assert [d.name for d in found.dies] == ["A", "B", "C"]
    assert (found.good, found.without_verdict) == (0, 2)  # no limits were set
    assert any("drift of R_AP" in s.title for s in found.series)
    assert {d.name for d in found.dies if d.suspect} == {"B"}
    assert any("in doubt" in r.why and r.command.endswith("--only B") for r in found.redo)
    said = [e.text for e in found.events]
    assert any(text.startswith("stop rule 'golden_drift': the golden die has drifted") for text in said)
    for command, shown in (("watch", "B"), ("report", "report.html")):
        done = subprocess.run(
            [sys.executable, "-m", "labctl", command, str(tmp_path / "run")],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 3), done.stderr
        assert shown in done.stdout + done.stderr
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "golden die has drifted" in page
    assert "Golden die: drift of R<sub>AP</sub>" in page


@pytest.mark.slow
def test_two_processes_make_the_same_visits(path, tmp_path):
    def made(workers):
        prepared, plans = rehearsed(composition.read(path, {"batch.golden.every": "2"}))
        folder = tmp_path / f"run{workers}"
        ending, _ = session.start(folder, prepared, plans, sys.argv, RunOptions(workers))
        assert ending.code == 0
        kinds = VisitBegun | VisitJudged | DiesInDoubt
        return [row.event for row in read_state(folder).events if isinstance(row.event, kinds)]

    alone = made(1)
    assert [event.dies for event in alone if isinstance(event, VisitBegun)] == [(), ("A", "B"), ("C",)]
    assert made(2) == alone
