r"""The tree of commands of an instrument: from the header of a message unit to what it does.

A command is spelled as in manuals, `[:SENSe[1]]:CURRent[:DC]:RANGe[:UPPer]`: short forms in capitals, nodes that may
be left out in brackets, a numeric suffix that may be left out in brackets too, one that is free as `<n>`. The rules
of headers in one message: SCPI-1999, volume 1, 6.2.4.

>>> tree = CommandTree()
>>> tree.add("[:SENSe[1]]:CURRent[:DC]:RANGe[:UPPer]", query=lambda: "1.05E-6")
>>> tree.command(("CURR", "RANG"), tree.root)[0].query()
'1.05E-6'
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from sim_backend.emulators.scpi.errors import ScpiError
from sim_backend.emulators.scpi.parameters import Parameter, matches

_NODE = re.compile(r"(\[)?(?::|\A)([A-Za-z_*][A-Za-z_]*)(\d+)?(?:\[(\d+)\])?(<n>)?(?(1)\])")
_WORD = re.compile(r"(\*?[A-Z_][A-Z_]*?)(\d*)$")


@dataclass(frozen=True)
class Command:
    """What a header does.

    Args:
        spelled: as in manuals.
        parameters: of the command without a question mark.
        optional: how many of the last ones may be left out.
        rest: the last parameter may be repeated.
        run: carries the command out; its arguments are the free suffixes and the values. None: it is a query only.
        query: returns the response; its arguments are the free suffixes and the values of `asked`. None: it is none.
        asked: parameters of the query, each of which may be left out.
    """

    spelled: str
    parameters: tuple[Parameter, ...] = ()
    optional: int = 0
    rest: bool = False
    run: Callable[..., object] | None = None
    query: Callable[..., str] | None = None
    asked: tuple[Parameter, ...] = ()


@dataclass(frozen=True)
class _Mnemonic:
    """One node: its spelling, and the suffixes that it has; None is any."""

    spelled: str
    suffixes: tuple[int, ...] | None
    optional: bool
    """The whole node may be left out."""

    def suffix(self, word: str) -> int | None:
        """Return the suffix of a word of this node, -1 if it is another node's; None if the suffix is not one."""
        number = _suffix(word, self.spelled)
        return number if number == -1 or self.suffixes is None or number in self.suffixes else None


@lru_cache(maxsize=8192)
def _suffix(word: str, spelled: str) -> int:
    """Return the suffix of a word that is a form of a mnemonic, -1 if it is none."""
    match = _WORD.match(word)
    return int(match[2] or 1) if match is not None and matches(match[1], spelled) else -1


class Node:
    """A place in the tree: what comes below it, and the command that ends here."""

    def __init__(self) -> None:
        self.below: dict[_Mnemonic, Node] = {}
        self.command: Command | None = None


class CommandTree:
    """The commands of an instrument."""

    def __init__(self) -> None:
        self.root = Node()
        self.commands: list[Command] = []

    def add(self, spelled: str, *parameters: Parameter, **more: Any) -> None:
        """Add a command; keywords are those of `Command`. ValueError if it is not spelled as one, or exists."""
        command = Command(spelled, parameters, **more)
        for nodes in _headers(spelled):
            place = self.root
            for node in nodes:
                place = place.below.setdefault(node, Node())
            if place.command is not None:
                raise ValueError(f"{spelled} is {place.command.spelled} as well")
            place.command = command
        self.commands.append(command)

    def command(self, words: Sequence[str], start: Node) -> tuple[Command, tuple[int, ...], Node]:
        """Return the command of a header, its free suffixes, and where the next header of the message begins.

        Args:
            words: mnemonics, in capitals.
            start: where this header begins.

        Raises:
            ScpiError: -113 there is none, -114 a suffix that it does not have.
        """
        place, before, free = start, start, []
        for word in words:
            known = False
            for node, below in place.below.items():
                number = node.suffix(word)
                if number == -1:
                    continue
                known = True
                if number is not None:
                    if node.suffixes is None:
                        free.append(number)
                    place, before = below, place
                    break
            else:
                raise ScpiError(-114 if known else -113)
        if place.command is None:
            raise ScpiError(-113)
        return place.command, tuple(free), before


@cache
def _headers(spelled: str) -> tuple[tuple[_Mnemonic, ...], ...]:
    """Return the ways to write a spelled command."""
    return tuple(_ways(_nodes(spelled)))


def _nodes(spelled: str) -> list[_Mnemonic]:
    """Return the nodes of a spelled command."""
    nodes, at = [], 0
    while at < len(spelled):
        match = _NODE.match(spelled, at)
        if match is None:
            raise ValueError(f"'{spelled}' is not spelled as a command, at {at}")
        optional, word, fixed, chosen, free = match.groups()
        suffixes = None if free else (int(fixed),) if fixed else (int(chosen),) if chosen else (1,)
        nodes.append(_Mnemonic(word, suffixes, bool(optional)))
        at = match.end()
    return nodes


def _ways(nodes: Sequence[_Mnemonic]) -> Iterator[tuple[_Mnemonic, ...]]:
    """Yield the ways to write a header: with and without each node that may be left out."""
    if not nodes:
        yield ()
        return
    first, *others = nodes
    for rest in _ways(others):
        yield (_Mnemonic(first.spelled, first.suffixes, False), *rest)
        if first.optional:
            yield rest
