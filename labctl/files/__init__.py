"""Files people write: YAML with units, refused with file, line, what was found and what was expected."""

from labctl.files.load import Loaded, Part, load, read, schema
from labctl.files.paths import FilePath, Included, NewPath, absolute

__all__ = ["FilePath", "Included", "Loaded", "NewPath", "Part", "absolute", "load", "read", "schema"]
