"""Damage the files of a run again and again, and see whether anybody believes them.

    python benchmarks/damage.py                          5,000 single-bit flips, 200 cuts, 200 zeroed blocks
    python benchmarks/damage.py --results FILE.jsonl     the same; goes on where it was broken off
    python benchmarks/damage.py --small                  a few of each; the tests run these
    python benchmarks/damage.py --only 17                damage 17 once more, with what every reader said

A small run is made: one die of 3 x 4 cells, surveyed, programmed and read out. Then one file of it is damaged at a
time, at a random place: sealed dies, journals and their arrays, run.json, run.h5, inputs, report. Everybody reads it:
tables, operations and events of every die; the report; CSV and STDF; `show`; `watch`; what `resume` goes on with;
`labctl verify`. What they say is compared with what they said of the whole run. Whoever gives another number and no
error is silently wrong; whoever raises what is no documented error is a bug. Damage may change nothing: a page of a
database that nothing uses. A reader that does not open a file in the whole run says the same whichever bit of it flips,
and is not asked again. Exit codes: 0 no wrong number and no bug, 1 some.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from rich.console import Console

from labctl.batch import resume
from labctl.cli.main import main as labctl
from labctl.core.errors import LabError
from labctl.export.csv import write_csv
from labctl.export.stdf import write_stdf
from labctl.networks.solutions import Solutions, save
from labctl.report import summary
from labctl.report.html import page
from labctl.report.live_state import Watcher
from labctl.report.report_data import gather
from labctl.report.report_json import as_json
from labctl.storage import vouching
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.results import open_run
from labctl.storage.run_log import read_state
from labctl.storage.verification import verify_run

DIE = """
name: small
geometry: {kind: passive, kernels: 1, n_rows: 3, n_cols: 4}
junction: {diameter: 80 nm}
"""
CAMPAIGN = """
name: small
seed: 5
dies: [{name: D1, file: die.yaml}]
limits: {v_towards_p: 700 mV, v_towards_ap: 700 mV, width: 10 ms, compliance: 10 mA, v_count: 350 mV,
         pulses_per_cell: 1000}
stages:
  - survey: {v_start: 420 mV, v_max: 600 mV}
  - network:
      solutions: weights.npz
      data: samples.npz
      placement: [{kernel: 0, row: 0, col: 0}]
accept: {fidelity: 50 %, accuracy: 1 %}
"""
TOLD = "told"
SAME = "same"
KINDS = ("cut", "zeros", "flip")
FULL, SMALL = (200, 200, 5000), (5, 5, 25)
BLOCK = 512


def written(place: Path) -> Path:
    """Write the small campaign as ``campaign.yaml`` into a folder; return where its run is to be."""
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-1, 1, (7, 3)), np.arange(7) % 2
    np.savez(place / "samples.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:])
    devices, bias = rng.random((2, 3, 4)) < 0.5, rng.normal(0, 0.3, (2, 2))
    save(place / "weights.npz", Solutions(np.arange(2), (devices,), (bias,)))
    (place / "die.yaml").write_text(DIE, encoding="utf-8")
    (place / "campaign.yaml").write_text(CAMPAIGN, encoding="utf-8")
    return place / "run"


def make_run(place: Path) -> Path:
    """Carry out the small campaign; return the folder of its run."""
    run, told = written(place), StringIO()
    words, sys.argv = sys.argv, ["labctl", "run", str(place / "campaign.yaml"), "--out", str(run), "--workers", "1"]
    try:
        with redirect_stdout(told), redirect_stderr(told):
            labctl()
    except SystemExit as end:
        if end.code not in (None, 0, 1):
            raise RuntimeError(told.getvalue()) from end
    finally:
        sys.argv = words
    return run


def remember(kind: type[SealedDie] = SealedDie) -> None:
    """Read what stands in a sealed file once per content: bytes that have been compared give the same again."""
    known: dict[tuple[str, ...], Any] = {}

    def once(name: str, read: Callable[..., Any]) -> Callable[..., Any]:
        def remembered(die: SealedDie, *words: str) -> Any:
            key = (vouching.vouch(die.path), name, *words)
            if key not in known:
                value = read(die, *words)
                known[key] = list(value) if isinstance(value, Iterator) else value
            return known[key]

        return remembered

    for name in ("table", "columnar", "events", "operations", "input_file"):
        setattr(kind, name, once(name, getattr(kind, name)))
    for name in ("meta", "run_meta", "tables"):
        setattr(kind, name, property(once(name, getattr(kind, name).fget)))


def numbers(value: Any) -> str:
    """Return a digest of a value made of numbers, texts, arrays and containers of them."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype.str}{value.shape}".encode())
            digest.update(str(value.tolist()).encode() if value.dtype.kind in "UO" else value.tobytes())
        elif isinstance(value, dict):
            for key in value:
                digest.update(f"{key}:".encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for part in value:
                add(part)
                digest.update(b",")
        else:
            digest.update(repr(value).encode())

    add(value)
    return digest.hexdigest()


def read_dies(run: Path, scratch: Path) -> Any:
    opened = open_run(run)
    dies = []
    for name in opened.dies:
        with opened.die(name).open() as source:
            tables = {table: source.table(table) for table in sorted(source.tables)}
            plain = {n: [t.units, t.axes, t.codes, dict(t.columns)] for n, t in tables.items()}
            dies.append([name, source.meta, plain, list(source.events()), list(source.operations())])
    return [opened.meta, dies]


def read_journals(run: Path, scratch: Path) -> Any:
    """As `read_dies`, without the sealed files."""
    whole = scratch / "unsealed"
    shutil.copytree(run, whole, ignore=shutil.ignore_patterns("*.h5"))
    try:
        return read_dies(whole, scratch)
    finally:
        shutil.rmtree(whole)


def read_one(run: Path, scratch: Path) -> Any:
    """As `read_dies`, of sealed files that somebody was sent."""
    dies = []
    for path in sorted(run.glob("dies/*.h5")):
        sent = shutil.copy(path, scratch / "sent.h5")
        dies.append(read_dies(Path(sent), scratch))
    return dies


def read_report(run: Path, scratch: Path) -> Any:
    facts = gather(run)
    if notes := [die.measured.note for die in facts.dies if die.measured.note]:
        raise LabError("; ".join(notes))  # the report says so beside the die
    content = json.loads(as_json(facts))
    page(facts, run)
    return {key: value for key, value in content.items() if key not in ("made", "sha256", "bytes", "dies")} | {
        "dies": [{k: v for k, v in die.items() if k != "bytes"} for die in content["dies"]]
    }


def read_exports(run: Path, scratch: Path) -> Any:
    place = scratch / "export"
    place.mkdir()
    try:
        write_csv(read_state(run), open_run(run), place / "csv")
        write_stdf(read_state(run), place / "run.stdf")
        return [[p.name, p.read_bytes()] for p in sorted(place.rglob("*")) if p.is_file()]
    finally:
        shutil.rmtree(place)


def read_summary(run: Path, scratch: Path) -> Any:
    shown = StringIO()
    summary.show(run, Console(file=shown, width=200), maps=True)
    return [shown.getvalue(), summary.summary(run)]


def read_watch(run: Path, scratch: Path) -> Any:
    now = Watcher(run).snapshot()
    left_out = ("free", "used", "utc", "elapsed")
    return {name: repr(value) for name, value in vars(now).items() if name not in left_out}


def read_resume(run: Path, scratch: Path) -> Any:
    state = resume.state_of(run)
    return [resume.read(run, state.meta).to_json(), state.dies]


def read_report_file(run: Path, scratch: Path) -> Any:
    """The report as a file, of which somebody was told to look with `labctl verify` first."""
    if any(problem.path.startswith("report") for problem in verify_run(run).problems):
        raise LabError("verify says so")
    content = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return [content, (run / "report.html").read_text(encoding="utf-8")]


READERS: dict[str, Callable[[Path, Path], Any]] = {
    "dies": read_dies,
    "journals": read_journals,
    "one file": read_one,
    "report": read_report,
    "export": read_exports,
    "show": read_summary,
    "watch": read_watch,
    "resume": read_resume,
    "report file": read_report_file,
}


class Opened:
    """The files of a run that are opened, by whoever opens them: Python and SQLite; HDF5 opens what was compared."""

    def __init__(self, *places: Path) -> None:
        self._places = tuple(f"{place}{os.sep}" for place in places)
        self._names: set[str] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._names is None or event not in ("open", "sqlite3.connect"):
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        path = unquote(path.removeprefix("file://").partition("?")[0])
        for place in self._places:
            if path.startswith(place):
                self._names.add(Path(path[len(place) :]).as_posix())

    def by(self, reader: Callable[[], Any]) -> tuple[Any, set[str]]:
        """Return what a reader says, and the files that it opened, relative to the run."""
        self._names = names = set()
        try:
            return reader(), names
        finally:
            self._names = None


@dataclass
class Result:
    """What came of one damage: by reader, "told", "same", "WRONG" or the bug's traceback."""

    number: int
    kind: str
    file: str
    at: int
    verify: str = ""
    readers: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> list[str]:
        """Readers that gave another number and no error."""
        return [name for name, came in self.readers.items() if came == "WRONG"]

    @property
    def bugs(self) -> list[str]:
        """Readers that raised what is no documented error."""
        return [name for name, came in [*self.readers.items(), ("verify", self.verify)] if came.startswith("BUG")]


def files_of(run: Path) -> list[Path]:
    """Return the files that are damaged; what is small and decides much comes as often as what is large.

    Write-ahead logs are left out: one that is damaged ends earlier, as after a power cut, and SQLite tells nobody.
    """
    left_out = ("lock", "journal.db-wal", "journal.db-shm")
    return sorted(p for p in run.rglob("*") if p.is_file() and p.name not in left_out and "requests" not in p.parts)


def damaged(data: bytes, kind: str, dice: random.Random) -> tuple[bytes, int]:
    """Return `data` damaged at a random place, and the place."""
    at = dice.randrange(len(data))
    if kind == "cut":
        return data[:at], at
    spoiled = bytearray(data)
    if kind == "flip":
        spoiled[at] ^= 1 << dice.randrange(8)
    else:
        at -= at % BLOCK
        spoiled[at : at + BLOCK] = bytes(len(spoiled[at : at + BLOCK]))
    return bytes(spoiled), at


def attempt(reader: Callable[[Path, Path], Any], run: Path, scratch: Path, expected: str) -> tuple[str, str]:
    """Return what came of reading, and the words of an error."""
    vouching._vouched.clear()  # as a process of its own would read it
    try:
        found = numbers(reader(run, scratch))
    except LabError as error:
        return TOLD, str(error)
    except Exception:
        return "BUG", traceback.format_exc()
    return (SAME if found == expected else "WRONG"), ""


def one(
    number: int, kind: str, run: Path, scratch: Path, expected: dict[str, str], opened: dict[str, set[str]]
) -> Result:
    """Damage one file, read the run with everybody whom it may matter to, and put the file back."""
    dice = random.Random(f"{kind} {number}")
    path = dice.choice([p for p in files_of(run) if p.stat().st_size])
    whole = path.read_bytes()
    spoiled, at = damaged(whole, kind, dice)
    result = Result(number, kind, path.relative_to(run).as_posix(), at)
    if spoiled == whole:
        return result
    try:
        path.write_bytes(spoiled)
        for name, reader in READERS.items():
            if kind == "flip" and result.file not in opened[name]:  # its length, which everybody sees, is as it was
                result.readers[name] = SAME
                continue
            came, words = attempt(reader, run, scratch, expected[name])
            result.readers[name] = came
            result.words |= {name: words} if words else {}
        vouching._vouched.clear()
        try:
            problems = verify_run(run).problems
            result.verify = TOLD if problems else SAME
            result.words["verify"] = "; ".join(f"{p.path}: {p.text}; {p.way_back}" for p in problems)
        except LabError as error:
            result.verify, result.words["verify"] = TOLD, str(error)
        except Exception:
            result.verify = f"BUG {traceback.format_exc()}"
    finally:
        for extra in path.parent.glob(f"{path.name}-*"):
            extra.unlink()
        path.write_bytes(whole)
    return result


def whole(run: Path, scratch: Path) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Return by reader the digest of what it says of the whole run, and the files that it opens for that."""
    listener = Opened(run, scratch / "unsealed")
    expected, opened = dict[str, str](), dict[str, set[str]]()
    for name, reader in READERS.items():
        for again in (False, True):
            vouching._vouched.clear()
            digest, names = listener.by(lambda reader=reader: numbers(reader(run, scratch)))
            if again and digest != expected[name]:
                raise RuntimeError(f"{name}: says something else every time")
            expected[name] = digest
            opened[name] = names | opened.get(name, set())
    return expected, opened


def wanted(counts: tuple[int, ...]) -> Iterator[tuple[int, str]]:
    """Yield number and kind of each damage."""
    for kind, count in zip(KINDS, counts, strict=True):
        yield from ((number, kind) for number in range(count))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a few of each kind")
    parser.add_argument("--results", type=Path, help="file to which results are added; what is in it is not done again")
    parser.add_argument("--only", type=int, help="this number alone, of every kind, with the words of every reader")
    given = parser.parse_args()
    done: dict[tuple[int, str], Result] = {}
    if given.results and given.results.is_file():
        for line in given.results.read_text(encoding="utf-8").splitlines():
            result = Result(**json.loads(line))
            done[result.number, result.kind] = result
    remember()
    with tempfile.TemporaryDirectory(prefix="damage-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        place = Path(folder)
        run, scratch = make_run(place), place / "scratch"
        scratch.mkdir()
        expected, opened = whole(run, scratch)
        for number, kind in wanted(SMALL if given.small else FULL):
            if (number, kind) in done or given.only not in (None, number):
                continue
            result = done[number, kind] = one(number, kind, run, scratch, expected, opened)
            if given.results:
                with given.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(result)) + "\n")
            if given.only is not None:
                print(json.dumps(asdict(result), indent=1))
    return conclude(list(done.values()))


def conclude(results: list[Result]) -> int:
    """Print what came of the damages; return the exit code."""
    for result in results:
        for name in result.wrong:
            print(f"SILENTLY WRONG: {result.kind} {result.number}, {result.file} at {result.at}: {name}")
        for name in result.bugs:
            said = result.words.get(name, result.verify).strip().splitlines()[-1]
            print(f"BUG: {result.kind} {result.number}, {result.file} at {result.at}: {name}: {said}")
    for kind in KINDS:
        of_kind = [r for r in results if r.kind == kind and r.readers]
        effects = Counter(TOLD if TOLD in r.readers.values() else SAME for r in of_kind)
        missed = sum(r.verify == SAME and TOLD in r.readers.values() for r in of_kind)
        print(
            f"{kind}: {len(of_kind)} of {sum(r.kind == kind for r in results)} changed a file; "
            f"some reader told {effects[TOLD]}, "
            f"none had anything to tell of {effects[SAME]}; verify told {sum(r.verify == TOLD for r in of_kind)}, and "
            f"missed {missed} that a reader told"
        )
    wrong, bugs = sum(bool(r.wrong) for r in results), sum(bool(r.bugs) for r in results)
    print(f"{len(results)} damages: silently wrong numbers {wrong}, undocumented errors {bugs}")
    return 1 if wrong or bugs else 0


if __name__ == "__main__":
    sys.exit(main())
