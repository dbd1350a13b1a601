"""Every [?] in code, examples and documents has its row in the ledger of assumptions, and every row has its [?]."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from instruments.assumptions import Assumption, How, ledger
from instruments.energised_checks import ENERGISED_CHECKS, NOISE
from instruments.first_day import CHECKS
from labctl.core import plugins
from sim_backend.emulators import generic_source, k2400_smu, k2600_smu

ROOT = Path(__file__).parents[2]
PLACES = ("labctl", "instruments", "sim_backend", "protocols", "docs", "examples")
MARK = "[?]"
OF_BOARDS = 8
"""First chapter of docs/first-day-at-the-board.md."""
LEDGER = ledger()
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
DRIVERS = {*GROUPS[plugins.INSTRUMENTS], *GROUPS[plugins.BODIES]}


def marked_lines() -> dict[str, list[str]]:
    """Return the lines with a mark, by file; the ledger itself is left out."""
    paths = [p for place in PLACES for suffix in ("py", "md", "yaml") for p in (ROOT / place).rglob(f"*.{suffix}")]
    lines = {}
    for path in sorted([*paths, *ROOT.glob("*.md")]):
        if path.stem != "assumptions" and (marked := [x for x in path.read_text("utf-8").splitlines() if MARK in x]):
            lines[path.relative_to(ROOT).as_posix()] = marked
    return lines


def unmatched(lines: dict[str, list[str]], marks: list[tuple[str, str]]) -> list[str]:
    """Return what does not fit: lines with fewer rows than marks, and marks that are in no line or in several."""
    faults, rows = [], Counter[tuple[str, int]]()
    for file, words in marks:
        at = [k for k, line in enumerate(lines.get(file, [])) if words in line]
        if len(at) != 1:
            faults.append(f"'{words}' is in {len(at)} marked lines of {file}; expected one")
        rows.update((file, k) for k in at)
    for file, marked in lines.items():
        for k, line in enumerate(marked):
            if line.count(MARK) > rows[file, k]:
                faults.append(f"{file}: '{line.strip()}' has no row in instruments/assumptions.yaml")
    return faults


def marks_of_the_ledger() -> list[tuple[str, str]]:
    marks = [*LEDGER.legend, *(mark for row in LEDGER.assumptions for mark in row.marks)]
    return [(mark.file, mark.words) for mark in marks]


def test_every_mark_has_its_row_and_every_row_its_mark() -> None:
    assert unmatched(marked_lines(), marks_of_the_ledger()) == []


def test_a_mark_without_a_row_and_a_row_without_a_mark_are_seen() -> None:
    lines = {"a.py": ["[?] one and [?] two", "[?] three"]}
    one, two, three = ("a.py", "one"), ("a.py", "two"), ("a.py", "three")
    assert unmatched(lines, [one, two, three]) == []
    assert "has no row" in unmatched(lines, [one, three])[0]
    assert "has no row" in unmatched(lines, [one, two])[0]
    assert "is in 0 marked lines" in unmatched(lines, [one, two, three, ("b.py", "one")])[0]
    assert "is in 2 marked lines" in unmatched(lines, [one, two, three, ("a.py", "[?]")])[0]


def test_ids_are_unique_and_those_that_no_person_settles_have_a_check() -> None:
    ids = [row.id for row in LEDGER.assumptions]
    assert len(ids) == len(set(ids))
    checked = {How.READ: CHECKS, How.SET: CHECKS, How.ENERGISED: ENERGISED_CHECKS, How.PERSON: {}}
    assert all((row.id in checked[row.how]) == (row.how is not How.PERSON) for row in LEDGER.assumptions)
    assert {*CHECKS, *ENERGISED_CHECKS} == {row.id for row in LEDGER.assumptions if row.how is not How.PERSON}


def test_the_noise_that_is_checked_is_that_of_the_twin() -> None:
    assert {emulator.NOISE for emulator in (generic_source, k2400_smu, k2600_smu)} == {NOISE}


@pytest.mark.parametrize("row", LEDGER.assumptions, ids=lambda row: row.id)
def test_a_row_names_a_step_and_drivers_that_exist_and_what_a_person_needs(row: Assumption) -> None:
    chapter, _, step = row.step.partition(".")
    name = f"docs/first-day-at-the-{'board' if int(chapter) >= OF_BOARDS else 'bench'}.md"
    page = (ROOT / name).read_text("utf-8")
    _, _, rest = page.partition(f"\n## {chapter}. ")
    steps = re.split(r"^(\d+)\. ", rest.partition("\n## ")[0], flags=re.M)
    text = dict(zip(steps[1::2], steps[2::2], strict=True))[step]
    assert all(mark.words in text for mark in row.marks if mark.file == name)
    assert {mark.file for mark in row.marks if mark.file.startswith("docs/first-day")} <= {name}
    for driver in row.drivers:
        assert driver in DRIVERS
    assert bool(row.tools) == (row.how is How.PERSON)


@pytest.mark.parametrize("row", LEDGER.assumptions, ids=lambda row: row.id)
def test_a_row_has_a_check_or_says_why_only_a_person_can_check_it(row: Assumption) -> None:
    assert (row.id in {*CHECKS, *ENERGISED_CHECKS}) != bool(row.why)
    assert not row.why or len(row.why.split()) > 5
