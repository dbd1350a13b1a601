"""No module names an event of a journal by its kind: writers and readers use the classes of `labctl.core.events`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.core.events import DieEvent, RunEvent

ROOT = Path(__file__).resolve().parents[2]
ROOTS = ("labctl", "protocols", "instruments", "sim_backend", "benchmarks")
FILES = sorted(p for root in ROOTS for p in (ROOT / root).rglob("*.py") if p.name != "events.py")
KINDS = {*RunEvent.kinds, *DieEvent.kinds}
WRITERS = {"write", "event", "say"}


def texts(node: ast.AST) -> Iterator[str]:
    yield from (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def is_kind(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "kind"


def named(source: str) -> list[int]:
    """Return the lines that write or read an event by the text of its kind."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others) if any(map(is_kind, (left, *others))):
                read = {text for n in (left, *others) for text in texts(n)}
            case ast.Match(subject=subject, cases=cases) if is_kind(subject):
                read = {text for case in cases for text in texts(case.pattern)}
            case ast.Call(func=ast.Attribute(attr=attr), args=[ast.Constant(value=str(text)), *_]) if attr in WRITERS:
                read = {text}
            case _:
                continue
        if read & KINDS:
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_event_is_named_by_its_kind(path: Path) -> None:
    lines = named(path.read_text(encoding="utf-8"))
    # the worker of a bench tells its parent of a stage and of an alarm by messages that are no rows of a journal
    assert lines == []


@pytest.mark.parametrize(
    "source",
    [
        'log.write("alarm", text="hot")',
        'journal.event("stage_ended", {})',
        'rows = [e for e in events if e.kind == "golden"]',
        'rows = [e for e in events if e.kind in ("visit", "golden")]',
        'match entry.kind:\n    case "ended" | "rule": pass',
    ],
)
def test_the_check_finds(source: str) -> None:
    assert named(source) == [1]
