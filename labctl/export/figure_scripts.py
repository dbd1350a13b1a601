"""The scripts that draw the figures of a bundle from its own data, with numpy, h5py and matplotlib and nothing else.

A script is a template of this package filled in with the declaration of a picture or a figure of merit. The pictures
in a bundle are made by carrying out its scripts, so a script that cannot draw its picture cannot be published.
"""

import re
import runpy
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from labctl.core.errors import StorageError
from labctl.core.figure import Figure
from labctl.core.picture import CellMap, Declared
from labctl.wafer_maps.palette import scale


class Script(NamedTuple):
    """A script of a bundle.

    Args:
        stem: of its name in the folder ``figures``; its pictures begin with it.
        title: what it draws.
        text: the program.
        beside: a file that has to be beside it.
    """

    stem: str
    title: str
    text: str
    beside: str = ""


WAFER_PICTURE = "wafer_picture.py"
"""The file beside scripts that draw maps of dies: how all maps of dies are drawn, in pages and on screens too."""


def wafer_picture() -> str:
    """Return the text of `WAFER_PICTURE`."""
    return (resources.files("labctl.wafer_maps") / "picture.py").read_text(encoding="utf-8")


def scripts_of(
    pictures: Sequence[Declared], figures: Sequence[Figure], tables: Collection[str], notch: int | None = None
) -> Iterator[Script]:
    """Yield the scripts of a run; each has a stem of its own, a second picture of a column one with a number.

    Args:
        pictures: that the run declares.
        figures: figures of merit that its dies have and that have a map.
        tables: that its dies have.
        notch: of its wafer, degrees clockwise from the bottom, None if unknown.
    """
    taken: set[str] = set()
    for kind, wanted, values in _wanted(pictures, figures, tables):
        first = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)
        stem = next(s for n in count(1) if (s := first if n == 1 else f"{first}_{n}").lower() not in taken)
        taken.add(stem.lower())
        if kind == "figure_map":
            yield _filled(kind, stem, **values, notch=notch)._replace(beside=WAFER_PICTURE)
        else:
            yield _filled(kind, stem, **values)


def _wanted(
    pictures: Sequence[Declared], figures: Sequence[Figure], tables: Collection[str]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield template, stem and values of each script; a stem may come twice."""
    for declared in pictures:
        picture = declared.picture
        if picture.table not in tables:
            continue
        of = picture.column if isinstance(picture, CellMap) else f"{picture.y}_{picture.x}"
        kind = "cell_map" if isinstance(picture, CellMap) else "curves"
        yield kind, f"{picture.table}_{of}", asdict(picture)
    if "survey" in tables:
        yield "distribution", "survey_distribution", {"title": "distribution of the surveyed conductances"}
    if "accuracy" in tables:
        yield "accuracy", "accuracy", {"title": "accuracy of every solution on the test samples"}
    for figure in figures:
        titled = f"{figure.key} [{figure.unit}]" if figure.unit else figure.key
        values: dict[str, Any] = {"title": figure.title, "column": titled, "unit": figure.shown_unit}
        values |= {"factor": figure.factor, "digits": figure.digits, "colours": scale(figure.better)}
        yield "figure_map", f"dies_{figure.key}", values


def _filled(kind: str, stem: str, *, title: str, **values: object) -> Script:
    template = (resources.files("labctl.export") / "scripts" / f"{kind}.txt").read_text(encoding="utf-8")
    shown = title.replace("\\", "/").replace('"', "'")
    return Script(stem, title, template.format(stem=stem, title=_Title(shown, title), **values))


class _Title(str):
    """A title that is safe within the quotes of a docstring; its repr is that of the title itself."""

    def __new__(cls, shown: str, title: str) -> "_Title":
        """Return the text `shown`, of the title `title`."""
        text = super().__new__(cls, shown)
        text.title_itself = title
        return text

    title_itself: str

    def __repr__(self) -> str:
        return repr(self.title_itself)


def draw(script: Path) -> list[Path]:
    """Carry out a script of a bundle in this process; return the pictures that it has written.

    Raises:
        StorageError: it failed; the message has why.
    """
    before = {path: path.stat().st_mtime_ns for path in script.parent.glob("*.png")}
    paths, bytecode = list(sys.path), sys.dont_write_bytecode
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Exception as error:
        raise StorageError(f"{script} cannot draw: {type(error).__name__}: {error}") from error
    finally:
        sys.path[:], sys.dont_write_bytecode = paths, bytecode
        sys.modules.pop(WAFER_PICTURE.removesuffix(".py"), None)
    return [path for path in sorted(script.parent.glob("*.png")) if before.get(path) != path.stat().st_mtime_ns]
