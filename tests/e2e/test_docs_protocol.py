"""docs/write-a-protocol.md, carried out: from an empty folder to the figure on the wafer map."""

import csv
import json
import re
import shlex
import tomllib

import pytest

from labctl.core.figure import Figures
from labctl.export.stdf import number_of
from labctl.storage.run_log import read_state
from tests.e2e.conftest import ROOT

TEXT = (ROOT / "docs" / "write-a-protocol.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (.*?) -->\n```\w+\n(.*?)```", TEXT, re.S))
(COMMANDS,) = re.findall(r"<!-- run -->\n```sh\n(.*?)```", TEXT, re.S)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Write the files of the page into an empty folder, and install the distribution as pip would."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = tmp_path / f"lab_switching-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text("".join(groups))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return tmp_path


@pytest.mark.slow
def test_the_page_ends_with_the_figure_on_the_wafer_map(desk, labctl_process):
    lines = [shlex.split(line, comments=True) for line in COMMANDS.splitlines()]
    # one worker costs less than two; some dies are stiff, which the exit code of a run says
    lines = [[*words, *(["--workers", "1"] if words[1] == "run" else [])] for words in lines]
    done = {words[1]: labctl_process(*words[1:], cwd=desk, expect=int(words[1] == "run")) for words in lines}
    assert "switching" in done["plan"].stdout
    run = desk / "runs" / "first"
    state = read_state(run)
    values = {die.name: die.last.figures["v_50"] for die in state.subjects}
    assert len(values) == 8
    assert all(0.36 < value < 0.41 for value in values.values())
    # in a rule
    assert {die.name for die in state.subjects if die.bin == "stiff"} == {n for n, v in values.items() if v > 0.392}
    assert {die.bin for die in state.subjects} == {"stiff", "good"}
    # on the terminal
    shown = done["show"].stdout
    assert "V_50: voltage at which half of the pulses switch" in " ".join(shown.split())
    assert all(f"{value * 1e3:.1f}" in shown for value in values.values())
    # its own pictures
    assert {path.stem for path in (run / "plots").glob("*.png")} == {"wafer", *values}
    # on the map and in the trend of the report
    data = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert data["figures"]["v_50"]["on_map"]
    assert [series["key"] for series in data["series"]] == ["v_50"]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'name="map" value="v_50"' in page
    assert "W7-x1y0: V_50 " in page
    # its curves with each die: of three cells of one kernel
    assert page.count('<path class="curve ') == 8 * 3
    assert "<title>kernel 0, row 2, col 2</title>" in page
    # in exports, under a number of its own
    with (desk / "first-csv" / "dies.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["die"]: float(row["v_50 [V]"]) for row in rows} == values
    assert number_of(Figures.of_run(state.meta)["v_50"]) == 70_001
    assert (desk / "first-csv" / "switching_probability.csv").is_file()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bins": "[{bin: x, hard: 9, when: 'v50 > 1 V'}]"}, "there is no figure 'v50'; did you mean 'v_50'?"),
        ({"bins": "[{bin: x, hard: 9, when: 'v_50 > 1 ohm'}]"}, "'ohm' is not a unit of V"),
        ({"bins": "[{bin: x, hard: 9, when: 'r_p > 1 ohm'}]"}, "The stages of this campaign give v_50, contact"),
    ],
)
def test_a_rule_that_misses_its_figure_is_refused_with_file_and_line(desk, labctl_process, change, text):
    pairs = [word for key, value in change.items() for word in ("--set", f"{key}={value}")]
    done = labctl_process("plan", "campaign.yaml", *pairs, cwd=desk, expect=2)
    assert text in " ".join((done.stdout + done.stderr).split())
