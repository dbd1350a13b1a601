"""docs/write-a-driver.md, carried out: from an empty folder to the figure on the wafer map."""

import json
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

from labctl.storage.run_log import read_state
from tests.e2e.conftest import ROOT

TEXT = (ROOT / "docs" / "write-a-driver.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (.*?) -->\n```\w+\n(.*?)```", TEXT, re.S))
(COMMANDS,) = re.findall(r"<!-- run -->\n```sh\n(.*?)```", TEXT, re.S)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Write the files of the page into an empty folder, and install the distribution as pip would."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = tmp_path / f"lab_smu7-{project['version']}.dist-info"
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
    test, *lines = [shlex.split(line, comments=True) for line in COMMANDS.splitlines()]
    assert test[:3] == ["python", "-m", "pytest"]
    passed = subprocess.run([sys.executable, *test[1:]], cwd=desk, capture_output=True, text=True, check=False)
    assert passed.returncode == 0, passed.stdout
    assert "2 passed" in passed.stdout
    done = {words[1]: labctl_process(*words[1:], cwd=desk) for words in lines}
    texts = {name: " ".join((one.stdout + one.stderr).split()) for name, one in done.items()}
    assert "smu7 (lab-smu7 1.0)" in texts["doctor"]
    assert "ACME,SMU-7,70007,1.2" in texts["check"]
    assert "generic" not in texts["run"]
    run = desk / "runs" / "first"
    state = read_state(run)
    assert len(state.subjects) == 3
    # 12 ohm um^2 on 80 nm; TMR 120 % at 0 V, less at the read voltage; 25 ohm in each line of the twin, of which that
    # of a row carries the current of three cells: 4 % less current
    for die in state.subjects:
        assert die.last.figures["r_p"] == pytest.approx(1.04 * 2387, rel=0.1)
        assert die.last.figures["tmr"] == pytest.approx(1.1, rel=0.1)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert 'name="map" value="r_p"' in page
    data = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert data["figures"]["r_p"]["on_map"]


@pytest.mark.slow
def test_the_page_without_an_emulator_is_rehearsed_on_a_generic_source_and_says_so(desk, labctl_process):
    text = FILES["lab_smu7.py"].replace(', emulator="smu7"', "")
    (desk / "lab_smu7.py").write_text(text, encoding="utf-8")
    arguments = ("campaign.yaml", "--bench", "bench.yaml", "--sim", "bytes")
    words = "smu is a generic source in place of driver 'smu7'"
    assert words in " ".join(labctl_process("plan", *arguments, cwd=desk).stdout.split())
    labctl_process("run", *arguments, "--out", "generic", cwd=desk)
    assert words in json.loads((desk / "generic" / "run.json").read_text())["body"]


def test_a_typing_error_in_its_option_is_refused_with_file_and_line(desk, labctl_process):
    (desk / "bench.yaml").write_text(FILES["bench.yaml"].replace("model: SMU-7,", "modle: SMU-7,"), encoding="utf-8")
    done = labctl_process("check", "bench.yaml", cwd=desk, expect=2)
    words = "bench.yaml:3: instruments.smu.modle: found the unknown key 'modle'; did you mean 'model'?"
    assert words in " ".join((done.stdout + done.stderr).split())
