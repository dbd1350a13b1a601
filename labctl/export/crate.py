"""A run as a bundle that others can use without this suite: an RO-Crate, as a folder or a zip.

The same run, options and date give the same bytes. What is written is checked against its own metadata before it gets
its name; nothing is ever written over.
"""

import csv
import hashlib
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labctl.config.about import About
from labctl.core.errors import BenchError, StorageError
from labctl.core.figure import Figures
from labctl.core.picture import pictures_of_run
from labctl.export.crate_check import problems
from labctl.export.crate_data import die_lines, inputs_of, write_die
from labctl.export.crate_metadata import NAME, CrateFile, Facts, description_of, licence_address, metadata
from labctl.export.dictionary import Word, figure_words, words_of
from labctl.export.figure_scripts import draw, scripts_of, wafer_picture
from labctl.export.private import Private
from labctl.storage.identity import Identity
from labctl.storage.manifest import run_meta
from labctl.storage.run_log import RunState, read_state
from labctl.storage.tables import Table

_HOW_TO = """\
Tables are in `entry/records/TABLE/COLUMN` of the HDF5 files; `dictionary.csv` has unit and meaning of every column.
A script draws its pictures again, wherever it is started: `python figures/NAME.py`, with numpy, h5py and matplotlib.
`ro-crate-metadata.json` has the sha256 of every file."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of all members of a zip: the earliest there is, so that equal bundles have equal bytes."""


def publish(run: Path, target: Path, licence: str, about: About, published: str) -> list[str]:
    """Write a bundle of a run and return the paths of its files; `target` ends with ".zip", or is a folder.

    Args:
        licence: under which it is published: an SPDX name, or an address.
        about: what is said of it besides.
        published: day, ISO 8601.

    Raises:
        BenchError: the run has not ended, none of its dies is sealed, no licence is given, or something of it must not
            be published.
        FileExistsError: there is something at `target`.
        StorageError: a file is damaged, or what was written is not what was to be written.
    """
    if not licence:
        raise BenchError("no licence is given; expected --licence, such as CC-BY-4.0, or 'licence' in the --about file")
    if os.path.lexists(target):
        raise FileExistsError(f"{target}: it exists; a bundle never writes over anything")
    state, meta = read_state(run), run_meta(run)
    if state.exit_code is None:
        raise BenchError(
            f"{run} has not ended: it is running, or was killed; expected a run that has: labctl resume {run}"
        )
    sealed = [die for die in state.dies.values() if die.last and die.last.sha256]
    if not sealed:
        raise BenchError(f"no die of {run} is sealed; expected a run with data to publish")
    private = Private(run, meta)
    private.refuse([licence, about.model_dump(mode="json")], "what is said of the bundle")
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as name:
        folder = Path(name) / "bundle"
        _fill(folder, run, state, meta, licence, about, published, private)
        ready = folder
        if target.suffix == ".zip":
            ready = Path(name) / "bundle.zip"
            zipped(folder, ready)
        if found := problems(ready):
            raise StorageError(f"{target} was not written as meant, and is not kept: {'; '.join(found[:3])}")
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        os.rename(ready, target)
    return files


def _fill(
    folder: Path,
    run: Path,
    state: RunState,
    meta: Mapping[str, Any],
    licence: str,
    about: About,
    published: str,
    private: Private,
) -> None:
    for part in ("data", "figures", "inputs"):
        (folder / part).mkdir(parents=True)
    sealed = {die.name: die for die in state.dies.values() if die.last and die.last.sha256}
    tables: dict[str, Table] = {}
    instruments: dict[str, str] = {}
    calibrations: dict[str, str] = {}
    titles = {
        "data/dies.csv": "dies: place, bin and figures of merit",
        "dictionary.csv": "tables and columns: units, meaning",
    }
    for die in sealed.values():
        assert die.last is not None
        path = f"data/{die.name}.h5"
        written = write_die(run, die.name, die.folder, die.last.sha256, meta, folder / path, private)
        for table in written.tables:
            tables.setdefault(table.name, table)
        titles[path] = f"tables and operations of die {die.name}"
        instruments |= written.instruments
        calibrations |= written.calibrations
    _csv(folder / "data" / "dies.csv", die_lines(state, sealed, private))
    kept, left = inputs_of(run, meta, private)
    left |= {
        f"die {die.name}": "it was not sealed" for die in state.dies.values() if die.tries and die.name not in sealed
    }
    for name, content in kept.items():
        (folder / "inputs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "inputs" / name).write_bytes(content)
        titles[f"inputs/{name}"] = f"input of the run, verbatim: {name}"
    declared = Figures.of_run(state.meta)
    names = declared.in_order(name for die in sealed.values() if die.last for name in die.last.figures)
    drawn, identity = {}, Identity.of(state)
    on_map = [declared[n] for n in names if declared[n].on_map]
    for script in scripts_of(pictures_of_run(meta), on_map, tables, identity.notch):
        if script.beside:
            (folder / "figures" / script.beside).write_text(wafer_picture(), encoding="utf-8", newline="\n")
            titles[f"figures/{script.beside}"] = "how a map of dies is drawn; scripts import it"
        path = f"figures/{script.stem}.py"
        (folder / path).write_text(script.text, encoding="utf-8", newline="\n")
        titles[path] = f"script: {script.title}"
        drawn[path] = [f"figures/{picture.name}" for picture in draw(folder / path)]
        titles |= dict.fromkeys(drawn[path], f"picture: {script.title}")
    words = [*words_of(list(tables.values())), *figure_words(declared, names, "dies.csv")]
    _csv(folder / "dictionary.csv", [Word._fields, *words])
    wafers = {str(d["name"]): str(d.get("wafer", "")) for d in meta["dies"]}
    operator = _operator(kept, meta)
    private.refuse([operator, identity.wafer, identity.lot], f"{run / 'run.json'}: operator, wafer or lot")
    facts = Facts(
        title=about.title or str(meta.get("title") or meta.get("name", "")),
        licence=licence,
        published=published,
        about=about,
        operator=operator,
        started=_iso(state.since),
        ended=_iso(state.until),
        body=str(meta.get("body", "")) + (", with injected faults: no measurement" if meta.get("faults") else ""),
        seed=meta.get("seed"),
        temperature=meta.get("temperature"),
        version=str(dict(meta.get("versions") or {}).get("mtj-labctl", "")),
        commit=str(meta.get("git_commit", "")),
        identity=identity,
        instruments=instruments,
        calibrations=calibrations,
        dies=[(name, wafers.get(name, "")) for name in sealed],
        drawn=drawn,
        drawn_with={name: version(name) for name in ("numpy", "h5py", "matplotlib")},
        left_out=left,
    )
    (folder / "README.md").write_text(_readme(facts, titles), encoding="utf-8", newline="\n")
    titles["README.md"] = "what this is"
    files = [_described(folder, path, title) for path, title in sorted(titles.items())]
    (folder / NAME).write_text(metadata(facts, files, words), encoding="utf-8", newline="\n")
    for part in ("figures", "inputs"):
        if not any((folder / part).iterdir()):
            (folder / part).rmdir()


def _operator(inputs: Mapping[str, bytes], meta: Mapping[str, Any]) -> str:
    """Return the operator, if the campaign names one: the name of an account is nobody's business."""
    name = str(dict(meta.get("roles") or {}).get("campaign", ""))
    text = inputs.get(name, b"").decode("utf-8", "replace")
    named = any(line.startswith("operator:") for line in text.splitlines()) or "operator" in dict(meta.get("set") or {})
    return str(meta.get("operator", "")) if named else ""


def _described(folder: Path, path: str, title: str) -> CrateFile:
    with (folder / path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return CrateFile(path, title, sha256, file.tell())


def _csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="\n")


def _iso(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds")


def _readme(facts: Facts, titles: Mapping[str, str]) -> str:
    """Return what somebody reads who has the bundle and nothing else."""
    about = facts.about
    lines = [
        f"# {facts.title}",
        "",
        description_of(facts),
        "",
        f"Licence: {facts.licence} ({licence_address(facts.licence)}).",
    ]
    if about.authors:
        lines += [
            "",
            "Authors: " + "; ".join(f"{a.name}{f' ({a.affiliation})' if a.affiliation else ''}" for a in about.authors),
        ]
    circumstances = {
        "operator": facts.operator,
        "lot": facts.identity.lot,
        "temperature of the dies": "" if facts.temperature is None else f"{facts.temperature:g} K",
        "probe card": about.probe_card,
        "ambient": about.ambient,
    }
    lines += ["", *(f"- {key}: {value}" for key, value in circumstances.items() if value)]
    if about.genealogy:
        lines += ["", "## Where the sample comes from", ""]
        lines += [
            f"{n}. {one.step}{f', {one.when}' if one.when else ''}{f', {one.by}' if one.by else ''}"
            for n, one in enumerate(about.genealogy, start=1)
        ]
    if about.notes:
        lines += ["", "## Notes", "", about.notes.strip()]
    lines += ["", "## Files", "", "| file | what |", "|---|---|"]
    lines += [f"| `{path}` | {title.replace('|', '/')} |" for path, title in sorted(titles.items())]
    lines += ["", *_HOW_TO.splitlines()]
    if facts.left_out:
        lines += ["", "Left out:", "", *(f"- {name}: {why}" for name, why in facts.left_out.items())]
    return "\n".join(lines) + "\n"


def zipped(folder: Path, path: Path) -> None:
    """Write the files of a folder as a new zip, whose bytes depend on names and contents alone."""
    with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            member = zipfile.ZipInfo(file.relative_to(folder).as_posix(), _EPOCH)
            member.create_system, member.external_attr = 3, 0o644 << 16
            with file.open("rb") as source, archive.open(member, "w") as sink:
                shutil.copyfileobj(source, sink)
