"""Names that become files and folders of a run: one rule for all of them, on every system.

A name of a wafer, a die or a subsite comes from files that people and machines wrote, and the run makes folders of it.
It is refused where it is read; `inside` refuses once more where the path is made.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from labctl.core.errors import BenchError

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_NOT_ON_WINDOWS = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def file_name(name: str) -> str:
    """Return `name` if folders and files of a run can be called by it on every system; ValueError says why not.

    >>> file_name("D80")
    'D80'
    """
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"found {name!r}, expected 1 to 64 ASCII letters, digits, '_', '-' or '.', the first a letter or digit: "
            "files are named after it"
        )
    if name.endswith("."):
        raise ValueError(f"found {name!r}: files are named after it, expected no point at the end: Windows stores none")
    if name.split(".")[0].lower() in _NOT_ON_WINDOWS:
        raise ValueError(f"found {name!r}: files are named after it, expected another: on Windows that is a device")
    if name.lower().endswith((".h5", ".part")) or name.lower() == "summary":
        raise ValueError(f"found {name!r}: files of a run have this name already; expected another")
    return name


Name = Annotated[
    str, AfterValidator(file_name), WithJsonSchema({"type": "string", "pattern": _NAME, "examples": ["D80"]})
]

DieIndex = Annotated[int, Field(ge=-999_999, le=999_999)]
"""Column or row of a die on a map; a die without a name of its own is called after both."""


def inside(folder: Path, name: str) -> Path:
    """Return the path of `name` in `folder`; BenchError if that would be anywhere else.

    >>> inside(Path("dies"), "W-x0y0~2").name
    'W-x0y0~2'
    """
    if name in ("", ".", "..") or any(mark in name for mark in "/\\:\0"):
        raise BenchError(f"found the name {name!r}, expected one that stays in {folder}")
    return folder / name
