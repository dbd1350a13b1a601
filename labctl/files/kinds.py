"""The kinds of files that people write, told apart by their keys.

A file of another kind would else be refused key by key, and never be called what it is. The keys are those of the
models in the packages above; a test compares them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        name: with its article.
        own: keys that no other kind has.
        shared: keys that others have as well.
    """

    name: str
    own: frozenset[str]
    shared: frozenset[str]


def _kind(name: str, own: str, shared: str) -> Kind:
    return Kind(name, frozenset(own.split()), frozenset(shared.split()))


KINDS = (
    _kind("a campaign file", "stages wafer accept bins notify title", "name seed dies limits batch fiducials"),
    _kind(
        "a bench file",
        "instruments wiring outputs settling reads contact timing body version ledger twin",
        "name limits",
    ),
    _kind("a die file", "geometry junction polarity simulation", "name"),
    _kind("a wafer file", "map map_file map_reading vary pitch_x pitch_y lot", "name dies fiducials"),
    _kind(
        "a training file",
        "sizes votes levels activation scale epochs rate maps judged_on judged_maps method data preprocess networks "
        "candidates survey",
        "seed dies batch",
    ),
)


def another_kind(keys: Collection[str], expected: Iterable[str]) -> str:
    """Return in words which kind of file one with `keys` is, if it is none with the keys `expected`; else "".

    >>> another_kind(["name", "map"], ["name", "limits", "stages", "bins"])
    "a wafer file (it has 'map'), expected a campaign file"
    >>> another_kind(["name", "stages", "map"], ["name", "limits", "stages", "bins"])
    ''
    """
    fields, found = frozenset(expected), frozenset(keys)
    wanted = max(KINDS, key=lambda kind: len(kind.own & fields))
    if not wanted.own & fields or wanted.own & found:
        return ""
    kind = max(KINDS, key=lambda kind: len(kind.own & found))
    telling = [key for key in keys if key in kind.own]
    if len(telling) > 1 or (telling and found <= kind.own | kind.shared):
        named = " and ".join(f"'{key}'" for key in telling[:2])
        return f"{kind.name} (it has {named}), expected {wanted.name}"
    return ""
