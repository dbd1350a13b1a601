"""Files people write: YAML with units, refused with file, line, what was found and what was expected."""

from labctl.files.load import Loaded, Part, load, read, schema
from labctl.files.paths import FilePath, Included, Kept, NewPath, absolute, actual, as_kept, here
from labctl.files.provenance import digest, keep

__all__ = [
    "FilePath", "Included", "Kept", "Loaded", "NewPath", "Part", "absolute", "actual", "as_kept", "digest", "here",
    "keep", "load", "read", "schema",
]  # fmt: skip
