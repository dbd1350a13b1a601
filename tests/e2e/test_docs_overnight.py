"""What docs/overnight.md says can be typed, in its order: one run in the background, steered from another terminal."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from labctl.batch.receivers import tagged
from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.networks import solutions
from labctl.storage.run_log import read_state
from tests.e2e.conftest import EXAMPLES, ROOT
from tests.e2e.one_array import CHANGE, PLACEMENT, bench_text
from tests.waiting import PATIENCE, until

DOC = ROOT / "docs" / "overnight.md"
TEXT = DOC.read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- run(.*?) -->\n```sh\n(.*?)```", TEXT, re.S)
DIES = ["W02-x1y1", "W02-x3y2", "W02-x0y1", "W02-x1y3"]


def commands(block):
    """Return the words behind `labctl` of every line."""
    found = [shlex.split(line, comments=True) for line in block.splitlines() if line.strip()]
    assert all(words[0] == "labctl" for words in found)
    return [words[1:] for words in found]


@pytest.fixture
def desk(tmp_path):
    """A folder with the files that the document names: the shipped ones, for four small dies and one solution."""
    one = tmp_path / "one.npz"
    solutions.save(one, solutions.load(EXAMPLES / "wine-solutions.npz").take(np.arange(1)))
    shutil.copytree(EXAMPLES / "dies", tmp_path / "dies")
    shutil.copytree(EXAMPLES / "wafers", tmp_path / "wafers")
    (tmp_path / "bench.yaml").write_text(bench_text(), encoding="utf-8")
    campaign = yaml.safe_load((EXAMPLES / "overnight-bench.yaml").read_text(encoding="utf-8"))
    campaign["stages"][1]["network"] |= {"solutions": str(one), "placement": PLACEMENT}
    campaign["wafer"] |= {"only": DIES, "change": CHANGE}
    (tmp_path / "overnight.yaml").write_text(yaml.safe_dump(campaign), encoding="utf-8")
    return tmp_path


@contextmanager
def in_background(folder, *words):
    """Run a command beside the test; it is gone afterwards."""
    command = [sys.executable, "-m", "labctl", *words]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process, folder, what):
    def is_so():
        with suppress(StorageError):  # it is just being made
            return what(read_state(folder))

    until(is_so, process)


@pytest.mark.slow
def test_the_night_of_the_document_goes_as_it_says(desk, labctl):
    (_, first), (where, night), (meanwhile, steer), (_, on), (_, morning) = BLOCKS
    assert (where, meanwhile) == (", in the background", ", while the other goes on")
    for words in commands(first):
        # no bench is at hand: the instruments that the file names are emulated
        twin = ["--sim", "bytes"] if words[0] == "check" else []
        labctl(*words, *twin, cwd=desk)
    ((*words,),) = commands(night)
    run = desk / "runs" / "night"
    with in_background(desk, *words, "--workers", "1") as process:
        wait_for(process, run, lambda state: any(die.state is State.RUNNING for die in state.dies.values()))
        said = [labctl(*words, cwd=desk) for words in commands(steer)]
        assert " of 4 dies done" in said[0].stdout
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 4, told
    state = read_state(run)
    assert state.dies["W02-x3y2"].state is State.SKIPPED
    assert "scratched" in state.dies["W02-x3y2"].reason
    assert (run / "report.html").is_file()
    for words in commands(on):
        labctl(*words, *(["--accept-changes"] if words[0] == "resume" else []), cwd=desk)
    state = read_state(run)
    assert {n: d.state for n, d in state.dies.items()} == dict.fromkeys(DIES, State.DONE) | {"W02-x3y2": State.SKIPPED}
    assert (state.exit_code, state.resumes) == (0, 1)
    (run / "report.html").unlink()
    for words in commands(morning):
        labctl(*words, cwd=desk)
    assert (run / "report.html").is_file()
    assert json.loads((run / "report.json").read_text(encoding="utf-8"))["good"] == 3
    assert (desk / "night.stdf").stat().st_size > 0


def test_the_campaign_of_the_document_is_one(desk, labctl):
    (block,) = re.findall(r"<!-- campaign -->\n```yaml\n(.*?)```", TEXT, re.S)
    shipped = (desk / "overnight.yaml").read_text(encoding="utf-8")
    rest = {k: v for k, v in yaml.safe_load(shipped).items() if k != "batch"}
    (desk / "whole.yaml").write_text(yaml.safe_dump(rest) + "\n" + block, encoding="utf-8")
    labctl("plan", "whole.yaml", cwd=desk)
    (desk / "whole.yaml").write_text(yaml.safe_dump(rest) + "\n" + block.replace("tries:", "trials:"), encoding="utf-8")
    assert "trials" in labctl("plan", "whole.yaml", cwd=desk, expect=2).stderr


def test_the_addresses_of_the_document_are_understood(tmp_path):
    (block,) = re.findall(r"<!-- addresses -->\n```yaml\n(.*?)```", TEXT, re.S)
    (tmp_path / "notify.yaml").write_text(block, encoding="utf-8")
    assert [receiver.name.split()[0] for receiver in tagged("lab", tmp_path / "notify.yaml")] == [
        "E-Mail",
        "ntfy",
        "JSON",
    ]
    assert [receiver.name.split()[0] for receiver in tagged("night", tmp_path / "notify.yaml")] == ["ntfy"]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_every_link_of_the_document_leads_somewhere(link):
    assert (Path(DOC.parent) / link).exists()


def test_every_state_of_a_die_that_can_stay_is_explained():
    rows = re.findall(r"^\| ([a-z ]+) \| (?:that|on which|under which)", TEXT, re.M)
    passing = {State.PENDING, State.MOVING, State.CONTACT_CHECK, State.RETOUCH, State.RUNNING, State.SEALING}
    assert set(rows) == {state.value for state in State if state not in passing}
