"""One world: nets, load lines, time at the die and the ledger, against circuits solved by hand."""

from itertools import pairwise

import numpy as np
import pytest

from labctl.core.bias import Bias
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.emulators.clock import EmulatorTiming, RealClock, VirtualClock
from sim_backend.emulators.k707 import K707
from sim_backend.emulators.k2600 import K2600
from sim_backend.emulators.nets import Drive, Nets
from sim_backend.emulators.resistors import ResistorBox
from sim_backend.emulators.world import Cables, World

G = 1e-4
COLUMN = {(0, "row", 0): "101", (0, "row", 1): "102", (0, "col", 0): "103", (0, "col", 1): "104", (0, "col", 2): "105"}


def bench(conductance: np.ndarray | None = None, ground: tuple[str, ...] = ("H",)) -> tuple[World, ResistorBox]:
    box = ResistorBox(np.full((1, 2, 3), G) if conductance is None else conductance)
    wiring = Cables({"a": "A", "b": "B", "c": "C"}, COLUMN, ground)
    return World(wiring, box), box


def close(world: World, *names: str) -> None:
    world.switch(close=[(n[0], n[1:]) for n in names])


def test_one_source_through_one_crosspoint() -> None:
    world, _ = bench()
    close(world, "A101", "H103", "H104", "H105")
    world.drive("a", Drive(0.3, 1e-3))
    point = world.observe("a")
    assert point.volts == 0.3
    assert point.amps == pytest.approx(3 * G * 0.3)  # row 1 floats at 0 V: three cells
    assert not point.limited


def test_compliance_on_the_load_line() -> None:
    world, _ = bench()
    close(world, "A101", "H103", "H104", "H105")
    world.drive("a", Drive(-0.9, 6e-5))
    point = world.observe("a")
    assert (point.amps, point.limited) == (pytest.approx(-6e-5), True)
    assert point.volts == pytest.approx(-6e-5 / (3 * G))


@pytest.mark.parametrize("sign", [1, -1])
def test_compliance_of_a_channel_shared_by_lines_counts_their_sum(sign: int) -> None:
    world, _ = bench(np.array([[[1e-4, 2e-4, 3e-4], [4e-4, 5e-4, 6e-4]]]))
    close(world, "A101", "A102", "H103", "H104", "H105")
    world.drive("a", Drive(sign * 0.5, 2e-3))
    free = world.observe("a")
    assert (free.amps, free.limited) == (pytest.approx(sign * 21e-4 * 0.5), False)
    world.drive("a", Drive(sign * 0.5, 2e-4))
    point = world.observe("a")
    assert point.limited
    assert point.amps == pytest.approx(sign * 2e-4, rel=1e-6)
    assert point.volts == pytest.approx(sign * 2e-4 / 21e-4, rel=1e-6)


def test_two_shared_channels_in_compliance_at_once() -> None:
    world, _ = bench(np.array([[[1e-4, 1e-4, 1e-4], [2e-4, 2e-4, 2e-4]]]))
    close(world, "A101", "B102", "H103", "H104", "C105")
    world.drive("a", Drive(1.0, 1e-5))
    world.drive("b", Drive(1.0, 1e-5))
    world.drive("c", Drive(0.0, 1e-3))
    a, b, c = (world.observe(n) for n in "abc")
    assert (a.limited, b.limited, c.limited) == (True, True, False)
    assert a.volts == pytest.approx(1e-5 / 3e-4)
    assert b.volts == pytest.approx(1e-5 / 6e-4)
    assert c.amps == pytest.approx(-(1e-4 * a.volts + 2e-4 * b.volts))


def test_current_source_and_its_voltage_limit() -> None:
    world, _ = bench()
    close(world, "A101", "H103", "H104", "H105")
    world.drive("a", Drive(-3e-5, 1.0, current=True))
    assert world.observe("a").volts == pytest.approx(-3e-5 / (3 * G))
    assert not world.observe("a").limited
    world.drive("a", Drive(1e-3, 0.2, current=True))
    point = world.observe("a")
    assert (point.volts, point.limited) == (pytest.approx(0.2), True)
    assert point.amps == pytest.approx(0.2 * 3 * G)
    world.drive("a", Drive(0.0, 0.2, current=True))
    assert world.observe("a").amps == 0.0


def test_floating_lines_and_floating_lines_joined_together() -> None:
    world, _ = bench(np.array([[[1e-4, 2e-4, 3e-4], [4e-4, 5e-4, 6e-4]]]))
    close(world, "A101", "H103")
    world.drive("a", Drive(1.0, 1e-2))
    apart = world.observe("a").amps
    lines = world.settle().line_voltage[0]
    box = np.array([[1e-4, 2e-4, 3e-4], [4e-4, 5e-4, 6e-4]])
    assert lines[4] == pytest.approx((box[0, 2] * 1.0 + box[1, 2] * lines[1]) / (box[0, 2] + box[1, 2]))
    world.drive("a", Drive(0.0, 1e-2))
    close(world, "G104", "G105")
    world.drive("a", Drive(1.0, 1e-2))
    together = world.observe("a").amps
    lines = world.settle().line_voltage[0]
    assert lines[3] == lines[4]
    leak = sum(box[r, c] * (lines[3] - lines[r]) for r in (0, 1) for c in (1, 2))
    assert leak == pytest.approx(0.0, abs=1e-12)
    assert together > apart


def test_two_sources_fighting_are_modelled_and_noted() -> None:
    world, _ = bench()
    close(world, "A101", "B101", "H103", "H104", "H105")
    world.drive("a", Drive(0.4, 1e-3))
    world.drive("b", Drive(0.1, 1e-2))
    a, b = world.observe("a"), world.observe("b")
    assert world.ledger.fights == 1
    assert a.volts == b.volts == pytest.approx(0.1)  # the stronger one wins
    assert (a.amps, a.limited) == (pytest.approx(1e-3), True)
    assert b.amps == pytest.approx(3 * G * 0.1 - 1e-3)
    world.drive("b", Drive(0.1, 5e-4))
    a, b = world.observe("a"), world.observe("b")
    assert a.amps + b.amps == pytest.approx(3 * G * a.volts)
    assert b.amps == pytest.approx(-5e-4)
    assert 0.1 < a.volts <= 0.4


def test_a_source_on_the_ground_row_is_short_circuited() -> None:
    world, _ = bench()
    close(world, "A101", "H101")
    world.drive("a", Drive(0.5, 2e-3))
    point = world.observe("a")
    assert (point.volts, point.amps, point.limited) == (0.0, pytest.approx(2e-3), True)
    assert world.ledger.fights == 1


def test_no_contact_is_an_open_circuit() -> None:
    world, box = bench()
    close(world, "A101", "H103")
    world.touch(False)
    world.drive("a", Drive(0.5, 1e-3))
    assert world.observe("a", 1.0).amps == 0.0
    assert box.held == []
    assert world.ledger.energised_time() == 0.0
    world.touch(True)
    assert world.ledger.hot_switches == 1
    assert world.observe("a").amps > 0


def test_the_die_is_held_for_as_long_as_operations_take() -> None:
    world, box = bench()
    close(world, "A101", "H103", "H104", "H105")
    world.drive("a", Drive(0.5, 1e-3))
    world.advance(2e-3)
    world.advance(3e-3)
    world.drive("a", Drive(0.25, 1e-3))
    world.observe("a", 1e-2)
    world.drive("a", Drive(0.0, 1e-3))
    world.advance(7.0)
    held = [(float(v[0]), t) for _, v, t in box.held]
    assert held == [(0.5, pytest.approx(5e-3)), (0.25, pytest.approx(1e-2))]
    ledger = world.ledger
    assert ledger.energised_time() == pytest.approx(1.5e-2)
    assert ledger.energised_time(since=1e-2) == pytest.approx(5e-3)
    assert ledger.energised_time(since=world.now - 6) == 0.0


def test_peak_counts_transients_of_no_duration_and_both_polarities() -> None:
    world, _ = bench()
    close(world, "A101", "B103")
    world.drive("a", Drive(0.3, 1e-3))
    world.drive("b", Drive(-0.4, 1e-3))  # 0.7 V across the cell, for no time at all
    world.drive("a", Drive(0.0, 1e-3))
    world.drive("b", Drive(0.0, 1e-3))
    assert world.ledger.peak_cell_voltage == pytest.approx(0.7)


def test_hot_switches_by_voltage_by_current_and_cold_ones() -> None:
    world, _ = bench()
    world.drive("a", Drive(0.0, 1e-3))
    close(world, "A101", "H103")
    assert world.ledger.hot_switches == 0
    world.drive("a", Drive(2e-3, 1e-3))
    world.switch(open=[("A", "101")])
    assert world.ledger.hot_switches == 1
    close(world, "A101")
    assert world.ledger.hot_switches == 2
    world.drive("a", Drive(0.9e-3, 1e-3))
    close(world, "A102")
    assert world.ledger.hot_switches == 2
    assert world.ledger.relay_operations == 5


def test_floating_line_lifted_by_the_die_makes_its_relay_hot() -> None:
    world, _ = bench()
    close(world, "A101", "H103")
    world.drive("a", Drive(0.5, 1e-3))
    close(world, "B104")
    assert world.ledger.hot_switches == 1


def test_moving_in_contact_is_noted_and_another_die_is_there() -> None:
    boxes = {(0, 0, 0): ResistorBox(np.full((1, 2, 3), 1e-4)), (1, 0, 0): ResistorBox(np.full((1, 2, 3), 3e-4))}
    world = World(Cables({"a": "101"}, COLUMN, ("103", "104", "105")), lambda x, y, s: boxes.get((x, y, s)))
    world.drive("a", Drive(0.1, 1e-2))
    assert world.observe("a").amps == pytest.approx(3e-5)
    world.move((1, 0, 0))
    assert world.ledger.moves_in_contact == 1
    assert world.observe("a").amps == pytest.approx(9e-5)
    world.move((5, 5, 0))
    assert not world.has_die((5, 5, 0))
    assert world.observe("a").amps == 0.0


def test_kernels_share_a_source_through_the_matrix() -> None:
    box = ResistorBox(np.stack([np.full((2, 3), 1e-4), np.full((2, 3), 2e-4)]))
    lines = {(k, "row", 0): f"{k + 1}01" for k in (0, 1)} | {
        (k, "col", c): f"{k + 1}1{c}" for k in (0, 1) for c in range(3)
    }
    world = World(Cables({"a": "A"}, lines, ("H",)), box)
    close(world, "A101", "A201", *[f"H{k}1{c}" for k in (1, 2) for c in range(3)])
    world.drive("a", Drive(0.2, 1.0))
    assert world.observe("a").amps == pytest.approx(0.2 * (3e-4 + 6e-4))
    world.drive("a", Drive(0.2, 9e-5))
    assert world.observe("a").volts == pytest.approx(0.1)


def test_a_channel_without_a_cable_ends_in_the_air() -> None:
    world, _ = bench()
    world.attach("spare")
    world.attach("a")
    world.drive("spare", Drive(1.0, 1e-3))
    assert (world.observe("spare").volts, world.observe("spare").amps) == (1.0, 0.0)
    assert world.ledger.peak_cell_voltage == 0.0


def test_wrong_wiring_and_channels_are_refused() -> None:
    with pytest.raises(BenchError, match="row' or 'col"):
        Cables({}, {(0, "gate", 0): "101"})
    world, _ = bench()
    with pytest.raises(BenchError, match="'z' is not in the wiring"):
        world.drive("z", None)
    with pytest.raises(BenchError, match="expected"):
        ResistorBox(np.full((2, 3), 1.0))


def test_clocks_and_timing_refuse_what_cannot_be() -> None:
    clock = VirtualClock()
    for broken in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="forward"):
            clock.advance(broken)
        with pytest.raises(ValueError, match="forward"):
            RealClock().advance(broken)
    real = RealClock()
    real.advance(0.001)
    assert real.now >= 0.001
    with pytest.raises(ValueError, match="relay"):
        EmulatorTiming(relay=-1)
    with pytest.raises(ValueError, match="line_frequency"):
        EmulatorTiming(line_frequency=0)


def test_a_simulated_die_is_written_and_read_through_the_instruments() -> None:
    """An ideal die: one script pulses cell (1, 2) over the matrix with V/2 on the rest, and only that cell switches."""
    geometry = {"kind": "passive", "kernels": 1, "n_rows": 3, "n_cols": 4}
    junction = {"diameter": 80e-9, "ra": 12e-12, "tmr": 1.2}
    made = {"name": "d", "geometry": geometry, "junction": junction, "simulation": {"ideal": True}}
    die = SimDie(DieDescription.model_validate(made), seed=3, name="d")
    lines = {(0, "row", r): f"matrix.1-{r + 1:02d}" for r in range(3)}
    lines |= {(0, "col", c): f"matrix.1-{c + 4:02d}" for c in range(4)}
    world = World(Cables({"smu.smua": "matrix.A", "smu.smub": "matrix.B"}, lines, ("matrix.H",)), die)
    smu, matrix = K2600("smu", "2602B", world), K707("matrix", "707B", world, cards={1: "7174A"})
    before = die.truth()["state"].copy()
    matrix.handle(b"channel.close('1A02,1H06,1B01,1B03,1B04,1B05,1B07')\n")
    script = """loadandrunscript
        smua.source.limiti = 5e-3 smub.source.limiti = 5e-3
        smua.source.output = 1 smub.source.output = 1
        smub.source.levelv = 0.225 smua.source.levelv = 0.225
        smua.source.levelv = 0.45 delay(1e-3) smua.source.levelv = 0.225
        smua.source.levelv = 0 smub.source.levelv = 0
        smua.source.levelv = 0.05
        print(smua.measure.i())
        smua.source.levelv = 0
        endscript
        """
    current = float(smu.handle(script.encode()))
    after = die.truth()["state"]
    assert np.argwhere(before != after).tolist() == [[0, 1, 2]]
    cell = die.nominal.g_p(0) * 0.05
    unselected = 3 * die.nominal.g_ap(0) * 0.05
    assert current == pytest.approx(cell + unselected, rel=0.02)
    assert world.ledger.peak_cell_voltage == pytest.approx(0.45)
    assert world.ledger.hot_switches == world.ledger.fights == 0
    assert world.ledger.energised_time(since=world.now) == 0.0


def test_wires_join_nodes_for_good_and_relays_join_what_they_are_wired_to() -> None:
    wires = (("a", "m.A"), ("a", "n.A"), ("row", "m.1"), ("ground", "col"), ("other", "n.2"))
    lines = {(0, "row", 0): "row", (0, "row", 1): "other", (0, "col", 0): "col"}
    box = ResistorBox(np.array([[[1e-4], [3e-4]]]))
    world = World(Cables({"a": "a", "b": "other"}, lines, ("ground",), wires), box)
    world.drive("a", Drive(0.2, 1e-3))
    world.drive("b", Drive(0.1, 1e-3))
    assert world.observe("a").amps == 0, "its relay is open"
    assert world.observe("b").amps == pytest.approx(3e-4 * 0.1), "wired, through the column on ground"
    world.drive("a", Drive(0.0, 1e-3))
    world.switch(close=[("m.A", "m.1")])
    world.drive("a", Drive(0.2, 1e-3))
    assert world.observe("a").amps == pytest.approx(1e-4 * 0.2)
    world.drive("b", None)
    world.switch(close=[("n.A", "n.2")])
    assert world.observe("a").amps == pytest.approx(4e-4 * 0.2), "joined over two matrices"
    assert world.ledger.hot_switches == 1, "the second relay closed onto 0.2 V"


class Forgetful(World):
    """A world that keeps nothing of its last operating point: every one is solved anew, of nets made anew."""

    def settle(self) -> Nets:
        self._joints, self._nets, self._dirty = None, None, True
        if isinstance(self._load, SimDie):
            self._load._held.forget()
        return super().settle()


def _under_test(kind: type[World]) -> tuple[World, SimDie]:
    geometry = {"kind": "passive", "kernels": 2, "n_rows": 3, "n_cols": 4}
    made = {"name": "d", "geometry": geometry, "junction": {"diameter": 80e-9}}
    die = SimDie(DieDescription.model_validate(made), seed=3, name="d")
    lines = {(k, "row", r): f"{k}r{r}" for k in (0, 1) for r in range(3)}
    lines |= {(k, "col", c): f"{k}c{c}" for k in (0, 1) for c in range(4)}
    return kind(Cables({"a": "A", "b": "B", "c": "C"}, lines, ("H",)), die), die


def _act(world: World, die: SimDie, rng: np.random.Generator) -> None:
    """Do something at random to a world: a relay, a source, needles, time, or a pulse past the instruments."""
    nodes = sorted(set(world.wiring.lines.values()))
    kinds = {"close": 0.15, "open": 0.1, "drive": 0.35, "nothing": 0.1, "wait": 0.2, "touch": 0.05, "pulse": 0.05}
    what = rng.choice(list(kinds), p=list(kinds.values()))
    if what == "close":
        world.switch(close=[(str(rng.choice(list("ABCH"))), str(rng.choice(nodes)))])
    elif what == "open" and world.closed:
        closed = sorted(world.closed)
        world.switch(open=[closed[k] for k in rng.choice(len(closed), min(3, len(closed)), replace=False)])
    elif what == "drive":
        level, limit = float(rng.choice([0.0, 0.1, 0.45, -0.45])), float(rng.choice([1e-5, 2e-4, 5e-3]))
        kind = rng.choice(["volts", "amps", "open"], p=[0.8, 0.1, 0.1])
        made = {"volts": Drive(level, limit), "amps": Drive(level * 1e-4, 0.4, current=True), "open": None}[kind]
        world.drive(str(rng.choice(list("abc"))), made)
    elif what == "wait":
        world.advance(float(rng.choice([1e-4, 1e-2])))
    elif what == "touch":
        world.touch(not world.in_contact)
    elif what == "pulse":
        row, col = np.zeros((1, 3)), np.zeros((1, 4))
        row[0, rng.integers(3)] = 0.6
        col[0, rng.integers(4)] = -0.1
        world.settle()
        die.pulse(Pulse(Bias(row, col, kernel=rng.integers(0, 2, 1)), 1e-3))


@pytest.mark.parametrize("seed", [0, 2])
def test_what_is_kept_of_an_operating_point_is_to_the_bit_what_is_solved_anew(seed: int) -> None:
    worlds = [_under_test(World), _under_test(Forgetful)]
    dice = [np.random.default_rng(seed) for _ in worlds]
    states = [worlds[0][1].truth()["state"].tolist()]
    for world, _ in worlds:
        grounded = [("H", f"{kernel}c{column}") for kernel in (0, 1) for column in range(3)]
        world.switch(close=[("A", "0r0"), ("B", "0r1"), ("B", "1r0"), ("C", "0c3"), *grounded])
    for _ in range(80):
        seen = []
        for (world, die), rng in zip(worlds, dice, strict=True):
            _act(world, die, rng)
            points = [world.observe(channel, 1e-3 * (channel == "a")) for channel in "abc"]
            lines = {kernel: volts.tolist() for kernel, volts in world.settle().line_voltage.items()}
            audit = world.ledger
            seen.append((points, lines, audit.peak_cell_voltage, audit.events, audit.first_bias, audit.energised))
            states.append(die.truth()["state"].tolist())
        assert seen[0] == seen[1]
        assert states[-1] == states[-2]
    assert sum(one != other for one, other in pairwise(states)) > 3, "cells were written"


def teed(conductance: np.ndarray | None = None) -> World:
    """Return the bench with a pulse source at channel a, which row 0 is on; the columns are on ground."""
    box = ResistorBox(np.full((1, 2, 3), G) if conductance is None else conductance)
    world = World(Cables({"a": "A", "b": "B", "c": "C"}, COLUMN, ("H",), tees={"p": "a"}), box)
    close(world, "A101", "B102", "H103", "H104", "H105")
    return world


def line_of(world: World) -> tuple[float, float]:
    """Return the voltages of both rows when a pulse was accounted for last."""
    assert world._nets is not None
    rows = world._nets.line_voltage[0]
    return float(rows[0]), float(rows[1])


@pytest.mark.parametrize(("base", "top"), [(0.0, 0.5), (0.0, -0.5), (-0.3, 0.2)])
def test_a_pulse_is_divided_between_its_source_and_the_die(base: float, top: float) -> None:
    world = teed(np.array([[[1e-3, 2e-3, 0.0], [1e-3, 1e-3, 1e-3]]]))
    world.pulse("p", base, top, 50.0, 1e-7)
    across = (top - base) / (1 + 50 * 3e-3)
    assert line_of(world)[0] == pytest.approx(across)
    assert world.ledger.peak_cell_voltage == pytest.approx(abs(across))
    assert world.ledger.energised_time() == pytest.approx(1e-7)
    assert (world.ledger.pulses, world.now) == (1, pytest.approx(1e-7))
    assert world.observe("a").volts == 0.0


def test_a_short_takes_what_the_impedance_lets_through_and_an_open_line_sees_all() -> None:
    world = teed(np.array([[[100.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]))
    world.pulse("p", 0.0, 0.5, 50.0, 1e-7)
    assert line_of(world)[0] == pytest.approx(0.5 / (1 + 50 * 100))
    world = teed(np.zeros((1, 2, 3)))
    world.pulse("p", 0.0, 0.5, 50.0, 1e-7)
    assert line_of(world)[0] == pytest.approx(0.5)


def test_a_pulse_comes_on_top_of_the_level_at_the_tee_and_others_stand() -> None:
    world = teed()
    world.drive("a", Drive(0.1, 1e-6))
    world.drive("b", Drive(0.2, 1e-2))
    world.pulse("p", 0.0, 0.5, 50.0, 1e-7)
    assert line_of(world) == (pytest.approx(0.6 / (1 + 50 * 3 * G)), 0.2)
    assert world.observe("b").volts == 0.2
    assert world.ledger.fights == 0


def test_a_pulse_that_no_tee_joins_or_no_needle_carries_reaches_nothing() -> None:
    world = teed()
    world.pulse("q", 0.0, 0.5, 50.0, 1e-7)
    assert world.ledger.pulses == 0
    world.touch(False)
    world.pulse("p", 0.0, 0.5, 50.0, 1e-7)
    assert world.ledger.peak_cell_voltage == 0.0


def test_a_pulse_acts_on_the_cells_for_its_width_and_no_longer() -> None:
    data = {
        "name": "die",
        "geometry": {"kernels": 1, "n_rows": 2, "n_cols": 3},
        "junction": {"diameter": "80 nm"},
        "simulation": {"ideal": True},
    }
    states = {}
    for seconds in (1e-12, 50e-9):
        die = SimDie(DieDescription.model_validate(data, context={"file": True}), seed=11, name="die")
        world = World(Cables({"a": "A", "b": "B", "c": "C"}, COLUMN, ("H",), tees={"p": "a"}), die)
        close(world, "A101", "B102", "H103", "H104", "H105")
        world.pulse("p", 0.0, 0.65, 50.0, seconds)
        states[seconds] = die.truth()["state"][0, 0].tolist()
    assert states == {1e-12: [False] * 3, 50e-9: [True] * 3}
