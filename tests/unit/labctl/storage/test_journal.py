"""The journal: what goes in comes out to the bit, damage is noticed, nothing committed is lost."""

import errno
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labctl.core.bias import Bias
from labctl.core.errors import StorageError
from labctl.core.events import UnknownEvent
from labctl.core.operations import Sense
from labctl.core.record import Record
from labctl.core.units import BoolArray, Conductances, IntArray, Ratio, Volt, Volts
from labctl.storage.arrays import Stored, compact, storage
from labctl.storage.journal import FORMAT, INLINE, Journal


@dataclass(frozen=True, eq=False, kw_only=True)
class Survey(Record):
    table: ClassVar[str] = "survey"

    kernel: int
    cut: Volt
    good: bool
    note: str
    g_p: Conductances


@dataclass(frozen=True, eq=False, kw_only=True)
class Attempt(Record):
    table: ClassVar[str] = "attempt"
    columnar: ClassVar[bool] = True

    cell: IntArray
    voltage: Volts
    target: BoolArray


class Colour(StrEnum):
    RED = "red"


def survey(kernel: Any = 0, cut: Any = 0.2, good: Any = True, note: Any = "µ", shape: Any = (2, 3)) -> Survey:
    return Survey(kernel=kernel, cut=cut, good=good, note=note, g_p=np.full(shape, np.nan))


def same(a: object, b: object) -> bool:
    """Equality of bodies, arrays by type, shape and bytes."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


dtypes = hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64)) | st.just("c16")
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | arrays,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("$array"), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(bodies, bodies | st.just("no result")), max_size=4))
def test_bodies_come_back_to_the_bit(pairs: list[tuple[Any, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Journal.create(Path(folder), {}) as journal:
            for intent, result in pairs:
                seq = journal.intend("write", "pulse", intent)
                if not same(result, "no result"):
                    journal.result(seq, result)
        with Journal.open(Path(folder)) as journal:
            journal.verify()
            operations = list(journal.operations())
        assert len(operations) == len(pairs)
        for op, (intent, result) in zip(operations, pairs, strict=True):
            assert same(op.intent, intent)
            assert (op.end is None) == same(result, "no result")
            assert op.end is None or same(op.result, result)


def test_order_numbers_and_clocks(tmp_path: Path) -> None:
    utc, monotonic = count(1000.0), count(5.0)
    with Journal.create(
        tmp_path / "A", {"die": "A"}, utc=lambda: next(utc), monotonic=lambda: next(monotonic)
    ) as journal:
        first = journal.intend("survey", "sense", {})
        second = journal.intend("survey", "sense", {})
        event = journal.event(UnknownEvent("note", {"x": 1}), stage="survey")
        done = journal.result(second, None)
        assert [first, second, event, done] == [2, 3, 4, 5]
        assert list(journal.operations()) == [], "nothing is there before it is committed"
        journal.commit()
        one, two = journal.operations()
        assert (one.seq, one.start.utc, one.end) == (2, 1001.0, None)
        assert (two.start.monotonic, two.end) == (7.0, (1004.0, 9.0))
        assert [op.seq for op in journal.operations(after=2)] == [3]
        (entry,) = journal.events()
        assert (entry.stage, entry.kind, entry.body) == ("survey", "note", {"x": 1})
        assert journal.created == (1000.0, 5.0)
        assert journal.last.seq == 5
        assert journal.meta == {"die": "A"}


def test_a_result_needs_its_intent(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        seq = journal.intend("write", "pulse", {})
        journal.result(seq, {})
        for wrong in (seq, 1, 99):
            with pytest.raises(ValueError, match=str(wrong)):
                journal.result(wrong, {})


def test_more_rows_than_one_query_fetches(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        for k in range(1203):
            journal.result(journal.intend("s", "sense", {"k": k}), {"k": -k})
        journal.commit()
        assert [(op.intent["k"], op.result["k"]) for op in journal.operations()] == [(k, -k) for k in range(1203)]


def test_nouns_enums_and_numpy_scalars_are_bodies(tmp_path: Path) -> None:
    sense = Sense(Bias(np.broadcast_to([0.1, 0.2], (7, 2)), np.zeros((7, 3))), np.arange(3))
    with Journal.create(tmp_path, {}) as journal:
        journal.intend("s", "sense", sense)
        journal.event(UnknownEvent("odd", {"colour": Colour.RED, "x": np.float32(0.5), "n": np.int8(3), "t": np.True_}))
        journal.commit()
        (op,) = journal.operations()
        assert same(op.intent["bias"]["row"], np.array(sense.bias.row))
        assert op.intent["bias"]["gate"] is None
        assert same(next(journal.events()).body, {"colour": "red", "x": 0.5, "n": 3, "t": True})


@pytest.mark.parametrize(
    "body",
    [
        {1: 2},
        {"a": {1, 2}},
        np.array([None]),
        np.array(["a\0b"]),
        {"a": np.zeros(2, "M8[s]")},
        b"x",
        np.zeros(2, [("a", "f8")]),
    ],
)
def test_what_cannot_be_stored_is_refused_and_leaves_no_gap(tmp_path: Path, body: object) -> None:
    with Journal.create(tmp_path, {}) as journal:
        with pytest.raises(TypeError):
            journal.event(UnknownEvent("x", body))
        assert journal.event(UnknownEvent("x")) == 2


def test_equal_arrays_are_stored_once_and_views_at_their_true_size(tmp_path: Path) -> None:
    wide = np.broadcast_to(np.arange(5.0), (100000, 5))
    assert compact(wide).shape == (1, 5)
    large = np.arange(3.0 * INLINE).reshape(3, -1)
    with Journal.create(tmp_path, {}) as journal:
        for _ in range(3):
            journal.intend("s", "sense", {"wide": wide, "large": large, "again": large.copy()})
            journal.commit()
    assert len(list((tmp_path / "arrays").iterdir())) == 1
    assert (tmp_path / "journal.db").stat().st_size < 100_000
    with Journal.open(tmp_path) as journal:
        op = next(journal.operations())
        assert same(op.intent["wide"], np.array(wide))
        assert same(op.intent["large"], large)
        with pytest.raises(ValueError, match="read-only"):
            op.intent["large"][0, 0] = 1


def test_patterns_that_repeat_cost_their_distinct_rows(tmp_path: Path) -> None:
    gates = np.eye(25)[np.arange(20000) * 7 % 25] * 2.0
    greys = np.random.default_rng(2).integers(0, 16, (3000, 25)) / 15
    with Journal.create(tmp_path, {}) as journal:
        for step in (1, -1):
            journal.intend("s", "pulse", {"gate": gates[::step], "row": greys})
        journal.commit()
        first, second = journal.operations(load=False)
        assert first.intent["gate"].digest == second.intent["gate"].digest, "the same rows in another order"
        assert first.intent["gate"].index != second.intent["gate"].index
        journal.event(UnknownEvent("again", first.intent))
    assert not [p for p in (tmp_path / "arrays").glob("*") if p.stat().st_size > 80_000], "not 4 MB"
    with Journal.open(tmp_path) as journal:
        journal.verify()
        first, second = journal.operations()
        for body in (first.intent, next(journal.events()).body):
            assert same(body["gate"], gates)
            assert same(body["row"], greys)
        assert same(second.intent["gate"], np.ascontiguousarray(gates[::-1]))
        with pytest.raises(ValueError, match="read-only"):
            first.intent["gate"][0, 0] = 1


def test_a_row_whose_arrays_were_prepared_is_the_same_and_what_is_prepared_is_not_stored(tmp_path: Path) -> None:
    gates = np.eye(25)[np.random.default_rng(0).integers(0, 25, 400)]
    bias = Bias(np.zeros((400, 25)), np.broadcast_to(0.1, (400, 25)), gates)
    sense, other = Sense(bias, np.zeros((400, 1), int), 1e-3), Sense(bias.take(slice(0, 100)), np.zeros((100, 1), int))
    texts = []
    for folder, prepared in (("alone", []), ("prepared", [other, sense]), ("another", [other])):
        with Journal.create(tmp_path / folder, {"die": "D"}) as journal:
            for body in prepared:
                journal.prepare(body)
            journal.intend("stage", "sense", sense)
            journal.commit()
            rows = journal._db.execute("SELECT body FROM log").fetchall()
            arrays = journal._db.execute("SELECT digest, data FROM arrays ORDER BY digest").fetchall()
            texts.append((rows, arrays))
    assert texts[0] == texts[1] == texts[2]


def test_a_spoiled_index_is_noticed(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.intend("s", "pulse", {"gate": np.eye(25)[np.arange(1200) % 25]})
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db, db:
        (data,) = db.execute("SELECT data FROM arrays WHERE dtype = '|u1'").fetchone()
        db.execute("UPDATE arrays SET data = ? WHERE dtype = '|u1'", (b"\x01" + data[1:],))
    with Journal.open(tmp_path) as journal:
        for read in (lambda: list(journal.operations()), journal.verify):
            with pytest.raises(StorageError, match="damaged"):
                read()


def test_journals_on_disks_are_of_format_3(tmp_path: Path) -> None:
    """Whoever raises it refuses them, and says so in docs/renames.md."""
    with Journal.create(tmp_path, {}) as journal:
        assert journal._db.execute("PRAGMA user_version").fetchone() == (FORMAT,) == (3,)


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("other", [0, FORMAT - 1, FORMAT + 1])
def test_a_journal_of_another_format_is_refused_by_its_number(tmp_path: Path, other: int, readonly: bool) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.finish()
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db:
        db.execute(f"PRAGMA user_version={other}")
    before = (tmp_path / "journal.db").read_bytes()
    with pytest.raises(StorageError, match=f"of format {other}, and this labctl reads {FORMAT}"):
        Journal.open(tmp_path, readonly=readonly)
    assert (tmp_path / "journal.db").read_bytes() == before


def test_arrays_are_kept_as_they_were_when_noted(tmp_path: Path) -> None:
    array = np.zeros(3)
    with Journal.create(tmp_path, {}) as journal:
        journal.event(UnknownEvent("x", {"a": array}))
        array[:] = 9
        journal.commit()
        assert next(journal.events()).body["a"].tolist() == [0, 0, 0]


def test_records_come_back_as_columns(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.record("first", survey(kernel=np.int64(3), cut=1, note=""))
        journal.record("second", survey(good=np.False_))
        for n in (2, 0, 3):
            attempt = Attempt(cell=np.arange(n), voltage=np.linspace(0, 1, n), target=np.ones(n, np.bool_))
            journal.record("second", attempt)
        journal.commit()
        assert set(journal.tables) == {"survey", "attempt"}
        table = journal.table("survey")
        assert table.units == {
            "seq": "", "stage": "", "utc": "s", "kernel": "", "cut": "V", "good": "", "note": "", "g_p": "S"
        }  # fmt: skip
        assert table["stage"].tolist() == ["first", "second"]
        assert [table[k].tolist() for k in ("kernel", "cut", "good", "note")] == [
            [3, 0],
            [1, 0.2],
            [True, False],
            ["", "µ"],
        ]
        assert [table[k].dtype.kind for k in ("kernel", "cut", "good", "note")] == ["i", "f", "b", "U"]
        assert table["g_p"].shape == (2, 2, 3)
        assert np.isnan(table["g_p"]).all()
        attempts = journal.table("attempt")
        assert attempts.columnar
        assert attempts.rows == 5
        assert attempts["cell"].tolist() == [0, 1, 0, 1, 2]
        assert attempts["cell"].dtype.kind == "i"
        assert len(set(attempts["seq"].tolist())) == 2
        with pytest.raises(KeyError):
            journal.table("nothing")


def test_records_that_no_table_can_hold_are_refused(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.record("s", survey())
        for wrong in (
            survey(kernel=1.5), survey(kernel=2**63), survey(cut="1"), survey(cut=None), survey(good=1),
            survey(note="a\0"), survey(note="\ud800"), survey(shape=(3, 2)),
        ):  # fmt: skip
            with pytest.raises(TypeError, match="survey"):
                journal.record("s", wrong)
        with pytest.raises(TypeError, match="columnar"):
            journal.record("s", Attempt(cell=np.arange(2), voltage=np.arange(3.0), target=np.ones(2, np.bool_)))

        @dataclass(frozen=True, eq=False, kw_only=True)
        class Other(Record):
            table: ClassVar[str] = "survey"

            fidelity: Ratio

        with pytest.raises(TypeError, match="fields"):
            journal.record("s", Other(fidelity=0.5))

        @dataclass(frozen=True, eq=False, kw_only=True)
        class Taken(Record):
            table: ClassVar[str] = "taken"

            stage: str

        with pytest.raises(TypeError, match="stage"):
            journal.record("s", Taken(stage="x"))
        journal.commit()
        assert journal.table("survey").rows == 1


def test_a_journal_is_never_written_over(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.event(UnknownEvent("x"))
    with pytest.raises(StorageError, match="exists already"):
        Journal.create(tmp_path, {})
    with pytest.raises(StorageError, match="no journal"):
        Journal.open(tmp_path / "elsewhere")


def test_a_finished_journal_is_one_file_and_can_go_on(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        open_intent = journal.intend("s", "pulse", {"a": np.arange(3)})
        journal.record("s", survey())
        assert not journal.finished
        journal.finish()
        assert journal.finished
    assert [p.name for p in tmp_path.iterdir()] == ["journal.db"]
    with Journal.open(tmp_path, readonly=False) as journal:
        journal.result(open_intent, {"a": np.arange(3)})
        with pytest.raises(TypeError, match="one shape"):
            journal.record("s", survey(shape=(3, 2)))
        journal.record("s", survey(kernel=1))
        journal.commit()
        assert not journal.finished
        journal.finish()
    with Journal.open(tmp_path) as journal:
        journal.verify()
        assert journal.finished
        assert next(journal.operations()).result["a"].tolist() == [0, 1, 2]
        assert journal.table("survey")["kernel"].tolist() == [0, 1]


def test_the_name_of_a_finished_journal_is_on_the_disk_after_its_write_ahead_log_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal.create(tmp_path, {}) as journal:
        synced: list[tuple[Path, list[str]]] = []
        monkeypatch.setattr(
            "labctl.storage.journal.sync_folder",
            lambda folder: synced.append((folder, [p.name for p in folder.iterdir()])),
        )
        journal.finish()
        assert synced == [(tmp_path, ["journal.db"])]


def test_a_reader_sees_what_a_live_writer_commits(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as writer, Journal.open(tmp_path) as reader:
        for k in range(5):
            writer.event(UnknownEvent("tick", {"k": k}))
            writer.commit()
            assert [e.body["k"] for e in reader.events()] == list(range(k + 1))


def as_nobody(code: str, *arguments: Path, first: str = "") -> str:
    """Run code as a user who may not write here; root may write everywhere, whatever the mode says.

    `first` is run before that, and loads what the code loads: that user may not enter the folder of this Python.
    """
    drop = "import os; os.setuid(65534)\n" if os.name == "posix" and os.geteuid() == 0 else ""
    imports = "import sys; from pathlib import Path; from labctl.storage.journal import Journal\n"
    done = subprocess.run(
        [sys.executable, "-c", imports + first + drop + code, *map(str, arguments)],
        cwd=Path(__file__).parents[4], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(os.name != "posix", reason="folders have no mode here")
@pytest.mark.parametrize("state", ["finished", "killed", "killed, log index lost"])
def test_a_journal_in_a_folder_that_cannot_be_written_opens(open_folder: Path, state: str) -> None:
    folder = open_folder / "A"
    live = open_folder / "live"
    with Journal.create(live, {}) as journal:
        journal.event(UnknownEvent("x", {"a": np.arange(20000.0)}))
        journal.commit()
        if state == "finished":
            journal.finish()
        # a copy of the files of a live journal is what kill -9 leaves
        shutil.copytree(live, folder)
    if "lost" in state:
        (folder / "journal.db-shm").unlink()
    before = sorted(p.name for p in folder.iterdir())
    assert ("journal.db-wal" in before) == (state != "finished")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    first = "with Journal.open(Path(sys.argv[2])) as j: next(j.events()).body['a'].sum()\n"
    code = (
        "j = Journal.open(Path(sys.argv[1]))\n"
        "print(j.finished, next(j.events()).body['a'].sum())\n"
        "try: Path(sys.argv[1], 'x').touch(); print('writable')\n"
        "except PermissionError: pass\n"
        "copy = Path(j._copy.name) if j._copy else None\n"
        "assert copy is None or copy.is_dir()\n"
        "j.close()\n"
        "assert copy is None or not copy.exists(), 'the copy is left behind'\n"
    )
    try:
        assert as_nobody(code, folder, live, first=first) == f"{state == 'finished'} 199990000.0"
        assert sorted(p.name for p in folder.iterdir()) == before
    finally:
        folder.chmod(0o755)


def test_texts_that_became_bytes_are_damage(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {"die": "A"}) as journal:
        journal.intend("s", "sense", {"k": 1})
    with closing(sqlite3.connect(tmp_path / "journal.db")) as db, db:
        db.execute("UPDATE log SET kind = CAST(kind AS BLOB) WHERE kind = 'sense'")
    with Journal.open(tmp_path) as journal, pytest.raises(StorageError, match="row 2 is damaged"):
        list(journal.operations())


def test_a_flipped_byte_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {"die": "A"}) as journal:
        for k in range(20):
            journal.result(journal.intend("s", "sense", {"a": np.arange(k, k + 9.0), "k": k}), {"b": np.full(3, k)})
            journal.record("s", survey(kernel=k))
        journal.finish()
    path = tmp_path / "journal.db"
    clean = path.read_bytes()

    def contents() -> list[Any]:
        with Journal.open(tmp_path) as journal:
            journal.verify()
            rows = [[list(op[:5]), list(op.start), list(op.end or ())] for op in journal.operations()]
            return [rows, [list(e[:4]) for e in journal.records("survey")], journal.meta]

    expected, noticed = contents(), 0
    draw = random.Random(4)
    for _ in range(200):
        spoiled = bytearray(clean)
        spoiled[draw.randrange(len(clean))] ^= 1 << draw.randrange(8)
        path.write_bytes(spoiled)
        try:
            actual = contents()
        except StorageError:
            noticed += 1
        else:
            assert same(actual, expected)
        for extra in ("-wal", "-shm", "-journal"):
            Path(f"{path}{extra}").unlink(missing_ok=True)
    assert noticed > 50


@pytest.mark.parametrize("how", ["cut", "flipped", "gone", "empty"])
def test_a_torn_array_file_is_noticed(tmp_path: Path, how: str) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.intend("s", "sense", {"a": np.arange(20000.0)})
        journal.intend("s", "sense", {"a": np.arange(3.0)})
    (path,) = (tmp_path / "arrays").iterdir()
    data = bytearray(path.read_bytes())
    data[12345] ^= 4
    contents = {"cut": bytes(data[:-100]), "flipped": bytes(data), "empty": b"", "gone": b""}[how]
    path.write_bytes(contents)
    if how == "gone":
        path.unlink()
    with Journal.open(tmp_path) as journal:
        with pytest.raises(StorageError, match=path.stem):
            list(journal.operations())
        with pytest.raises(StorageError, match=path.stem):
            journal.verify()
        assert [op.seq for op in journal.operations(load=False)] == [2, 3]
        assert next(journal.operations(after=2)).intent["a"].tolist() == [0, 1, 2]


def test_something_else_in_the_place_of_a_journal(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"v_write: 450 mV\n" * 100)
    with pytest.raises(StorageError, match="damaged"):
        Journal.open(tmp_path)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a tiny file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("size", [1000, 10000])
def test_a_full_disk_loses_nothing_and_can_be_mended(tiny_disk: Path, size: int) -> None:
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(b"x" * 150_000)
    journal = Journal.create(tiny_disk / "A", {})
    committed = 0

    def fill() -> None:
        nonlocal committed
        for k in range(1000):
            journal.event(UnknownEvent("x", {"k": k, "a": np.arange(k, k + size, dtype=np.float64)}))
            journal.commit()
            committed = k + 1

    with pytest.raises(StorageError, match="disk is full"):
        fill()
    assert committed > 0
    with Journal.open(tiny_disk / "A") as reader:
        assert [e.body["k"] for e in reader.events()] == list(range(committed))
    with pytest.raises(StorageError, match="disk is full"):
        journal.commit()
    ballast.unlink()
    journal.event(UnknownEvent("ballast freed"))
    journal.commit()
    journal.finish()
    journal.verify()
    assert [e.body["k"] for e in journal.events() if e.kind == "x"] == list(range(committed + 1))
    journal.close()


def test_a_commit_that_was_interrupted_after_its_last_word_can_be_repeated(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, {})
    journal.event(UnknownEvent("x", {"a": np.arange(3)}))
    rows, arrays = list(journal._rows), dict(journal._arrays)
    journal.commit()
    # ^C between the commit and forgetting what waited
    journal._rows, journal._arrays = rows, arrays
    journal.event(UnknownEvent("y"))
    journal.commit()
    assert [e.kind for e in journal.events()] == ["x", "y"]
    journal.close()


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "full"), (errno.EIO, "fails"), (errno.EROFS, "rights"), (errno.ENOENT, "not there")],
)
def test_errors_say_the_path_and_what_to_do(tmp_path: Path, number: int, advice: str) -> None:
    with (
        pytest.raises(StorageError, match=f"somewhere.*{advice}") as caught,
        storage(Path("somewhere"), "write"),
    ):
        raise OSError(number, os.strerror(number))
    assert isinstance(caught.value.__cause__, OSError)


def spoil(folder: Path, *statements: str) -> None:
    """Change the database of a journal behind its back."""
    with closing(sqlite3.connect(folder / "journal.db")) as db, db:
        for statement in statements:
            db.execute(statement)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM arrays", "has lost the array"),
        ("UPDATE arrays SET shape = '[9]'", "the array .* is damaged"),
        ("UPDATE arrays SET shape = '[3'", "the description of the array .* is damaged"),
        ("UPDATE arrays SET dtype = 'q77'", "the description of the array .* is damaged"),
        ("UPDATE arrays SET data = x'0102'", "the array .* is damaged"),
    ],
)
def test_an_array_that_is_lost_or_described_otherwise_is_noticed(tmp_path: Path, statement: str, words: str) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.event(UnknownEvent("x", {"a": np.arange(3.0)}))
        journal.finish()
    spoil(tmp_path, statement)
    with Journal.open(tmp_path) as journal, pytest.raises(StorageError, match=words):
        list(journal.events())


def test_a_row_that_is_missing_is_noticed(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        for k in range(3):
            journal.event(UnknownEvent("x", {"k": k}))
        journal.finish()
    spoil(tmp_path, "DELETE FROM log WHERE seq = 3")
    with Journal.open(tmp_path) as journal, pytest.raises(StorageError, match="row 3 is missing"):
        journal.verify()


def test_an_index_beyond_its_rows_is_noticed(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.event(UnknownEvent("x", {"rows": np.eye(3, 4), "index": np.array([0, 3], np.uint8)}))
        journal.commit()
        body = next(journal.events(load=False)).body
        odd = Stored(body["rows"].digest, (2, 4), body["index"].digest)
        journal.event(UnknownEvent("y", {"a": odd}))
        journal.commit()
        with pytest.raises(StorageError, match="does not belong to its rows"):
            list(journal.events(after=2))


def test_a_journal_whose_writer_was_ended_before_its_first_row_says_so(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        journal.finish()
    spoil(tmp_path, "DELETE FROM log")
    with Journal.open(tmp_path) as journal:
        assert not journal.finished
        with pytest.raises(StorageError, match="its writer was ended before it wrote the first row"):
            _ = journal.meta
        with pytest.raises(StorageError, match="the journal has no row yet"):
            _ = journal.last


def test_more_events_than_one_query_fetches(tmp_path: Path) -> None:
    with Journal.create(tmp_path, {}) as journal:
        for k in range(1001):
            journal.event(UnknownEvent("x", {"k": k}))
        journal.commit()
        assert [e.body["k"] for e in journal.events()] == list(range(1001))
        assert [e.body["k"] for e in journal.events(after=501)] == list(range(500, 1001))


def test_arrays_that_were_read_are_kept_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labctl.storage.journal_reader._CACHED", 3000)
    with Journal.create(tmp_path, {}) as journal:
        for k in range(5):
            journal.event(UnknownEvent("x", {"a": np.arange(k, k + 128.0)}))
        journal.commit()
        digests = [e.body["a"].digest for e in journal.events(load=False)]
        first = journal.array(digests[0])
        assert journal.array(digests[0]) is first
        for digest in digests[1:]:
            assert journal.array(digest).nbytes == 1024
        assert list(journal._cache) == digests[-2:]
        assert journal.array(digests[0]) is not first
        np.testing.assert_array_equal(journal.array(digests[0]), first)


def test_an_array_has_as_many_dimensions_as_its_record_declares_axes(tmp_path: Path) -> None:
    @dataclass(frozen=True, eq=False, kw_only=True)
    class Map(Record):
        table: ClassVar[str] = "map"
        axes: ClassVar[dict[str, list[str]]] = {"g_p": ["row", "col"]}

        g_p: Conductances

    with Journal.create(tmp_path, {}) as journal:
        with pytest.raises(TypeError, match=r"map.g_p has the axes \['row', 'col'\] and an array of 3"):
            journal.record("s", Map(g_p=np.zeros((2, 3, 4))))
        journal.record("s", Map(g_p=np.zeros((2, 3))))
        journal.commit()
        assert journal.table("map").axes == {"g_p": ["row", "col"]}


class Odd(sqlite3.Connection):
    """A database with another answer to one statement."""

    statement, answer = "", ""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        if sql != self.statement:
            return super().execute(sql, *parameters)
        if self.answer:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = self.answer
            raise error
        return super().execute("SELECT 'delete'")


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> type[Odd]:
    """Have journals on a database whose statement and answer a test may set."""
    made = type("Odd", (Odd,), {})
    monkeypatch.setattr(
        "labctl.storage.journal._connect",
        lambda path, mode: sqlite3.connect(path, isolation_level=None, factory=made),
    )
    return made


def test_a_file_system_without_a_write_ahead_log_is_refused(tmp_path: Path, odd: type[Odd]) -> None:
    odd.statement = "PRAGMA journal_mode=WAL"
    with pytest.raises(StorageError, match="no write-ahead log on this file system"):
        Journal.create(tmp_path, {})


def test_what_could_not_be_done_is_named(tmp_path: Path, odd: type[Odd]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot start a journal"):
        Journal.create(tmp_path / "file", {})
    odd.statement, odd.answer = "PRAGMA journal_mode=WAL", "SQLITE_IOERR_LOCK"
    with pytest.raises(StorageError, match="cannot prepare the journal"):
        Journal.create(tmp_path / "A", {})
    odd.statement = "COMMIT"
    with pytest.raises(StorageError, match="cannot commit"):
        Journal.create(tmp_path / "B", {})
    odd.statement = ""
    with Journal.create(tmp_path / "C", {}) as journal:
        journal.event(UnknownEvent("x", {"a": np.arange(3)}))
    reads = (
        lambda: list(journal.events()), lambda: list(journal.operations()), lambda: journal.last,
        lambda: journal.finished, lambda: journal.stored("0"), journal.digests,
    )  # fmt: skip
    for read in reads:
        with pytest.raises(StorageError, match="cannot read the journal"):
            read()
    with pytest.raises(StorageError, match="cannot verify the journal"):
        journal.verify()
    (tmp_path / "C" / "journal.db").write_bytes(b"no database" * 999)
    with pytest.raises(StorageError, match="cannot open the journal"):
        Journal.open(tmp_path / "C")


@pytest.mark.parametrize("name", ["SQLITE_IOERR_TRUNCATE", "SQLITE_FULL"])
def test_a_log_that_cannot_be_ended_is_an_error_unless_a_reader_holds_it(
    tmp_path: Path, odd: type[Odd], name: str
) -> None:
    journal = Journal.create(tmp_path, {})
    odd.statement, odd.answer = "PRAGMA wal_checkpoint(TRUNCATE)", name
    with pytest.raises(StorageError, match="cannot finish the journal"):
        journal.finish()
    odd.answer = "SQLITE_BUSY"
    journal.finish()
    assert journal.finished
    journal.close()


def test_a_commit_that_fails_at_its_last_word_changes_nothing_and_can_be_repeated(
    tmp_path: Path, odd: type[Odd]
) -> None:
    journal = Journal.create(tmp_path, {})
    journal.event(UnknownEvent("x", {"a": np.arange(3)}))
    odd.statement, odd.answer = "COMMIT", "SQLITE_FULL"
    with pytest.raises(StorageError, match="the disk is full"):
        journal.commit()
    assert list(journal.events()) == []
    odd.statement = ""
    journal.commit()
    assert [e.body["a"].tolist() for e in journal.events()] == [[0, 1, 2]]
    journal.close()


def test_a_reader_that_holds_the_journal_open_keeps_its_log_and_nothing_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labctl.storage.journal.LEAVE", 0)
    journal = Journal.create(tmp_path, {})
    with closing(sqlite3.connect(tmp_path / "journal.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchall()
        journal.event(UnknownEvent("x"))
        journal.finish()
        journal.close()
        assert (tmp_path / "journal.db-wal").exists()
    with Journal.open(tmp_path) as journal:
        journal.verify()
        assert journal.finished
        assert [e.kind for e in journal.events()] == ["x"]
