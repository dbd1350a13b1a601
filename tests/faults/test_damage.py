"""Files of a run that are damaged at random: nobody gives another number without an error (benchmarks/damage.py)."""

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.small_run import write_run

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "damage.py"
READERS = ("dies", "journals", "one file", "report", "report file")
COUNTS = {"flip": 24, "cut": 6, "zeros": 6}


@pytest.fixture(scope="module")
def damage():
    spec = importlib.util.spec_from_file_location("damage", BENCHMARK)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("damage") / "run")


@pytest.mark.parametrize("kind", COUNTS)
def test_no_damage_gives_a_wrong_number(damage, run, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(damage, "READERS", {name: damage.READERS[name] for name in READERS})
    expected, opened = damage.whole(run, tmp_path)
    results = [damage.one(number, kind, run, tmp_path, expected, opened) for number in range(COUNTS[kind])]
    assert [(r.file, r.at, r.wrong, r.bugs) for r in results if r.wrong or r.bugs] == []
    changed = [r for r in results if r.readers]
    assert changed
    # what any reader refuses, verify has found
    assert [r.file for r in changed if damage.TOLD in r.readers.values() and r.verify != damage.TOLD] == []
    assert any(r.verify == damage.TOLD for r in changed)


def test_a_reader_that_believes_damage_is_found_out(damage, run, tmp_path, monkeypatch):
    """The judge itself: a reader that hands on bytes as they stand is silently wrong, one that trips is a bug."""

    def trip(run, scratch):
        if hashed(run, scratch) != whole:
            raise KeyError("entry")

    def hashed(run, scratch):
        return damage.numbers([p.read_bytes() for p in damage.files_of(run)])

    whole = hashed(run, tmp_path)
    monkeypatch.setattr(damage, "READERS", {"believes": hashed, "trips": trip})
    expected, opened = damage.whole(run, tmp_path)
    result = damage.one(0, "flip", run, tmp_path, expected, opened)
    assert (result.wrong, result.bugs) == (["believes"], ["trips"])
    assert damage.conclude([result]) == 1
    assert hashed(run, tmp_path) == whole, "the file is put back"


def test_whoever_opens_a_file_is_asked_when_a_bit_of_it_flips(damage, run, tmp_path, monkeypatch):
    names = ("dies", "journals", "watch", "report file")
    monkeypatch.setattr(damage, "READERS", {name: damage.READERS[name] for name in names})
    _, opened = damage.whole(run, tmp_path)
    journals = {"journal.db", "dies/A/journal.db", "dies/B~2/journal.db"}
    assert journals <= opened["journals"]
    assert {"journal.db", "run.json", "dies/A.h5", "dies/B~2.h5"} <= opened["dies"]
    assert opened["watch"] & journals, "SQLite's opening is heard"
    assert {name for name, files in opened.items() if "report.html" in files} == {"journals", "report file"}
