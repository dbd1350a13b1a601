"""Files people write: YAML with units, refused with file, line, what was found and what was expected."""

from labctl.files.door import DISK, Door, View, absolute, current, here, through
from labctl.files.load import Loaded, Part, load, read, schema
from labctl.files.paths import FilePath, Included, NewPath, PathAsWritten
from labctl.files.provenance import digest, keep, names_of

__all__ = [
    "DISK", "Door", "FilePath", "Included", "Loaded", "NewPath", "Part", "PathAsWritten", "View", "absolute", "current",
    "digest", "here", "keep", "load", "names_of", "read", "schema", "through",
]  # fmt: skip
