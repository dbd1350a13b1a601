"""Text to a tree of nodes with their positions in the file.

PyYAML reads YAML 1.1: `no` is False, `1e-9` a text, `010` is 8, `12:30` is 750, and the second of two equal
keys wins in silence; none of that may end in a wrong voltage. Only its parser and composer are used
here; plain scalars are resolved by the core schema of YAML 1.2.2 (section 10.3), nothing is constructed or
executed, and every ambiguous text is refused with its line. The parser is libyaml where PyYAML was built with it, which
takes a tenth of the time; what is too much is refused while it is read, before it takes time or memory.
"""

import errno
import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from labctl.core.known_files import JSON_KINDS, by_bytes, by_mark, encoding_of, what_is
from labctl.core.known_texts import YAML
from labctl.core.secrets import secret_in
from labctl.core.texts import named_character, odd_character
from labctl.files.door import current, neighbour
from labctl.files.tree import Node, Path_, Problem

MAX_BYTES = 4 << 20
MAX_NODES = 100_000
MAX_DEPTH = 60
MAX_KEY = 200

_CORE = "tag:yaml.org,2002:"
_TEXT = f"{_CORE}str"
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})


@dataclass
class Document:
    """A file as read: its tree, its text, and its problems so far."""

    root: Node | None
    text: str
    problems: list[Problem] = field(default_factory=list)


def scalar(text: str) -> Any:
    """Return the value of a plain scalar in the core schema of YAML 1.2; ValueError if it is not finite.

    >>> scalar("1e-9"), scalar("no"), scalar("010"), scalar("12:30"), scalar("~")
    (1e-09, 'no', 10, '12:30', None)
    """
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        if len(text) > 300:
            raise ValueError("a finite number")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("a finite number")
    if _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError("a finite number")
        return value
    return text


_SCALAR: Any = yaml.ScalarEvent
_Parser: Any = yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader


class _Loader(yaml.composer.Composer, _Parser):  # type: ignore[misc]
    """Nodes within bounds; every untagged scalar is left as text, with no `style` if it was plain."""

    def __init__(self, text: str) -> None:
        _Parser.__init__(self, text)
        yaml.composer.Composer.__init__(self)
        self.nodes = self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node."""
        self.nodes += 1
        if self.nodes > 2 * MAX_NODES:  # with keys
            raise _TooMuch(f"more than {MAX_NODES} values")
        event = self.peek_event()
        if type(event) is _SCALAR and event.anchor is None:  # most nodes: nothing is to be resolved
            self.get_event()
            tag = event.tag if event.tag not in (None, "!") else _TEXT
            return yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark, style=event.style)
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            raise _TooMuch(f"more than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reader:
    """Turns composed nodes into `Node`s and gathers problems on the way."""

    def __init__(self, name: str, path: Path | None = None) -> None:
        self.name, self.path = name, path
        self.problems: list[Problem] = []
        self.count = 0

    def where(self, line: int) -> str:
        return f"{self.name}:{line}" if self.path else self.name

    def problem(self, line: int, at: Path_, text: str) -> None:
        self.problems.append(Problem(self.where(line), at, text))

    def node(self, value: Any, line: int, raw: str = "") -> Node:
        return Node(value, self.path, line, raw, "" if self.path else self.name)

    def one_more(self) -> None:
        """Count a value or a merged mapping."""
        self.count += 1
        if self.count > MAX_NODES:
            raise _TooMuch(_WRITTEN_OUT)

    def read(self, node: yaml.Node, at: Path_, line: int, above: Sequence[yaml.Node] = ()) -> Node:
        self.one_more()
        if len(above) > MAX_DEPTH or any(node is one for one in above):
            raise _TooMuch(f"an alias to what contains it, or more than {MAX_DEPTH} levels")
        inside = (*above, node)
        if isinstance(node, yaml.ScalarNode):
            return self.node(self.scalar(node, at, line), line, node.value)
        listed = isinstance(node, yaml.SequenceNode)
        if node.tag != f"{_CORE}{'seq' if listed else 'map'}":
            self.problem(line, at, f"found the tag {_tag(node.tag)}, expected a value without a tag")
        if listed:
            return self.node([self.read(n, (*at, i), _line(n), inside) for i, n in enumerate(node.value)], line)
        return self.node(self.mapping(node, at, inside), line)

    def scalar(self, node: yaml.ScalarNode, at: Path_, line: int) -> Any:
        if node.tag != _TEXT:
            self.problem(line, at, f"found the tag {_tag(node.tag)}, expected a value without a tag")
            return None
        if odd := odd_character(node.value):
            self.problem(line, at, f"found {named_character(odd)}, expected printable text")
            return None
        if node.style:
            return node.value
        try:
            return scalar(node.value)
        except ValueError as error:
            self.problem(line, at, f"found {node.value[:40]}, expected {error}")
            return None

    def mapping(self, node: yaml.Node, at: Path_, inside: Sequence[yaml.Node]) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        first: dict[str, int] = {}
        merged: dict[str, Node] = {}
        for key, value in node.value:
            line = _line(key)
            if not isinstance(key, yaml.ScalarNode):
                self.problem(line, at, "found a list or mapping as a key, expected a text")
            elif odd := odd_character(key.value):
                self.problem(line, at, f"found {named_character(odd)} in a key, expected printable text")
            elif len(key.value) > MAX_KEY:
                self.problem(line, at, f"found a key of {len(key.value)} characters, expected at most {MAX_KEY}")
            elif key.value == "<<" and not key.style:
                for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(source, yaml.MappingNode) and source not in inside:
                        self.one_more()
                        merged = self.mapping(source, at, (*inside, source)) | merged
                    else:
                        self.problem(line, at, "found '<<' with something else, expected '<<: *name' of a mapping")
            elif key.value in entries:
                self.problem(
                    line,
                    (*at, key.value),
                    f"found the key twice, on lines {first[key.value]} and {line}; expected once",
                )
            else:
                first[key.value] = line
                entries[key.value] = self.read(value, (*at, key.value), line, inside)
        return merged | entries


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the collector of garbage: of many nodes none is, and to look for it took a third of the time."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


class _TooMuch(Exception):
    pass


_WRITTEN_OUT = f"more than {MAX_NODES} values once its aliases are written out"


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return the number of values of a node with its aliases written out; what contains itself counts nothing there."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0
        inside = node.value if isinstance(node, yaml.SequenceNode) else (value for _, value in node.value)
        known[id(node)] = 1 + sum(_values(one, known) for one in inside)
    return known[id(node)]


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _tag(tag: str) -> str:
    return tag.replace(_CORE, "!!")[:60]


def read(path: Path) -> Document:
    """Return the document in the file `path`; faults are in its `problems`."""
    if "\n" in str(path):
        return _refused("", f"found a text of {len(str(path).splitlines())} lines, expected the path of a YAML file")
    try:
        if path.is_dir():
            return _refused(f"{path}", "found a folder, expected a YAML file")
        data = current().read(path, MAX_BYTES)
    except FileNotFoundError:
        return _refused(f"{path}", f"no such file{neighbour(path)}")
    except (OSError, ValueError) as error:
        if getattr(error, "errno", 0) == errno.EFBIG:
            return _refused(f"{path}", f"found more than {MAX_BYTES >> 20} MiB, expected a file that people write")
        return _refused(f"{path}", f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if what := by_bytes(data) or (f"a text in {encoding}" if (encoding := encoding_of(data)) else ""):
        return _refused(f"{path}", f"found {what}, expected a YAML file in UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return _refused(f"{path}:{line}", f"found the byte 0x{data[error.start]:02x}, expected text in UTF-8")
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    """Return the document in `text`, the content of the file `path`."""
    reader = _Reader(f"{path}", path)
    document = _compose(text, reader, ())
    root = document.root
    if root is not None and isinstance(root.value, dict):
        for keys, what in JSON_KINDS:
            if root.value.keys() >= keys:
                return _refused(f"{path}", f"found {what}, expected a YAML file")
        return document
    is_list = root is not None and isinstance(root.value, list)  # as a text of any form with dashes is
    if (what := (by_mark if is_list else what_is)(text.encode())) not in ("", YAML):
        return _refused(f"{path}", f"found {what}, expected a YAML file with keys and values (key: value)")
    if root is not None:
        kind = "a list" if is_list else f"the single value '{root.raw[:40]}'"
        problem = Problem(root.where, (), f"found {kind}, expected keys and values (key: value)")
        return Document(None, text, [*document.problems, problem])
    return document


def _compose(text: str, reader: "_Reader", at: Path_) -> Document:
    where = reader.where

    def refused(line: int, message: str) -> Document:
        return Document(None, text, [Problem(where(line), at, message)])

    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    if odd := odd_character(lines):
        line = lines[: lines.index(odd)].count("\n") + 1
        return refused(line, f"found {named_character(odd)}, expected printable text")
    try:
        loader = _Loader(text)
        try:
            with _uncollected():
                composed = loader.get_single_node()
        finally:
            loader.dispose()
        if composed is None:
            return refused(1, "found an empty file, expected keys and values (key: value)")
        if _values(composed, {}) > MAX_NODES:  # before any is built
            raise _TooMuch(_WRITTEN_OUT)
        root = reader.read(composed, at, _line(composed))
    except yaml.reader.ReaderError as error:  # of a character that this version of libyaml does not know
        return refused(1, f"found a character that is no YAML ({error.reason}), expected printable text")
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in str(error):
            return refused(1, f"found more than {MAX_DEPTH} levels, expected what people write")
        return refused(*_syntax(error, text))
    except (RecursionError, _TooMuch) as error:
        excess = str(error) if isinstance(error, _TooMuch) else f"more than {MAX_DEPTH} levels"
        return refused(1, f"found {excess}, expected what people write")
    return Document(root, text, reader.problems)


def parse_value(text: str, at: Path_) -> tuple[Node | None, list[Problem]]:
    """Return the node of the `text` after `--set key=`, and its problems.

    A value in brackets, braces or quotes is YAML; everything else is one plain scalar, so that a path with
    a `#` or a `: ` in it needs no quotes.
    """
    text = text.strip()
    if kind := secret_in(text)[1]:
        return None, [Problem("--set", at, f"found {kind}, expected none: the command line is kept with the run")]
    if odd := odd_character(text):
        return None, [Problem("--set", at, f"found {named_character(odd)}, expected printable text")]
    if not text.startswith(("[", "{", '"', "'")):
        try:
            return Node(scalar(text), None, 0, text, "--set"), []
        except ValueError as error:
            return None, [Problem("--set", at, f"found {text[:40]}, expected {error}")]
    document = _compose(text, _Reader("--set"), at)
    return document.root, document.problems


def _refused(where: str, text: str) -> Document:
    return Document(None, "", [Problem(where, (), text)])


def _syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    message = error.problem or error.context or str(error)
    began = error.context_mark.line + 1 if error.context_mark else line
    lines = text.splitlines()
    if conflict := _conflict(text):
        line, message = conflict, "found the mark of a merge conflict, expected one of the two versions and no mark"
    elif "'\\t'" in message or _tab_indent(text, line):
        message = "found a tab, expected spaces: YAML indents with spaces only"
    elif "but found another document" in message:
        message = "found a second document ('---'), expected one per file"
    elif "mapping values are not allowed" in message:
        message = "found a second ': ' in one line, expected 'key: value' (a text with ': ' in it stands in quotes)"
        if line <= len(lines) and len(re.findall(r":(?= |$)", lines[line - 1])) < 2:
            message = "found a key that is indented deeper than the one above it, expected the same indentation"
    elif "could not find expected ':'" in message:
        line, message = began, f"found {_cut(lines, began)} without ': ', expected 'key: value'"
    elif "did not find expected ',' or" in message or (
        "did not find expected node content" in message and began < line
    ):
        line, message = began, "found a bracket that is not closed, expected ']' or '}' and commas between the values"
    elif "unexpected end of stream" in message and "quoted scalar" in str(error.context):
        line, message = began, "found a quote that is not closed, expected another one behind the text"
    elif "cannot start any token" in message and mark is not None and line <= len(lines):
        message = (
            f"found a value that begins with '{lines[line - 1][mark.column : mark.column + 1]}', expected it in quotes"
        )
    elif "Unicode character escape code" in message:
        message = "found half a character (\\uD800 to \\uDFFF) or no character at all, expected text"
    elif "undefined alias" in message:
        message = f"{message}, expected an anchor '&name' above it"
    else:
        message = f"not YAML: {message}" + (f" {error.context}" if error.problem and error.context else "")
        message += ", expected lines as 'key: value'"
    return line, message


def _cut(lines: Sequence[str], line: int) -> str:
    """Return a line as it stands in a message."""
    here = lines[line - 1].strip() if line <= len(lines) else ""
    return repr(here if len(here) <= 40 else f"{here[:37]}...")


def _conflict(text: str) -> int:
    """Return the line of the first mark of a merge conflict, 0 if there is none."""
    marked = (n for n, line in enumerate(text.splitlines(), 1) if line.startswith(("<<<<<<< ", ">>>>>>> ")))
    return next(marked, 0)


def _tab_indent(text: str, line: int) -> bool:
    lines = text.splitlines()
    return line <= len(lines) and "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]
