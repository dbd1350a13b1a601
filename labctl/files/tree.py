"""The content of a file: nodes with their positions, and problems that name the place."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.core.texts import visible

LONGEST = 1000
"""Characters of a problem that are shown."""
_LONG_WORD = re.compile(r"[^\s']{100,}")

Path_ = tuple[str | int, ...]


@dataclass
class Node:
    """A value and its position.

    Args:
        value: None, bool, int, float or str; or a dict or list of nodes.
        file: the file that holds it; None for the command line.
        line: its line, from 1; for the value of a key, the line of the key.
        raw: scalars as written.
        origin: `--set` and its key, for a value of the command line.
    """

    value: Any
    file: Path | None
    line: int
    raw: str = ""
    origin: str = ""

    @property
    def where(self) -> str:
        """`file:line`, or the override that set it."""
        return self.origin or f"{self.file}:{self.line}"

    def plain(self) -> Any:
        """Return the value without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, part: str | int) -> "Node | None":
        """Return the entry `part` of a mapping or list, None if there is none."""
        if isinstance(self.value, dict):
            entry: Node | None = self.value.get(str(part))
            return entry
        if isinstance(self.value, list):
            try:
                index = int(part)
            except ValueError:
                return None
            return self.value[index] if 0 <= index < len(self.value) else None
        return None

    def put(self, part: str, node: "Node") -> None:
        """Make `node` the entry `part` of this mapping, or of this list, which has one."""
        if isinstance(self.value, dict):
            self.value[part] = node
        else:
            self.value[int(part)] = node

    def at(self, path: Path_) -> "Node":
        """Return the node at `path`, or the deepest one on the way to it."""
        node = self
        for part in path:
            below = node.child(part)
            if below is None:
                break
            node = below
        return node

    def walk(self, path: Path_ = ()) -> Iterator[tuple[Path_, "Node"]]:
        """Yield every path and node of the tree, parents first."""
        yield path, self
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.walk((*path, key))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.walk((*path, index))


@dataclass(frozen=True)
class Problem:
    """One thing wrong at one place; `str()` is the line that the operator reads."""

    where: str
    path: Path_
    text: str

    def __str__(self) -> str:
        text = self.text
        if len(text) > LONGEST:  # a word of the file is shortened before the sentence about it is
            text = _LONG_WORD.sub(lambda word: f"{word[0][:57]}...", text)
        if len(text) > LONGEST:
            text = f"{text[: LONGEST - 200]} ... {text[-200:]}"
        return visible(": ".join(part for part in (self.where, dotted(self.path), text) if part))


def dotted(path: Path_) -> str:
    """Return a path as people write it.

    >>> dotted(("dies", 0, "diameter"))
    'dies.0.diameter'
    """
    return ".".join(str(part) for part in path)
