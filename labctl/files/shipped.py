"""Files that come with the suite to begin with: the examples, and what the pages on drivers and protocols write.

In a checkout they lie there; a wheel installs them under ``share/mtj-labctl``.
"""

import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import yaml

from labctl.core.errors import BenchError
from labctl.core.names import new_folder_of
from labctl.core.plugins import DISTRIBUTION

KINDS: Mapping[str, tuple[str, str]] = {
    "campaign": ("*.yaml", "survey-wafer"),
    "die": ("dies/*.yaml", "passive-15x15"),
    "wafer": ("wafers/*.yaml", "wafer-12"),
    "bench": ("bench-*.yaml", "bench-two-arrays"),
    "training": ("train-*.yaml", "train-digits-baseline"),
}
"""Kinds of files: where their examples are, and the one that is taken unless another is named."""
PAGES: Mapping[str, str] = {"driver": "write-a-driver.md", "protocol": "write-a-protocol.md"}
"""Kinds of distributions: the page whose files they have."""
_BLOCK = re.compile(r"<!-- file: (.*?) -->\n```\w+\n(.*?)```", re.S)
_OTHERS = ("bench-", "train-")
"""Names of examples beside those of campaigns."""


def _share() -> Path:
    """Return the folder that has ``examples`` and ``docs``; BenchError if this installation has none."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "examples").is_dir():
        return checkout
    for file in metadata.files(DISTRIBUTION) or ():
        if file.as_posix().endswith("share/mtj-labctl/examples/survey-wafer.yaml"):
            return Path(str(file.locate())).resolve().parents[1]
    raise BenchError(f"this installation of {DISTRIBUTION} has no examples; install it from its wheel, or its checkout")


def examples_of(kind: str) -> dict[str, Path]:
    """Return the examples of a kind of `KINDS` by name."""
    paths = sorted((_share() / "examples").glob(KINDS[kind][0]))
    if kind == "campaign":
        paths = [path for path in paths if not path.name.startswith(_OTHERS)]
    return {path.stem: path for path in paths}


def write_file(kind: str, path: Path, like: str = "") -> list[Path]:
    """Write a copy of an example to a new file, and beside it the files that it names; return what was written.

    A file that is there already with the same content is left as it is.

    Args:
        kind: of `KINDS`.
        like: name of the example; "" for the usual one.

    Raises:
        BenchError: there is no such example, or a file of that name with another content.
        OSError: a file cannot be written.
    """
    examples = examples_of(kind)
    name = like or KINDS[kind][1]
    if name not in examples:
        raise BenchError(f"--like {name}: there is no such {kind}; expected one of {', '.join(examples)}")
    source, root = examples[name], _share() / "examples"
    text = source.read_text(encoding="utf-8")
    own_words = text.replace(f"examples/{source.relative_to(root).as_posix()}", str(path))
    contents = {new_folder_of(path): own_words.replace("examples/", "").encode()}
    contents |= {path.parent / place: (root / place).read_bytes() for place in _named_by(text, source, root)}
    return _write(contents, own=path)


def _named_by(text: str, source: Path, root: Path) -> list[Path]:
    """Return the files that an example names and those that these name, relative to `root`."""
    named = [source.parent / value for value in _texts(yaml.safe_load(text)) if "/" in value or "." in value]
    places = [path.relative_to(root) for path in named if path.is_file()]
    further = [
        place
        for found in places
        if found.suffix == ".yaml"
        for place in _named_by((root / found).read_text(encoding="utf-8"), root / found, root)
    ]
    return list(dict.fromkeys([*places, *further]))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str) and "\n" not in value and len(value) < 200:
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def write_distribution(kind: str, folder: Path) -> list[Path]:
    """Write the files of a page of `PAGES` into a folder that is made, or empty; return what was written.

    Raises:
        BenchError: the folder has one of the files, with another content.
        OSError: a file cannot be written.
    """
    new_folder_of(folder).mkdir(exist_ok=True)
    page = (_share() / "docs" / PAGES[kind]).read_text(encoding="utf-8")
    return _write({folder / name: text.encode() for name, text in _BLOCK.findall(page)})


def _write(contents: Mapping[Path, bytes], own: Path | None = None) -> list[Path]:
    """Write files that are not there, all or, if one is there with another content, none."""
    for path, content in contents.items():
        if path.exists() and (path == own or not path.is_file() or path.read_bytes() != content):
            raise BenchError(f"{path}: it exists, and nothing is ever written over; name another place")
    new = [path for path in contents if not path.exists()]
    for path in new:
        path.parent.mkdir(exist_ok=True)
        with path.open("xb") as file:
            file.write(contents[path])
    return new
