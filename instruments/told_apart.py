"""Which instruments of a bench could be exchanged without anybody noticing; pure.

Two equal boxes at each other's address answer as they should. A pinned serial number tells them apart, and for sources
the first contact: sources that have changed places drive lines that nothing connects, so that no structure conducts
(docs/decisions/108-no-reading-without-proof.md). That fails where a structure conducts either way, as between two
needles on one channel of each: the current then flows backwards, and P is written where AP was wanted.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from instruments.bench import Bench
from instruments.entry import Entry
from instruments.probed_die import ProbedDie
from labctl.core.driver import DriverKind
from labctl.core.errors import BenchError


def exchangeable(bench: Bench, die: ProbedDie) -> Iterator[tuple[str, str]]:
    """Yield pairs of equal instruments of which nothing says which is which, and which nobody has accepted by name.

    Args:
        die: of the bench; it need not be connected.
    """
    entries = [
        (name, entry)
        for name, entry in bench.instruments.items()
        if entry.serial is None and not entry.unpinned and entry.address is not None
    ]
    for (one, first), (other, second) in combinations(entries, 2):
        if _identity(first) != _identity(second):
            continue
        if first.kind is not DriverKind.SOURCE or not die.first_contact_tells(one, other):
            yield one, other


def _identity(entry: Entry) -> tuple[str, Any]:
    """Return what an instrument is held against when it is connected; other options say how it is used."""
    return entry.driver, getattr(entry.options, "model", None)


def text_of(one: str, other: str) -> str:
    """Return why two instruments could be exchanged, and what helps, in operator words."""
    return (
        f"{one} and {other} are the same model, neither has a 'serial', and no contact structure tells them apart: "
        "with exchanged addresses other cells would be measured, or currents turned round, without a word; "
        "'labctl check BENCH --pin' writes the serial numbers, 'unpinned: true' at one of them accepts that"
    )


def require_told_apart(bench: Bench, die: ProbedDie) -> None:
    """Raise BenchError if equal instruments could be exchanged unseen, naming every pair."""
    pairs = [text_of(one, other) for one, other in exchangeable(bench, die)]
    if pairs:
        raise BenchError(f"bench '{bench.name}': {'; '.join(pairs)}; nothing was changed")
