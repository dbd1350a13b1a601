"""Field types for paths in files: relative ones start at the folder of the file that names them.

A campaign then works from any current folder, and a copied folder keeps working. The types cannot know in
which file a value is; `labctl.files.load` first validates with the context `probe` to learn where paths are,
and then passes absolute ones.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from labctl.core.texts import named_character
from labctl.files.door import absolute, current, neighbour

PATH_HERE, FILE_HERE = "labctl_path_here", "labctl_file_here"


@dataclass(frozen=True)
class PathAsWritten:
    """Marks a path; with `exists`, it must exist when the file is read. Texts among `names` are no paths."""

    exists: bool
    names: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        def read(value: Any, info: core_schema.ValidationInfo) -> Any:
            context = info.context or {}
            if not isinstance(value, str | Path) or not context.get("file") or value in self.names:
                return value
            if context.get("probe"):
                raise PydanticCustomError(PATH_HERE, "a path")
            if odd := next((c for c in str(value) if c in "\n\r\t\v\f"), ""):
                raise PydanticCustomError(
                    "odd_path",
                    "{odd} stands in a path: a backslash in double quotes makes one; expected single quotes, "
                    "or / for the backslash",
                    {"odd": named_character(odd)},
                )
            path = absolute(value, Path(context.get("folder", ".")))
            if self.exists and not _there(path):
                names = f"; expected a path or one of {', '.join(self.names)}" if self.names else ""
                hint = neighbour(path)
                names += hint if hint.endswith("?") or hint.startswith(":") else ""
                raise PydanticCustomError(
                    "no_such_file", "no such file or folder: {path}{names}", {"path": str(path), "names": names}
                )
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


def _there(path: Path) -> bool:
    try:
        return current().exists(path)
    except (OSError, ValueError):  # too long, or a character that no path can have
        return False
