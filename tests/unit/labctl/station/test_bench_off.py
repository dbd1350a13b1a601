"""Switching off waits for nobody, says what it could not do, and believes nothing that it has not read back."""

import os
from contextlib import ExitStack

import pytest

from instruments.bench import Bench
from labctl.core.site import Site
from labctl.station import bench_off
from labctl.station.bench_off import switch_off
from labctl.station.bench_setup import twin_of
from labctl.storage.bench_locks import VARIABLE, bench_lock, locks_folder
from labctl.storage.latch import latch_files, latch_of
from sim_backend.description import DieDescription
from sim_backend.emulators.link import Fault
from tests.e2e.test_bench_safety import BENCH, DIE


@pytest.fixture
def bench(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "locks"))
    instruments = {name: {**entry, "patience": "0 s"} for name, entry in BENCH["instruments"].items()}
    return Bench.model_validate({**BENCH, "instruments": instruments}, context={"file": True})


@pytest.fixture
def twin(bench):
    """The twin of the bench, left on at 0.3 V with a relay closed."""
    description = DieDescription.model_validate(DIE, context={"file": True})
    made = twin_of(bench, [Site("D0", description, 5)], "bytes", by_hand=True)
    made.instruments["matrix"].handle(b'channel.close("1A01")\n')
    made.instruments["smu1"].handle(b"smua.source.levelv=0.3 smua.source.output=1\n")
    return made


class Clock:
    """A clock that moves when somebody waits; `at` is done once it has come so far."""

    def __init__(self, at=lambda now: None):
        self.now, self.at = 0.0, at

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds
        self.at(self.now)


def output(twin):
    return [part.set.output for smu in ("smu1", "smu2") for part in twin.instruments[smu].smus.values()]


def do(bench, twin, clock=None, **more):
    clock, words = clock or Clock(), []
    done = switch_off(bench, words.append, "why", connect=twin.connect, clock=clock, wait=clock.wait, **more)
    return done, words


def test_a_bench_that_nobody_holds_is_safe_at_once_and_its_latch_is_set(bench, twin):
    clock = Clock()
    done, words = do(bench, twin, clock)
    assert (done.exit_code, done.safe, done.held) == (0, True, ())
    assert not any(output(twin))
    assert not twin.world.closed
    assert latch_of(bench) == done.latch
    assert done.latch.reason == "why"
    assert "smu1, smu2" in done.text
    assert (words, clock.now) == ([], 0.0)


def test_it_is_safe_before_anybody_is_waited_for_and_again_when_the_holder_is_gone(bench, twin):
    on: list[bool] = []
    with bench_lock(bench, "labctl run a.yaml"), ExitStack() as worker:
        worker.enter_context(bench_lock(bench, "its worker", part="worker"))

        def at(now):
            on.append(any(output(twin)))
            if len(on) == 1:
                twin.instruments["smu2"].handle(b"smub.source.output=1\n")  # as a worker that had not heard of it
            if now > 12:
                worker.close()

        done, words = do(bench, twin, clock := Clock(at))
    assert on[0] is False, "it is off before anybody is waited for"
    assert done.exit_code == 0
    assert not any(output(twin))
    assert [holder.what for holder in done.held] == ["labctl run a.yaml"]
    assert any("held by" in text and "labctl run a.yaml" in text for text in words)
    assert [text for text in words if "waiting" in text] == [
        "waiting for it to end: 5 s of at most 60 s",
        "waiting for it to end: 10 s of at most 60 s",
    ]
    assert clock.now == pytest.approx(12.1)


def test_a_holder_that_does_not_end_is_told_with_6_although_everything_is_off(bench, twin):
    with bench_lock(bench, "labctl read", part="worker"):
        done, _ = do(bench, twin, clock := Clock(), patience=7.0)
    assert (done.exit_code, done.safe, done.gone) == (6, True, False)
    assert "NOT GONE after 7 s" in done.text
    assert "labctl read" in done.text
    assert clock.now == pytest.approx(7.0, abs=2 * bench_off.POLL)
    assert not any(output(twin))


def test_what_is_not_verified_off_is_6_and_named(bench, twin):
    twin.instruments["smu1"].fault = lambda line: Fault.DEAF
    done, _ = do(bench, twin)
    assert (done.exit_code, done.safe) == (6, False)
    assert "smu1" in done.text
    assert latch_of(bench) is not None
    assert output(twin)[2:] == [0, 0]


def a_file(place):
    place.write_text("")
    return place


def below_a_file(place):
    place.write_text("")
    return place / "locks"


def closed(place):
    place.mkdir(mode=0)
    return place


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (a_file, "is not a folder"),
        (below_a_file, "Not a directory"),
        pytest.param(
            closed,
            "Permission denied",
            marks=pytest.mark.skipif(
                not hasattr(os, "geteuid") or os.geteuid() == 0, reason="every folder is open to root"
            ),
        ),
    ],
)
def test_a_folder_of_locks_that_cannot_be_used_is_5_once_everything_is_off(
    bench, twin, monkeypatch, tmp_path, make, why
):
    place = make(tmp_path / "place")
    monkeypatch.setenv(VARIABLE, str(place))
    done, words = do(bench, twin, clock := Clock())
    assert not any(output(twin))
    assert (done.exit_code, done.safe, done.latch, done.held) == (5, True, None, ())
    assert str(place) in done.unlatched
    assert f"who holds the bench cannot be told: {place}" in done.text
    assert why in done.text
    assert len(words) == 1
    assert clock.now == 0.0, "nobody is waited for"
    twin.instruments["smu1"].fault = lambda line: Fault.DEAF
    assert do(bench, twin)[0].exit_code == 6


def test_a_lock_that_cannot_be_looked_at_is_6(bench, twin):
    with bench_lock(bench, "labctl run a.yaml"):
        pass
    for path in list(locks_folder().iterdir()):
        path.unlink()
        path.mkdir()
    done, _ = do(bench, twin)
    assert (done.exit_code, done.safe, done.gone) == (6, True, False)
    assert "who holds the bench cannot be told" in done.text


def test_a_latch_that_cannot_be_written_on_a_bench_that_nobody_holds_is_5(bench, twin):
    first, *_ = latch_files(bench)
    first.mkdir(parents=True)
    done, _ = do(bench, twin)
    assert (done.exit_code, done.safe, done.latch) == (5, True, None)
    assert str(first) in done.unlatched
