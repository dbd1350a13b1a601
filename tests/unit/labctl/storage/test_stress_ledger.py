"""The ledger of what cells and pads have been through: exact, never twice, and never of the wrong die."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labctl.core.bias import Bias, Geometry, Kind
from labctl.core.cell_voltage import stressed
from labctl.core.errors import BenchError, StorageError
from labctl.core.limits import Limited, Limits
from labctl.core.operations import Pulse, Sense
from labctl.storage.journal import Journal
from labctl.storage.stress import Stress, journal_identity, stress_of
from labctl.storage.stress_ledger import StressLedger, ledger_path
from sim_backend.description import DieDescription
from sim_backend.die import SimDie

SHAPE = (2, 5, 4)
LIMITS = Limits(
    v_towards_p=1.0, v_towards_ap=1.0, width=10e-3, compliance=10e-3, v_count=0.3, pulses_per_cell=10**6
)  # fmt: skip
FILE = {
    "name": "small",
    "geometry": {"kernels": 2, "n_rows": 5, "n_cols": 4},
    "junction": {"diameter": "80 nm"},
}


def description():
    return DieDescription.model_validate(FILE, context={"file": True})


def meta(name="W1-x3y0", **changed):
    return {
        "die": name,
        "wafer": "W1",
        "real": True,
        "limits": LIMITS.model_dump(mode="json"),
        "description": description().model_dump(mode="json"),
        **changed,
    }


def patterns(n, seed=0, *, gate=False, floating=False, scale=0.6):
    rng = np.random.default_rng(seed)
    return Bias(
        rng.uniform(-scale / 2, scale / 2, (n, 5)),
        rng.uniform(-scale / 2, scale / 2, (n, 4)),
        gate=(rng.random((n, 5)) < 0.4) * 1.5 if gate else None,
        floating=rng.random((n, 9)) < 0.3 if floating else None,
        kernel=rng.integers(0, 2, n),
    )


def slowly(bias, v_count):
    """Return counts and peaks of every cell, one by one and pattern by pattern."""
    counts, up, down = np.zeros(SHAPE, int), np.zeros(SHAPE), np.zeros(SHAPE)
    for p in range(len(bias)):
        loose = np.zeros(9, bool) if bias.floating is None else bias.floating[p]
        row = [0.0 if loose[i] else float(bias.row[p, i]) for i in range(5)]
        col = [0.0 if loose[5 + j] else float(bias.col[p, j]) for j in range(4)]
        driven = [0.0, *row, *col]
        for i in range(5):
            for j in range(4):
                if bias.gate is not None and bias.gate[p, i] <= 0:
                    continue
                at = int(bias.kernel[p]), i, j
                if loose[i] or loose[5 + j]:
                    a = b = max(driven) - min(driven)
                    counts[at] += a > v_count
                else:
                    a, b = max(row[i], 0) - min(col[j], 0), max(col[j], 0) - min(row[i], 0)
                    counts[at] += abs(row[i] - col[j]) > v_count
                up[at], down[at] = max(up[at], a), max(down[at], b)
    return counts, up, down


@pytest.mark.parametrize("how", [{}, {"gate": True}, {"floating": True}, {"gate": True, "floating": True}])
def test_counts_and_peaks_are_those_of_every_cell_one_by_one(how, monkeypatch):
    monkeypatch.setattr("labctl.storage.stress._VOLTAGES", 60)
    bias = patterns(23, **how)
    stress = stress_of(bias, SHAPE, 0.3)
    counts, up, down = slowly(bias, 0.3)
    np.testing.assert_array_equal(stress.counts, counts)
    assert stress.counts.sum() == stressed(bias, 0.3).sum() > 0
    np.testing.assert_allclose(stress.positive, up, rtol=1e-6)
    np.testing.assert_allclose(stress.negative, down, rtol=1e-6)


def test_reads_of_grounded_columns_take_the_short_way_to_the_same_peaks():
    bias = patterns(9)
    bias = replace(bias, col=np.zeros((9, 4)))
    stress = stress_of(bias, SHAPE, None)
    _, up, down = slowly(bias, 0.3)
    assert not stress.counts.any()
    np.testing.assert_allclose(stress.positive, up, rtol=1e-6)
    np.testing.assert_allclose(stress.negative, down, rtol=1e-6)


def test_stress_adds_up():
    a, b = stress_of(patterns(7, 1), SHAPE, 0.3), stress_of(patterns(8, 2, scale=0.9), SHAPE, 0.3)
    both = Stress.none(SHAPE) + a + b
    np.testing.assert_array_equal(both.counts, a.counts + b.counts)
    np.testing.assert_array_equal(both.positive, np.maximum(a.positive, b.positive))


# -- journals


def pulse(n, seed):
    bias = patterns(n, seed)
    return Pulse(bias, 1e-3, Sense(Bias(np.full((n, 5), 0.05), np.zeros((n, 4)), kernel=bias.kernel), np.arange(4)))


def work(journal, die, n, seed):
    """Pulse as the run loop does it: intended, committed, done, its result appended."""
    operation = pulse(n, seed)
    number = journal.intend("survey", "pulse", operation)
    journal.commit()
    journal.result(number, die.pulse(operation))
    journal.commit()


@pytest.fixture
def ledger(tmp_path):
    with StressLedger.open(tmp_path / "lab" / "stress.db") as ledger:
        yield ledger


def run_of(folder: Path, **changed):
    """Return a die behind its limits, and its journal in a run folder."""
    die = Limited(SimDie(description(), seed=1, name="W1-x3y0"), LIMITS)
    return die, Journal.create(folder / "dies" / "W1-x3y0", meta(**changed))


def test_a_stage_counts_once_however_often_it_is_accounted(tmp_path, ledger):
    die, journal = run_of(tmp_path / "run")
    for seed, n in enumerate((6, 9)):
        work(journal, die, n, seed)
        for _ in range(2):
            share = ledger.account(journal, "run")
            np.testing.assert_array_equal(share.counts, die.counts)
    life = ledger.life("W1", "W1-x3y0")
    assert life is not None
    np.testing.assert_array_equal(life.counts, die.counts)
    assert life.counts.max() > 3
    assert life.positive.max() == pytest.approx(
        max(stress_of(pulse(n, s).bias, SHAPE, 0.3).positive.max() for s, n in enumerate((6, 9)))
    )
    journal.close()


def test_the_life_of_a_die_spans_runs_and_leaves_out_the_one_that_counts_itself(tmp_path, ledger):
    shares = []
    for k in range(3):
        die, journal = run_of(tmp_path / f"run{k}", run=k)
        work(journal, die, 5, seed=k)
        shares.append((journal_identity(journal), ledger.account(journal, f"run{k}").counts))
        journal.close()
    np.testing.assert_array_equal(ledger.life("W1", "W1-x3y0").counts, sum(counts for _, counts in shares))
    without = ledger.life("W1", "W1-x3y0", without=shares[1][0])
    np.testing.assert_array_equal(without.counts, shares[0][1] + shares[2][1])
    again = Limited(SimDie(description(), seed=1, name="W1-x3y0"), LIMITS, without.counts)
    np.testing.assert_array_equal(again.counts, without.counts)
    assert [s.run for s in ledger.history("W1", "W1-x3y0")] == ["run0", "run1", "run2"]
    assert ledger.life("W1", "another") is None
    assert ledger.dies() == [("W1", "W1-x3y0")]


def test_a_killed_run_counts_as_far_as_it_came_the_pending_pulse_included(tmp_path, ledger):
    die, journal = run_of(tmp_path / "run")
    work(journal, die, 6, seed=0)
    journal.intend("survey", "pulse", pulse(4, 1))
    journal.commit()
    journal.close()
    expected = die.counts + stress_of(pulse(4, 1).bias, SHAPE, 0.3).counts
    shares = ledger.account_run(tmp_path / "run")
    assert list(shares) == ["W1-x3y0"]
    np.testing.assert_array_equal(shares["W1-x3y0"].counts, expected)
    with Journal.open(tmp_path / "run" / "dies" / "W1-x3y0", readonly=False) as journal:
        work(journal, die, 5, seed=2)
    np.testing.assert_array_equal(
        ledger.account_run(tmp_path / "run")["W1-x3y0"].counts,
        expected + stress_of(pulse(5, 2).bias, SHAPE, 0.3).counts,
    )


def test_a_run_folder_that_was_moved_is_the_same_run(tmp_path, ledger):
    die, journal = run_of(tmp_path / "run")
    work(journal, die, 6, seed=0)
    journal.close()
    ledger.account_run(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "archive")
    ledger.account_run(tmp_path / "archive")
    np.testing.assert_array_equal(ledger.life("W1", "W1-x3y0").counts, die.counts)


def test_reads_raise_peaks_and_count_as_no_pulse(tmp_path, ledger):
    _, journal = run_of(tmp_path / "run")
    journal.intend("survey", "sense", Sense(Bias(np.full((2, 5), 0.7), np.zeros((2, 4))), np.arange(4)))
    journal.commit()
    share = ledger.account(journal)
    assert not share.counts.any()
    assert share.positive[0].min() == pytest.approx(0.7)
    assert not share.positive[1].any()
    journal.close()


def test_two_processes_that_account_at_once_count_once(tmp_path, ledger):
    die, journal = run_of(tmp_path / "run")
    work(journal, die, 6, seed=0)

    class Slow:
        """The journal, while somebody else is quicker."""

        beaten = False

        def __getattr__(self, name):
            return getattr(journal, name)

        def operations(self, **how):
            if not self.beaten:
                self.beaten = True
                with StressLedger.open(ledger.path) as other:
                    other.account(journal)
            return journal.operations(**how)

    share = ledger.account(Slow())
    np.testing.assert_array_equal(share.counts, die.counts)
    np.testing.assert_array_equal(ledger.life("W1", "W1-x3y0").counts, die.counts)
    journal.close()


def test_a_failed_commit_leaves_the_ledger_as_it_was(tmp_path, ledger, monkeypatch):
    die, journal = run_of(tmp_path / "run")
    work(journal, die, 6, seed=0)
    ledger.account(journal)
    work(journal, die, 3, seed=1)
    ledger._db.execute("CREATE TRIGGER full BEFORE INSERT ON shares BEGIN SELECT RAISE(ABORT, 'disk'); END")
    with pytest.raises(StorageError, match="cannot account for a die"):
        ledger.account(journal)
    ledger._db.execute("DROP TRIGGER full")
    assert ledger.life("W1", "W1-x3y0").counts.sum() < die.counts.sum()
    ledger.account(journal)
    np.testing.assert_array_equal(ledger.life("W1", "W1-x3y0").counts, die.counts)
    journal.close()


# -- what is refused


def test_a_die_of_another_shape_is_another_die(tmp_path, ledger):
    die, journal = run_of(tmp_path / "run")
    work(journal, die, 2, seed=0)
    ledger.account(journal)
    journal.close()
    other = description().model_dump(mode="json")
    other["geometry"]["n_rows"] = 7
    _, journal = run_of(tmp_path / "other", description=other)
    with pytest.raises(
        BenchError, match=r"has 2 x 7 x 4 cells, and the one of that name .* has 2 x 5 x 4; it is another"
    ):
        ledger.account(journal)
    journal.close()


@pytest.mark.parametrize(
    ("real", "words"), [(True, "is simulated, and .* is the ledger of real dies"), (False, "is real")]
)
def test_simulated_and_real_dies_never_share_a_ledger(tmp_path, real, words):
    _, journal = run_of(tmp_path / "run", real=not real)
    with StressLedger.open(tmp_path / "stress.db", real=real) as ledger, pytest.raises(BenchError, match=words):
        ledger.account(journal)
    journal.close()
    with pytest.raises(BenchError, match="ones need their own"):
        StressLedger.open(tmp_path / "stress.db", real=not real)


def test_a_run_that_does_not_say_that_it_is_real_is_not(tmp_path, ledger):
    described = meta()
    del described["real"]
    with Journal.create(tmp_path / "dies" / "D", described) as journal, pytest.raises(BenchError, match="is simulated"):
        ledger.account(journal)


def test_what_is_no_ledger_is_refused(tmp_path):
    (tmp_path / "damaged.db").write_bytes(b"SQLite format 3\0" + b"long enough to look at: " * 40)
    with pytest.raises(StorageError, match="it is damaged"):
        StressLedger.open(tmp_path / "damaged.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE things (a)")
    other.close()
    with pytest.raises(StorageError, match="is no stress ledger of format 1, but of format 0"):
        StressLedger.open(tmp_path / "other.db")
    with (
        pytest.raises(StorageError, match="there is no run here; expected a run folder"),
        StressLedger.open(tmp_path / "s.db") as made,
    ):
        made.account_run(tmp_path)


# -- touches and where the ledger is


def test_touches_are_counted_per_die_and_pads_over_openings(tmp_path):
    for expected in (1, 2):
        with StressLedger.open(tmp_path / "stress.db") as ledger:
            assert ledger.touch("W1", "W1-x3y0", "card A") == expected
    with StressLedger.open(tmp_path / "stress.db") as ledger:
        assert ledger.touch("W1", "W1-x3y0", "card B") == 1
        assert ledger.touches("W1", "W1-x3y0", "card A") == 2
        assert ledger.touches("W1", "W1-x4y0", "card A") == 0
        assert ledger.dies() == [("W1", "W1-x3y0")]


def test_the_ledger_is_where_the_lab_says():
    bench = Path("lab") / "bench.yaml"
    assert ledger_path(bench, None, {}) == Path("lab") / "stress.db"
    assert ledger_path(bench, "wear.db", {"LABCTL_LEDGER": ""}) == Path("lab") / "wear.db"
    assert ledger_path(bench, "wear.db", {"LABCTL_LEDGER": "/srv/stress.db"}) == Path("/srv/stress.db")


def test_a_chip_behind_gates_is_counted_by_its_open_rows(tmp_path, ledger):
    geometry = Geometry(2, 5, 4, Kind.ONE_T_ONE_R)
    described = meta("chip")
    described["description"]["geometry"]["kind"] = "1T1R"
    bias = patterns(11, gate=True)
    bias.fits(geometry)
    with Journal.create(tmp_path / "dies" / "chip", described) as journal:
        journal.intend("survey", "pulse", Pulse(bias, 1e-3))
        journal.commit()
        share = ledger.account(journal)
    np.testing.assert_array_equal(share.counts, slowly(bias, 0.3)[0])


@pytest.mark.parametrize(("raw", "kind"), [(b"name: small\nseed: 5\n", "a YAML file"), (b"%PDF-1.7\n", "a PDF")])
def test_a_file_of_another_kind_is_no_damaged_ledger(tmp_path, raw, kind):
    path = tmp_path / "campaign.yaml"
    path.write_bytes(raw)
    with pytest.raises(BenchError, match=rf"campaign\.yaml is {kind}; expected a stress ledger"):
        StressLedger.open(path)
    assert path.read_bytes() == raw
    with pytest.raises(BenchError, match="is a folder; expected a stress ledger"):
        StressLedger.open(tmp_path)
