"""A figure in a document has its command, and what the command names exists."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from labctl.cli.commands import app

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "figures.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
ROWS = [
    [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in TEXT.splitlines()
    if line.startswith("| ") and "`" in line
]
FIGURES = [row for row in ROWS if len(row) == 3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
INLINE = re.compile(r"`((?:python(?: -m pytest)?|labctl) [^`]+)`")


def commands_of(document: Path) -> list[str]:
    """Return the commands that a document names: those in backticks and those of its blocks."""
    text = document.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    lines = [line.partition("#")[0].partition(" > ")[0].strip() for line in blocks.splitlines()]
    inline = [" ".join(command.split()) for command in INLINE.findall(re.sub(r"```.*?```", "", text, flags=re.S))]
    return [line for line in [*lines, *inline] if re.match(r"(python|labctl) ", line)]


NAMED = sorted({(document, command) for document in DOCUMENTS for command in commands_of(document)})


def ids(value: object) -> str:
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else str(value)


def wrong(command: str) -> str:
    """Return what a command names that does not exist, "" if all of it does."""
    program, *words = shlex.split(command.rstrip("&"))
    if program == "python":
        return wrong_tests(words[2:]) if words[:2] == ["-m", "pytest"] else wrong_script(words)
    return wrong_labctl(words)


def wrong_tests(words: list[str]) -> str:
    paths = [word for word in words if "/" in word]
    return next((path for path in paths if not (ROOT / path.partition("::")[0]).exists()), "")


def wrong_script(words: list[str]) -> str:
    script, *options = words
    if script == "-m":
        return ""
    path = ROOT / script
    if not path.is_file():
        return script
    declared = {"--help", *re.findall(r"add_argument\(\s*\"(--[\w-]+)\"", path.read_text(encoding="utf-8"))}
    return next((word for word in options if word.startswith("--") and word not in declared), "")


def wrong_labctl(words: list[str]) -> str:
    group = typer.main.get_command(app())
    while words and hasattr(group, "commands"):
        name, *words = words
        if name.startswith("-"):
            return "" if any(name in p.opts for p in group.params) else name
        if name not in group.commands:
            return name
        group = group.commands[name]
    known = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = [word.partition("=")[0] for word in words if re.match(r"--\w", word)]
    missing = [option for option in options if option not in {*known, "--help"}]
    missing += [w for w in words if w.startswith("examples/") and "*" not in w and not (ROOT / w).exists()]
    return next(iter(missing), "")


@pytest.mark.parametrize(("document", "command"), NAMED, ids=ids)
def test_what_a_command_of_a_document_names_exists(document: Path, command: str) -> None:
    assert wrong(command) == ""


@pytest.mark.parametrize(("figure", "link", "command"), FIGURES)
def test_a_figure_stands_where_it_is_said_to_stand(figure: str, link: str, command: str) -> None:
    (target,) = re.findall(r"\]\((.+)\)", link)
    text = (DOCUMENT.parent / target).read_text(encoding="utf-8")
    squeezed = re.sub(r"\s+", " ", text)
    assert re.sub(r"\s+", " ", figure) in squeezed
    assert wrong(command.strip("`")) == ""


def test_every_picture_and_every_benchmark_has_its_command() -> None:
    figures = {row[0] for row in FIGURES}
    assert {f"results/{path.name}" for path in (ROOT / "docs" / "results").iterdir()} <= figures
    commands = " ".join(row[-1] for row in ROWS)
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert f"benchmarks/{path.name}" in commands


MEASURED = re.compile(r"\b(took|takes|agrees? to|instead of|processor time|were off|Predicted)\b")
NUMBER = re.compile(r"\d+ ?(s|ms|us|min|h|MB|GB)\b|\d+e-\d+")


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d != DOCUMENT], ids=ids)
def test_a_section_with_measured_figures_names_a_command(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for section in re.split(r"(?m)^(?=#+ )", text):
        for paragraph in section.split("\n\n"):
            if MEASURED.search(paragraph) and NUMBER.search(paragraph):
                assert re.search(r"\b(python \S+\.py|python -m pytest|labctl \w+|\.ci/run)\b", section), paragraph


@pytest.mark.parametrize(
    ("command", "amiss"),
    [
        ("python benchmarks/gone.py", "benchmarks/gone.py"),
        ("python benchmarks/kills.py --bensh", "--bensh"),
        ("python -m pytest tests/gone", "tests/gone"),
        ("labctl rnu FILE", "rnu"),
        ("labctl run FILE --owt DIR", "--owt"),
        ("labctl run examples/gone.yaml", "examples/gone.yaml"),
        ("labctl reproduce wine-passive --solutions FILE", ""),
    ],
)
def test_the_check_finds(command: str, amiss: str) -> None:
    assert wrong(command) == amiss
