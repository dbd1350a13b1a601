"""Whose the import names are: the packages of this distribution have generic names, and a folder may have them too.

A lab's own folder `instruments` in the folder where one works, or in PYTHONPATH, comes before ours on Python's path;
another distribution that installs a package of the name overwrites ours. Then half of the imports are of strangers and
fail anywhere, so this is asked before any of these packages is imported, and nothing here imports one.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from labctl.core.errors import BenchError
from labctl.core.plugins import DISTRIBUTION

NAMES = ("instruments", "protocols", "sim_backend")
"""Packages beside `labctl`; each says in its `__init__` of which distribution it is."""
OWN_FOLDER = Path(__file__).resolve().parents[2]
"""The folder that `labctl`, and with it the others, lie in."""


@dataclass(frozen=True)
class ForeignName:
    """An import name that is not ours.

    Args:
        name: of the package.
        place: what is imported under it; None: nothing.
        own: where ours lies.
        remedy: what to do.
    """

    name: str
    place: Path | None
    own: Path
    remedy: str

    def __str__(self) -> str:
        if self.place is None:
            return f"the package '{self.name}' of {DISTRIBUTION} is not at {self.own}: {self.remedy}"
        if self.place == self.own:
            return f"{self.own / '__init__.py'} is not the one of {DISTRIBUTION}: {self.remedy}"
        return (
            f"the name '{self.name}' is that of a package of {DISTRIBUTION} ({self.own}), "
            f"and Python takes it from {self.place}: {self.remedy}"
        )


def foreign_names(names: Sequence[str] = NAMES, own_folder: Path = OWN_FOLDER) -> list[ForeignName]:
    """Return the import names that are not ours, with what to do; imports none of them.

    Args:
        own_folder: the folder in which ours lie.
    """
    return list(_foreign(names, own_folder))


def require_own_names() -> None:
    """Raise BenchError if an import name is not ours; it names both places and what to do."""
    if foreign := foreign_names():
        raise BenchError("; ".join(map(str, foreign)))


def _foreign(names: Sequence[str], own_folder: Path) -> Iterator[ForeignName]:
    for name in names:
        place, own = _place(name), own_folder / name
        if place is None:
            yield ForeignName(name, None, own, f"reinstall {DISTRIBUTION}")
        elif not _same(place, own):
            yield ForeignName(name, place, own, _out_of_the_way(name, place))
        elif not _is_ours(own):
            yield ForeignName(name, own, own, _after_overwriting(name))


def _place(name: str) -> Path | None:
    """Return the folder, or the file of a module, that Python imports `name` from; None if there is none."""
    module = sys.modules.get(name)
    spec = find_spec(name) if module is None else module.__spec__
    origin = getattr(module, "__file__", None) if spec is None else spec.origin
    if origin is not None and origin != "namespace":
        path = Path(origin).resolve()
        return path.parent if path.name == "__init__.py" else path
    folders = list((spec.submodule_search_locations if spec is not None else getattr(module, "__path__", None)) or [])
    return Path(folders[0]).resolve() if folders else None


def _same(place: Path, own: Path) -> bool:
    try:
        return place.samefile(own)
    except OSError:
        return place == own


def _is_ours(package: Path) -> bool:
    """Return whether the `__init__` of a package says that it is of this distribution."""
    try:
        text = (package / "__init__.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return f'__distribution__ = "{DISTRIBUTION}"' in text


def _out_of_the_way(name: str, place: Path) -> str:
    """Return what to do about a folder or a module that comes before ours on Python's path."""
    if str(place.parent) in {os.path.realpath(entry) for entry in _python_path()}:
        return f"rename it, or take {place.parent} out of PYTHONPATH"
    if place.parent == Path.cwd().resolve():
        return "rename it, or start from another folder, or with the command 'labctl' instead of 'python -m labctl'"
    if owners := other_owners([name])[name]:
        return f"uninstall {owners[0]}, which installed it, or give {DISTRIBUTION} an environment of its own"
    return f"rename it, or take {place.parent} out of Python's path (sys.path)"


def _python_path() -> list[str]:
    return [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


def _after_overwriting(name: str) -> str:
    """Return what to do about a package that another distribution was installed over."""
    if not (owners := other_owners([name])[name]):
        return f"it was changed; reinstall {DISTRIBUTION}"
    return f"the distribution {owners[0]} was installed over it; uninstall {owners[0]} and reinstall {DISTRIBUTION}"


def other_owners(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the other installed distributions with a package or a module of each name.

    What `importlib.metadata.packages_distributions` finds as well; but it takes apart every list of files that is
    installed, which costs each run 0.15 s of processor time.
    """
    owners: dict[str, set[str]] = {name: set() for name in names}
    in_record = re.compile(rf"^({'|'.join(map(re.escape, names))})(?=/|\.py,)", re.MULTILINE)
    for distribution in metadata.distributions():
        if declared := distribution.read_text("top_level.txt"):
            installed = set(declared.split())
        else:
            installed = set(in_record.findall(distribution.read_text("RECORD") or ""))
        for name in installed & owners.keys():
            owners[name].add(distribution.metadata["Name"])
    return {name: sorted(of_name - {DISTRIBUTION}) for name, of_name in owners.items()}
