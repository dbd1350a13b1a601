"""Emulators are registered once, and drivers name them: no class crosses from one side to the other."""

import pytest

from labctl.core import plugins
from labctl.core.driver import Driver, declared
from labctl.core.errors import BenchError
from labctl.core.plugins import BODIES, EMULATORS, INSTRUMENTS
from labctl.station.twin import Twin
from sim_backend.emulators.link import Instrument
from tests.unit.instruments.test_probed_die import bench, simulated


def ours(group):
    return {p.name for p in plugins.registered(group) if not p.foreign}


def test_every_emulator_of_ours_is_named_by_a_driver_and_every_named_one_is_registered():
    boards = [plugin.load() for plugin in plugins.registered(BODIES) if not plugin.foreign]
    named = {emulator for name in ours(INSTRUMENTS) if isinstance(emulator := declared(name)[0].emulator, str)}
    named |= {board.emulator for board in boards if isinstance(board, Driver)}
    assert named == ours(EMULATORS)


def lamp(name, options, context):
    assert context.world.wiring.channels
    raise ZeroDivisionError("no bulb")


def thing(name, options, context):
    return "a thing"


@pytest.mark.parametrize(
    ("emulator", "words"),
    [
        ("lamp", "smu1: emulator 'lamp' of lab-things 1.0 failed: ZeroDivisionError: no bulb"),
        ("thing", "smu1: emulator 'thing' of lab-things 1.0 made 'a thing', no instrument"),
        ("gone", "'gone' of lab-things 1.0 .* cannot be loaded: AttributeError"),
        ("lmp", r"'lmp' is not installed .*; did you mean 'lamp'\?"),
    ],
)
def test_an_emulator_that_fails_is_named(emulator, words, register, monkeypatch):
    from dataclasses import replace

    from instruments import keithley2600b

    here = "tests.unit.sim_backend.emulators.test_context"
    register(EMULATORS, {"lamp": f"{here}:lamp", "thing": f"{here}:thing", "gone": f"{here}:gone"})
    monkeypatch.setattr(keithley2600b, "DRIVER", replace(keithley2600b.DRIVER, emulator=emulator))
    with pytest.raises(BenchError, match=words):
        Twin(bench(), {(0, 0, 0): simulated()})


def test_the_twin_of_a_bench_has_an_instrument_for_each_that_no_person_moves():
    twin = Twin(bench(instruments__prober={"driver": "manual_prober"}), {(0, 0, 0): simulated()})
    assert sorted(twin.instruments) == ["matrix", "smu1", "smu2"]
    assert all(isinstance(instrument, Instrument) for instrument in twin.instruments.values())
