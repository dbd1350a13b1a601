"""What of a run must not leave a lab: paths and names of its computers, and secrets, found in texts and input files."""

import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labctl.core.errors import BenchError
from labctl.core.secrets import secret_in
from labctl.files.arrays import read_npz
from labctl.files.door import DISK

_PUBLIC = re.compile(r"(?<![\w+.-])(?:https?|ftp|doi)://[\w.:/%+~-]*", re.IGNORECASE)
"""Addresses of the web, whose paths are those of no computer of the lab; what stands behind "?" is looked at."""
_ABSOLUTE = re.compile(
    r"(?<![\w./@~-])(?:~(?:[A-Za-z_][\w.-]*)?/[\w.+-]|/{1,3}(?:[\w.+-]+/)+)"
    r"|(?<![\w.:/@~-])(?:[A-Za-z]:[\\/]+[\w.+-]|\\\\[\w.-]+\\)"
)
"""A path that begins at the root of a file system, in the home of somebody, or on a drive or a share.

Behind a colon it is one too: ``file:///home/ana/x``, ``nas:/export/x``; ``//server/share`` begins with two slashes.
"""
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Bytes that no text has."""
_ARRAY = ".npy"
_PATH = "a path of a computer"


class Private:
    """What must not leave: folders of this run and its computer, and the account with that computer's name."""

    def __init__(self, run: Path, meta: Mapping[str, Any]) -> None:
        folders = {str(meta.get("cwd", "")), str(run.absolute()), str(Path.home()), os.getcwd()}
        folders |= {str(Path(str(meta.get("executable", ""))).parent)}
        folders |= {str(Path(str(kept.get("path", ""))).parent) for kept in dict(meta.get("files") or {}).values()}
        self._words = sorted((f for f in folders if len(Path(f).parts) > 1), key=len, reverse=True)
        self._words += [f"@{meta['host']}"] if meta.get("host") else []

    def found_in(self, text: str) -> str:
        """Return what of a text must not leave, in words; "" if nothing."""
        if any(word in text for word in self._words) or _ABSOLUTE.search(_PUBLIC.sub(" ", text)):
            return _PATH
        return secret_in(text)[1]

    def refuse(self, value: object, where: str) -> None:
        """Raise BenchError, naming `where`, if something of a value must not leave.

        Args:
            value: a text, or mappings and sequences with texts in them, such as JSON has.
        """
        for text in _texts(value):
            if what := self.found_in(text):
                raise BenchError(f"{where} has {what} in it, which is not published; expected a run without it")

    def found_in_file(self, path: Path, content: bytes) -> str:
        """Return why an input file is left out, in words; "" if nothing of it must stay.

        Of an npz file the names and the arrays of texts are looked through; numbers are no texts. Other binary files
        cannot be looked through, and stay.
        """
        if content.startswith(b"PK"):
            return self._found_in_npz(path, content)
        if _BINARY.search(content):
            return "it is binary and no npz file, so it cannot be looked through"
        what = self.found_in(content.decode("utf-8", "replace"))
        return what and f"it has {what} in it"

    def _found_in_npz(self, path: Path, content: bytes) -> str:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members, comment = archive.infolist(), archive.comment
            if comment or any(m.comment or not m.filename.endswith(_ARRAY) for m in members):
                return "it has something besides arrays in it, which is not looked through"
            arrays = read_npz(path, lambda key: True, DISK)
        except (BenchError, zipfile.BadZipFile):
            return "it is an archive that is no whole npz file of plain arrays, so it cannot be looked through"
        if what := next(filter(None, map(self.found_in, arrays)), ""):
            return f"the name of an array has {what} in it"
        for name, array in arrays.items():
            texts = array.ravel().tolist() if array.dtype.kind in "US" else []
            for one in texts:
                text = one.decode("utf-8", "replace") if isinstance(one, bytes) else one
                if what := next(filter(None, map(self.found_in, _texts(_unpacked(text)))), ""):
                    return f"its array {name} has {what} in it"
        return ""


def _unpacked(text: str) -> Any:
    """Return what JSON in a text says, whose backslashes hide beginnings of paths; the text itself if it is none."""
    try:
        return json.loads(text) if text[:1] in ("{", "[", '"') else text
    except (ValueError, RecursionError):
        return text


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in a value, keys of mappings included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _texts(key)
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
