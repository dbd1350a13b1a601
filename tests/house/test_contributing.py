"""CONTRIBUTING.md names files that exist, the layers as they are checked, and commands that a tree of today has."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.test_layers import LAYERS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROSE = re.sub(r"```.*?```", "", TEXT, flags=re.S)
COMMANDS = [
    line.split("  #")[0].strip() for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()
]
MADE = {".venv", "build/ci"}
"""Paths that are made by commands."""


def paths() -> list[str]:
    """Return every path that stands in backticks or behind a link."""
    quoted = [word for word in re.findall(r"`([^`\s]+)`", PROSE) if "/" in word or word.endswith((".md", ".toml"))]
    return sorted({*quoted, *re.findall(r"\]\(([^)#:]+)\)", PROSE)} - MADE)


@pytest.mark.parametrize("path", paths())
def test_every_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_diagram_shows_the_layers_that_are_checked() -> None:
    (diagram,) = re.findall(r"```text\n(.*?)```", TEXT, re.S)
    packages = {package for layer in LAYERS for package in layer}
    drawn = [
        [word for word in line.split("  ") for word in word.split() if word in packages]
        for line in diagram.splitlines()
    ]
    assert [sorted(layer) for layer in drawn] == [sorted(layer) for layer in LAYERS]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m pytest")])
def test_the_tests_that_are_named_exist(command: str) -> None:
    for folder in command.split()[4:]:
        assert (ROOT / folder).is_dir()


def test_every_unit_test_folder_of_the_tree_has_a_package() -> None:
    for folder in (ROOT / "tests" / "unit").rglob("*"):
        if folder.is_dir() and folder.name != "__pycache__":
            assert (ROOT / folder.relative_to(ROOT / "tests" / "unit")).is_dir()


def test_the_environment_is_that_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"<!-- test -->\n```sh\n(.*)\n```", readme)
    setup, install, _ = command.split(" && ")
    assert COMMANDS[0].startswith(f"{setup} && {install}")


def test_the_entry_point_groups_are_those_of_the_code() -> None:
    from labctl.core.plugins import INSTRUMENTS

    assert f"`{INSTRUMENTS}`" in PROSE
    assert '"labctl.protocols"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert "`labctl.protocols`" in PROSE


@pytest.mark.skipif(sys.platform == "win32", reason="the whole check is a shell script")
@pytest.mark.parametrize("code", [0, 3])
def test_the_whole_check_runs_the_command_of_the_readme_and_leaves_the_environment_alone(
    tmp_path: Path, code: int
) -> None:
    """Carried out with programs that do nothing: what is left is the copy, the command, and the exit code of mypy."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    tree, fakes = tmp_path / "tree", tmp_path / "bin"
    for folder in (tree / ".ci", tree / ".venv", tree / "runs", fakes):
        folder.mkdir(parents=True)
    (tree / ".ci" / "run").write_text(script, encoding="utf-8")
    (tree / ".venv" / "mine").touch()
    (tree / "new.py").write_text("uncommitted = True\n")
    (tree / "README.md").write_text("<!-- test -->\n```sh\necho the command > ran\n```\n")
    programs = " ".join(f".venv/bin/{name}" for name in ("python", "ruff", "mypy", "lint-imports", "mkdocs"))
    nothing = "printf '#!/bin/sh\\n'"
    (fakes / "python3").write_text(f"#!/bin/sh\nmkdir -p .venv/bin\n{nothing} | tee {programs}\nchmod +x {programs}\n")
    with (fakes / "python3").open("a") as file:
        file.write(f"echo 'echo mypy says; exit {code}' >> .venv/bin/mypy\n")
    (fakes / "id").write_text("#!/bin/sh\necho 1000\n")
    for fake in fakes.iterdir():
        fake.chmod(0o755)
    done = subprocess.run(
        ["bash", str(tree / ".ci" / "run")],
        capture_output=True,
        text=True,
        env={"PATH": f"{fakes}:/usr/bin:/bin", "LABCTL_DATA": "/"},
    )
    assert done.returncode == bool(code), done.stdout + done.stderr
    assert "mypy says" in done.stdout
    assert ("the end of what was beside the tests" in done.stdout) == ("== the end (" in done.stdout) == (not code)
    assert [p.name for p in (tree / ".venv").iterdir()] == ["mine"]
    copy = tree / "build" / "ci"
    assert (copy / "new.py").is_file()
    assert (copy / "ran").read_text() == "the command\n"
    assert not (copy / ".venv" / "mine").exists()
    assert not (copy / "runs").exists()
