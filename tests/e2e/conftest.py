"""A small campaign that every command can be tried on: one die, two solutions, under a second of work."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labctl.networks import solutions

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="session")
def small():
    """The module `small_dies`: campaigns so small that they can be resumed from every row of their journals."""
    spec = importlib.util.spec_from_file_location("small_dies", Path(__file__).with_name("small_dies.py"))
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def few_solutions(tmp_path_factory):
    """The first two solutions of the shipped file."""
    path = tmp_path_factory.mktemp("solutions") / "two.npz"
    solutions.save(path, solutions.load(EXAMPLES / "wine-solutions.npz").take(np.arange(2)))
    return path


@pytest.fixture(scope="session")
def campaign(tmp_path_factory, few_solutions):
    """A campaign file for one die and two solutions."""
    folder = tmp_path_factory.mktemp("campaign")
    text = (EXAMPLES / "wine-passive.yaml").read_text()
    before, _, after = text.partition("dies:\n")
    _, _, after = after.partition("\n\n")
    dies = f"dies:\n  - {{name: D80, file: {json.dumps(str(EXAMPLES / 'dies/passive-15x15.yaml'))}}}\n\n"
    path = folder / "small.yaml"
    path.write_text(before.replace("wine-solutions.npz", str(few_solutions)) + dies + after)
    return path


@pytest.fixture(scope="session")
def labctl():
    """Run the command line in a process of its own, as a person would."""

    def run(*arguments, cwd=None, expect=0):
        done = subprocess.run(
            [sys.executable, "-m", "labctl", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=300,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            check=False,
        )
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory, campaign, labctl):
    """The folder of a finished run and what --json said of it."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    done = labctl("run", campaign, "--out", folder, "--json")
    return folder, json.loads(done.stdout)
