"""The kinds of files that people write, told apart by their keys.

A file of another kind would else be refused key by key, and never be called what it is. The keys are those of the
models in the packages above; a test compares them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


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
    _kind(
        "a campaign file",
        "stages wafer accept bins notify temperature operator",
        "name title seed dies limits batch fiducials",
    ),
    _kind(
        "a bench file",
        "instruments wiring outputs settling reads contact timing body version ledger twin programming joined exchange "
        "prober",
        "name limits",
    ),
    _kind("a die file", "geometry junction polarity simulation", "name"),
    _kind("a wafer file", "map map_file map_reading vary pitch_x pitch_y lot notch", "name dies fiducials"),
    _kind(
        "a training file",
        "sizes votes levels activation scale epochs rate maps judged_on judged_maps validation method data preprocess "
        "networks candidates survey bad_cells",
        "seed dies batch",
    ),
    _kind(
        "a file about a run to publish",
        "licence description authors publisher keywords genealogy probe_card ambient notes",
        "title",
    ),
)


STRANGE = 6
"""Unknown keys from which a file of which more keys are unknown than known is none that a person wrote wrongly."""


def another_kind(keys: Collection[str], expected: Iterable[str]) -> str:
    """Return in words which kind of file one with `keys` is, if it is none with the keys `expected`; else "".

    >>> another_kind(["name", "map"], ["name", "limits", "stages", "bins"])
    "a wafer file (it has 'map'), expected a campaign file"
    >>> another_kind(["name", "stages", "map"], ["name", "limits", "stages", "bins"])
    ''
    >>> another_kind(["bins", *"abcdefg"], ["name", "limits", "stages", "bins"])
    "a file with 'a', 'b', 'c' and 4 more keys that none of ours has, expected a campaign file"
    """
    fields, found = frozenset(expected), frozenset(keys)
    wanted = max(KINDS, key=lambda kind: len(kind.own & fields))
    if not wanted.own & fields:
        return ""
    strange = [key for key in keys if key not in fields]
    if wanted.own & found:
        return _no_kind(strange, wanted) if STRANGE <= len(strange) > len(found & fields) else ""
    kind = max(KINDS, key=lambda kind: len(kind.own & found))
    telling = [key for key in keys if key in kind.own]
    if len(telling) > 1 or (telling and found <= kind.own | kind.shared):
        named = " and ".join(f"'{key}'" for key in telling[:2])
        return f"{kind.name} (it has {named}), expected {wanted.name}"
    meant = any(get_close_matches(key.lower(), fields, 1, 0.6) for key in strange)
    few = STRANGE if meant else 2
    return _no_kind(strange, wanted) if few <= len(strange) > len(found & fields) else ""


def _no_kind(strange: Sequence[str], wanted: Kind) -> str:
    """Return in words that a file with the keys `strange` is of no kind that is known."""
    named = [f"'{key[:40]}'" for key in strange[:3]]
    more = [f"{len(strange) - 3} more keys"] if len(strange) > 3 else []
    *first, last = [*named, *more]
    listed = f"{', '.join(first)} and {last}" if first else last
    return f"a file with {listed}{'' if more else ', keys'} that none of ours has, expected {wanted.name}"
