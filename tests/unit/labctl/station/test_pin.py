"""Serial numbers are written into a bench file, and it says nothing else that it did not say."""

import os
from pathlib import Path

import pytest

from instruments.bench import Bench
from labctl import files
from labctl.core.errors import BenchError
from labctl.station.pin import pin_serials
from labctl.station.stand_ins import with_stand_ins

EXAMPLE = Path(__file__).parents[4] / "examples" / "bench-two-arrays.yaml"
IDENTITIES = {"smu1": "ACME,SMU,0012,1", "smu2": "", "matrix": "ACME;SWITCH;S/N 77;1", "prober": "SENTIO 25.1"}


@pytest.fixture
def bench_file(tmp_path):
    path = tmp_path / "bench.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.read_bytes())
    path.chmod(0o640)
    return path


def test_instruments_that_answer_are_pinned_and_the_rest_of_the_file_stays(bench_file):
    before = bench_file.read_bytes()
    lines = pin_serials(bench_file, files.load(bench_file, Bench), IDENTITIES)
    assert lines == [
        f"smu1 is pinned to 0012 in {bench_file}",
        f"matrix is pinned to 77 in {bench_file}",
        "smu2 is not pinned: no answer",
        "prober is not pinned: its identity has no serial number",
    ]
    after = bench_file.read_bytes()
    assert after.replace(b'    serial: "0012"\n', b"").replace(b'    serial: "77"\n', b"") == before
    assert bench_file.stat().st_mode & 0o777 == 0o640
    assert os.listdir(bench_file.parent) == ["bench.yaml"]
    pinned = files.load(bench_file, Bench)
    assert [entry.serial for entry in pinned.instruments.values()] == ["0012", None, "77", None]
    assert [entry.serial for entry in with_stand_ins(pinned).instruments.values()] == [None] * 4
    again = pin_serials(bench_file, pinned, {**IDENTITIES, "smu2": "ACME,SMU,0013,1"})
    assert again[0] == f"smu2 is pinned to 0013 in {bench_file}"
    assert "smu1 is pinned to 0012 already" in again


def test_where_another_is_pinned_nothing_is_written(bench_file):
    pin_serials(bench_file, files.load(bench_file, Bench), {"smu1": "ACME,SMU,0012,1"})
    before = bench_file.read_bytes()
    identities = {"smu1": "ACME,SMU,12,1", "smu2": "ACME,SMU,0013,1"}
    with pytest.raises(
        BenchError, match=r"smu1: the bench file pins serial number 0012, and 12 answers; nothing is wr"
    ):
        pin_serials(bench_file, files.load(bench_file, Bench), identities)
    assert bench_file.read_bytes() == before


def test_a_file_that_would_say_something_else_is_not_changed(bench_file):
    loaded = files.load(bench_file, Bench)
    changed = bench_file.read_text(encoding="utf-8").replace("v_towards_p: 1 V", "v_towards_p: 0.9 V")
    bench_file.write_text(changed, encoding="utf-8")
    with pytest.raises(BenchError, match=r'is not changed: .*something else.*; write by hand: smu1: serial: "0012"'):
        pin_serials(bench_file, loaded, {"smu1": "ACME,SMU,0012,1"})
    assert bench_file.read_text(encoding="utf-8") == changed
    assert os.listdir(bench_file.parent) == ["bench.yaml"]
