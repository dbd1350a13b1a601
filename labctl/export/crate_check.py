"""Check a bundle, a folder or a zip, against its own metadata and against what RO-Crate 1.1 asks for."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from labctl.core.errors import StorageError
from labctl.export.crate_metadata import CONTEXT, NAME, VERSION

_PIECE = 1 << 20
"""Bytes of a file that are in memory at once."""
_ROOT = ("name", "description", "datePublished", "license")
"""What the root data set of a crate has to have."""


class Content(NamedTuple):
    """What a file of a bundle holds: its digest, and how many bytes."""

    sha256: str
    bytes: int


def contents(bundle: Path) -> Iterator[tuple[str, Content]]:
    """Yield path and content of every file of a bundle. Raises StorageError if it cannot be read."""
    try:
        if bundle.is_dir():
            for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
                with path.open("rb") as file:
                    yield path.relative_to(bundle).as_posix(), _content(file)
            return
        with zipfile.ZipFile(bundle) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    yield name, _content(member)
    except (OSError, zipfile.BadZipFile) as error:
        raise StorageError(f"{bundle}: the bundle cannot be read: {error}") from error


def _content(file: IO[bytes]) -> Content:
    """Return what is in a file, of which never more than a piece is in memory."""
    sha256, size = hashlib.sha256(), 0
    while piece := file.read(_PIECE):
        sha256.update(piece)
        size += len(piece)
    return Content(sha256.hexdigest(), size)


def problems(bundle: Path) -> list[str]:
    """Return what is wrong with a bundle, in words: its structure, its files, their sizes and digests.

    Raises:
        StorageError: it cannot be read.
    """
    files = dict(contents(bundle))
    try:
        crate = json.loads(_metadata(bundle))
        graph = {entity["@id"]: entity for entity in crate["@graph"]}
    except (OSError, KeyError, ValueError, TypeError) as error:
        return [f"{NAME} is not there, or no graph: {error!r}"]
    return [*_structure(crate, graph), *_files(files, graph), *_references(graph)]


def _metadata(bundle: Path) -> bytes:
    if bundle.is_dir():
        return (bundle / NAME).read_bytes()
    with zipfile.ZipFile(bundle) as archive:
        return archive.read(NAME)


def _structure(crate: Mapping[str, Any], graph: Mapping[str, Any]) -> Iterator[str]:
    if crate.get("@context") != CONTEXT:
        yield "the context is not that of RO-Crate 1.1 with sha256"
    if len(graph) != len(crate["@graph"]):
        yield "two entities have one @id"
    descriptor = graph.get(NAME, {})
    if descriptor.get("conformsTo") != {"@id": VERSION} or descriptor.get("about") != {"@id": "./"}:
        yield f"{NAME} does not describe ./ by {VERSION}"
    root = graph.get("./", {})
    yield from (f"the root data set has no {name}" for name in _ROOT if not root.get(name))
    if root.get("@type") != "Dataset":
        yield "the root is no Dataset"


def _files(files: Mapping[str, Content], graph: Mapping[str, Any]) -> Iterator[str]:
    described = {name: one for name, one in graph.items() if "File" in _listed(one.get("@type"))}
    parts = {one["@id"] for one in _listed(graph.get("./", {}).get("hasPart", []))}
    yield from (f"{name} is not described" for name in files.keys() - described.keys() - {NAME})
    yield from (f"{name} is described and is no part of the root" for name in described.keys() - parts)
    for name, one in described.items():
        content = files.get(name)
        if content is None:
            yield f"{name} is described and not there"
        elif content.sha256 != one.get("sha256") or str(content.bytes) != one.get("contentSize"):
            yield f"{name} is not the file that is described: size or sha256 differ"


def _references(graph: Mapping[str, Any]) -> Iterator[str]:
    for name, one in graph.items():
        for key, value in one.items():
            for other in _listed(value):
                points = isinstance(other, Mapping) and set(other) == {"@id"} and (name, key) != (NAME, "conformsTo")
                if points and other["@id"] not in graph:
                    yield f"{key} of {name} is {other['@id']}, which is not described"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
