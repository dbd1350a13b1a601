"""Two emulated 2602Bs on one TSP-Link that act as one: what routes share, and what a script that breaks leaves."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from instruments.bench import Bench
from instruments.open_bench import open_bench, planned_die
from instruments.shared_routes import shared
from instruments.transport import BytesTransport
from labctl.core.bias import Nominal
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.operations import Pulse, Sense, WritePlan
from labctl.station.twin import Twin
from protocols.bias import row_bias
from protocols.settings import WriteSettings
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.emulators.link import Fault

M, N = 5, 5
NOMINAL = Nominal.alike(4.2e-4, 1.9e-4, 1)
CHANNELS = {"smu1.smua": "A", "smu1.smub": "B", "smu2.smua": "C", "smu2.smub": "D"}
READ = 0.1


def bench(way: str = "inside", **changes: Any) -> Bench:
    """Return the bench file of a way: `apart`, `host` (joined, the host moves relays and decides), or `inside`."""
    pads = [*(f"r{i}" for i in range(M)), *(f"c{i}" for i in range(N))]
    nodes = {} if way == "apart" else {"smu1": 1, "smu2": 3} | ({"matrix": 2} if way == "inside" else {})
    drivers = {"smu1": "keithley2600b", "smu2": "keithley2600b", "matrix": "keithley707b"}
    instruments: dict[str, dict[str, Any]] = {
        name: {"driver": driver, "resource": name} | ({"tsplink": nodes[name]} if name in nodes else {})
        for name, driver in drivers.items()
    }
    for name, entry in changes.items():
        instruments[name] |= entry
    return Bench.model_validate(
        {
            "name": way,
            "instruments": instruments,
            "wiring": {
                "channels": CHANNELS,
                "ground": "H",
                "pads": {pad: f"1-{1 + k:02d}" for k, pad in enumerate(pads)},
                "kernels": [{"rows": pads[:M], "cols": pads[M:]}],
            },
            "limits": {
                "v_towards_p": "0.9 V", "v_towards_ap": "0.9 V", "width": "10 ms", "compliance": "10 mA",
                "ramp_rate": "1000 V/s",
            },
            "programming": "instrument" if way == "inside" else "host",
            "joined": way != "apart",
            "twin": {"ideal_instruments": True},
        },
        context={"file": True},
    )  # fmt: skip


class Station:
    """A bench that is open on its twin; the messages that were sent, and the instrument of each."""

    def __init__(self, file: Bench) -> None:
        keys = {
            "name": "die",
            "geometry": {"kernels": 1, "n_rows": M, "n_cols": N},
            "junction": {"diameter": "80 nm"},
            "simulation": {"ideal": True},
        }
        die = SimDie(DieDescription.model_validate(keys, context={"file": True}), seed=11, name="die")
        self.twin = Twin(file, {(0, 0, 0): die})
        self.sent: list[tuple[str, str]] = []
        self.open = open_bench(file, NOMINAL, connect=self._connect, wait=self.twin.world.advance)
        self.die = self.open.die

    def _connect(self, name: str, entry: Any) -> BytesTransport:
        def log(direction: str, data: bytes) -> None:
            if direction == ">":
                self.sent.append((name, data.decode()))

        session = self.twin.instruments[name].session()
        return BytesTransport(session, name, probe=entry.declaration.question, log=log)

    def clean(self) -> bool:
        audit = self.twin.ledger
        return not (audit.hot_switches or audit.fights or audit.count("subordinate commanded") or audit.refused)

    def levels(self) -> dict[str, float]:
        """Return the outputs that are on."""
        return {
            f"{name}.{channel}": volts
            for name in ("smu1", "smu2")
            for channel, volts in self.twin.instruments[name].outputs().items()
        }


@pytest.fixture
def station() -> Iterator[Callable[..., Station]]:
    opened: list[Station] = []

    def make(way: str = "inside", **changes: Any) -> Station:
        opened.append(Station(bench(way, **changes)))
        return opened[-1]

    yield make
    for one in opened:
        for instrument in one.twin.instruments.values():
            instrument.fault = lambda line: Fault.NONE
        one.open.off()
        one.open.close()
        assert not one.levels()


def sense_of(die: Any) -> Sense:
    rows = np.repeat(np.arange(M), 2)
    bias = row_bias(die.geometry, np.zeros(2 * M, int), rows, np.tile([READ, -READ], M))
    return Sense(bias, np.arange(N))


def plan_of(die: Any) -> WritePlan:
    order = np.random.default_rng(1).permutation(M * N)[:10]
    at = tuple(index.ravel()[order] for index in np.indices((1, M, N)))
    settings = WriteSettings(v_start=0.3, v_max=0.85, v_step=0.05, width=1e-3)
    target = np.arange(len(order)) % 3 > 0
    return settings.plan(die.geometry, at, target, np.full(len(order), 2.8e-4), np.full(len(order), 12))


def test_four_channels_read_and_write_the_same_on_a_third_of_the_routes(station):
    states, currents, attempts, routes = [], [], [], []
    for way in ("apart", "host", "inside"):
        one = station(way)
        moved = one.twin.world.ledger.relay_operations
        currents.append(one.die.sense(sense_of(one.die)).current)
        made = one.die.program(plan_of(one.die))
        order = np.lexsort((made.attempt, made.cell))
        attempts.append((made.cell[order], made.attempt[order], made.voltage[order], made.flag[order], made.verified))
        states.append(one.twin.truth((0, 0, 0))["state"].copy())
        routes.append(int(one.die._plan(sense_of(one.die))[0].moves.sum()))
        assert one.twin.world.ledger.relay_operations > moved
        assert one.clean(), way
        assert max(map(abs, one.levels().values()), default=0.0) == 0.0
    for way in (1, 2):
        assert np.allclose(currents[0], currents[way], rtol=1e-9)
        assert np.array_equal(states[0], states[way])
        assert all(np.array_equal(a, b) for a, b in zip(attempts[0], attempts[way], strict=True))
    assert routes == [25, 8, 8]


@pytest.mark.parametrize("way", ["apart", "host", "inside"])
def test_a_column_that_is_wanted_twice_has_its_reading_in_both_places(station, way):
    one = station(way)
    sense = sense_of(one.die).take(slice(0, 4))
    once, twice = replace(sense, cols=np.array([0, 1])), replace(sense, cols=np.array([1, 0, 1]))
    expected, found = one.die.sense(once), one.die.sense(twice)
    assert np.allclose(found.current, expected.current[:, [1, 0, 1]], rtol=1e-9)
    assert not found.flag.any()
    plan = plan_of(one.die).take(slice(0, 2))
    verify = replace(plan.verify, cols=np.repeat(plan.verify.cols, 2, axis=1))
    pulsed = one.die.pulse(Pulse(plan.write.scaled(0.3), plan.width, verify))
    assert np.isfinite(pulsed.current).all()
    assert np.array_equal(pulsed.current[:, 0], pulsed.current[:, 1])


def test_predictions_are_times_of_the_twin(station):
    for way in ("host", "inside"):
        one = station(way)
        sense = sense_of(one.die)
        one.die.sense(sense)
        begin = one.twin.world.now
        one.die.sense(sense)
        assert one.twin.world.now - begin == pytest.approx(one.die.check(sense), rel=0.1), way


def test_a_joined_source_gets_no_command_of_its_own_while_it_is_driven(station):
    one = station()
    one.die.sense(sense_of(one.die))
    one.sent.clear()
    one.die.sense(sense_of(one.die))
    one.die.program(plan_of(one.die))
    assert {name for name, _ in one.sent} == {"smu1"}
    one.die.idle()
    assert one.clean()
    one.die.sense(sense_of(one.die))  # set up and joined once more
    assert one.clean()


@pytest.mark.parametrize("way", ["host", "inside"])
@pytest.mark.parametrize("how", ["reply lost", "connection lost", "deaf", "an output trips", "aborted"])
def test_a_script_that_breaks_off_leaves_no_level_on_any_of_them(station, monkeypatch, way, how):
    one = station(way)
    one.die.sense(sense_of(one.die))
    lead, other = one.twin.instruments["smu1"], one.twin.instruments["smu2"]
    smu, seen = other.smus["smua"], [0]
    write = smu.write

    def counted(name: str, value: float) -> None:
        write(name, value)
        if name == "levelv" and abs(value) > 0.12:
            seen[0] += 1
            if seen[0] == 3:
                other.trip() if how == "an output trips" else lead.interrupt()

    faults = {"reply lost": Fault.MUTE, "connection lost": Fault.DROP, "deaf": Fault.DEAF}
    if how in faults:
        lead.fault = lambda line: faults[how] if b"table.concat(mtj_r or {}" in line else Fault.NONE
    else:
        monkeypatch.setattr(smu, "write", counted)
    with pytest.raises(InstrumentError):
        one.die.program(plan_of(one.die))
    assert not any(one.levels().values()), "0 V, whatever was under way"
    lead.fault = lambda line: Fault.NONE
    monkeypatch.undo()
    one.die.idle()
    assert not one.levels()
    assert one.twin.ledger.hot_switches == 0
    assert one.twin.ledger.count("subordinate commanded") == 0
    assert one.die.program(plan_of(one.die)).verified.any()


def test_a_channel_that_no_visit_uses_is_not_driven_and_has_no_setup(station):
    one = station("host")
    io, asked = one.die._io, []
    join = io._joined.lead.join
    io._joined.lead.join = lambda setups: asked.append(list(setups)) or join(setups)
    io.active = (0, 1, 2)
    one.die.sense(sense_of_one(one.die))
    assert [len(names) for names in asked] == [1]
    assert asked[0][0] == io.channels[2].name
    assert [name for name in one.levels() if name.startswith("smu2")] == ["smu2.smua"]


def sense_of_one(die: Any) -> Sense:
    """Return a read of one cell, which takes two channels."""
    bias = row_bias(die.geometry, np.zeros(1, int), np.zeros(1, int), np.full(1, READ))
    return Sense(bias, np.zeros((1, 1), int))


def test_another_model_or_none_on_the_link_is_refused_before_a_level(station):
    one = station()
    one.twin.instruments["smu2"].link.node = 9  # as somebody left it
    with pytest.raises(InstrumentError, match="no node 3"):
        one.die.sense(sense_of(one.die))
    other = station()
    other.twin.instruments["smu2"].model = "2636B"
    with pytest.raises(InstrumentError, match="is a 2636B, and the bench file says 2602B"):
        other.die.sense(sense_of(other.die))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smu2": {"tsplink": None}}, "a node number of its own for each"),
        ({"smu2": {"tsplink": 1}}, "a node number of its own for each"),
        ({"smu2": {"model": "2612B"}}, "expected one model"),
    ],
)
def test_what_cannot_act_as_one_is_refused_by_plan(changes, message):
    with pytest.raises(BenchError, match=message):
        planned_die(bench("host", **changes), NOMINAL, 1)


def test_cells_named_twice_and_other_patterns_share_nothing():
    die = planned_die(bench("host"), NOMINAL, 1)
    reach = die._io.reaches[0]
    plan = plan_of(die)
    pulse = plan.write.scaled(0.4)
    once = Pulse(pulse, 1e-3, plan.verify)
    assert shared(once, reach) is not None
    assert shared(once.take(np.array([0, 1, 0])), reach) is None, "the order of pulses on a cell is kept"
    assert shared(Pulse(pulse, 1e-3), reach) is None
    two_rows = sense_of(die).bias
    two_rows = type(two_rows)(np.full_like(two_rows.row, READ), two_rows.col, kernel=two_rows.kernel)
    assert shared(Sense(two_rows, np.arange(N)), reach) is None
