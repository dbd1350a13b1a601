"""docs/renames.md is read, and two runs are compared through it to the bit."""

import importlib.util
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "same_results.py"
spec = importlib.util.spec_from_file_location("same_results", PROGRAM)
assert spec is not None
assert spec.loader is not None
sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
compare, may_differ, read_renames, renamed = module.compare, module.may_differ, module.read_renames, module.renamed


@pytest.fixture
def runs(night, tmp_path: Path) -> tuple[Path, Path]:
    """A run with sealed dies, and a copy that a test may change."""
    return night("end"), Path(shutil.copytree(night("end"), tmp_path / "copy"))


def change(file: Path, dataset: str) -> None:
    """Change one bit of the last number of a dataset."""
    with h5py.File(file, "r+") as opened:
        values = opened[dataset][()]
        values.view(np.uint8).reshape(-1)[-8] ^= 1
        opened[dataset][...] = values


def test_the_committed_table_is_read() -> None:
    assert isinstance(read_renames(), dict)


@pytest.mark.parametrize(
    "line",
    [
        "| entry/records | a | b |",
        "| entry/records |  | b | 0.2 |",
        "| entry/records | a | b | 0.2 |\n| entry/records | a | c | 0.2 |",
        "| entry/records | a | b | 0.2 |\n| entry/records | b | c | 0.2 |",
    ],
)
def test_a_line_that_is_no_rename_is_refused(tmp_path: Path, line: str) -> None:
    table = tmp_path / "renames.md"
    table.write_text(f"| where | old name | new name | since |\n|---|---|---|---|\n{line}\n")
    with pytest.raises(ValueError, match=r"renames\.md"):
        read_renames(table)


def test_names_are_looked_up_where_they_stood() -> None:
    renames = {("entry/records", "old"): "new", ("entry/records/old", "g"): "conductance"}
    assert renamed("entry/records/old/g", renames) == "entry/records/new/conductance"
    assert renamed("entry/records/survey/g", renames) == "entry/records/survey/g"


def test_a_run_is_the_same_as_itself(runs: tuple[Path, Path]) -> None:
    same = compare(*runs, {})
    assert not same.results
    assert not [line for line in same.others if "is not sealed" not in line]
    assert same.datasets > 100
    assert same.tries == 6


def test_one_bit_of_a_measurement_is_a_difference(runs: tuple[Path, Path]) -> None:
    change(runs[1] / "dies" / "A.h5", "entry/records/survey/g_p")
    assert compare(*runs, {}).results == [
        "dies/A.h5: entry/records/survey/g_p: 1 of 40 differ",
        "dies/A.h5: entry/survey_g_p/g_p: 1 of 40 differ",  # the link to it
    ]


def test_times_and_provenance_are_listed_and_no_difference(runs: tuple[Path, Path]) -> None:
    change(runs[1] / "dies" / "A.h5", "entry/records/survey/utc")
    with h5py.File(runs[1] / "dies" / "A.h5", "r+") as file:
        file["entry/provenance/run/git_commit"][()] = "of another day"
    found = compare(*runs, {})
    assert not found.results
    listed = [line.split(": ")[1] for line in found.others if line.startswith("dies/A.h5")]
    assert listed == ["entry/provenance/run/git_commit", "entry/records/survey/utc"]


def test_a_renamed_field_is_found_through_the_table(runs: tuple[Path, Path]) -> None:
    with h5py.File(runs[1] / "dies" / "A.h5", "r+") as file:
        file.move("entry/records/attempt/width", "entry/records/attempt/duration")
    renames = {("entry/records/attempt", "width"): "duration"}
    gone = compare(*runs, {}).results
    assert len(gone) == 2
    assert "entry/records/attempt/width is gone" in gone[1]
    # the other dies were not renamed
    assert not [line for line in compare(*runs, renames).results if line.startswith("dies/A.h5")]


def test_a_state_and_a_missing_die_are_differences(runs: tuple[Path, Path], night) -> None:
    (runs[1] / "dies" / "A.h5").unlink()
    assert any(line.startswith("dies/A.h5: only in") for line in compare(*runs, {}).results)
    killed = compare(runs[0], night("kill"), {}).results
    assert any("D try 1: state 'interrupted' became 'running'" in line for line in killed)


def test_units_and_types_count(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for path, kind in (("entry/records/a/utc", float), ("entry/records/a/time_constant", float)):
            file.create_dataset(path, data=np.zeros(3, kind))
        file["entry/x"] = "text"
        assert may_differ("entry/records/a/utc", file["entry/records/a/utc"])
        assert may_differ("entry/x", file["entry/x"])
        assert not may_differ("entry/records/a/time_constant", file["entry/records/a/time_constant"])
