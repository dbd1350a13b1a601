"""A small campaign that every command can be tried on: one die, two solutions, under a second of work."""

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import typer

from labctl.cli.commands import app
from labctl.cli.main import main
from labctl.core.errors import LabError
from labctl.networks import solutions
from labctl.report import subprocess_call
from labctl.report.html import write_report
from labctl.terminal.signals import signals
from tests.browser import Browser

collect_ignore = ["strangers"]
"""Modules of other distributions, which tests install: they import what an environment without the judges lacks."""
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
    path.write_text((before + dies + after).replace("wine-solutions.npz", str(few_solutions)))
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser, `tests.browser.Browser`."""
    opened = Browser(tmp_path_factory.mktemp("browser"))
    try:
        yield opened
    finally:
        opened.close()


def outcome(command, code, stdout, stderr, expect):
    """Return a command that ended with the exit code expected of it."""
    assert code == expect, f"exit {code}\n{stdout}\n{stderr}"
    return subprocess.CompletedProcess(command, code, stdout, stderr)


def report_here(folder):
    """Write the report of a run in this process; return why it is missing, "" if it is not."""
    try:
        write_report(folder)
    except LabError as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def labctl():
    """Run the command line in this process: its arguments, folder, streams, signals and exit code are its own.

    A process of one's own costs a second of imports, for the command and for the report at its end;
    `labctl_process` is for what it proves something for.
    """
    commands = typer.main.get_command(app())  # some hundred tests use it, and to make it takes 25 ms

    def run(*arguments, cwd=None, expect=0):
        words = ["labctl", *map(str, arguments)]
        stdout, stderr, code = io.StringIO(), io.StringIO(), 0
        heard = {number: signal.getsignal(number) for number in signals()}
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
            patch.setattr(sys, "argv", words)
            patch.setattr("labctl.cli.main.app", lambda word: commands)
            patch.setattr(sys, "stdin", io.StringIO())
            patch.setattr(subprocess_call, "report_apart", report_here)
            if cwd is not None:
                patch.chdir(cwd)
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
            finally:
                for number, handler in heard.items():
                    signal.signal(number, handler)
        return outcome(words, code, stdout.getvalue(), stderr.getvalue(), expect)

    return run


@pytest.fixture(scope="session")
def labctl_process():
    """Run the command line in a process of its own, as a person would."""

    def run(*arguments, cwd=None, expect=0):
        words = [sys.executable, "-m", "labctl", *map(str, arguments)]
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
        return outcome(words, done.returncode, done.stdout, done.stderr, expect)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory, campaign, labctl):
    """The folder of a finished run and what --json said of it."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    done = labctl("run", campaign, "--out", folder, "--json")
    return folder, json.loads(done.stdout)
