"""Names that become files and folders of a run: one rule for all of them, on every system.

A name of a wafer, a die or a subsite comes from files that people and machines wrote, and the run makes folders of it.
It is refused where it is read; `inside` refuses once more where the path is made. Names in ASCII have one spelling: no
composed and decomposed letters that are one file here and two there, and names that differ in case only are one name.
Folders and files that somebody names on the command line (`new_path`) may have every letter; copies of files that
people named are called by what of their name this rule allows (`called_after`).
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from labctl.core.errors import BenchError
from labctl.core.texts import named_character, odd_character

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_LONGEST = 250
"""Bytes of a name, with what is added while a file is written; most systems store 255."""
_NOT_ON_WINDOWS = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def file_name(name: str) -> str:
    """Return `name` if folders and files of a run can be called by it on every system; ValueError says why not.

    >>> file_name("D80")
    'D80'
    """
    if not re.fullmatch(NAME, name):
        raise ValueError(
            f"found {name[:80]!r}, expected 1 to 64 ASCII letters, digits, '_', '-' or '.', the first a letter or "
            "digit: "
            "files are named after it"
        )
    if name.endswith("."):
        raise ValueError(f"found {name!r}: files are named after it, expected no point at the end: Windows stores none")
    if name.split(".")[0].lower() in _NOT_ON_WINDOWS:
        raise ValueError(f"found {name!r}: files are named after it, expected another: on Windows that is a device")
    if name.lower().endswith((".h5", ".part")) or name.lower() == "summary":
        raise ValueError(f"found {name!r}: files of a run have this name already; expected another")
    return name


def alike(names: Iterable[str]) -> str:
    """Return in words which two of `names` are one name on some systems, "" if none are.

    >>> alike(["A", "B", "A"]), alike(["A", "a"]), alike(["A", "B"])
    ('two are called A', 'A and a differ in case only, which makes one file of both on some systems', '')
    """
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(name.lower(), "")
        if other == name:
            return f"two are called {name}"
        if other:
            return f"{other} and {name} differ in case only, which makes one file of both on some systems"
        first[name.lower()] = name
    return ""


_NOT_ON_WINDOWS_EITHER = '<>:"|?*\\'


def new_folder_of(path: Path) -> Path:
    """Return the path of a file or folder to be made in a folder that exists; BenchError if it cannot be made there."""
    new_path(path)
    if not path.parent.is_dir():
        raise BenchError(f"{path}: there is no folder {path.parent}; expected one that exists")
    if not os.access(path.parent, os.W_OK):
        raise BenchError(f"{path}: nothing can be written into {path.parent}; expected another place")
    return path


def new_path(path: Path) -> Path:
    """Return the path of a file or folder to be made; BenchError if a part that is new cannot be a name everywhere.

    >>> new_path(Path("runs/größe 7")).name
    'größe 7'
    """
    for place in (path, *path.parents):
        name = place.name
        if os.path.islink(place) and not os.path.exists(place):
            raise BenchError(f"{place} is a link to {os.readlink(place)}, which is not there; expected another name")
        if name in ("", "..") or os.path.lexists(place):
            break
        if odd := odd_character(name) or next((c for c in name if c in _NOT_ON_WINDOWS_EITHER or c in "\t\n"), ""):
            found = named_character(odd) if odd_character(odd) or odd.isspace() else f"'{odd}'"
            raise BenchError(f"{path}: found {found} in '{name}', expected a name that every system can store")
        if name.endswith((" ", ".")):
            raise BenchError(f"{path}: '{name}' ends with '{name[-1]}', expected a name that Windows can store, too")
        if name.split(".")[0].strip().lower() in _NOT_ON_WINDOWS:
            raise BenchError(f"{path}: '{name}' is the name of a device on Windows, expected another")
        if len(os.fsencode(name)) > _LONGEST:
            raise BenchError(f"{path}: a name of {len(os.fsencode(name))} bytes, expected {_LONGEST} at most")
    return path


def called_after(name: str) -> str:
    """Return what copies of a file are called that has the name `name`: its ASCII letters, digits, "_", "-" and ".".

    >>> called_after("campaign.yaml"), called_after("größe 7.yaml"), called_after("x" * 300 + ".yaml")[-10:]
    ('campaign.yaml', 'gr__e_7.yaml', 'xxxxx.yaml')
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name).rstrip(".") or "_"
    return plain if len(plain) <= 64 else plain[:40] + plain[-24:]


FARTHEST = 999_999
"""Column or row of a die on a map, at most; a die without a name of its own is called after both."""


def inside(folder: Path, name: str) -> Path:
    """Return the path of `name` in `folder`; BenchError if that would be anywhere else.

    >>> inside(Path("dies"), "W-x0y0~2").name
    'W-x0y0~2'
    """
    if name in ("", ".", "..") or any(mark in name for mark in "/\\:\0"):
        raise BenchError(f"found the name {name!r}, expected one that stays in {folder}")
    return folder / name
