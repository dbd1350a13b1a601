"""docs/hazards.md keeps to the tests: each row names some that exist, and says in words what is not covered."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "hazards.md"
HEADING = ["hazard", "harms", "mechanism", "tests", "not covered"]
FIGURES = "\n## "
"""Behind the next heading there are figures."""
HARMED = {"die", "person", "data"}
FEWEST_WORDS = 4
"""Words that a description has at least; `none` and `-` describe nothing."""


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of every row of the page's table of hazards."""
    for line in text.partition(FIGURES)[0].splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


@cache
def functions(file: Path) -> frozenset[str]:
    """Return the names of the tests that a file defines and does not skip whatever happens."""
    if not file.is_file():
        return frozenset()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    defined = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"))
    return frozenset(f.name for f in defined if not any("mark.skip(" in ast.unparse(d) for d in f.decorator_list))


def wrong(row: list[str]) -> list[str]:
    """Return what is wrong with a row of the table, in words."""
    if len(row) != len(HEADING):
        return [f"{len(row)} cells"]
    hazard, harms, mechanism, tests, not_covered = row
    parts = tests.split(", ")
    texts = {"hazard": hazard, "mechanism": mechanism, "not covered": not_covered}
    faults = [f"{name}: {text}" for name, text in texts.items() if len(re.findall(r"[^\W\d]+", text)) < FEWEST_WORDS]
    faults += [f"harms {who}" for who in harms.split(", ") if who not in HARMED]
    faults += [f"named twice: {part}" for part in sorted(set(parts)) if parts.count(part) > 1]
    for part in parts:
        named = re.fullmatch(r"`(tests/[\w/]+\.py)::(\w+)`", part)
        if named is None or named[2] not in functions(ROOT / named[1]):
            faults.append(f"no test: {part}")
    return faults


HEADINGS, *ROWS = rows(PAGE.read_text(encoding="utf-8"))


def test_hazards_are_one_table_with_a_row_for_each_hazard() -> None:
    assert HEADINGS == HEADING
    assert PAGE.read_text(encoding="utf-8").partition(FIGURES)[0].count("\n|---") == 1
    hazards = [row[0] for row in ROWS]
    assert sorted(set(hazards)) == sorted(hazards)
    assert {who for row in ROWS for who in row[1].split(", ")} == HARMED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_row_names_tests_that_exist_and_says_what_is_not_covered(row: list[str]) -> None:
    assert not wrong(row)


@pytest.mark.parametrize("document", ["README.md", "docs/bench.md"])
def test_the_page_is_linked_where_people_read(document: str) -> None:
    file = ROOT / document
    links = re.findall(r"\]\(([^)#\s]+)", file.read_text(encoding="utf-8"))
    assert PAGE in [(file.parent / link).resolve() for link in links]


THIS = "tests/house/test_hazards.py"
TEST = f"`{THIS}::test_a_row_that_says_too_little_is_noticed`"
GOOD = ["a relay moves under voltage", "die, data", "sources are read cold", TEST, "a contact that bounces for long"]
BAD = [
    (3, "", "no test: "),
    (3, "none", "no test: none"),
    (3, f"`{THIS}`", f"no test: `{THIS}`"),
    (3, f"`{THIS}::test_that_nobody_wrote`", f"no test: `{THIS}::test_that_nobody_wrote`"),
    (3, f"`{THIS}::wrong`", f"no test: `{THIS}::wrong`"),
    (3, "`tests/house/test_nothing.py::test_it`", "no test: `tests/house/test_nothing.py::test_it`"),
    (3, f"{TEST}, {TEST}", f"named twice: {TEST}"),
    (4, "", "not covered: "),
    (4, "none", "not covered: none"),
    (4, "- - - - -", "not covered: - - - - -"),
    (2, "[046](046.md)", "mechanism: [046](046.md)"),
    (1, "night", "harms night"),
]


@pytest.mark.parametrize(("column", "cell", "fault"), BAD)
def test_a_row_that_says_too_little_is_noticed(column: int, cell: str, fault: str) -> None:
    assert not wrong(GOOD)
    assert wrong([*GOOD[:column], cell, *GOOD[column + 1 :]]) == [fault]
    assert wrong(GOOD[:4]) == ["4 cells"]


def test_a_test_that_is_skipped_is_none(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("@pytest.mark.skip(reason='')\ndef test_a(): ...\n@pytest.mark.slow\ndef test_b(): ...\n", "utf-8")
    assert functions(file) == {"test_b"}
