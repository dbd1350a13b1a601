"""No module writes an exit code as a bare number: there is one declaration, `labctl.core.exit_codes`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for path in (ROOT / "labctl").rglob("*.py") if path.name != "exit_codes.py")
NAMES = {"exit_code", "exit", "code"}
ENDS = {"exit", "Exit", "Ending", "Lost", "_fail"}


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Set) else [node]


def numbers(node: ast.AST) -> Iterator[int]:
    """Yield the whole numbers in an expression that are no index and no argument of another call."""
    if isinstance(node, ast.Constant) and type(node.value) is int and node.value < 100:  # others are of HTTP
        yield node.lineno
    elif isinstance(node, ast.Set | ast.Tuple | ast.List | ast.IfExp | ast.BinOp | ast.BoolOp):
        for child in ast.iter_child_nodes(node):
            yield from numbers(child)


def bare(source: str) -> list[int]:
    """Return the lines on which a number stands for an exit code."""
    lines: list[int] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others) if NAMES & {name_of(n) for n in (left, *others)}:
                lines += [line for n in (left, *others) for line in numbers(n)]
            case ast.BinOp(left=left, right=right) if NAMES & {name_of(n) for n in (*elements(left), *elements(right))}:
                lines += [line for n in (left, right) for line in numbers(n)]
            case ast.Call(func=called, args=arguments, keywords=keywords):
                if name_of(called) in ENDS:
                    lines += [line for n in arguments for line in numbers(n)]
                lines += [line for k in keywords if k.arg in NAMES for line in numbers(k.value)]
            case ast.Assign(targets=targets, value=value) if NAMES & {name_of(t) for t in targets}:
                lines += numbers(value)
            case ast.AnnAssign(target=target, value=ast.expr() as value) if name_of(target) in NAMES:
                lines += numbers(value)
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                lines += [n for k, v in pairs if isinstance(k, ast.Constant) and k.value in NAMES for n in numbers(v)]
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_exit_code_is_a_bare_number(path: Path) -> None:
    assert bare(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "sys.exit(2)",
        "raise typer.Exit(0 if good else 3)",
        "end(Ending(4, reason))",
        "code in (4, 6)",
        "result.exit_code == 5",
        "write(die, exit_code=70)",
        'print({"exit": 6})',
        "code = 3 if wrong else 0",
        "left = {last.exit_code} & {5}",
    ],
)
def test_the_check_finds(line: str) -> None:
    assert bare(line) == [1] * (2 if "else" in line or "in (" in line else 1)
