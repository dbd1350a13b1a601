"""Field types for paths in files: relative ones start at the folder of the file that names them.

A campaign then works from any current folder, and a copied folder keeps working. The types cannot know in
which file a value is; `labctl.files.load` first validates with the context `probe` to learn where paths are,
and then passes absolute ones.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

PATH_HERE, FILE_HERE = "labctl_path_here", "labctl_file_here"


@dataclass(frozen=True)
class Kept:
    """Copies of files as they were: read when a run is resumed.

    Args:
        folder: start of relative paths of the command line.
        copies: absolute path of a file that was read then -> its copy.
    """

    folder: Path
    copies: Mapping[Path, Path]


_kept: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def as_kept(kept: Kept) -> Iterator[None]:
    """Read the kept copies of files while the block lasts; other files are read from their own paths."""
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)


def here() -> Path:
    """Return the folder at which relative paths of the command line start."""
    kept = _kept.get()
    return Path.cwd() if kept is None else kept.folder


def actual(path: Path) -> Path:
    """Return the path from which the content of the file `path` is read."""
    kept = _kept.get()
    return path if kept is None else kept.copies.get(absolute(path, here()), path)


@dataclass(frozen=True)
class PathAsWritten:
    """Marks a path; with `exists`, it must exist when the file is read."""

    exists: bool

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def read(value: Any, info: core_schema.ValidationInfo) -> Any:
            context = info.context or {}
            if not isinstance(value, str | Path) or not context.get("file"):
                return value
            if context.get("probe"):
                raise PydanticCustomError(PATH_HERE, "a path")
            path = absolute(value, Path(context.get("folder", ".")))
            if self.exists and not _there(path):
                raise PydanticCustomError("no_such_file", "no such file or folder: {path}", {"path": str(path)})
            return str(path) if info.mode == "json" else path

        return core_schema.with_info_before_validator_function(read, handler(source))


@dataclass(frozen=True)
class FromFile:
    """Marks a mapping that may be in a file of its own, named by its path."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def read(value: Any, info: core_schema.ValidationInfo) -> Any:
            context = info.context or {}
            if isinstance(value, str) and context.get("file"):
                if context.get("probe"):
                    raise PydanticCustomError(FILE_HERE, "a file")
                raise PydanticCustomError("file_not_read", "the file was not read")
            return value

        return core_schema.with_info_before_validator_function(read, handler(source))

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        path = {
            "type": "string",
            "format": "path",
            "description": "path of a YAML file, from the folder of this one",
        }
        return {"anyOf": [handler(schema), path]}


T = TypeVar("T")

FilePath = Annotated[Path, PathAsWritten(exists=True)]
"""A file or folder that exists; relative paths start at the folder of the file they are written in."""

NewPath = Annotated[Path, PathAsWritten(exists=False)]
"""A path that need not exist yet; otherwise as `FilePath`."""

Included = Annotated[T, FromFile()]
"""`Included[Die]` is a `Die`, written in place or as the path of a YAML file with it."""


def absolute(path: str | Path, folder: Path) -> Path:
    """Return `path` as an absolute one; a relative one starts at `folder`, `~` is the home folder."""
    given = Path(path)
    with suppress(RuntimeError):  # no such user: the text is then a name like any other
        given = given.expanduser()
    return Path(os.path.abspath(folder / given))


def _there(path: Path) -> bool:
    try:
        return actual(path).exists()
    except (OSError, ValueError):  # too long, or a character that no path can have
        return False
