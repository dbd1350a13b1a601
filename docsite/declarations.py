"""Figures of merit, events of journals and examples, each as its declaration or its file has it."""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from docsite.file_keys import cell
from labctl.core.events import DieEvent, Event, RunEvent
from labctl.core.figure import Figure
from labctl.core.plugins import DISTRIBUTION, PROTOCOLS


def stages() -> dict[str, Any]:
    """Return the procedures that come with the suite, by the name of their stage."""
    entries = entry_points(group=PROTOCOLS)
    return {entry.name: entry.load() for entry in entries if entry.dist and entry.dist.name == DISTRIBUTION}


def figures() -> str:
    """Return a table of the figures of merit that stages declare."""
    of: dict[str, tuple[Figure, list[str]]] = {}
    for name, procedure in stages().items():
        for figure in procedure.figures:
            of.setdefault(figure.key, (figure, []))[1].append(name)
    rows = ["| key in rules and exports | name | unit | better | stages | definition |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{key}` | {cell(figure.title)} | {figure.shown_unit or 'number'} | {_better(figure)} "
        f"| {', '.join(f'`{name}`' for name in names)} | {cell(figure.note)}{_more(figure)} |"
        for key, (figure, names) in of.items()
    ]
    return "\n".join(rows)


def _better(figure: Figure) -> str:
    return "" if figure.better.value == "neither" else figure.better.value


def _more(figure: Figure) -> str:
    """Return where else a figure is, and under which number."""
    extra = ["on the wafer map"] if figure.on_map else []
    extra += ["in the trend"] if figure.in_trend else []
    extra += ["by size of junction"] if figure.by_size else []
    extra += [f"STDF test {figure.number}"] if figure.number else []
    return f" *({', '.join(extra)})*" if extra else ""


def events() -> str:
    """Return a section for the events of a run and one for those of a die."""
    parts = []
    for title, family in (("Events of a run", RunEvent), ("Events of a die", DieEvent)):
        parts.append(f"## {title}\n")
        kinds: Iterable[tuple[str, type[Event]]] = family.kinds.items()
        for kind, event in kinds:
            text, arguments = _about(event)
            parts += [f"### `{kind}`\n", text, "", _fields(event, arguments)]
    return "\n".join(parts)


def _fields(event: type[Event], texts: Mapping[str, str]) -> str:
    declared = fields(event)
    if not declared:
        return ""
    rows = ["| field | type | if left out | meaning |", "|---|---|---|---|"]
    for one in declared:
        required = one.default is MISSING and one.default_factory is MISSING
        default = "" if required or one.default is MISSING else f"`{getattr(one.default, 'value', one.default)!r}`"
        kind = one.type if isinstance(one.type, str) else getattr(one.type, "__name__", str(one.type))
        rows.append(f"| `{one.name}` | `{cell(kind)}` | {default} | {cell(texts.get(one.name, ''))} |")
    return "\n".join([*rows, ""])


def _about(kind: type) -> tuple[str, dict[str, str]]:
    """Return what the docstring of a class says of it, and of each of its arguments."""
    text, _, arguments = (inspect.getdoc(kind) or "").partition("\nArgs:\n")
    parts = re.split(r"(?m)^ {4}(\w+): ", arguments)
    return " ".join(text.split()), dict(zip(parts[1::2], parts[2::2], strict=True))


def examples(folder: Path) -> str:
    """Return the files of the folder of examples, each under its path, YAML and Python as they are."""
    parts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in (".yaml", ".py", ".npz"):
            parts.append(f"## {path.relative_to(folder).as_posix()}\n")
            if path.suffix == ".npz":
                parts.append(
                    f"Trained weights, {path.stat().st_size:,} bytes; `labctl new` writes them where they are named.\n"
                )
            else:
                language = {".yaml": "yaml", ".py": "python"}[path.suffix]
                parts.append(f"````{language}\n{path.read_text(encoding='utf-8').rstrip()}\n````\n")
    return "\n".join(parts)
