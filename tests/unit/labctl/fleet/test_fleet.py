"""Rows of runs, the Parquet file, filters in words, pictures; the runs are journals alone: nothing else is read."""

import csv
import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from labctl.core.die_state import State
from labctl.core.errors import BenchError, NotThereError, StorageError
from labctl.core.events import RunEnded, VisitBegun
from labctl.core.figure import Figure
from labctl.fleet import pictures, shown, store
from labctl.fleet.columns import COLUMNS
from labctl.fleet.conditions import names_in, rows_where
from labctl.fleet.rows import rows_of
from labctl.storage.manifest import FORMAT
from labctl.storage.run_log import Runlog

pytest.importorskip("pyarrow", reason="needs the extra 'fleet'")
FIGURES = (
    Figure("tmr", "TMR", "of the good cells", shown_unit="%", factor=100, digits=1, by_size=True),
    Figure("r_p", "R_P", "of the good cells", unit="ohm", shown_unit="kΩ", factor=1e-3, digits=2, by_size=True),
    Figure("bin", "clash", "a figure of a stranger's protocol that is called like a column"),
)


def run(folder, dies, name="night", **meta):
    """Make a run of dies at (k, 0), each with its figures, None for one that was not begun; return its folder."""
    folder.mkdir(parents=True)
    about = {
        "format": FORMAT,
        "name": name,
        "dies": [{"name": die, "at": [k, 0], "wafer": "W01"} for k, die in enumerate(dies)],
        "figures": [figure.plain() for figure in FIGURES],
        **meta,
    }
    log = Runlog.create(folder, about)
    for die, figures in dies.items():
        if figures is not None:
            log.set_state(die, State.RUNNING, 1)
            log.set_state(die, State.SEALING, 1)
            log.set_state(die, State.DONE, 1, figures=figures, bin="good", hard=1, sha256=f"of {die}")
    log.write(VisitBegun(die="G-1", at=(7, 7)))
    log.write(RunEnded(outcome="success", exit_code=0))
    log.finish()
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The fleet of two runs: A and B of one size, C of two sizes, D not begun; and one of another lot."""
    folder = tmp_path_factory.mktemp("runs")
    first = {"A": {"tmr": 0.85, "r_p": 2500.0, "bin": 3.0}, "B": {"tmr": 1.10, "r_p": 2600.0}, "D": None}
    sizes = {"tmr[60 nm]": 0.95, "tmr[100 nm]": 1.05, "r_p[60 nm]": 4000.0, "r_p[100 nm]": 1500.0, "seconds": 9.0}
    runs = run(folder / "one", first), run(folder / "two", {"C": sizes}, "other", operator="ada", seed=7)
    return store.fleet_of([rows_of(one) for one in runs])


def dies(fleet, words):
    """Return the dies of the rows of which a filter is true, with their sizes."""
    kept = fleet.only(rows_where(fleet, words)).table
    return [
        f"{die} {size}".strip() for die, size in zip(kept["die"].to_pylist(), kept["size"].to_pylist(), strict=True)
    ]


def test_a_die_has_a_row_for_each_size_and_one_that_was_not_begun_has_one_too(two):
    assert dies(two, "golden = no") == ["A", "B", "D", "C 60 nm", "C 100 nm"]
    row = next(row for row in two.table.to_pylist() if row["size"] == "100 nm")
    assert (row["tmr"], row["r_p"], row["seconds"], row["operator"], row["seed"]) == (1.05, 1500.0, 9.0, "ada", 7)
    assert (row["state"], row["bin"], row["sha256"], row["wafer"]) == ("done", "good", "of C", "W01")
    assert set(COLUMNS) < set(row)


def test_a_figure_that_is_called_like_a_column_has_another_name(two):
    assert dies(two, "figure_bin = 3") == ["A"]
    assert dies(two, "bin = good and golden = no") == ["A", "B", "C 60 nm", "C 100 nm"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tmr < 90 %", ["A"]),
        ("tmr<100%", ["A", "C 60 nm"]),
        ("tmr >= 95 % and r_p > 2 kohm", ["B", "C 60 nm"]),
        ("r_p[100 nm] < 2 kohm", ["C 100 nm"]),
        ("size = '60 nm'", ["C 60 nm"]),
        ("not (tmr < 90 % or die = C) and golden = no", ["B", "D"]),
        ("tmr > 0 % or state = pending", ["A", "B", "D", "C 60 nm", "C 100 nm", "G-1", "G-1"]),
        ("campaign = n* and x >= 1 and golden = no", ["B", "D"]),
        ("campaign != night and golden != yes", ["C 60 nm", "C 100 nm"]),
        ("after 2020-01-01 and before '2020-01-01T12:00'", []),
        ("finished > 2020-01-01 and seed = 7 and golden = no", ["C 60 nm", "C 100 nm"]),
    ],
)
def test_filters_in_words(two, words, expected):
    assert sorted(dies(two, words)) == sorted(expected)


def test_what_is_not_there_is_in_no_comparison(tmp_path):
    of_run = rows_of(run(tmp_path / "r", {"A": {"tmr": 1.0}, "B": {"tmr": 1.0}, "C": {"tmr": 1.0}}))
    left_out = {"A": {"notch": None, "seed": 3}, "B": {"notch": 0, "seed": 3}, "C": {"notch": 90, "seed": None}}
    left_out["A"] |= {"campaign": None}
    rows = tuple({**row, **left_out[row["die"]]} for row in of_run.rows if row["die"] in left_out)
    fleet = store.fleet_of([replace(of_run, rows=rows)])
    for words, expected in {
        "notch = 0": ["B"], "notch < 45": ["B"], "notch != 90": ["B"], "notch >= 0": ["B", "C"],
        "seed = 0": [], "seed != 3": [], "seed = 3 and notch > 0": [], "campaign = night": ["B", "C"],
        "campaign != night": ["A"],
    }.items():  # fmt: skip
        assert dies(fleet, words) == expected, words


def test_a_day_begins_at_midnight_here(tmp_path):
    fleet = store.fleet_of([rows_of(run(tmp_path / "r", {"A": {"tmr": 1.0}}))])
    today = f"{datetime.now():%Y-%m-%d}"
    assert dies(fleet, f"after {today} and golden = no") == ["A"]
    assert dies(fleet, f"before {today}") == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("trm < 90 %", "there is no column and no figure 'trm'; did you mean 'tmr'?"),
        ("tmr < 90", "'90' has no unit, and TMR is shown in %; expected '90 %'"),
        ("r_p < 2 V", "'V' is not a unit of ohm"),
        ("(tmr < 90 %", "a bracket is not closed"),
        ("tmr < 90 %)", "found ')', expected 'and', 'or' or the end"),
        ("tmr < 90 % and", "it ends, expected a comparison"),
        ("after noon", "'noon' is no date"),
        ("die < A", "die is a text; expected 'die = A'"),
        ("x = 1.5", "'1.5' is no whole number, as x is"),
        ("golden = 1", "expected 'golden = yes' or 'golden = no'"),
    ],
)
def test_what_is_no_filter_is_refused_in_words(two, words, text):
    with pytest.raises(BenchError) as refused:
        rows_where(two, words)
    assert text in str(refused.value)


def test_the_names_that_a_filter_compares():
    assert names_in("not (tmr < 90 % or r_p[60 nm] > 1 kohm) and after 2026-10-01") == ["tmr", "r_p"]


def test_a_run_that_is_added_again_takes_the_place_of_its_rows_wherever_it_lies(tmp_path, two):
    path, folder = tmp_path / "deep" / "fleet.parquet", run(tmp_path / "r", {"A": {"tmr": 1.0}, "B": None})
    store.add(path, [rows_of(folder)])
    folder.rename(tmp_path / "moved")
    fleet = store.add(path, [rows_of(tmp_path / "moved")])
    assert fleet.table["run"].unique().to_pylist() == [str(tmp_path / "moved")]
    more = rows_of(run(tmp_path / "s", {"C": {"tmr": 1.0, "own": 2.0}}))
    store.add(path, [more])
    again = store.read(path)
    assert again.table.num_rows == 5
    assert again.table["own"].null_count == 4
    assert again.declared["tmr"].text(0.9) == "90.0 %"
    assert store.add(path, [more], anew=True).table.num_rows == 2
    assert sorted(p.name for p in path.parent.iterdir()) == [".fleet.parquet.lock", "fleet.parquet"]


def test_what_is_no_fleet_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path = tmp_path / "f.parquet"
    with pytest.raises(NotThereError, match="labctl fleet add RUN"):
        store.read(path)
    for raw, kind in ((b"name: small\nseed: 5\n", "a YAML file"), (b"%PDF-1.7\n", "a PDF"), (b"", "an empty file")):
        path.write_bytes(raw)
        for do in (store.read, lambda path: store.add(path, [], anew=True)):
            with pytest.raises(BenchError, match=f"found {kind}, expected a fleet"):
                do(path)
        assert path.read_bytes() == raw, "nothing is written over it"
    with pytest.raises(BenchError, match="found a folder, expected a fleet"):
        store.read(tmp_path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(StorageError, match="cannot be read as Parquet"):
        store.read(path)
    parquet.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(StorageError, match="has none of our marks"):
        store.read(path)
    parquet.write_table(pa.table({"a": [1]}).replace_schema_metadata({"labctl.fleet": "9"}), path)
    with pytest.raises(StorageError, match="of version 9; expected a fleet of version 3"):
        store.read(path)


def test_other_programs_read_the_files(tmp_path, two):
    pandas = pytest.importorskip("pandas")
    shown.write(two, tmp_path / "f.csv", tmp_path / "f.parquet")
    frame = pandas.read_parquet(tmp_path / "f.parquet")
    assert frame["tmr"].dropna().tolist() == [0.85, 1.10, 0.95, 1.05]
    assert str(frame["finished"].dtype) == "datetime64[ms, UTC]"
    with (tmp_path / "f.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["r_p"] for row in rows] == ["2500.0", "2600.0", "", "", "4000.0", "1500.0", ""]
    with pytest.raises(BenchError, match="nothing is ever written over"):
        shown.write(two, tmp_path / "f.csv", None)
    plain = json.loads(shown.as_json(two))
    assert plain["figures"]["r_p"]["unit"] == "ohm"
    assert plain["rows"][0]["die"] == "A"


def test_duckdb_reads_the_fleet(tmp_path, two):
    duckdb = pytest.importorskip("duckdb", reason="needs the extra 'judges'")
    shown.write_parquet(two, tmp_path / "f.parquet")
    count = duckdb.sql(f"SELECT count(*) FROM '{tmp_path / 'f.parquet'}' WHERE tmr < 1 AND NOT golden").fetchall()
    assert count == [(2,)]
    assert rows_where(two, "tmr < 100 % and golden = no").sum() == 2


def test_a_die_has_the_zone_of_its_place_and_a_run_the_one_that_it_retests(tmp_path):
    places = [[x, y] for x in range(4) for y in range(-1, 3)]
    retest = {"run_id": "4f"}
    folder = run(
        tmp_path / "zones", {"A": {"tmr": 0.9}, "B": {"tmr": 1.0}}, wafer_map={"places": places}, retest=retest
    )
    fleet = store.fleet_of([rows_of(folder)])
    assert dies(fleet, "zone = middle") == ["A"]
    assert dies(fleet, "zone = centre and retest = 4f") == ["B"]
    assert shown.tally(fleet).endswith("(2 good); good in centre 1 of 1, middle 1 of 1, 1 visit of golden dies")


def test_a_tally_counts_dies_once_and_golden_visits_apart(two):
    assert shown.tally(two) == "7 rows: 4 dies of 2 runs (3 good, 1 pending), 2 visits of golden dies"


def test_columns_that_are_asked_for_have_to_be_there(two):
    assert shown.chosen(two, (), ["tmr"]) == ["finished", "campaign", "die", "size", "bin", "tmr"]
    with pytest.raises(BenchError, match="--columns tm: there is no such column"):
        shown.chosen(two, ["tm"], [])


def test_a_map_has_the_mean_by_place(tmp_path, two):
    small = two.only(rows_where(two, "not size = '100 nm'"))
    of_places = pictures.places(two.only(rows_where(two, "size = ''")), "tmr")
    np.testing.assert_allclose(of_places.mean, [[85.0, 110.0]])
    np.testing.assert_array_equal(of_places.count, [[1, 1]])
    assert pictures.map_text(of_places).splitlines()[-1].split() == ["y", "0", "85.0", "110.0"]
    with pytest.raises(BenchError, match="of kernels of 2 sizes here"):
        pictures.places(small, "tmr")
    pictures.draw_map(of_places, tmp_path / "map.png")
    assert pictures.draw_trend(two.only(rows_where(two, "size = ''")), "r_p", tmp_path / "trend.png") == 2
    assert {(tmp_path / name).read_bytes()[:4] for name in ("map.png", "trend.png")} == {b"\x89PNG"}
    with pytest.raises(BenchError, match="there is no figure 'rp'"):
        pictures.places(two, "rp")
    with pytest.raises(BenchError, match="no die of these rows"):
        pictures.places(two.only(rows_where(two, "die = D")), "tmr")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("bin != good AND tmr > 500 %", "'good AND tmr > 500 %' has ' AND' in it; expected 'and', 'or' or 'not'"),
        ("bin = good wafer = W01", "' wafer' in it"),
        ("bin = good, die = A", "',' in it"),
        ("r_p[70 nm] < 2 kohm", "there is no size '70 nm' in this fleet; it has 100 nm, 60 nm"),
        ("after 0001-01-01", "'0001-01-01' is no date"),
        (f"x > {'9' * 30}", "is no whole number"),
        ("(" * 60 + "x = 1" + ")" * 60, "50 brackets"),
    ],
)
def test_a_slip_is_never_answered_as_something_else(two, words, text):
    with pytest.raises(BenchError) as refused:
        rows_where(two, words)
    assert text in str(refused.value)


def test_a_text_in_quotation_marks_may_hold_anything(two):
    assert dies(two, "reason = 'a, b AND c'") == []
    assert len(dies(two, "reason != 'a, b AND c'")) == two.table.num_rows


def test_a_run_that_is_given_twice_counts_once(tmp_path):
    rows = rows_of(run(tmp_path / "r", {"A": {"tmr": 1.0}}))
    assert store.fleet_of([rows, rows]).table.num_rows == 2  # the die and the golden one


def test_a_die_of_several_sizes_counts_once_in_a_figure_of_the_whole_die(tmp_path):
    figures = {"tmr[60 nm]": 0.9, "tmr[100 nm]": 1.1, "seconds": 4.0}
    runs = (run(tmp_path / "r", {"A": figures}), run(tmp_path / "s", {"B": {"seconds": 8.0}}))
    fleet = store.fleet_of([rows_of(one) for one in runs])
    of_places = pictures.places(fleet, "seconds")
    assert (of_places.mean.tolist(), of_places.count.tolist()) == ([[6.0]], [[2]])
    with pytest.raises(BenchError, match="of kernels of 2 sizes here"):
        pictures.places(fleet, "tmr")
    chosen = fleet.only(rows_where(fleet, "size = '60 nm'"))
    assert pictures.places(chosen, "tmr").mean.tolist() == [[90.0]]


def test_a_figure_that_is_called_like_a_column_keeps_its_definition(two):
    assert two.figure("figure_bin").note == "a figure of a stranger's protocol that is called like a column"


def test_nothing_is_written_where_one_file_exists(tmp_path, two):
    (tmp_path / "there.parquet").write_text("mine")
    with pytest.raises(BenchError, match="nothing is ever written over"):
        shown.write(two, tmp_path / "new.csv", tmp_path / "there.parquet")
    assert not (tmp_path / "new.csv").exists()
