"""`open_run` reads everything that a run leaves behind, in whatever state."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import labctl
from labctl.core.errors import StorageError
from labctl.core.events import UnknownEvent
from labctl.core.record import Record
from labctl.core.units import Conductances, Ratio
from labctl.storage.hdf5_writer import seal, write_run_file
from labctl.storage.journal import Journal
from labctl.storage.manifest import FORMAT
from labctl.storage.results import open_run
from labctl.storage.tables import Table
from tests.small_run import write_run


@dataclass(frozen=True, eq=False, kw_only=True)
class Written(Record):
    table: ClassVar[str] = "write"

    solution: int
    fidelity: Ratio
    g: Conductances


def make_run(run: Path) -> Path:
    """X1 is sealed, X2 finished only, X3 still runs (its journal is left as a kill leaves it)."""
    run.mkdir()
    (run / "run.json").write_text(json.dumps({"format": FORMAT, "seed": 3}))
    for number, die in enumerate(("X1", "X2", "X3")):
        with Journal.create(run / "dies" / die, {"die": die}) as journal:
            seq = journal.intend("write", "sense", {"bias": {"row": np.full((4, 2), number)}})
            journal.result(seq, {"current": np.full((4, 3), number / 7)})
            for k in range(2):
                journal.record("write", Written(solution=k, fidelity=k / 4, g=np.full((2, 3), number)))
            journal.event(UnknownEvent("ended", {"die": die}))
            journal.commit()
            if die == "X3":
                shutil.copytree(run / "dies" / die, run / "copy")
            else:
                journal.finish()
    shutil.rmtree(run / "dies" / "X3")
    (run / "copy").rename(run / "dies" / "X3")
    seal(run, "X1")
    write_run_file(run)
    return run


def test_every_state_reads_alike(tmp_path: Path) -> None:
    run = labctl.open_run(make_run(tmp_path / "run"))
    assert run.dies == ("X1", "X2", "X3")
    assert run.meta == {"format": FORMAT, "seed": 3}
    assert [run.die(d).sealed for d in run.dies] == [True, False, False]
    for number, name in enumerate(run.dies):
        die = run.die(name)
        assert die.tables == ("write",)
        assert die.meta == {"die": name}
        (operation,) = die.operations()
        np.testing.assert_array_equal(operation.result["current"], np.full((4, 3), number / 7))
        assert [e.body for e in die.events()] == [{"die": name}]
        table = run.table("write", name)
        assert table["die"].tolist() == [name, name]
        assert table["g"].shape == (2, 2, 3)
        assert table.units["g"] == "S"
    whole = run.table("write")
    assert whole["die"].tolist() == ["X1", "X1", "X2", "X2", "X3", "X3"]
    assert whole["fidelity"].tolist() == [0, 0.25] * 3
    assert whole.rows == 6


def test_the_run_file_and_a_single_die_open_too(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert labctl.open_run(str(folder / "run.h5")).dies == ("X1", "X2", "X3")
    alone = shutil.copy(folder / "dies" / "X1.h5", tmp_path / "sent by mail.h5")
    run = labctl.open_run(alone)
    assert run.dies == ("X1",)
    assert run.meta == {"format": FORMAT, "seed": 3}
    assert run.table("write")["solution"].tolist() == [0, 1]


def test_a_sealed_file_opened_by_itself_in_its_run_is_compared_with_the_journal_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run")
    other = write_run(tmp_path / "other", fidelity=0.5)
    file = run / "dies" / "A.h5"
    assert labctl.open_run(file).table("map")["fidelity"].size == 2
    whole = file.read_bytes()
    (tmp_path / "alone.h5").write_bytes((other / "dies" / "A.h5").read_bytes())
    assert labctl.open_run(tmp_path / "alone.h5").dies == ("A",), "outside of a run there is nothing to compare with"
    file.write_bytes((other / "dies" / "A.h5").read_bytes())  # whole by its own seal
    with pytest.raises(StorageError, match=r"A.h5 is not the file that was sealed here: .*A/journal.db has everything"):
        labctl.open_run(file)
    monkeypatch.chdir(file.parent)
    file.write_bytes((run / "dies" / "B~2.h5").read_bytes())
    with pytest.raises(StorageError, match=r"A.h5 is the file of die B~2, not of A: .* 'labctl verify .*run --repair'"):
        labctl.open_run("A.h5")
    shutil.rmtree(run / "dies" / "A")
    with pytest.raises(StorageError, match=r"of die B~2, not of A: .*; its journal is gone too; take it from a backup"):
        labctl.open_run(file)
    file.write_bytes(whole)
    (run / "journal.db").write_bytes(b"damaged")
    assert labctl.open_run(file).dies == ("A",), "its own seal vouches for it where the journal of the run cannot"


def test_a_die_whose_sealed_file_and_journal_are_gone_is_not_one_that_was_never_begun(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    (run / "dies" / "A.h5").unlink()
    assert labctl.open_run(run).table("map", "A").rows == 2, "its journal has it"
    shutil.rmtree(run / "dies" / "A")
    opened = labctl.open_run(run)
    assert opened.dies == ("A", "B")
    assert opened.table("map", "B").rows == 2
    with pytest.raises(StorageError, match=r"A.h5 is gone, and so is its journal.*; take it from a backup"):
        opened.table("map")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    run = labctl.open_run(make_run(tmp_path / "run"))
    with pytest.raises(KeyError, match="X1, X2, X3"):
        run.die("X9")
    with pytest.raises(KeyError, match="it has write"):
        run.table("survey", "X1")
    with pytest.raises(KeyError, match="there are write"):
        run.table("survey")
    with pytest.raises(StorageError, match="no run here"):
        labctl.open_run(tmp_path)
    with pytest.raises(AttributeError, match="nothing"):
        _ = labctl.nothing


def test_pandas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    table = labctl.open_run(make_run(tmp_path / "run")).table("write")
    frame = table.to_pandas()
    assert frame.groupby("die")["fidelity"].mean().tolist() == [0.125] * 3
    assert frame["g"].iloc[5].shape == (2, 3)
    assert frame.attrs["units"]["g"] == "S"
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"mtj-labctl\[pandas\]"):
        table.to_pandas()


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, labctl; print(sorted({'numpy', 'h5py', 'pandas', 'pint'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(labctl.__file__).parents[1]
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_table_whose_axes_of_one_name_differ_in_length_is_a_dataset() -> None:
    pytest.importorskip("xarray", reason="needs the extra 'xarray'")
    columns = {"seq": np.arange(2), "train": np.zeros((2, 5)), "test": np.zeros((2, 3)), "row": np.zeros((2, 4))}
    axes = {"train": ["sample"], "test": ["sample"], "row": ["row"]}
    dataset = Table("prediction", columns, dict.fromkeys(columns, ""), axes=axes).to_xarray()
    assert dict(dataset.sizes) == {"record": 2, "sample": 5, "sample_3": 3, "row_axis": 4}


def test_a_notebook_shows_a_die_and_its_tables(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run"))
    assert repr(run.die("A")) == f"<die 'A' in {run.path / 'dies' / 'A.h5'}>"
    assert "<td>map</td><td>2</td>" in run.die("A")._repr_html_()
    assert repr(run.table("map", "A")).startswith("<table 'map' of 2 rows: die, seq, stage, utc [s],")


def test_dies_of_several_shapes_are_asked_for_one_by_one() -> None:
    one, other = (
        Table("survey", {"seq": np.arange(1), "g": np.zeros((1, *s))}, {"seq": "", "g": "S"}) for s in ((2, 3), (4, 5))
    )
    with pytest.raises(
        ValueError, match=r"'g' of the table 'survey' is 2 x 3 and 4 x 5 on different dies; expected one"
    ):
        Table.join([one, other])
