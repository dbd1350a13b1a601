"""The latch is shared by whoever shares an instrument, outlives who set it, and is read anew each time."""

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from labctl.core.errors import BenchError, SwitchedOff
from labctl.storage.addresses import Names
from labctl.storage.latch import (
    Addresses,
    Latch,
    latch_files,
    latch_of,
    permit,
    refuse_latched,
    release_latch,
    set_latch,
    switched_off,
)


def bench(name, **resources):
    return SimpleNamespace(name=name, instruments={n: SimpleNamespace(resource=r) for n, r in resources.items()})


LEFT = bench("left", smu="TCPIP::192.0.2.5::INSTR", matrix="GPIB0::16::INSTR", hand=None)
RIGHT = bench("right", source="tcpip0::192.0.2.5::5025::socket", stage="TCPIP::192.0.2.9::35555::SOCKET")
APART = bench("apart", smu="TCPIP::192.0.2.6::INSTR")


def test_what_is_set_by_one_file_is_set_for_every_file_with_one_of_its_instruments(tmp_path):
    latch = set_latch(LEFT, "needles", place=tmp_path, utc=lambda: 1_790_000_000.0)
    assert (latch.pid, latch.utc, latch.reason) == (os.getpid(), 1_790_000_000.0, "needles")
    assert latch_of(LEFT, place=tmp_path) == latch
    assert latch_of(RIGHT, place=tmp_path) == latch
    assert latch_of(APART, place=tmp_path) is None
    assert latch_of(Addresses("of a run", {"s": "TCPIP0::192.0.2.5::inst0::INSTR"}), place=tmp_path) == latch
    assert len(latch_files(LEFT, tmp_path)) == 2, "what is moved by hand has no address"


def test_what_is_set_by_address_is_set_by_name_and_the_other_way_round(tmp_path):
    address = bench("b1", smu="TCPIP::127.0.0.1::4001::SOCKET")
    name = bench("b3", smu="tcpip0::LOCALHOST::04001::socket")
    latch = set_latch(address, "needles", place=tmp_path)
    assert latch_of(name, place=tmp_path) == latch
    assert release_latch(name, place=tmp_path) == [latch]
    latch = set_latch(name, "again", place=tmp_path)
    assert latch_of(address, place=tmp_path) == latch
    assert release_latch(address, place=tmp_path) == [latch]
    assert latch_of(name, place=tmp_path) == latch, "it is set by the name until it is released by the name"


def test_a_name_that_resolves_differently_has_its_latch_still(tmp_path):
    named = bench("b", smu="TCPIP::smu.lab.example::INSTR")
    every = [
        set(latch_files(named, tmp_path, Names(lambda host, at=address: [at]))) for address in ("192.0.2.11", "::1")
    ]
    assert [len(files) for files in every] == [2, 2]
    assert len(every[0] & every[1]) == 1


def test_it_says_who_when_and_why_and_how_it_is_released(tmp_path):
    set_latch(LEFT, "hands on the needles", place=tmp_path)
    with pytest.raises(BenchError) as refused:
        refuse_latched(LEFT, "left.yaml", place=tmp_path)
    text = str(refused.value)
    latch = latch_of(LEFT, place=tmp_path)
    assert f"switched off by {latch.user} on {latch.host} (pid {os.getpid()}) at {time.strftime('%H:')}" in text
    assert ": hands on the needles;" in text
    assert text.endswith("labctl off --release left.yaml")
    assert refused.value.exit_code == 2
    assert switched_off(LEFT, place=tmp_path) == str(latch)


def test_where_the_folder_is_a_file_the_bench_is_refused_and_that_is_named(tmp_path):
    place = tmp_path / "locks"
    place.write_text("")
    with pytest.raises(BenchError, match=r"'left' is not used: .*locks is no folder"):
        refuse_latched(LEFT, "left.yaml", place=place)


def test_one_of_another_day_says_which():
    assert f"at {time.strftime('%Y-%m-%d', time.localtime(86400.0))}" in str(Latch("alice", "lab3", 7, 86400.0))


def test_a_permit_reads_it_anew_each_time(tmp_path):
    allow = permit(LEFT, place=tmp_path)
    allow()
    set_latch(RIGHT, place=tmp_path)
    with pytest.raises(SwitchedOff, match="bench 'left' is switched off by") as ended:
        allow()
    assert ended.value.exit_code == 4
    release_latch(RIGHT, place=tmp_path)
    allow()


def test_released_is_released_and_without_one_nothing_happens(tmp_path):
    assert release_latch(LEFT, place=tmp_path / "none") == []
    latch = set_latch(LEFT, "why", place=tmp_path)
    assert release_latch(LEFT, place=tmp_path) == [latch]
    assert release_latch(LEFT, place=tmp_path) == []
    assert latch_of(LEFT, place=tmp_path) is None
    refuse_latched(LEFT, place=tmp_path)


def test_benches_that_share_one_instrument_are_released_as_far_as_they_share(tmp_path):
    first = set_latch(LEFT, "first", place=tmp_path, utc=lambda: 1e9)
    second = set_latch(RIGHT, "second", place=tmp_path, utc=lambda: 2e9)
    assert latch_of(LEFT, place=tmp_path) == second, "the newest is named"
    assert release_latch(RIGHT, place=tmp_path) == [second]
    assert latch_of(LEFT, place=tmp_path) == first, "the matrix is still switched off"


def test_a_shorter_text_leaves_nothing_of_a_longer_one(tmp_path):
    set_latch(LEFT, "a long reason " * 40, place=tmp_path)
    latch = set_latch(LEFT, "short", place=tmp_path)
    for path in latch_files(LEFT, tmp_path):
        assert json.loads(path.read_text())["reason"] == "short"
    assert latch_of(LEFT, place=tmp_path) == latch


def test_a_reason_of_several_lines_stays_one(tmp_path):
    set_latch(LEFT, "one\ntwo", place=tmp_path)
    assert latch_of(LEFT, place=tmp_path).reason == "one\ntwo"


@pytest.mark.parametrize("text", ["{", "[]", '{"user": "alice"}', "\x00\xff", "not off"])
def test_what_cannot_be_understood_is_set(tmp_path, text):
    set_latch(LEFT, place=tmp_path)
    latch_files(LEFT, tmp_path)[0].write_text(text, encoding="latin-1")
    latch_files(LEFT, tmp_path)[1].unlink()
    assert "somebody who could not leave a name" in str(latch_of(LEFT, place=tmp_path))
    assert len(release_latch(LEFT, place=tmp_path)) == 1
    assert latch_of(LEFT, place=tmp_path) is None


@pytest.mark.skipif(os.name != "posix", reason="rights of files are posix")
def test_every_user_may_set_and_release_it(tmp_path):
    place = tmp_path / "locks"
    set_latch(LEFT, place=place)
    assert stat.S_IMODE(place.stat().st_mode) == 0o1777
    assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o666}


AS_NOBODY = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
from labctl.storage.latch import release_latch, set_latch
left = json.loads(sys.argv[1], object_hook=lambda entries: SimpleNamespace(**entries))
left.instruments, place = vars(left.instruments), Path(sys.argv[2])
os.setuid(65534)
sys.exit(0 if release_latch(left, place=place) and set_latch(left, "by nobody", place=place) else 1)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be two users")
def test_one_user_releases_what_another_has_set():
    with tempfile.TemporaryDirectory() as folder:  # pytest closes its own to others whenever it begins
        Path(folder).chmod(0o755)
        place = Path(folder, "locks")
        set_latch(LEFT, "by root", place=place)
        subprocess.run([sys.executable, "-c", AS_NOBODY, json.dumps(LEFT, default=vars), place], check=True)
        assert latch_of(LEFT, place=place).reason == "by nobody"
        assert [latch.reason for latch in release_latch(LEFT, place=place)] == ["by nobody"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="is not a folder"):
        set_latch(LEFT, place=tmp_path / "file")


def test_what_cannot_be_written_is_named_and_the_others_are_set(tmp_path):
    first, second = latch_files(LEFT, tmp_path)
    first.mkdir()
    with pytest.raises(BenchError, match=f"cannot be written: {first}"):
        set_latch(LEFT, "why", place=tmp_path)
    assert json.loads(second.read_text())["reason"] == "why"
    with pytest.raises(BenchError, match="still set"):
        release_latch(LEFT, place=tmp_path)
    assert second.read_text() == ""
    assert "cannot be read" in str(latch_of(LEFT, place=tmp_path)), "what cannot be read counts as set"


@pytest.mark.skipif(os.name != "posix", reason="links are posix")
def test_a_link_in_its_place_is_not_written_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    latch_files(LEFT, tmp_path)[0].symlink_to(precious)
    with pytest.raises(BenchError, match="cannot be written"):
        set_latch(LEFT, place=tmp_path)
    assert precious.read_text() == "precious"
