"""CSV and wafer map of a run: every die and try, every table, every digit, and nothing written over."""

import csv
import json
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from labctl.cli.export import register
from labctl.core.die_state import State
from labctl.core.errors import BenchError
from labctl.core.events import StageBegun, VisitBegun
from labctl.core.record import Record
from labctl.core.units import Conductances, IntArray, Unit, Volts
from labctl.export.csv import write_csv
from labctl.storage.journal import Journal
from labctl.storage.manifest import FORMAT
from labctl.storage.results import open_run
from labctl.storage.run_log import Runlog, read_state
from labctl.wafer_maps.read import read_map
from tests.declared import DECLARED

META = {
    "format": FORMAT,
    "name": "overnight",
    "dies": [
        {"name": "W1-A", "at": [3, 0], "wafer": "W1"}, {"name": "W1-B", "at": [4, 1], "wafer": "W1"},
        {"name": "W1-C", "at": [2, 1], "wafer": "W1"},
    ],
    "bins": [],
    **DECLARED,
}  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Kernel(Record):
    table: ClassVar[str] = "kernel"
    axes: ClassVar[dict[str, tuple[str, ...]]] = {"g_p": ("row", "col"), "defect": ("row", "col")}
    number: int
    seconds: Annotated[float, Unit("s")]
    good: bool
    g_p: Conductances
    defect: IntArray
    spread: Volts


@dataclass(frozen=True, eq=False, kw_only=True)
class Shot(Record):
    table: ClassVar[str] = "shot"
    columnar: ClassVar[bool] = True
    cell: IntArray
    voltage: Volts


def measured(folder, name, k):
    with Journal.create(folder / "dies" / name, {"die": name.partition("~")[0]}) as journal:
        journal.record("survey", Shot(cell=np.arange(3), voltage=np.array([0.1, 1 / 3, 0.5]) + k))
        for number in range(2):
            journal.record("survey", Kernel(
                number=number, seconds=1 / 3 + k, good=number == 0, g_p=np.arange(6.0).reshape(2, 3) * 1e-4 + k,
                defect=np.arange(6).reshape(2, 3), spread=np.array([0.25, 0.5]),
            ))  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Return the folder of a run: one good die, one that needed two tries, one that was skipped, and a golden visit."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(META), encoding="utf-8")
    log = Runlog.create(folder, META)
    for die, number, to in (("W1-A", 1, State.DONE), ("W1-B", 1, State.ERROR), ("W1-B", 2, State.DONE)):
        if number > 1:
            log.set_state(die, State.PENDING, number)
        log.set_state(die, State.RUNNING, number)
        log.write(StageBegun(die=die, stage="survey"))
        if to is State.ERROR:
            log.set_state(die, to, number, "the worker died, twice", seconds=1.5, bin="error", hard=7, exit_code=70)
            continue
        log.set_state(die, State.SEALING, number)
        figures = {"fidelity": 1 / 3, "r_p": 2400.0} if die == "W1-A" else {"fidelity": 0.5}
        said = {"bin": "good", "hard": 1, "sha256": "ab"} if die == "W1-A" else {"bin": "low, very", "hard": 2}
        log.set_state(die, to, number, figures=figures, seconds=2.25, rule="a rule", **said)
    log.set_state("W1-C", State.SKIPPED, 1, "excluded by the campaign")
    log.write(VisitBegun(die="W1-A@1", at=(3, 0)))
    log.set_state("W1-A@1", State.RUNNING, 1)
    log.finish()
    for k, name in enumerate(("W1-A", "W1-B~2")):
        measured(folder, name, k)
    return folder


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_die_and_try_has_a_row(run, tmp_path):
    write_csv(read_state(run), open_run(run), tmp_path / "out")
    found = rows(tmp_path / "out" / "dies.csv")
    assert [(r["die"], r["try"], r["state"]) for r in found] == [
        ("W1-A", "1", "done"), ("W1-B", "1", "error"), ("W1-B", "2", "done"), ("W1-C", "", "skipped"),
        ("W1-A@1", "1", "running"),
    ]  # fmt: skip
    first, second, third, skipped, golden = found
    assert float(first["fidelity"]) == 1 / 3
    assert first["r_p [ohm]"] == "2400.0"
    assert (first["wafer"], first["x"], first["y"], first["bin"], first["hard_bin"]) == ("W1", "3", "0", "good", "1")
    assert (first["stage"], first["seconds [s]"], first["sha256"], first["golden"]) == ("survey", "2.25", "ab", "0")
    assert first["since"].endswith("+00:00")
    assert (second["reason"], second["exit_code"], second["fidelity"]) == ("the worker died, twice", "70", "")
    assert (third["bin"], third["r_p [ohm]"], third["rule"]) == ("low, very", "", "a rule")
    assert (skipped["reason"], skipped["since"], skipped["bin"]) == ("excluded by the campaign", "", "")
    assert golden["golden"] == "1"


def test_tables_are_written_with_units_and_all_digits(run, tmp_path):
    files = write_csv(read_state(run), open_run(run), tmp_path / "out")
    names = {path.name for path in files}
    assert names == {"dies.csv", "shot.csv", "kernel.csv", "kernel.row.col.csv", "kernel.spread.csv"}
    shots = rows(tmp_path / "out" / "shot.csv")
    assert [(r["die"], r["cell"]) for r in shots] == [(d, str(c)) for d in ("W1-A", "W1-B") for c in range(3)]
    assert [float(r["voltage [V]"]) for r in shots[:3]] == [0.1, 1 / 3, 0.5]
    kernels = rows(tmp_path / "out" / "kernel.csv")
    assert [(r["number"], r["good"], float(r["seconds [s]"])) for r in kernels[:2]] == [
        ("0", "1", 1 / 3),
        ("1", "0", 1 / 3),
    ]
    assert "g_p [S]" not in kernels[0]


def test_arrays_are_written_one_element_a_row(run, tmp_path):
    write_csv(read_state(run), open_run(run), tmp_path / "out")
    cells = rows(tmp_path / "out" / "kernel.row.col.csv")
    assert len(cells) == 2 * 2 * 6
    last = cells[-1]
    assert (last["die"], last["row"], last["col"], last["defect"]) == ("W1-B", "1", "2", "5")
    assert float(last["g_p [S]"]) == 5 * 1e-4 + 1
    kernels = rows(tmp_path / "out" / "kernel.csv")
    assert last["seq"] == kernels[-1]["seq"]
    spread = rows(tmp_path / "out" / "kernel.spread.csv")
    assert [(r["axis0"], r["spread [V]"]) for r in spread[:2]] == [("0", "0.25"), ("1", "0.5")]


# -- the command


@pytest.fixture
def command():
    app = typer.Typer()
    register(app)

    @app.command()
    def other():
        """A second command, so that the first keeps its name."""

    def call(*words):
        return CliRunner().invoke(app, ["export", *map(str, words)])

    return call


def test_the_command_writes_what_it_is_asked_for(run, tmp_path, command):
    done = command(run, "--stdf", tmp_path / "a.stdf", "--csv", tmp_path / "csv", "--g85", tmp_path / "a.xml", "--json")
    assert done.exit_code == 0, done.output
    written = json.loads(done.output)["written"]
    assert written[:3] == [str(tmp_path / "a.stdf"), str(tmp_path / "a.xml"), str(tmp_path / "csv" / "dies.csv")]
    assert (tmp_path / "a.stdf").read_bytes()[:6] == bytes([2, 0, 0, 10, 2, 4])
    found = read_map((tmp_path / "a.xml").read_bytes())
    assert [(p.x, p.y, p.bin) for p in found.places] == [(3, 0, "1"), (2, 1, "254"), (4, 1, "2")]
    assert (found.wafer, found.quality) == ("W1", {"1": "pass", "2": "fail", "254": "skip"})


@pytest.mark.parametrize(
    ("option", "name"), [("--stdf", "there.stdf"), ("--g85", "there.stdf"), ("--csv", "full"), ("--csv", "there.stdf")]
)
def test_the_command_writes_over_nothing(run, tmp_path, command, option, name):
    (tmp_path / "there.stdf").write_text("mine", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    done = command(run, option, tmp_path / name)
    assert isinstance(done.exception, BenchError)
    assert name in str(done.exception)
    assert "an export never writes over anything" in str(done.exception)
    assert (tmp_path / "there.stdf").read_text(encoding="utf-8") == "mine"


def test_the_command_wants_to_know_where_to(run, command):
    assert "name --stdf FILE, --csv DIR, --g85 FILE," in str(command(run).exception)
