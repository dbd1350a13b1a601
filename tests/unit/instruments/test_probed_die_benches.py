"""Benches of many shapes on their twins, through writing and reading a small die: wired, few channels, matrices."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from instruments.bench import Bench
from instruments.contact import Needles
from instruments.emergency import isolate, make_safe
from instruments.keithley2600b import DRIVER
from instruments.open_bench import open_bench, planned_die
from instruments.touches import lift, touch_down
from labctl.core.bias import Geometry
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.operations import Pulse, Sense, WritePlan
from labctl.station.twin import Twin
from protocols.bias import Scheme, Unselected, read_bias, row_bias, write_bias
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.emulators.link import Fault
from tests.unit.instruments.test_probed_die import Standing

V_READ, V_WRITE, WIDTH = 0.1, 0.6, 1e-3


@dataclass(frozen=True)
class Case:
    """A bench file: models of its sources, models of its matrices, its wiring."""

    shape: tuple[int, int, int]
    pads: dict[str, str | list[str]]
    smus: dict[str, str] = field(default_factory=lambda: {"smu": "2602B"})
    matrices: dict[str, str] = field(default_factory=dict)
    channels: dict[str, str | list[str]] = field(default_factory=dict)
    ground: str | list[str] | None = None
    structures: tuple[tuple[str, str], ...] = ()
    stands: bool = False

    def bench(self, **changes) -> Bench:
        names = list(self.smus) + list(self.matrices)
        address = {name: f"TCPIP::192.0.2.{k + 11}::5025::SOCKET" for k, name in enumerate(names)}
        kernels, rows, cols = self.shape
        values = {
            "name": "any",
            "instruments": {
                name: {"driver": driver, "model": model, "resource": address[name]}
                for models, driver in ((self.smus, "keithley2600b"), (self.matrices, "keithley707b"))
                for name, model in models.items()
            },
            "wiring": {
                "channels": self.channels, "ground": self.ground, "pads": self.pads,
                "kernels": [
                    {"rows": [f"r{k}{i}" for i in range(rows)], "cols": [f"c{k}{j}" for j in range(cols)]}
                    for k in range(kernels)
                ],
            },
            "limits": {
                "v_towards_p": "0.7 V", "v_towards_ap": "0.7 V", "width": "10 ms", "compliance": "10 mA",
                "ramp_rate": "1000 V/s",
            },
            "contact": {"structures": self.structures},
            "twin": {"ideal_instruments": True},
        }  # fmt: skip
        return Bench.model_validate(values | changes, context={"file": True})


def die_of(shape):
    kernels, rows, cols = shape
    values = {
        "name": "small", "geometry": {"kernels": kernels, "n_rows": rows, "n_cols": cols},
        "junction": {"diameter": "80 nm"}, "simulation": {"ideal": True},
    }  # fmt: skip
    return SimDie(DieDescription.model_validate(values, context={"file": True}), seed=5, name="small")


def grid(rows, cols, at="1", first=1):
    """Return the columns of a 707B for the rows and columns of one kernel, one after the other."""
    pads = [f"r0{i}" for i in range(rows)] + [f"c0{j}" for j in range(cols)]
    return {pad: f"{at}-{first + k:02d}" for k, pad in enumerate(pads)}


SPLIT = {**{f"r0{i}": f"left.1-0{i + 1}" for i in range(2)}, **{f"c0{j}": f"right.1-0{j + 4}" for j in range(3)}}
LEGAL = {
    "two channels on the needles of one cell": Case(
        (1, 1, 1), {"r00": "smu.smua", "c00": "smu.smub"}, structures=(("r00", "c00"),)),
    "one channel and a ground": Case(
        (1, 1, 1), {"r00": "smu.smua", "c00": "ground"}, {"smu": "2601B"}, structures=(("r00", "c00"),)),
    "one channel on the column, the row on ground": Case(
        (1, 1, 1), {"r00": "ground", "c00": "smu.smua"}, {"smu": "2601B"}, structures=(("r00", "c00"),)),
    "one row on ground, two columns on channels": Case(
        (1, 1, 2), {"r00": "ground", "c00": "smu.smua", "c01": "smu.smub"}, structures=(("r00", "c01"),)),
    "two rows on channels, one column on ground": Case(
        (1, 2, 1), {"r00": "smu.smua", "r01": "smu.smub", "c00": "ground"}, structures=(("r01", "c00"),)),
    "1 x 4 on five wired channels": Case(
        (1, 1, 4), {"r00": "s1.smua", "c00": "s1.smub", "c01": "s2.smua", "c02": "s2.smub", "c03": "s3.smua"},
        {"s1": "2602B", "s2": "2602B", "s3": "2601B"}, structures=(("r00", "c03"),), stands=True),
    "2 x 2 on four wired channels": Case(
        (1, 2, 2), {"r00": "s1.smua", "r01": "s1.smub", "c00": "s2.smua", "c01": "s2.smub"},
        {"s1": "2602B", "s2": "2602B"}, stands=True),
    "a matrix, one channel and a ground": Case(
        (1, 1, 1), grid(1, 1), {"smu": "2601B"}, {"matrix": "708B"}, {"smu.smua": "C"}, "H", (("r00", "c00"),)),
    "rows on one matrix, columns on another, channels and ground on both": Case(
        (1, 2, 3), SPLIT, matrices={"left": "707B", "right": "708B"},
        channels={"smu.smua": ["left.A", "right.C"], "smu.smub": ["left.B", "right.D"]}, ground=["left.H", "right.H"],
        structures=(("r01", "c02"),)),
    "rows on one matrix, columns on another, each with its own channels": Case(
        (1, 2, 3), SPLIT, matrices={"left": "707B", "right": "707B"},
        channels={"smu.smua": "left.A", "smu.smub": "right.A"}, ground=["left.H", "right.H"]),
    "one row wired to a channel, three columns on a matrix": Case(
        (1, 1, 3), {"r00": "smu.smua", "c00": "1-01", "c01": "1-02", "c02": "1-03"},
        matrices={"matrix": "707B"}, channels={"smu.smub": "A"}, ground="H", structures=(("r00", "c02"),)),
    "three rows on a matrix, one column wired to a channel": Case(
        (1, 3, 1), {"r00": "1-01", "r01": "1-02", "r02": "1-03", "c00": "smu.smub"},
        matrices={"matrix": "707B"}, channels={"smu.smua": "A"}, ground="H", structures=(("r02", "c00"),)),
    "two kernels of one cell, each on the channels of its own source": Case(
        (2, 1, 1), {"r00": "s1.smua", "c00": "s1.smub", "r10": "s2.smua", "c10": "s2.smub"},
        {"s1": "2602B", "s2": "2602B"}, structures=(("r00", "c00"), ("r10", "c10"))),
    "a matrix and two wired pads that are no lines": Case(
        (1, 2, 3), {**grid(2, 3), "t0": "s2.smua", "t1": "ground"}, {"s1": "2602B", "s2": "2601B"},
        {"matrix": "707B"}, {"s1.smua": "A", "s1.smub": "B"}, "H", (("r00", "c00"),)),
}  # fmt: skip
CASES = pytest.mark.parametrize("case", LEGAL.values(), ids=LEGAL.keys())


@pytest.fixture
def standing(monkeypatch):
    """Return a function that has the sources keep their levels between two calls."""

    def have():
        declared = replace(
            DRIVER,
            make=lambda name, options, wire: Standing(wire, name, model=options.model),
            capabilities=lambda options: replace(DRIVER.capabilities(options), stands=True),
        )
        monkeypatch.setattr("instruments.keithley2600b.DRIVER", declared)

    return have


@pytest.fixture
def opened(standing):
    """Return a function that opens the twin of a case around an ideal die; all are left off, and the audit is clean."""
    twins = []

    def make(case, **changes):
        if case.stands:
            standing()
        die, bench = die_of(case.shape), case.bench(**changes)
        twin = Twin(bench, {(0, 0, 0): die})
        twins.append((twin, open_bench(bench, die.nominal, connect=twin.connect, wait=twin.wait)))
        return twin, die, twins[-1][1].die

    yield make
    for twin, bench in twins:
        bench.off()
        end = twin.world.now
        twin.wait(10.0)
        ledger = twin.ledger
        assert (ledger.hot_switches, ledger.fights, ledger.refused) == (0, 0, 0)
        assert ledger.energised_time(since=end) == 0
        assert not twin.world.closed
        assert ledger.peak_cell_voltage <= V_WRITE + 1e-9
        bench.close()


def cells(shape):
    """Return kernel, row and column of every cell."""
    return tuple(index.ravel() for index in np.indices(shape))


def read(geometry):
    kernel, row, col = cells(geometry.shape)
    return Sense(read_bias(geometry, kernel, row, col, V_READ), col[:, None])


def write(geometry, target, scheme=Scheme.HALF):
    kernel, row, col = cells(geometry.shape)
    return write_bias(geometry, kernel, row, col, target, scheme=scheme)


@CASES
def test_every_cell_is_written_and_read_as_on_the_die_itself(case, opened):
    _, die, probed = opened(case)
    kernel, row, col = cells(case.shape)
    n = len(kernel)
    for target in (np.arange(n) % 3 != 1, np.arange(n) % 2 == 0, np.zeros(n, np.bool_)):
        plan = WritePlan(
            write(die.geometry, target), read(die.geometry), target, np.full(n, die.nominal.cut(0)), V_READ,
            np.array([V_WRITE]), np.full(n, 3), WIDTH,
        )  # fmt: skip
        assert probed.program(plan).verified.all()
        assert (die.truth()["state"][kernel, row, col] == target).all()
        alone = die_of(case.shape)
        alone.pulse(Pulse(write(die.geometry, target).scaled(V_WRITE), WIDTH))
        np.testing.assert_allclose(
            probed.sense(read(die.geometry)).current, alone.sense(read(die.geometry)).current, rtol=1e-5
        )


@CASES
def test_a_read_takes_the_time_that_was_predicted(case, opened):
    twin, die, probed = opened(case)
    sense = read(die.geometry)
    probed.sense(sense)
    begin = twin.world.now
    probed.sense(sense)
    elapsed, predicted = twin.world.now - begin, probed.check(sense)
    if case.matrices:  # routes of several matrices are counted as if all moved; a route that stands already is not
        assert 0.9 * elapsed < predicted
    else:
        assert predicted == pytest.approx(elapsed, rel=0.1)


@CASES
def test_contact_is_checked_at_the_voltage_of_the_contact_check_before_anything_else(case, opened):
    twin, die, probed = opened(case)
    for pads in case.structures:
        assert 0 < probed.continuity(*pads) < 50e3
    probed.sense(read(die.geometry))
    (first,) = twin.ledger.first_bias
    assert 10e-3 < first <= 15e-3 * (1 + 1e-9)


@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize("name", ["one channel and a ground", "one channel on the column, the row on ground"])
def test_one_channel_writes_one_cell_by_any_scheme(name, scheme, opened):
    twin, die, probed = opened(LEGAL[name])
    for target in (True, False):
        probed.pulse(Pulse(write(die.geometry, np.array([target]), scheme).scaled(V_WRITE), WIDTH))
        assert die.truth()["state"][0, 0, 0] == target
    assert twin.ledger.peak_cell_voltage == pytest.approx(V_WRITE)


def test_a_whole_row_is_read_at_once_where_every_column_has_a_channel(opened):
    _, die, probed = opened(LEGAL["1 x 4 on five wired channels"])
    sense = Sense(row_bias(die.geometry, np.array([0]), np.array([0]), V_READ), np.array([3, 0, 2, 1]))
    np.testing.assert_allclose(probed.sense(sense).current, die.sense(sense).current, rtol=1e-5)


def test_zero_offsets_are_subtracted_where_the_current_is_that_of_the_other_lines(opened):
    case = LEGAL["two rows on channels, one column on ground"]
    values = case.bench().reads.model_copy(update={"zero_offset": True})
    twin, die, probed = opened(case, reads=values)
    expected = die.sense(read(die.geometry)).current
    for channel in twin.instruments["smu"].channels.values():
        channel.smu.offset = 3e-7
    np.testing.assert_allclose(probed.sense(read(die.geometry)).current, expected, rtol=1e-5)


def refused(case, operation, words):
    bench = case.bench()
    die = die_of(case.shape)
    with pytest.raises(BenchError, match=words):
        planned_die(bench, die.nominal).check(operation)


G13, G12 = Geometry(1, 1, 3), Geometry(1, 1, 2)


def test_what_wired_lines_cannot_do_is_refused_in_plan_by_name():
    on_ground = LEGAL["one row on ground, two columns on channels"]
    whole_row = write(G12, np.ones(2, np.bool_), Scheme.GROUNDED).scaled(V_WRITE)
    refused(
        on_ground, Pulse(whole_row, WIDTH), "pattern 0: 2 channels and a ground would be enough, but the lines do no"
    )
    kernel, row, col = cells((1, 1, 2))
    floating = Sense(read_bias(G12, kernel, row, col, V_READ, unselected=Unselected.FLOATING), col[:, None])
    refused(on_ground, floating, "pattern 0: c01 has to float, and it is wired to its source")


def test_a_die_that_one_channel_cannot_tell_apart_is_refused_with_what_would_do():
    case = Case((1, 2, 3), grid(2, 3), {"smu": "2601B"}, {"matrix": "707B"}, {"smu.smua": "A"}, "H")
    geometry = Geometry(1, 2, 3)
    refused(case, read(geometry), r"1 channel and a ground: 2 channels of one instrument are needed, .*source of 2")
    third = write(geometry, np.ones(6, np.bool_), Scheme.THIRD).scaled(V_WRITE)
    refused(case, Pulse(third, WIDTH), "3 levels at once, 1 channel and a ground.*'half' takes two channels and a gr")


def test_lines_of_one_kernel_on_two_sources_whose_levels_do_not_stand_are_refused_by_name():
    case = replace(LEGAL["2 x 2 on four wired channels"], stands=False)
    words = r"r00 is wired to s1\.smua and c00 to s2\.smua: what acts together has to be on one instrument"
    with pytest.raises(BenchError, match=words):
        planned_die(case.bench(), die_of(case.shape).nominal)


def test_a_structure_that_no_source_can_check_is_refused_in_plan():
    case = LEGAL["a matrix and two wired pads that are no lines"]
    grounded = replace(case, pads={**case.pads, "t0": "ground"}, structures=(("t0", "t1"),))
    with pytest.raises(BenchError, match=r"no contact check between t0 and t1: t0 and t1 are both on ground by wire"):
        planned_die(grounded.bench(), die_of((1, 2, 3)).nominal)


def test_a_pad_that_no_relay_grounds_cannot_be_landed_on_ground():
    case = LEGAL["rows on one matrix, columns on another, channels and ground on both"]
    half = replace(case, ground="left.H")
    assert half.bench().landing == frozenset()
    with pytest.raises(ValueError, match=r"'landing: grounded' needs ground for every pad .* c00, c01, c02 cannot"):
        half.bench(contact={"landing": "grounded"})
    assert len(case.bench().landing) == 5
    assert {matrix for matrix, _ in case.bench().landing} == {"left", "right"}


def test_over_two_matrices_relays_open_before_others_close(opened):
    case = LEGAL["rows on one matrix, columns on another, channels and ground on both"]
    twin, die, probed = opened(case)
    probed.sense(read(die.geometry))
    moves, switch = [], twin.world.switch

    def watched(close=(), open=()):
        moves.append(("open" if open else "close", {row.split(".")[0] for row, _ in (*close, *open)}))
        switch(close, open)

    twin.world.switch = watched
    probed.sense(read(die.geometry))
    both = [k for k in range(len(moves) - 3) if [m for m, _ in moves[k : k + 4]] == ["open", "open", "close", "close"]]
    assert both, "both matrices open, then both close"


@pytest.mark.parametrize("name", ["left", "right"])
def test_relays_of_every_matrix_are_opened_although_one_does_not_answer(name, opened):
    case = LEGAL["rows on one matrix, columns on another, channels and ground on both"]
    twin, die, probed = opened(case)
    probed.sense(read(die.geometry))
    matrix = twin.instruments[name]
    matrix.fault = lambda line: Fault.DEAF
    with pytest.raises(InstrumentError, match=f"NOT verified safe: {name}"):
        probed.idle()
    assert {row.split(".")[0] for row, _ in twin.world.closed} == {name}
    matrix.fault = lambda line: Fault.NONE
    probed.idle()


def test_a_bench_of_two_matrices_is_made_safe_from_outside_and_each_is_verified(opened):
    case = LEGAL["rows on one matrix, columns on another, channels and ground on both"]
    twin, die, probed = opened(case)
    probed.sense(read(die.geometry))
    assert len({row.split(".")[0] for row, _ in twin.world.closed}) == 2
    safed = make_safe(case.bench(), connect=twin.connect, wait=twin.wait)
    assert safed.text == "smu: outputs verified off at 0 V; left, right: relays verified open"
    assert set(safed.met) >= {"left", "right"}
    assert not twin.world.closed


def test_without_a_matrix_nothing_is_said_of_relays_and_outputs_are_verified_off(opened):
    case = LEGAL["two channels on the needles of one cell"]
    twin, die, probed = opened(case)
    probed.sense(read(die.geometry))
    bench = case.bench()
    assert make_safe(bench, connect=twin.connect, wait=twin.wait).text == "smu: outputs verified off at 0 V"
    text = isolate(bench, connect=twin.connect, wait=twin.wait)
    assert text == "r00 is NOT separated from smu.smua, a wire; c00 is NOT separated from smu.smub, a wire"


def probing(prober):
    """Return a bench of two wired needles on a probe station, its twin with two dies side by side, and both opened."""
    wires = LEGAL["one channel and a ground"]
    source = {"driver": "keithley2600b", "model": "2601B", "resource": "TCPIP::192.0.2.11::5025::SOCKET"}
    bench = Bench.model_validate(
        {
            **{key: getattr(wires.bench(), key) for key in ("name", "wiring", "limits", "twin")},
            "instruments": {"smu": source, "prober": prober},
            "contact": {"structures": wires.structures, "retouches": 1},
        },
        context={"file": True},
    )
    dies = {(x, 0, 0): die_of((1, 1, 1)) for x in range(2 if "resource" in prober else 1)}
    twin = Twin(bench, dies)
    asked = []
    opened = open_bench(
        bench, dies[0, 0, 0].nominal, connect=twin.connect, wait=twin.wait, ask=lambda text: not asked.append(text)
    )
    return bench, dies, twin, opened, asked


def test_wired_needles_on_a_prober_touch_and_lift_with_the_output_off():
    sentio = {"driver": "mpi_sentio", "resource": "TCPIP::192.0.2.30::35555::SOCKET", "overtravel_ceiling": "50 um"}
    bench, dies, twin, opened, _ = probing(sentio)
    assert bench.landing == frozenset()
    touches, touch = [], twin.world.touch

    def watched(down):
        if down != twin.world.in_contact:
            touches.append((down, twin.instruments["smu"].channels["smua"].smu.set.output))
        touch(down)

    twin.world.touch = watched
    for (x, _, _), die in dies.items():
        opened.die.land()
        opened.prober.step(x, 0)
        assert touch_down(Needles(opened.die), opened.prober).resistance["r00", "c00"] < 50e3
        opened.die.pulse(Pulse(write(die.geometry, np.array([True])).scaled(V_WRITE), WIDTH))
        with pytest.raises(InstrumentError, match="NOT verified off"):
            opened.prober.separate()
        lift(Needles(opened.die), opened.prober)
        assert die.truth()["state"].all()
    assert touches == [(down, 0) for _ in dies for down in (True, False)]
    assert twin.ledger.first_bias == pytest.approx([15e-3] * 2)
    assert (twin.ledger.hot_switches, twin.ledger.moves_in_contact) == (0, 0)
    opened.close()


def test_wired_needles_moved_by_hand_are_a_bench():
    _, dies, twin, opened, asked = probing({"driver": "manual_prober"})
    opened.die.land()
    opened.prober.step(0, 0)
    touch_down(Needles(opened.die), opened.prober)
    (die,) = dies.values()
    current = opened.die.sense(read(die.geometry)).current
    np.testing.assert_allclose(current, die.sense(read(die.geometry)).current, rtol=1e-5)
    lift(Needles(opened.die), opened.prober)
    assert len(asked) >= 2
    assert not twin.world.closed
    opened.close()
