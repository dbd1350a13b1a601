"""What an earlier user left on the instruments: reported when the bench is opened, blamed on nobody, and not used."""

from dataclasses import asdict

import numpy as np
import pytest

from instruments.check_bench import check_bench
from instruments.open_bench import open_bench
from instruments.transport import BytesTransport
from labctl.core.errors import BenchError
from sim_backend.emulators.k707 import Card
from sim_backend.emulators.link import Fault
from tests.unit.instruments.test_probed_die import NOMINAL, Twin, bench, read


def opened(twin):
    return open_bench(bench(), NOMINAL, connect=twin.connect, wait=twin.world.advance)


def test_old_errors_are_reported_and_blamed_on_no_command():
    twin = Twin()
    twin.instruments["matrix"].handle(b'channel.close("9Z99")\n')
    twin.instruments["smu2"].handle(b"format.asciiprecision=1\nsmua.source.rangev=1e9\nsmub.nonsense=1\n")
    again = opened(twin)
    assert again.old_errors["matrix"] == ("1115 Parameter error: channel does not exist",)
    assert [text.split()[0] for text in again.old_errors["smu2"]] == ["1101", "-286"]
    again.die.idle()
    np.testing.assert_array_equal(again.die.sense(read([0], [2])).flag, 0)
    again.die.idle()
    assert opened(twin).old_errors == {}


def test_what_was_left_on_the_panel_changes_no_reading_and_no_time():
    twin = Twin()
    twin.die.idle()

    def timed():
        twin.die.sense(read([1], [2]))
        begin = twin.world.now
        return twin.die.sense(read([0], [2])).current[0, 0], twin.world.now - begin

    clean = timed()
    twin.die.idle()
    for name in ("smu1", "smu2"):
        for channel in ("smua", "smub"):
            left = "measure.rel.leveli=9e-7", "measure.rel.enablei=1", "measure.delay=0.3", "source.delay=0.1"
            left += "measure.filter.count=30", "measure.filter.enable=1", "measure.interval=0.1", "source.highc=1"
            twin.instruments[name].handle("".join(f"{channel}.{text}\n" for text in left).encode())
        twin.instruments[name].handle(b"format.asciiprecision=2\n")
    assert timed() == pytest.approx(clean, rel=1e-9)


def test_a_bench_without_a_card_that_its_wiring_uses_is_refused():
    twin = Twin()
    del twin.instruments["matrix"].cards[2]
    with pytest.raises(BenchError, match=r"matrix: slot 2 has no card, and the wiring uses 2A0.*nothing was changed"):
        opened(twin)
    (matrix,) = (one for one in check_bench(bench(), connect=twin.connect) if one.name == "matrix")
    assert any("slot 2 has no card" in text for text in matrix.wrong)


def test_the_check_lists_serials_cards_what_is_not_default_and_what_is_forced():
    twin = Twin()
    twin.instruments["matrix"].cards[1] = Card("7072", 8, 12)
    twin.instruments["prober"].handle(b"status:set_chuck_temp 61\n")
    twin.instruments["prober"].state.temperature = 61.0
    more = "format.asciiprecision=3 trigger.timer[2].count=7"
    left = "smub.source.func=0 smub.source.leveli=1e-6 smub.source.output=1 smua.measure.delay=20 "
    twin.instruments["smu2"].handle(f"{left} smua.measure.rel.enablei=1 {more}\nlocalnode.nothing.here=1\n".encode())
    states = {one.name: one for one in check_bench(bench(), connect=twin.connect)}
    assert (states["smu1"].serial, states["matrix"].serial, states["prober"].serial) == ("4000001", "4000001", None)
    assert "chuck at 61.00 C, set to 61.00 C" in states["prober"].state
    smu2 = "\n".join(states["smu2"].state)
    assert "smua: not as after a reset, and set anew before it is used: measure.delay 20, measure.rel.enablei 1" in smu2
    assert "set anew before a channel is used: format.asciiprecision 3" in smu2
    assert "without effect on a reading: trigger.timer.2.count 7" in smu2
    assert not any("mains" in text for text in states["smu2"].state)
    assert "smub: output ON, level 1e-06 A, forcing a current, limit 40 V" in smu2
    assert "1 error of before was in its queue, which is empty now: -286" in smu2
    assert states["smu2"].wrong == ("smub is on at 1e-06 A, forcing a current; 'labctl off' makes the bench safe",)
    assert any("cards in slots 1: 7072,8x12" in text for text in states["matrix"].state)
    assert not any("not as after a reset" in text for text in states["smu1"].state)


def test_the_check_tells_of_mains_that_are_others_than_those_that_are_planned_with():
    keys = bench().model_copy(update={"timing": bench().timing.model_copy(update={"line_frequency": 50.0})})
    states = {one.name: one for one in check_bench(keys, connect=Twin().connect)}
    assert "mains 60 Hz; plan reckons with timing.line_frequency, 50 Hz" in states["smu1"].state


@pytest.mark.parametrize("name", ["smu1", "matrix"])
@pytest.mark.parametrize("setting", ["localnode.prompts", "localnode.showerrors"])
def test_an_instrument_that_speaks_unasked_is_refused_and_off_ends_that(name, setting):
    twin = Twin()
    twin.instruments[name].handle(f"{setting}=1\nnonsense =\n".encode())
    with pytest.raises(BenchError, match=rf"{name}: {setting} is 1.*'labctl off' sets it to 0"):
        opened(twin)
    assert twin.instruments[name].execute(f"print({setting})").startswith("1")
    driver = twin.open.matrices.get(name) or twin.open.sources[name]
    driver.emergency_open() if name == "matrix" else driver.emergency_off()
    opened(twin)


@pytest.mark.parametrize("name", ["smu1", "smu2", "matrix"])
def test_a_link_that_is_silent_once_does_not_leave_the_bench_unverified(name):
    twin = Twin()
    twin.die.idle()
    twin.die.sense(read([0], [2]))
    lost = iter([Fault.DEAF])
    twin.instruments[name].fault = lambda line: next(lost, Fault.NONE)
    twin.die.idle()
    assert not any(twin.outputs)
    assert twin.clean()


def test_connecting_asks_and_sets_nothing():
    twin = Twin()
    sent = []

    def connect(name, entry):
        def log(direction, data):
            sent.append((direction, data))

        return BytesTransport(twin.instruments[name].session(), name, probe=entry.declaration.question, log=log)

    def settings():
        return [asdict(smu.set) for n in ("smu1", "smu2") for smu in twin.instruments[n].smus.values()]

    before = settings()
    open_bench(bench(), NOMINAL, connect=connect, wait=twin.world.advance).close()
    assert not [data for direction, data in sent if direction == ">" and (b"=" in data or b"clear" in data)]
    assert settings() == before
