"""Sealed files: exact, documented, with units, readable by others, and never in the way of each other."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, get_args

import h5py
import numpy as np
import pytest

from labctl.core.bias import Bias
from labctl.core.die_state import State
from labctl.core.errors import StorageError
from labctl.core.events import Approached, DieEnded, StageEnded, UnknownEvent
from labctl.core.exit_codes import Status
from labctl.core.operations import Attempts, Pulse, Reading, Sense, WritePlan
from labctl.core.record import Record
from labctl.core.units import BoolArray, Conductances, IntArray, Ratio, Volts
from labctl.storage import hdf5_writer
from labctl.storage.hdf5_content import check
from labctl.storage.hdf5_items import key
from labctl.storage.hdf5_layout import LARGE, UNITS, die_items
from labctl.storage.hdf5_reader import SealedDie
from labctl.storage.hdf5_writer import main, quarantine, seal, write_run_file
from labctl.storage.journal import Journal
from labctl.storage.locks import hold
from labctl.storage.manifest import FORMAT
from labctl.storage.run_log import Runlog
from labctl.storage.sealing import seal_in_subprocess
from labctl.storage.tables import Table, axes_of
from labctl.storage.vouching import put_seal, vouch
from tests import small_run
from tests.declared import DECLARED

DOCUMENT = Path(__file__).parents[4] / "docs" / "hdf5-layout.md"


@dataclass(frozen=True, eq=False, kw_only=True)
class Map(Record):
    table: ClassVar[str] = "survey"
    axes: ClassVar[dict[str, tuple[str, ...]]] = {"g_p": ("row", "col")}

    kernel: int
    g_p: Conductances


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome(Record):
    table: ClassVar[str] = "write"

    solution: int
    fidelity: Ratio
    good: bool
    note: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Try(Record):
    table: ClassVar[str] = "attempt"
    columnar: ClassVar[bool] = True

    cell: IntArray
    voltage: Volts
    target: BoolArray


def bias(n: int) -> Bias:
    return Bias(np.broadcast_to([0.1, 0.2], (n, 2)), np.zeros((n, 3)), floating=np.zeros((n, 5), np.bool_))


def make_run(run: Path, die: str = "X1Y2") -> Path:
    """A small finished run of 2 x 3 cells: operations (one unanswered), tables, events."""
    (run / "files" / "dies").mkdir(parents=True, exist_ok=True)
    (run / "files" / "campaign.yaml").write_bytes("v_write: 450 mV  # µ\r\n".encode())
    (run / "files" / "dies" / "weights.npz").write_bytes(b"PK\x00\xff" * 20000)
    (run / "run.json").write_text(
        json.dumps(
            {"format": FORMAT, "title": "night", "seed": 7, "versions": {"numpy": "2"}, "note": None, "argv": "a\nb"}
        )
    )
    rng = np.random.default_rng(1)
    with Journal.create(run / "dies" / die, {"die": die, "seed": 7, "scale": 0.5}) as journal:
        for n, m in ((4, 3), (7, 2)):
            seq = journal.intend("survey", "sense", Sense(bias(n), np.arange(m), aperture=2e-3))
            reading = Reading(rng.normal(size=(n, m)), np.zeros((n, m), np.uint8), np.zeros(n, np.uint8))
            journal.result(seq, reading)
        seq = journal.intend("write", "pulse", Pulse(bias(4000), 1e-6, Sense(bias(4000), np.arange(3))))
        current = rng.normal(size=(4000, 3))
        current[3, 1] = np.nan
        journal.result(seq, {"current": current, "odd": np.float32([1, 2]), "texts": np.array(["µ", "b"])})
        journal.intend("write", "idle", {"$array": "not one", "odd": [1, None]})
        for kernel in range(2):
            journal.record("survey", Map(kernel=kernel, g_p=rng.normal(size=(2, 3))))
        journal.record("write", Outcome(solution=4, fidelity=0.875, good=True, note="µ ok"))
        journal.record("write", Outcome(solution=9, fidelity=float("nan"), good=False, note=""))
        for n in (3, 0, 2):
            voltages = np.linspace(0.1, 0.2, n)
            journal.record("write", Try(cell=np.arange(n), voltage=voltages, target=np.ones(n, np.bool_)))
        journal.event(Approached(notes={"identities": {"smu1": "2602B"}, "calibrations": {"smu1": "due 2027-03-01"}}))
        journal.event(StageEnded(outcome=Status.SUCCESS, pulses_per_cell=np.arange(6).reshape(2, 3)), stage="write")
        journal.event(UnknownEvent("note"))
        journal.event(UnknownEvent("ramp", {"ramp": np.arange(9000.0) / 64, "long": np.array([b"x" * 9000] * 9)}))
        journal.event(UnknownEvent("truth", {"pulses": np.repeat(np.arange(4), (300, 1, 900, 7)).reshape(2, 604)}))
        journal.finish()
    return run


def same(a: object, b: object) -> bool:
    """Equality of bodies, arrays by type, shape and bytes."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def paths_of(file: h5py.File) -> dict[str, object]:
    items: dict[str, object] = {}

    def walk(group: h5py.Group, path: str) -> None:
        for name in group:
            items[f"{path}/{name}"] = group[name]
            external = isinstance(group.get(name, getlink=True), h5py.ExternalLink)
            if isinstance(group[name], h5py.Group) and not external:
                walk(group[name], f"{path}/{name}")

    walk(file, "")
    return items


def with_figures(run: Path) -> None:
    """Give a run a journal of its own: two dies, of which one has figures."""
    dies = [{"name": name, "at": [k, 0]} for k, name in enumerate(("X1Y2", "X2Y2"))]
    with Runlog.create(run, {**json.loads((run / "run.json").read_text()), "dies": dies, **DECLARED}) as log:
        for state in (State.RUNNING, State.SEALING, State.DONE):
            figures = {"fidelity": 0.875, "accuracy_test": 0.75} if state is State.DONE else {}
            log.set_state("X1Y2", state, 1, figures=figures)
        log.finish()


def documented(heading: str) -> list[tuple[str, str, str, re.Pattern[str]]]:
    section = DOCUMENT.read_text(encoding="utf-8").split(f"## {heading}")[1].split("\n## ")[0]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `/")]
    words = {
        "table": "(survey|write|attempt)",
        "map": "g_p",
        "ratio": "fidelity",
        "axis": "(row|col)",
        "figure": "(fidelity|accuracy_test)",
    }

    def pattern(path: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"<(\w+)>", lambda m: words.get(m[1], "[^/]+"), path))

    return [(path.strip("`"), kind, unit, pattern(path.strip("`"))) for path, _, kind, unit, _ in rows]


def test_a_sealed_die_says_what_its_journal_says(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    with SealedDie(run / "dies" / "X1Y2.h5") as sealed, Journal.open(run / "dies" / "X1Y2") as journal:
        assert same(list(sealed.operations()), list(journal.operations()))
        assert same(list(sealed.events()), list(journal.events()))
        assert set(sealed.tables) == set(journal.tables) == {"survey", "write", "attempt"}
        for name in sealed.tables:
            ours, theirs = sealed.table(name), journal.table(name)
            assert {k: (v.dtype.kind, v.tolist()) for k, v in ours.items() if k != "fidelity"} == {
                k: (v.dtype.kind, v.tolist()) for k, v in theirs.items() if k != "fidelity"
            }
            assert (ours.units, ours.columnar) == (theirs.units, theirs.columnar)
        np.testing.assert_array_equal(sealed.table("write")["fidelity"], [0.875, np.nan])
        assert same(sealed.meta, journal.meta)
        assert same(sealed.run_meta, json.loads((run / "run.json").read_text()))


def test_input_files_are_kept_verbatim(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (run / "files" / "large.npz").write_bytes(b"\xff" * (LARGE + 1))
    seal(run, "X1Y2")
    with h5py.File(run / "dies" / "X1Y2.h5") as file:
        kept = file["entry/provenance/files"]
        assert sorted(kept) == ["campaign.yaml", "dies%2Fweights.npz"]
        assert kept["campaign.yaml"][()] == (run / "files" / "campaign.yaml").read_bytes()
        assert kept["dies%2Fweights.npz"][:].tobytes() == (run / "files" / "dies" / "weights.npz").read_bytes()


@pytest.mark.parametrize("which", ["A sealed die", "The whole run"])
def test_the_document_lists_everything_and_nothing_else(tmp_path: Path, which: str) -> None:
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    with_figures(run)
    write_run_file(run)
    rows = documented(which)
    assert len(rows) >= 10
    used = set()
    with h5py.File(run / ("run.h5" if which == "The whole run" else "dies/X1Y2.h5")) as file:
        for path, node in paths_of(file).items():
            matches = [row for row in rows if row[3].fullmatch(path)]
            assert matches, f"{path} is not documented"
            # the least general pattern is the one meant
            name, kind, unit, _ = min(matches, key=lambda row: row[0].count("<"))
            used.add(name)
            assert isinstance(node, h5py.Group) == (kind in ("group", "link")), path
            if isinstance(node, h5py.Dataset):
                if kind not in ("any", "text or uint8"):
                    text = h5py.check_string_dtype(node.dtype) is not None
                    assert ("text" if text else node.dtype.name) == kind, path
                if unit in ("1", "s"):
                    assert node.attrs["units"] == unit, path
    missing = {row[0] for row in rows} - used
    assert not missing


def test_every_dataset_has_its_unit(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    with h5py.File(run / "dies" / "X1Y2.h5") as file:
        nodes = paths_of(file)
        datasets = {path: node for path, node in nodes.items() if isinstance(node, h5py.Dataset)}
        for path, node in datasets.items():
            text = h5py.check_string_dtype(node.dtype) is not None
            assert (node.attrs["units"] == "") == text, path
        units = {path: node.attrs["units"] for path, node in datasets.items()}
    assert units["/entry/records/survey/g_p"] == units["/entry/survey_g_p/g_p"] == "S"
    assert units["/entry/records/attempt/voltage"] == "V"
    assert units["/entry/records/write/fidelity"] == "1"
    assert units["/entry/operations/arrays/intent.bias.row/values"] == "V"
    assert units["/entry/operations/arrays/result.current/values"] == "A"
    assert units["/entry/operations/numbers/intent.verify.aperture"] == "s"


def test_every_quantity_of_the_nouns_has_a_unit() -> None:
    """A field added to a bias or a reading is either given a unit or listed here as having none."""
    plain = {
        "floating",
        "kernel",
        "pulsed",
        "bias",
        "cols",
        "verify",
        "flag",
        "pulse_flag",
        "write",
        "target",
    }
    plain |= {"budget", "cell", "attempt", "verified", "short"}
    nouns = (Bias, Sense, Pulse, Reading, WritePlan, Attempts)
    assert {f.name for noun in nouns for f in fields(noun)} == plain | set(UNITS)
    for noun in nouns:
        for name, hint in noun.__annotations__.items():
            for unit in (m.symbol for m in get_args(hint)[1:] if hasattr(m, "symbol")):
                assert UNITS[name] == unit


def test_a_viewer_finds_the_plot_from_the_root(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    write_run_file(run)
    for path, expected in ((run / "dies" / "X1Y2.h5", "survey_g_p"), (run / "run.h5", "write_fidelity")):
        with h5py.File(path) as file:
            node = file
            while node.attrs["NX_class"] != "NXdata":
                node = node[node.attrs["default"]]
            assert node.name.endswith(expected)
            signal = node[node.attrs["signal"]]
            axes = list(node.attrs["axes"])
            assert len(axes) == signal.ndim
            assert [len(node[axis]) for axis in axes] == list(signal.shape)
            assert signal.attrs["target"] in paths_of(file)


def test_the_run_file_opens_at_fidelity_and_accuracy_of_the_dies(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    with_figures(run)
    write_run_file(run)
    with h5py.File(run / "run.h5") as file:
        plot = file["summary"][file["summary"].attrs["default"]]
        assert (plot.attrs["signal"], list(plot.attrs["auxiliary_signals"])) == ("fidelity", ["accuracy_test"])
        assert list(plot.attrs["axes"]) == ["die"]
        assert plot["name"].asstr()[:].tolist() == ["X1Y2"]
        assert [plot[name][:].tolist() for name in ("die", "fidelity", "accuracy_test")] == [[1], [0.875], [0.75]]


def test_xarray_has_named_dimensions_and_coordinates(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray", reason="needs the extra 'xarray'")
    pytest.importorskip("h5netcdf", reason="needs the extra 'xarray'")
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    sizes = {"survey": {"record": 2, "row": 2, "col": 3}, "write": {"record": 2}, "attempt": {"record": 5}}
    with SealedDie(run / "dies" / "X1Y2.h5") as sealed:
        for name, expected in sizes.items():
            group = f"entry/records/{name}"
            with xarray.open_dataset(run / "dies" / "X1Y2.h5", group=group, engine="h5netcdf") as data:
                assert dict(data.sizes) == expected
                assert set(data.coords) == set(expected)
                for field, column in sealed.table(name).items():
                    np.testing.assert_array_equal(data[field].values.astype(column.dtype), column)
                if name == "survey":
                    assert data["g_p"].dims == ("record", "row", "col")
                    assert data["g_p"].attrs["units"] == "S"


@pytest.mark.filterwarnings("ignore:The 'phony_dims' kwarg")
def test_xarray_opens_every_group_of_a_sealed_file_and_of_a_run(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray", reason="needs the extra 'xarray'")
    pytest.importorskip("h5netcdf", reason="needs the extra 'xarray'")
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    with_figures(run)
    write_run_file(run)
    for name, plot, sizes in (
        ("dies/X1Y2.h5", "entry/survey_g_p", {"record": 2, "row": 2, "col": 3}),
        ("dies/X1Y2.h5", "entry/write_fidelity", {"record": 2}),
        ("run.h5", "summary/write_fidelity", {"record": 2}),
    ):
        with xarray.open_dataset(run / name, group=plot, engine="h5netcdf") as data:
            assert dict(data.sizes) == sizes
    with xarray.open_datatree(run / "dies" / "X1Y2.h5", engine="h5netcdf", phony_dims="sort") as tree:
        assert tree["entry/survey_g_p/g_p"].dims == ("record", "row", "col")


def test_every_group_has_a_class(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    with_figures(run)
    write_run_file(run)
    for path in (run / "dies" / "X1Y2.h5", run / "run.h5"):
        with h5py.File(path) as file:
            groups = [node for node in paths_of(file).values() if isinstance(node, h5py.Group)]
            assert [node.name for node in groups if "NX_class" not in node.attrs] == []


@pytest.mark.judge
def test_nxcheck_finds_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The validator of nexusformat compares every group with the definition of its class.

    It warns of what is ours: attributes of the root, and the events of the run. Of the whole run it is given what the
    file has itself: an external link to a die, whose file is compared by itself, ends it with a RecursionError.
    """
    with np.printoptions():  # it sets its own when it is imported
        validate = pytest.importorskip(
            "nexusformat.nexus.validate", reason="nexusformat is not installed (extra judges)"
        )
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    with_figures(run)
    write_run_file(run)
    for path, start, own in ((run / "dies" / "X1Y2.h5", "/", 3), (run / "run.h5", "/summary", 1)):
        found = validate.validate_file(str(path), path=start)
        said = capsys.readouterr().out
        assert (said.count("is not defined"), found) == (own, (own, 0)), said


def test_axes_of_one_name_have_one_length() -> None:
    columns = {
        "seq": np.arange(2),
        "a": np.zeros((2, 3)),
        "b": np.zeros((2, 4)),
        "c": np.zeros((2, 3, 4)),
        "row": np.arange(2),
    }
    table = Table(
        "t", columns, dict.fromkeys(columns, ""), axes={"a": ["sample"], "b": ["sample"], "c": ["sample", "row"]}
    )
    assert axes_of(table) == {
        "seq": ("record",), "a": ("record", "sample"), "b": ("record", "sample_4"),
        "c": ("record", "sample", "row_axis"), "row": ("record",),
    }  # fmt: skip


def test_the_run_file_reaches_into_every_die(tmp_path: Path) -> None:
    run = make_run(make_run(tmp_path, "X1Y2"), "X2Y2")
    for die in ("X1Y2", "X2Y2"):
        seal(run, die)
    write_run_file(run)
    write_run_file(run)
    with h5py.File(run / "run.h5") as file:
        assert file["X2Y2/records/survey/g_p"].shape == (2, 2, 3)
        assert file["summary/records/write/die"].asstr()[:].tolist() == ["X1Y2", "X1Y2", "X2Y2", "X2Y2"]
        assert file["summary/records/write/solution"][:].tolist() == [4, 9, 4, 9]
        assert "g_p" not in file["summary/records/survey"]


def test_sealing_twice_changes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    first, path = seal(run, "X1Y2"), run / "dies" / "X1Y2.h5"
    before = path.stat().st_mtime_ns
    assert seal(run, "X1Y2") == first
    assert path.stat().st_mtime_ns == before
    assert not (run / "quarantine").exists()


def test_what_is_in_the_way_is_moved_and_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    folder = run / "dies"
    for name in ("X1Y2.h5", "X1Y2.h5.part"):
        (folder / name).write_bytes(b"a leftover")
    seal(run, "X1Y2")
    assert sorted(p.name for p in (run / "quarantine").iterdir()) == ["X1Y2.h5", "X1Y2.h5.part"]
    assert (run / "quarantine" / "X1Y2.h5").read_bytes() == b"a leftover"
    (folder / "X1Y2.h5.part").write_bytes(b"another")
    assert quarantine(run, folder / "X1Y2.h5.part").name == "X1Y2.h5.part.1"


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    path = run / "dies" / "X1Y2.h5"
    with Journal.open(run / "dies" / "X1Y2") as journal:
        items = die_items(run, "X1Y2", journal)
        check(path, items)
        original = path.read_bytes()
        for name in ("records/survey/g_p", "operations/arrays/result.current/values", "events/utc"):
            with h5py.File(path, "r+") as file:
                node = file[f"entry/{name}"]
                node[...] = np.nextafter(node[...], 2.0)
            with pytest.raises(StorageError, match=name.rsplit("/", 1)[1]):
                check(path, items)
            path.write_bytes(original)
        with h5py.File(path, "r+") as file:
            node = file["entry/events/arrays/body.pulses/selection"]
            node[0, ...] = node[0] ^ 1
        with pytest.raises(StorageError, match="selection"):
            check(path, items)
        path.write_bytes(original)
        for spoil in ("entry/stray", "delete"):
            with h5py.File(path, "r+") as file:
                if spoil == "delete":
                    del file["entry/operations/kind"]
                else:
                    file[spoil] = 1
            with pytest.raises(StorageError, match=r"kind|stray"):
                check(path, items)
            path.write_bytes(original)
        with h5py.File(path, "r+") as file:
            del file.attrs["complete"]
        with pytest.raises(StorageError, match="not complete"):
            check(path, items)
    with pytest.raises(StorageError, match="has no seal"):
        SealedDie(path)
    put_seal(path)
    with pytest.raises(StorageError, match="not a sealed die"):
        SealedDie(path)


def test_rows_that_repeat_stay_distinct_rows(tmp_path: Path) -> None:
    gates = np.eye(25)[np.arange(20000) * 7 % 25]
    with Journal.create(tmp_path / "dies" / "A", {}) as journal:
        journal.intend("write", "pulse", {"gate": gates})
        journal.intend("write", "pulse", {"gate": gates[:90]})
        journal.intend("write", "pulse", {"gate": gates[:2], "row": np.array([0.5])})
        journal.intend("write", "pulse", {"row": np.array([0.5])})
        journal.finish()
    seal(tmp_path, "A")
    with h5py.File(tmp_path / "dies" / "A.h5") as file:
        group = file["entry/operations/arrays/intent.gate"]
        assert group["selection_index"][:].tolist() == [0, 1, -1, -1]
        assert group["values"].attrs["units"] == "V"
        assert group["values"].size == 25 * 25 + 2 * 25, "the two long ones share their rows"
        assert "selection" not in file["entry/operations/arrays/intent.row"]
        # as the document says it
        start, size, shape = group["start"][0], group["stored_shape"][0], group["selection_shape"][0]
        distinct = group["values"][start : start + size.prod()].reshape(size)
        np.testing.assert_array_equal(distinct[group["selection"][: shape[0]]], gates)
    with SealedDie(tmp_path / "dies" / "A.h5") as sealed, Journal.open(tmp_path / "dies" / "A") as journal:
        assert same(list(sealed.operations()), list(journal.operations()))


def test_long_columns_of_text_are_packed(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "dies" / "A", {}) as journal:
        for stage, n in (("survey", 3000), ("µ write", 5000), ("", 1)):
            cells = np.arange(n)
            journal.record(stage, Try(cell=cells, voltage=cells / n, target=cells > 1))
        journal.finish()
    seal(tmp_path, "A")
    path = tmp_path / "dies" / "A.h5"
    with SealedDie(path) as sealed:
        stages = sealed.table("attempt")["stage"]
    assert (stages.dtype.kind, stages[2999:3001].tolist(), stages[-1]) == ("U", ["survey", "µ write"], "")
    with h5py.File(path, "r+") as file:
        stage = file["entry/records/attempt/stage"]
        assert stage.asstr()[3000] == "µ write"
        assert (stage.attrs["units"], stage.compression) == ("", "gzip")
        assert stage.id.get_storage_size() < 8001
        stage[7] = "Survey"
    with Journal.open(tmp_path / "dies" / "A") as journal, pytest.raises(StorageError, match="stage"):
        check(path, die_items(tmp_path, "A", journal))


def test_a_live_journal_is_not_sealed(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "dies" / "A", {}), pytest.raises(StorageError, match="not finished"):
        seal(tmp_path, "A")
    with pytest.raises(StorageError, match="no journal"):
        seal(tmp_path, "B")


def test_a_damaged_journal_is_not_sealed(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    torn = next((run / "dies" / "X1Y2" / "arrays").glob("*.npy"))
    torn.write_bytes(torn.read_bytes()[:-8])
    with pytest.raises(StorageError, match="cut off or damaged"):
        seal(run, "X1Y2")
    assert not (run / "dies" / "X1Y2.h5").exists()


def test_as_a_program_it_says_in_json_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    assert main(["seal", str(run), "X1Y2"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"die": "X1Y2", "sha256": seal(run, "X1Y2")}
    assert main(["index", str(run)]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(run / "run.h5")}
    assert main(["seal"]) != 0
    assert "expected seal RUN DIE" in json.loads(capsys.readouterr().out)["error"]


def test_one_process_at_a_time_seals_a_die(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was killed leaves a process that finishes its order; what it writes and names stays its own."""
    run = make_run(tmp_path)
    monkeypatch.setattr(hdf5_writer, "_PATIENCE", 0.0)
    with hold(run / "dies" / "X1Y2", "another", part="sealing"):
        with pytest.raises(StorageError, match=r"X1Y2 cannot be sealed: .*another"):
            seal(run, "X1Y2")
        assert not list((run / "dies").glob("*.h5*"))
    assert seal(run, "X1Y2") == vouch(run / "dies" / "X1Y2.h5")


def test_a_full_disk_crashes_nobody_else(tiny_disk: Path) -> None:
    """HDF5 takes its process down when it cannot write; the die can be sealed as soon as there is space."""
    run = make_run(tiny_disk)
    free = shutil.disk_usage(tiny_disk).free
    (tiny_disk / "ballast").write_bytes(b"x" * (free - 60_000))
    with pytest.raises(StorageError, match=r"disk is full.*journals have everything"):
        seal_in_subprocess(run, "X1Y2")
    assert not (run / "dies" / "X1Y2.h5").exists()
    (tiny_disk / "ballast").unlink()
    assert seal_in_subprocess(run, "X1Y2") == seal(run, "X1Y2")
    assert (run / "quarantine" / "X1Y2.h5.part").exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1200 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a tiny file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1200k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_die_that_did_nothing_can_be_sealed(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "dies" / "A", {}) as journal:
        journal.finish()
    seal(tmp_path, "A")
    write_run_file(tmp_path)
    with SealedDie(tmp_path / "dies" / "A.h5") as sealed:
        assert list(sealed.operations()) == list(sealed.events()) == []
        assert sealed.tables == ()


def test_files_keep_to_hdf5_1_10(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    path = run / "dies" / "X1Y2.h5"
    assert path.read_bytes()[:9] == b"\x89HDF\r\n\x1a\n\x00", "superblock 0"
    with h5py.File(path) as file:
        names = ("operations/arrays/result.current/values", "events/arrays/body.ramp/values")
        noise, ramp = (file[f"entry/{name}"] for name in names)
        assert (ramp.compression, ramp.shuffle) == ("gzip", True)
        assert noise.compression is None, "noise is not worth the time"
        assert noise.fletcher32
        assert noise.id.get_storage_size() - 4 * noise.id.get_num_chunks() >= noise.nbytes > 1 << 16


@pytest.mark.judge
def test_h5dump_reads_every_dataset(tmp_path: Path) -> None:
    h5dump = shutil.which("h5dump")
    if h5dump is None:
        pytest.skip("h5dump is not installed (Debian: hdf5-tools)")
    run = make_run(tmp_path)
    seal(run, "X1Y2")
    write_run_file(run)
    for path in (run / "dies" / "X1Y2.h5", run / "run.h5"):
        done = subprocess.run([h5dump, path.name], cwd=path.parent, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "0.875" in done.stdout


def test_names_are_escaped() -> None:
    assert [key(name) for name in ("", ".", "a/b", "g_p-2", "ä~")] == [
        "%",
        "%2E",
        "a%2Fb",
        "g_p-2",
        "%C3%A4%7E",
    ]


def test_who_where_and_with_what_stand_in_the_provenance(tmp_path: Path) -> None:
    meta = {"operator": "Kim", "host": "bench-1", "time_zone": "CET", "utc_offset": 3600}
    run = small_run.write_run(tmp_path / "run", **meta)
    notes = {"identities": {"smu1": "2602B, 4012"}, "calibrations": {"smu1": "calibrated 2026-03-01, due 2027-03-01"}}
    with Journal.create(run / "dies" / "C", {"die": "C"}) as journal:
        journal.event(Approached(notes={"identities": {"smu1": "another"}}))
        journal.event(Approached(notes=notes))
        journal.event(DieEnded(bin="good", outcome=Status.SUCCESS, state=State.DONE))
        journal.finish()
    seal(run, "C")
    for name, told in (("C", notes), ("A", {"identities": {}, "calibrations": {}})):
        with h5py.File(run / "dies" / f"{name}.h5") as file:
            place = file["entry/provenance"]
            texts = [place[key][()].decode() for key in ("operator", "computer", "time_zone")]
            assert texts == ["Kim", "bench-1", "CET"]
            assert (place["utc_offset"][()], place["utc_offset"].attrs["units"]) == (3600.0, "s")
            assert file["entry/user/name"][()] == b"Kim"
            for key, of in (("instruments", "identities"), ("calibration", "calibrations")):
                stored = {name: text[()].decode() for name, text in place[key].items()} if key in place else {}
                assert stored == told[of]
