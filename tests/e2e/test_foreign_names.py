"""A lab's own folder `instruments` or `protocols` beside the work: named in words with the way out, no traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
CAMPAIGN = ROOT / "examples" / "wine-passive.yaml"


@pytest.fixture(params=["instruments", "protocols", "sim_backend"])
def lab(request, tmp_path):
    """A folder in which somebody keeps scripts, with a package of one of our names."""
    (tmp_path / request.param).mkdir()
    (tmp_path / request.param / "__init__.py").touch()
    (tmp_path / request.param / "kepco.py").write_text("class BOP2020M: ...\n")
    return tmp_path / request.param


def python(*arguments, cwd, **variables):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, cwd=cwd, env=env
    )


def words(done, lab):
    """Assert that a process ended with a message that names both places, and return it."""
    assert "Traceback" not in done.stderr
    assert f"the name '{lab.name}'" in done.stderr
    assert str(lab) in done.stderr
    assert str(ROOT / lab.name) in done.stderr
    return done.stderr


def test_the_command_line_says_it_at_its_start(lab):
    done = python("-m", "labctl", "plan", CAMPAIGN, "--json", cwd=lab.parent)
    assert done.returncode == 2
    assert "start from another folder" in words(done, lab)
    answer = json.loads(done.stdout)
    assert (answer["outcome"], answer["exit"]) == ("refused", 2)
    assert str(lab) in answer["reason"]


def test_the_installed_command_says_it_for_a_folder_of_pythonpath(lab, tmp_path_factory):
    start = "import sys; sys.argv = ['labctl', 'schema', 'campaign']; from labctl.cli.main import main; main()"
    done = python("-c", start, cwd=tmp_path_factory.mktemp("elsewhere"), PYTHONPATH=str(lab.parent))
    assert done.returncode == 2
    assert f"take {lab.parent} out of PYTHONPATH" in words(done, lab)


def test_doctor_names_it(lab):
    done = python("-m", "labctl", "doctor", "--json", cwd=lab.parent)
    assert done.returncode == 2
    (finding,) = [f for f in json.loads(done.stdout) if f["check"] == "import names are ours"]
    assert not finding["ok"]
    assert str(lab) in finding["text"]
    assert "rename it" in finding["text"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("lab", ["protocols"], indirect=True)
def test_a_notebook_is_told_by_an_import_error(lab):
    cell = f"""
import labctl
from {lab.name} import kepco                      # the lab's own, which stays usable
try:
    from labctl import open_run
except ImportError as error:
    print(error)
"""
    done = python("-c", cell, cwd=lab.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert str(lab) in done.stdout
    assert str(ROOT / lab.name) in done.stdout


def test_a_package_that_was_overwritten_is_named(tmp_path):
    """Another distribution was installed into the same place: our modules are still there, the package is theirs."""
    for name in ("labctl", "instruments", "protocols", "sim_backend"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    init = tmp_path / "instruments" / "__init__.py"
    init.write_text("from .abstract_instruments import Instrument\n")
    done = python("-m", "labctl", "schema", "campaign", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{init} is not the one of mtj-labctl" in done.stderr
    assert "reinstall mtj-labctl" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_of_ours_is_imported_before_the_names_are_looked_at():
    loaded = (
        "import sys; from labctl.cli.commands import app; app()\n"
        "print({'instruments', 'protocols', 'sim_backend'} & set(sys.modules))"
    )
    done = python("-c", loaded, cwd=ROOT)
    assert done.stdout.strip() == "set()", done.stderr
