"""docs/glossary.md keeps to the code: its names exist there, and those that it forbids do not."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("labctl", "instruments", "protocols", "sim_backend")
HEADING = ["term", "meaning", "in code", "not"]


@dataclass
class Identifiers:
    """What the packages define: names with the files that do, members of classes, and keys, which are short texts."""

    files: dict[str, set[str]] = field(default_factory=dict)
    members: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    def add(self, file: str, tree: ast.AST) -> None:
        """Add what one module defines: modules, classes, functions, arguments, variables, attributes."""
        for node in ast.walk(tree):
            for name in defined(node):
                self.files.setdefault(name, set()).add(file)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                self.keys.add(node.value)
            if isinstance(node, ast.ClassDef):
                self.members |= {f"{node.name}.{name}" for child in node.body for name in defined(child)}
                self.members |= {f"{node.name}.{t.id}" for c in node.body for t in ast.walk(c) if stored(t)}

    def with_word(self, name: str) -> list[str]:
        """Return "identifier in file" of every identifier that is `name`, or has its words in a row in it."""
        words = f"_{name}_"
        return [f"{i} in {f}" for i, files in self.files.items() if words in f"_{snake(i)}_" for f in sorted(files)]


def stored(node: ast.AST) -> bool:
    """Return whether a node is a variable that is assigned to."""
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def defined(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node defines."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.arg(arg=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            yield name


def snake(name: str) -> str:
    """Return a name in lower case, its words joined by underscores."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")


def tables() -> Iterator[list[str]]:
    """Yield the cells of every row of the glossary's tables."""
    for line in (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


ROWS = [row for row in tables() if row != HEADING]


def names(column: int) -> list[str]:
    """Return the names in code type in a column."""
    return sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[column])})


USED = names(2)
FORBIDDEN = [name for name in names(3) if name not in USED]


@pytest.fixture(scope="module")
def identifiers() -> Identifiers:
    found = Identifiers()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            file = path.relative_to(ROOT).as_posix()
            found.add(file, ast.parse(path.read_text(encoding="utf-8")))
            found.files.setdefault(path.stem, set()).add(file)
    return found


def test_every_row_has_four_columns_and_every_term_one_row() -> None:
    assert {len(row) for row in ROWS} == {4}
    terms = [row[0] for row in ROWS]
    assert sorted(set(terms)) == sorted(terms)
    assert sum(row == HEADING for row in tables()) == (ROOT / "docs" / "glossary.md").read_text("utf-8").count("\n|---")


@pytest.mark.parametrize("name", USED)
def test_a_name_in_code_exists(name: str, identifiers: Identifiers) -> None:
    assert name in (identifiers.members if "." in name else identifiers.files.keys() | identifiers.keys)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_name_is_no_identifier(name: str, identifiers: Identifiers) -> None:
    assert name == snake(name)
    assert not identifiers.with_word(name)


def test_words_are_found_inside_of_identifiers() -> None:
    identifiers = Identifiers()
    identifiers.add(
        "a.py", ast.parse("class BitLineDriver:\n    n_rows: int = 0\n    def f(self, bank_no): self.x = 1\n")
    )
    assert identifiers.with_word("bit_line") == ["BitLineDriver in a.py"]
    assert identifiers.with_word("bank") == ["bank_no in a.py"]
    assert not identifiers.with_word("ban")
    assert {"BitLineDriver.n_rows", "BitLineDriver.f"} <= identifiers.members
