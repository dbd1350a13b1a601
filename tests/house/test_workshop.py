"""The hooks of a commit and the workflow of a forge call the commands of the whole check, and no others."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOW = ROOT / ".github" / "workflows" / "check.yml"
LINTERS = ("ruff check .", "ruff format --check .", "mypy", "lint-imports")


def whole_check() -> list[str]:
    """Return the commands of the whole check, without their folder: those of the script and of the README."""
    (test,) = re.findall(r"<!-- test -->\n```sh\n(.*)\n```", README)
    lines = [*SCRIPT.splitlines(), *test.split(" && ")]
    return [line.strip().removeprefix(".venv/bin/").replace("'", '"') for line in lines]


def workflow() -> dict[str, Any]:
    """Return the jobs of the workflow."""
    return dict(yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"])


def test_the_whole_check_has_the_linters() -> None:
    assert [line for line in whole_check() if line in LINTERS] == list(LINTERS)


def test_the_workflow_calls_what_the_whole_check_calls() -> None:
    jobs = workflow()
    commands = [step["run"] for step in jobs["everywhere"]["steps"] if "run" in step]
    assert set(commands) <= set(whole_check())
    assert set(LINTERS) < set(commands)
    assert any(command.endswith("-m slow") for command in commands)
    assert ".ci/run" in [step.get("run") for step in jobs["whole"]["steps"]]


def test_the_workflow_is_for_three_systems_and_every_python_and_says_that_it_was_not_run() -> None:
    matrix = workflow()["everywhere"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["system"]} == {"ubuntu", "windows", "macos"}
    oldest = re.search(r'requires-python = ">=(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert oldest is not None
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert matrix["python"][0] == oldest[1]
    assert WORKFLOW.read_text(encoding="utf-8").startswith("# NOT RUN HERE")


def test_a_commit_passes_the_linters_first() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    entries = [hook["entry"] for hook in local["hooks"]]
    assert {linter.removesuffix(" .").removesuffix(" --check") for linter in LINTERS} <= set(entries)
    assert {hook["language"] for hook in local["hooks"]} == {"system"}


@pytest.mark.slow
def test_every_test_is_collected_without_the_optional_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = [
        re.split(r"[<>=]", line)[0] for extra in ("judges", "train", "cluster", "arctwo") for line in extras[extra]
    ]
    assert "pymeasure" in named
    absent = f"import sys, pytest; sys.modules.update(dict.fromkeys({named!r})); "
    command = [sys.executable, "-c", absent + "sys.exit(pytest.main(['--collect-only', '-q', '-n0', '-m', '']))"]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert collected.returncode == 0, collected.stdout[-3000:]
    assert "error" not in collected.stdout.splitlines()[-1]
