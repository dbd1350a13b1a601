"""Read a file that a person wrote into a model, or report all its faults at once.

The tree of the file is changed by `--set` and by the files it names, and only then validated by the model: as
JSON, where a list may become a tuple but, by a second and strict reading, no text a number and no `no` a False.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from labctl.core import plugins
from labctl.core.errors import BenchError, LabError
from labctl.files import document
from labctl.files.door import absolute, here
from labctl.files.kinds import another_kind
from labctl.files.messages import explain, locate, shown
from labctl.files.paths import FILE_HERE, PATH_HERE
from labctl.files.tree import Node, Path_, Problem

M = TypeVar("M", bound=BaseModel)

MOST = 50
"""Problems of a file that are reported; whoever mends so many reads it again."""

_SCALARS = frozenset({"bool_type", "int_type", "float_type", "string_type", "literal_error"})

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Part:
    """Changes in one file to the content of another: a mapping, and its path in its own file."""

    node: Node
    path: Path_


@dataclass(frozen=True)
class Place:
    """Where a file is named: `file:line`, and the path of the key."""

    where: str
    path: Path_


@dataclass(frozen=True)
class Loaded(Generic[M]):
    """A model read from a file, with its provenance.

    Args:
        value: the model.
        path: the file, as it was named.
        overrides: values set on the command line, as given.
        root: the tree, included files and overrides in place.
    """

    value: M
    path: Path
    overrides: Mapping[str, str]
    root: Node = field(repr=False)

    def where(self, *path: str | int) -> str:
        """Return `file:line` of the value at `path` (or of the nearest mapping around it), for messages."""
        return self.root.at(path).where

    def place(self, *path: str | int) -> "Place":
        """Return the place of the value at `path`, where it names a file."""
        return Place(self.where(*path), path)

    def part(self, *path: str | int) -> Part:
        """Return the mapping at `path`, to be laid over another file by `read`; empty if there is none."""
        node: Node | None = self.root
        for step in path:
            node = node.child(step) if node else None
        return Part(node or Node({}, None, 0), path)

    def error(self, text: str, *path: str | int) -> BenchError:
        """Return an error with `text` about the value at `path`, in the form of all other messages."""
        return BenchError(str(Problem(self.where(*path), path, text)))

    def explained(self, errors: Sequence[ErrorDetails]) -> list[str]:
        """Return errors of pydantic about values of this file, in the form of all other messages."""
        return [str(problem) for problem in explain(self.root, errors, _schema_or_nothing(type(self.value)))]


def load(
    path: str | Path, model: type[M], overrides: Mapping[str, str] | None = None, *, change: Part | None = None
) -> M:
    """Return the `model` that the YAML file at `path` describes; raises and arguments as `read`."""
    return read(path, model, overrides, change=change).value


def read(
    path: str | Path,
    model: type[M],
    overrides: Mapping[str, str] | None = None,
    *,
    change: Part | None = None,
    context: Mapping[str, Any] | None = None,
    content: document.Document | None = None,
    named_by: Place | None = None,
) -> Loaded[M]:
    """Read the YAML file at `path` as a `model`.

    Args:
        path: the file; relative paths in it start at its folder.
        model: what it must be; unknown keys are refused if the model forbids them.
        overrides: values by dotted path (`{"dies.0.diameter": "55 nm"}`), each one scalar or a flow list or
            mapping of YAML; relative paths in them start at the current folder.
        change: changes from another file, key by key; their faults are reported with the lines of that file.
        context: further keys of the validation context, which validators of the model read.
        content: of the file, where it was read already to choose the model.
        named_by: the place of another file that names this one; what is wrong with this one as a whole is told there.

    Raises:
        BenchError: naming every problem, one a line: `file:line: key.path: found ..., expected ...`.
    """
    given, overrides = Path(path), dict(overrides or {})
    read_ = content or document.read(given)
    problems = list(read_.problems)
    if read_.root is not None and (other := another_kind(list(read_.root.value), model.model_fields)):
        article = "a JSON file" if read_.text.lstrip("\ufeff \t\r\n").startswith("{") else "a file"
        problems = [Problem(read_.root.where, (), f"found {other.replace('a file', article, 1)}")]
    elif read_.root is not None:
        problems = []
    if problems or read_.root is None:
        if named_by is not None:
            problems = [Problem(named_by.where, named_by.path, f"{p.text} ({p.where})") for p in problems]
        raise _refusal(problems)
    work = _Loading(read_.root, list(read_.problems), dict(context or {}))
    if change is not None:
        work.lay_over(change)
    pending = work.put(overrides)
    while True:
        marks = work.marks(model)
        if not work.include([at for at, kind in marks if kind == FILE_HERE]):
            break
        pending = work.put(pending)
    for key in pending:
        at: Path_ = tuple(key.split("."))
        node = work.root.at(at)
        work.problems.append(Problem("--set", at, f"found {shown(node)} ({node.where}) on the way, expected a mapping"))
    for place, kind in marks:
        if kind == PATH_HERE:
            node = work.root.at(place)
            node.value = str(absolute(node.value, node.file.parent if node.file else here()))
    value = work.validate(model, given)
    return Loaded(value, given, overrides, work.root)


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of `model` for editors."""
    return {"$schema": DIALECT, **model.model_json_schema(schema_generator=_Lenient)}


class _Lenient(GenerateJsonSchema):
    """Gives "anything" for a type that JSON schema cannot express."""

    def handle_invalid_for_json_schema(self, schema: core_schema.CoreSchema, error_info: str) -> JsonSchemaValue:
        return {}


class _Loading:
    """The tree on its way to the model."""

    def __init__(self, root: Node, problems: list[Problem], context: dict[str, Any]) -> None:
        self.root, self.problems, self.context = root, problems, context
        self.failed: set[Path_] = set()
        self.changed: dict[Path_, Path_] = {}

    def lay_over(self, change: Part) -> None:
        """Put the changes of another file into the tree, mappings key by key, all else as a whole."""
        for at, node in _leaves(change.node):
            into = self.root
            for part in at[:-1]:
                below = into.child(part)
                if below is None or not isinstance(below.value, dict):
                    below = Node({}, node.file, node.line, origin=node.origin)
                    into.put(str(part), below)
                into = below
            into.put(str(at[-1]), deepcopy(node))
            self.changed[at] = (*change.path, *at)

    def named(self, problem: Problem) -> Problem:
        """Return `problem` with the path of the value in the file in which it is written."""
        for at, path in self.changed.items():
            if problem.path[: len(at)] == at:
                return replace(problem, path=(*path, *problem.path[len(at) :]))
        return problem

    def put(self, overrides: Mapping[str, str]) -> dict[str, str]:
        """Put overrides into the tree; return those below a text, which may be a file not yet read."""
        pending: dict[str, str] = {}
        for key, text in overrides.items():
            value, problems = document.parse_value(text, tuple(key.split(".")))
            into = None if problems else self._into(key, pending, text)
            self.problems += problems
            if into is not None and value is not None:
                into.put(key.split(".")[-1], value)
        return pending

    def _into(self, key: str, pending: dict[str, str], text: str) -> Node | None:
        parts = key.split(".")
        if not all(parts):
            self.problems.append(Problem("--set", (), f"found '{key}={text}', expected key=value or key.0.key=value"))
            return None
        node = self.root
        for n, part in enumerate(parts):
            last = n == len(parts) - 1
            if node.value is None:
                node.value = {}
            if isinstance(node.value, list) and node.child(part) is None:
                self.problems.append(
                    Problem("--set", tuple(parts[: n + 1]), f"found entry '{part}', expected {_entries(node.value)}")
                )
                return None
            if not isinstance(node.value, dict | list):
                pending[key] = text
                return None
            if last:
                return node
            if node.child(part) is None:
                node.put(part, Node({}, None, 0, origin="--set"))
            node = node.child(part) or node
        return None

    def marks(self, model: type[BaseModel]) -> list[tuple[Path_, str]]:
        """Return the places at which the model takes a path or a file, with their kind."""
        return [
            (locate(self.root, error["loc"]), error["type"])
            for error in self._errors(model, {**self.context, "file": True, "probe": True})
            if error["type"] in (PATH_HERE, FILE_HERE)
        ]

    def include(self, places: list[Path_]) -> bool:
        """Read the files named at `places` into the tree; return whether any was."""
        done = False
        for at in dict.fromkeys(places):
            node = self.root.at(at)
            if at in self.failed or not isinstance(node.value, str):
                continue
            target = absolute(node.value, node.file.parent if node.file else here())
            above = {os.path.realpath(n.file) for n in (self.root.at(at[:k]) for k in range(len(at) + 1)) if n.file}
            if os.path.realpath(target) in above:
                included = document.Document(
                    None, "", [Problem(f"{target}", (), "found the file inside itself, expected another")]
                )
            else:
                included = document.read(target)
            self.problems += (
                [Problem(node.where, at, f"{p.text} ({p.where})") for p in included.problems]
                if included.root is None
                else [Problem(p.where, (*at, *p.path), p.text) for p in included.problems]
            )
            if included.root is None:
                self.failed.add(at)
                continue
            node.value, node.file, node.line, node.origin = included.root.value, target, included.root.line, ""
            done = True
        return done

    def validate(self, model: type[M], path: Path) -> M:
        """Return the model, or raise all problems."""
        context = {**self.context, "file": True, "folder": path.parent}
        value, errors = None, []
        try:
            value = model.model_validate_json(json.dumps(self.root.plain()), context=context)
        except ValidationError as error:
            errors = list(error.errors(include_url=False, include_input=False))
        except LabError as error:
            self.problems.append(Problem(f"{path}", (), str(error)))
        errors += self._converted(model, context, {locate(self.root, error["loc"]) for error in errors})
        reported = [p.path for p in self.problems if p.path]
        self.problems += [
            p
            for p in explain(self.root, errors[: 2 * MOST], _schema_or_nothing(model) if errors else {})
            if not any(p.path[: len(at)] == at for at in (*reported, *self.failed))
        ]
        if self.problems or value is None:
            raise _refusal([self.named(p) for p in self.problems])
        return value

    def _converted(self, model: type[BaseModel], context: dict[str, Any], known: set[Path_]) -> list[ErrorDetails]:
        """Return the values that pydantic would convert in silence: 'no' to False, '5' to 5, true to 1.

        A strict reading refuses these, but beneath a validator of mode "before" it refuses lists for tuples and
        texts for enums and paths as well; so only places count at which all its errors are about a scalar.
        """
        by_path: dict[Path_, list[ErrorDetails]] = {}
        for error in self._errors(model, context, strict=True):
            by_path.setdefault(locate(self.root, error["loc"]), []).append(error)
        return [
            error
            for at, errors in by_path.items()
            if at not in known and all(e["type"] in _SCALARS for e in errors)
            for error in errors
        ]

    def _errors(self, model: type[BaseModel], context: dict[str, Any], strict: bool = False) -> list[ErrorDetails]:
        """Return the errors; `strict` is in the context too, for validators that choose a model by a value."""
        try:
            text = json.dumps(self.root.plain())
            model.model_validate_json(text, strict=strict, context={**context, "strict": strict})
        except ValidationError as error:
            return list(error.errors(include_url=False, include_input=False))
        except LabError:
            return []
        return []


def _entries(listed: Sequence[Node]) -> str:
    """Return which entries a list has, in words."""
    if len(listed) < 2:
        return "entry 0, the only one" if listed else "another key: the list has no entry"
    return f"0, the first entry, to {len(listed) - 1}, the last"


def _schema_or_nothing(model: type[BaseModel]) -> dict[str, Any]:
    return _schema_with(model, plugins.registered(plugins.INSTRUMENTS))


@cache
def _schema_with(model: type[BaseModel], drivers: tuple[plugins.Plugin, ...]) -> dict[str, Any]:
    """Return the schema of a model; that of a bench has the keys of all drivers that are installed."""
    try:
        return schema(model)
    except Exception:  # a model without a schema still gets its messages; only suggestions are missing then
        return {}


def _leaves(node: Node, at: Path_ = ()) -> Iterator[tuple[Path_, Node]]:
    """Yield the leaves of a tree of mappings: every value that is no mapping, and empty mappings."""
    if isinstance(node.value, dict) and (node.value or not at):
        for key, below in node.value.items():
            yield from _leaves(below, (*at, key))
    else:
        yield at, node


def _refusal(problems: list[Problem]) -> BenchError:
    lines = list(dict.fromkeys(str(problem) for problem in problems[: 4 * MOST]))
    more = len(lines) - MOST
    return BenchError(
        "\n".join([*lines[:MOST], *([f"and {more} or more other problems, found in the same way"] if more > 0 else [])])
    )
