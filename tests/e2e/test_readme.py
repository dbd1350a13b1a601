"""What the README says can be typed, and its Python runs."""

import json
import re
import shlex

import numpy as np
import pytest

from labctl.networks import solutions
from tests.e2e.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.startswith("labctl ")
]


def test_the_python_of_the_readme_runs_on_a_finished_run(finished, tmp_path, monkeypatch, capsys):
    folder, _ = finished
    pytest.importorskip("pandas")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(folder, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    scope: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert "D80: fidelity" in capsys.readouterr().out
    assert len(scope["worst"]) == 5


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_works(command, labctl, campaign, few_solutions, tmp_path, finished):
    words = shlex.split(command.partition(" > ")[0])[1:]
    stand_in = {"examples/wine-passive.yaml": str(campaign), "solutions=my-weights.npz": f"solutions={few_solutions}"}
    words = [stand_in.get(word, str(ROOT / word) if word.startswith("examples/") else word) for word in words]
    if "survey-wafer.yaml" in command:
        words += ["--only", "W02-x1y1"]
    if words[0] == "run" and "--out" in words:
        words[words.index("--out") + 1] = str(tmp_path / "run")
    if words[0] in ("show", "watch", "report", "export", "verify", "prune", "publish"):
        words[1] = str(finished[0])
    if words[0] == "import-network":
        one = solutions.load(ROOT / "examples" / "wine-solutions.npz").take(np.arange(1))
        solutions.save(tmp_path / "theirs.npz", one)
    if words[0] == "fleet":
        pytest.importorskip("pyarrow")
        words[2] = str(finished[0])
    if words[0] in ("reproduce", "resume", "stop", "serve"):
        # minutes of work, without an end, or of no use on a finished run, and tried elsewhere: the words must exist
        words.append("--help")
    labctl(*words, cwd=tmp_path)


def test_the_main_job_is_one_line_and_its_campaign_can_be_carried_out(labctl, tmp_path):
    (line,) = re.findall(r"<!-- run -->\n```sh\n(.*)\n```", README)
    setup, install, job = line.split(" && ")
    assert setup == "python3 -m venv .venv"
    assert install == ".venv/bin/python -m pip install -q -e ."
    program, *words = shlex.split(job)
    assert program == ".venv/bin/labctl"
    assert words[0] == "run"
    planned = labctl("plan", ROOT / words[1], "--json", cwd=tmp_path)
    stages = json.loads(planned.stdout)["stages"]
    assert len({stage["die"] for stage in stages}) == 36
    assert {stage["stage"] for stage in stages} == {"survey", "chip_inference"}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_of_the_readme_leads_somewhere(link):
    assert (ROOT / link).exists()
