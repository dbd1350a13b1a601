"""Check a bundle, a folder or a zip, against its own metadata and against what RO-Crate 1.1 asks for."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labctl.core.errors import StorageError
from labctl.export.crate_metadata import CONTEXT, NAME, VERSION

_ROOT = ("name", "description", "datePublished", "license")
"""What the root data set of a crate has to have."""


def contents(bundle: Path) -> dict[str, bytes]:
    """Return the files of a bundle by their paths in it. Raises StorageError if it cannot be read."""
    try:
        if bundle.is_dir():
            paths = sorted(path for path in bundle.rglob("*") if path.is_file())
            return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in paths}
        with zipfile.ZipFile(bundle) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise StorageError(f"{bundle}: the bundle cannot be read: {error}") from error


def problems(bundle: Path) -> list[str]:
    """Return what is wrong with a bundle, in words: its structure, its files, their sizes and digests."""
    files = contents(bundle)
    try:
        crate = json.loads(files[NAME])
        graph = {entity["@id"]: entity for entity in crate["@graph"]}
    except (KeyError, ValueError, TypeError) as error:
        return [f"{NAME} is not there, or no graph: {error!r}"]
    return [*_structure(crate, graph), *_files(files, graph), *_references(graph)]


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


def _files(files: Mapping[str, bytes], graph: Mapping[str, Any]) -> Iterator[str]:
    described = {name: one for name, one in graph.items() if "File" in _listed(one.get("@type"))}
    parts = {one["@id"] for one in _listed(graph.get("./", {}).get("hasPart", []))}
    yield from (f"{name} is not described" for name in files.keys() - described.keys() - {NAME})
    yield from (f"{name} is described and is no part of the root" for name in described.keys() - parts)
    for name, one in described.items():
        data = files.get(name)
        if data is None:
            yield f"{name} is described and not there"
        elif hashlib.sha256(data).hexdigest() != one.get("sha256") or str(len(data)) != one.get("contentSize"):
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
