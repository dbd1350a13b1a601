"""Compare two run folders to the bit: what was measured, and the states of cells and dies.

    python benchmarks/same_results.py OLD NEW

Every dataset of every sealed die and of `run.h5` has to be there in both with the same type, shape, unit and bits, and
every try of a die has to have come to the same state, bin and figures. Fields that were renamed since are found through
`docs/renames.md`. Texts, times and provenance (versions, host, arguments, commit) may differ: those that do are listed.
Exit codes: 0 the same, 1 not, 2 nothing to compare. It reads HDF5 and journals by itself.
"""

import argparse
import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
JOURNAL = "RUN/journal.db"
RENAMES = ROOT / "docs" / "renames.md"
HEADING = ["where", "old name", "new name", "since"]
TIMES = ("utc", "monotonic", "time")
Renames = Mapping[tuple[str, str], str]
"""New names by (group, old name)."""


@dataclass
class Comparison:
    """What was compared and what differs: `results` must not, `others` may."""

    datasets: int = 0
    values: int = 0
    tries: int = 0
    results: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def read_renames(path: Path = RENAMES) -> dict[tuple[str, str], str]:
    """Return the renames of a table in Markdown; ValueError if a line is none, or contradicts another."""
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ]
    if not rows or rows[0] != HEADING:
        raise ValueError(f"{path} has no table with the columns {', '.join(HEADING)}")
    renames: dict[tuple[str, str], str] = {}
    for row in rows[1:]:
        if len(row) != len(HEADING) or not all(row) or (row[0], row[1]) in renames:
            raise ValueError(f"{path}: {row} is no rename, or the second of its field")
        renames[row[0], row[1]] = row[2]
    if again := {(where, new) for (where, _), new in renames.items()} & renames.keys():
        raise ValueError(f"{path}: {sorted(again)} are new names and old ones")
    return renames


def renamed(path: str, renames: Renames) -> str:
    """Return where the new file has what the old one has at `path`."""
    old, new = "", ""
    for name in path.split("/"):
        new = f"{new}/{renames.get((old, name), name)}".lstrip("/")
        old = f"{old}/{name}".lstrip("/")
    return new


def datasets(group: h5py.Group, above: str = "") -> Iterator[str]:
    """Yield the path of every dataset; links to other files are not followed."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            continue
        path = f"{above}/{name}".lstrip("/")
        if isinstance(group[name], h5py.Group):
            yield from datasets(group[name], path)
        else:
            yield path


def may_differ(path: str, data: h5py.Dataset) -> bool:
    """Return whether a dataset is a text, a time or provenance, and no result."""
    parts = path.split("/")
    time = parts[-1].removeprefix("start_").removeprefix("end_") in TIMES
    return data.dtype.kind in "OSU" or time or "provenance" in parts


def difference(old: h5py.Dataset, new: h5py.Dataset) -> str:
    """Return how two datasets differ, "" if they do not."""
    units = [data.attrs.get("units") for data in (old, new)]
    if old.dtype != new.dtype or old.shape != new.shape or units[0] != units[1]:
        (a, b) = (f"{d.dtype} {d.shape} {unit!r}" for d, unit in zip((old, new), units, strict=True))
        return f"{a} became {b}"
    a, b = (np.asarray(data[()], object if data.dtype.kind == "O" else None) for data in (old, new))
    if a.dtype.kind == "O":
        count = int(np.sum(a != b))
    else:
        size = a.dtype.itemsize
        bits = [np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8).reshape(-1, size) for x in (a, b)]
        count = int((bits[0] != bits[1]).any(axis=1).sum())
    return f"{count} of {a.size} differ" if count else ""


def compare_files(name: str, old: Path, new: Path, renames: Renames, to: Comparison) -> None:
    """Compare two HDF5 files dataset by dataset."""
    with h5py.File(old, "r") as a, h5py.File(new, "r") as b:
        pairs = {path: renamed(path, renames) for path in datasets(a)}
        missing = set(datasets(b)) - set(pairs.values())
        for path in sorted(missing):
            (to.others if may_differ(path, b[path]) else to.results).append(f"{name}: {path} is new")
        for path, there in pairs.items():
            where = to.others if may_differ(path, a[path]) else to.results
            if there not in b:
                where.append(f"{name}: {path} is gone")
                continue
            to.datasets, to.values = to.datasets + 1, to.values + a[path].size
            if text := difference(a[path], b[there]):
                where.append(f"{name}: {path}: {text}")


def outcomes(folder: Path, renames: Renames) -> dict[str, dict[str, Any]]:
    """Return what every try of every die came to, by die and number of the try, from a journal of any version."""
    tries: dict[str, dict[str, Any]] = {}
    address = f"{(folder / 'journal.db').resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as journal:
        rows = journal.execute("SELECT body FROM log WHERE what = 'event' AND kind = 'state' ORDER BY seq").fetchall()
    for (text,) in rows:
        body = {renames.get((f"{JOURNAL}/state", key), key): value for key, value in json.loads(text).items()}
        name = f"{body['die']} try {body.get('try_no', 1)}"
        if body["state"] == "pending" or (body["state"] == "skipped" and name not in tries):
            continue
        known = {key: body[key] for key in ("state", "bin", "hard") if body.get(key) is not None}
        tries[name] = {**tries.get(name, {}), **known, **body.get("figures", {})}
    return tries


def compare(old: Path, new: Path, renames: Renames) -> Comparison:
    """Compare two run folders."""
    comparison = Comparison()
    sealed = [{p.relative_to(f).as_posix() for p in (*f.glob("dies/*.h5"), *f.glob("run.h5"))} for f in (old, new)]
    for name in sorted(sealed[0] ^ sealed[1]):
        comparison.results.append(f"{name}: only in {old if name in sealed[0] else new}")
    for name in sorted(sealed[0] & sealed[1]):
        compare_files(name, old / name, new / name, renames, comparison)
    for folder, files in zip((old, new), sealed, strict=True):
        for journal in sorted(folder.glob("dies/*/journal.db")):
            if f"dies/{journal.parent.name}.h5" not in files:
                comparison.others.append(f"{journal.parent}: is not sealed, and was not compared")
    before, after = outcomes(old, renames), outcomes(new, renames)
    for name in sorted({*before, *after}):
        a, b = before.get(name, {}), after.get(name, {})
        comparison.tries += 1
        for key in sorted({*a, *b} - {"seconds"}):
            if repr(a.get(key)) != repr(b.get(key)):
                comparison.results.append(f"{name}: {key} {a.get(key)!r} became {b.get(key)!r}")
    return comparison


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD", help="run folder")
    parser.add_argument("new", type=Path, metavar="NEW", help="run folder")
    given = parser.parse_args(words)
    comparison = compare(given.old, given.new, read_renames())
    for title, lines in (("may differ", comparison.others), ("RESULTS DIFFER", comparison.results)):
        for line in lines:
            print(f"{title}: {line}")
    count = f"{comparison.datasets} datasets of {comparison.values} values, {comparison.tries} tries"
    print(f"{count}: {len(comparison.results)} differences")
    if not comparison.datasets:
        return 2
    return 1 if comparison.results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
