"""Write plans inside an emulated 2602B, over a 707B on its TSP-Link or apart from it; and what of them is lost."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from instruments.bench import Bench
from instruments.keithley2600b_program import FUNCTIONS, PROGRESS, attempts_in, compiled
from instruments.open_bench import open_bench, planned_die
from instruments.script_cells import CELL, characters_of
from instruments.transport import BytesTransport
from labctl.core.bias import Bias, Nominal
from labctl.core.errors import BenchError, ContactError, InstrumentError, LabError, NotDriven
from labctl.core.operations import Attempts, Flag, Sense, WritePlan
from labctl.station.twin import Twin
from protocols.bias import Scheme, row_bias
from protocols.cells import Cells
from protocols.settings import WriteSettings
from protocols.write_trials import WriteTrials
from sim_backend.description import DieDescription
from sim_backend.die import SimDie
from sim_backend.emulators.link import Fault

K, M, N = 1, 4, 3
NOMINAL = Nominal.alike(4.2e-4, 1.9e-4, K)
LINKED = {"smu": 1, "matrix": 2}


def bench(*, inside: bool = True, linked: bool = True, **changes: Any) -> Bench:
    pads = [*(f"r{i}" for i in range(M)), *(f"c{i}" for i in range(N))]
    data: dict[str, Any] = {
        "name": "inside",
        "instruments": {
            "smu": {"driver": "keithley2600b", "resource": "1"},
            "matrix": {"driver": "keithley707b", "resource": "2"},
        },
        "wiring": {
            "channels": {"smu.smua": "A", "smu.smub": "B"},
            "ground": "H",
            "pads": {pad: f"1-{1 + k:02d}" for k, pad in enumerate(pads)},
            "kernels": [{"rows": pads[:M], "cols": pads[M:]}],
        },
        "limits": {
            "v_towards_p": "0.9 V", "v_towards_ap": "0.9 V", "width": "10 ms", "compliance": "10 mA",
            "ramp_rate": "1000 V/s",
        },
        "programming": "instrument" if inside else "host",
        "twin": {"ideal_instruments": True},
    }  # fmt: skip
    if linked:
        for name, node in LINKED.items():
            data["instruments"][name]["tsplink"] = node
    for path, value in changes.items():
        section = data
        *way, last = path.split("__")
        for key in way:
            section = section.setdefault(key, {})
        section[last] = value
    return Bench.model_validate(data, context={"file": True})


def simulated(**simulation: Any) -> SimDie:
    data = {
        "name": "die",
        "geometry": {"kernels": K, "n_rows": M, "n_cols": N},
        "junction": {"diameter": "80 nm"},
        "simulation": simulation or {"ideal": True},
    }
    return SimDie(DieDescription.model_validate(data, context={"file": True}), seed=11, name="die")


class Station:
    """A bench that is open on its twin; what was sent to each instrument, by message."""

    def __init__(self, file: Bench, die: SimDie | None = None) -> None:
        self.simulated = die or simulated()
        self.twin = Twin(file, {(0, 0, 0): self.simulated})
        self.sent: list[tuple[str, str]] = []
        self.open = open_bench(file, NOMINAL, connect=self._connect, wait=self.twin.world.advance)
        self.die = self.open.die

    def _connect(self, name: str, entry: Any) -> BytesTransport:
        def log(direction: str, data: bytes) -> None:
            if direction == ">":
                self.sent.append((name, data.decode()))

        session = self.twin.instruments[name].session()
        return BytesTransport(session, name, probe=entry.declaration.question, log=log)

    @property
    def states(self) -> np.ndarray:
        return np.asarray(self.twin.truth((0, 0, 0))["state"])

    def clean(self) -> bool:
        audit = self.twin.ledger
        return not (audit.hot_switches or audit.fights or audit.count("subordinate commanded") or audit.refused)


@pytest.fixture
def station() -> Iterator[Callable[..., Station]]:
    opened: list[Station] = []

    def make(die: SimDie | None = None, **changes: Any) -> Station:
        opened.append(Station(bench(**changes), die))
        return opened[-1]

    yield make
    for one in opened:
        one.open.off()
        one.open.close()


def plan_of(
    die: Any, seed: int = 0, *, scheme: Scheme = Scheme.HALF, budget: int = 9, cells: int = M * N, v_start: float = 0.3
) -> WritePlan:
    rng = np.random.default_rng(seed)
    order = rng.permutation(M * N)[:cells]
    at = tuple(index.ravel()[order] for index in np.indices((K, M, N)))
    settings = WriteSettings(scheme=scheme, v_start=v_start, v_max=0.85, v_step=0.05, compliance=5e-3, width=1e-3)
    target = rng.random(cells) < 0.6
    return settings.plan(die.geometry, at, target, np.full(cells, 2.8e-4), np.full(cells, budget))


def by_cell(attempts: Attempts) -> list[list[tuple[float, ...]]]:
    """Return of each cell its attempts, in order."""
    cells: list[list[tuple[float, ...]]] = [[] for _ in attempts.verified]
    columns = (attempts.attempt, attempts.voltage, attempts.flag, attempts.pulse_flag)
    for cell, *row in zip(attempts.cell.tolist(), *(c.tolist() for c in columns), strict=True):
        cells[cell].append(tuple(row))
    return cells


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("scheme", [Scheme.HALF])
@pytest.mark.parametrize("more", [{}, {"reads__zero_offset": True}, {"reads__lead_resistance": "20 ohm"},
                                  {"outputs__between_routes": "grounded"}])  # fmt: skip
def test_an_ideal_die_ends_in_the_states_and_attempts_of_the_host_loop(station, linked, scheme, more):
    inside, host = station(linked=linked, **more), station(inside=False, linked=False, **more)
    plan = plan_of(inside.die, scheme=scheme)
    here, there = inside.die.program(plan), host.die.program(plan)
    assert by_cell(here) == by_cell(there)
    assert np.array_equal(here.verified, there.verified)
    assert np.array_equal(here.short, there.short)
    order = np.lexsort((there.attempt, there.cell)), np.lexsort((here.attempt, here.cell))
    assert np.allclose(here.current[order[1]], there.current[order[0]], rtol=1e-6)
    assert here.verified.sum() >= 8
    assert len(here.cell) > len(plan), "a ladder was climbed"
    assert np.array_equal(inside.states, host.states)
    assert inside.clean()
    assert host.clean()
    assert inside.die.state.closed is not None
    assert not here.lost.any()


def test_a_linked_plan_is_one_message_and_a_plan_apart_one_for_each_route(station):
    counts = {}
    for name, changes in (("linked", {}), ("apart", {"linked": False}), ("host", {"inside": False, "linked": False})):
        one = station(**changes)
        plan = plan_of(one.die)
        one.die.program(plan.take(slice(0, 1)))  # outputs on, functions sent
        one.sent.clear()
        one.die.program(plan)
        counts[name] = len(one.sent)
    assert counts["linked"] == 1
    assert counts["apart"] == 2 * len(plan) - 1  # the first route stood
    assert counts["host"] > 2 * counts["apart"]


def test_the_matrix_is_released_before_the_host_moves_its_relays(station):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan)
    one.sent.clear()
    one.die.continuity("r0", "c0")
    assert one.sent[0][1].startswith("abort\n")
    assert one.clean()
    one.die.program(plan)
    assert one.clean()


def test_reads_over_a_linked_matrix_are_one_message_and_those_of_the_host(station):
    one, host = station(), station(inside=False, linked=False)
    bias = row_bias(one.die.geometry, np.zeros(2 * M, int), np.repeat(np.arange(M), 2), np.tile([0.1, -0.1], M))
    sense = Sense(bias, np.arange(N))
    one.die.sense(sense.take(slice(0, 1)))  # outputs on, functions sent
    one.sent.clear()
    begin = one.twin.world.now
    here, there = one.die.sense(sense), host.die.sense(sense)
    assert len(one.sent) == 1
    assert one.twin.world.now - begin == pytest.approx(one.die.check(sense), rel=0.05)
    assert one.die.check(sense) < host.die.check(sense)
    assert np.array_equal(here.flag, there.flag)
    assert np.allclose(here.current, there.current, rtol=1e-9)
    assert one.clean()


def test_a_flagged_read_inside_is_read_once_more_on_the_largest_range(station):
    readings = []
    for changes in ({}, {"inside": False, "linked": False}):
        one = station(simulated(defects={"short": 0.15}), **changes)
        bias = row_bias(one.die.geometry, np.zeros(M, int), np.arange(M), 0.1)
        readings.append(one.die.sense(Sense(bias, np.arange(N))))
        assert not one.twin.ledger.hot_switches
    assert np.allclose(readings[0].current, readings[1].current, rtol=0.1)
    assert np.array_equal(readings[0].flag, readings[1].flag)
    assert (np.abs(readings[0].current) > 3e-4).any(), "a short, which is above the range of a cell"


def test_predictions_are_times_of_the_twin(station):
    for changes in ({}, {"linked": False}):
        one = station(**changes)
        plan = plan_of(one.die, v_start=0.8)
        one.die.program(plan)
        begin = one.twin.world.now
        attempts = one.die.program(plan)
        assert len(attempts.cell) == len(plan), "every cell verifies at its first pulse"
        assert one.twin.world.now - begin == pytest.approx(one.die.scripts.expected(plan), rel=0.15)
        assert one.die.check(plan) > 1.15 * one.die.scripts.expected(plan)


def at_pulse(one: Station, monkeypatch: pytest.MonkeyPatch, count: int, act: Callable[[], None]) -> None:
    """Have `act` happen in the middle of pulse number `count` of the channel that makes the width."""
    smu = one.twin.instruments["smu"].smus["smua"]
    write, pulses = smu.write, [0]

    def counted(name: str, value: float) -> None:
        write(name, value)
        if name == "levelv" and abs(value) > 0.12:  # no read
            pulses[0] += 1
            if pulses[0] == count:
                act()

    monkeypatch.setattr(smu, "write", counted)


@pytest.mark.parametrize("how", ["output trips", "aborted from its panel", "reply lost", "connection lost", "^C"])
@pytest.mark.parametrize("linked", [True, False])
def test_a_script_that_broke_off_tells_how_far_it_came(station, monkeypatch, how, linked):
    one, whole = station(linked=linked), station(linked=linked)
    plan = plan_of(one.die)
    all_of_them = whole.die.program(plan)
    one.die.program(plan.take(slice(0, 1)))
    error: type[BaseException] = InstrumentError
    instrument = one.twin.instruments["smu"]
    match how:
        case "output trips":
            error = NotDriven
            at_pulse(one, monkeypatch, 10, instrument.trip)
        case "aborted from its panel":
            at_pulse(one, monkeypatch, 10, instrument.interrupt)
        case "^C":
            error = KeyboardInterrupt

            session = one.open.sources["smu"]._tsp.transport
            query = session.query
            seen = [0]

            def cut(text: str, **more: Any) -> str:
                reply = query(text, **more)
                if "mtj_cell" in text:
                    seen[0] += 1
                    if seen[0] == (1 if linked else 4):
                        raise KeyboardInterrupt
                return reply

            monkeypatch.setattr(session, "query", cut)
        case _:
            fault = Fault.MUTE if how == "reply lost" else Fault.DROP
            left = [1 if linked else 4]

            def once(line: bytes) -> Fault:
                if b"table.concat(mtj_r or {}" in line and b"errorqueue.count" in line:
                    left[0] -= 1
                    return fault if left[0] == 0 else Fault.NONE
                return Fault.NONE

            instrument.fault = once
    with pytest.raises(error):
        one.die.program(plan)
    rescued = one.die.scripts.rescued
    assert rescued is not None
    known, unknown = by_cell(rescued), rescued.lost
    assert unknown.sum() <= 1
    for cell, attempts in enumerate(known):
        if attempts and not unknown[cell]:
            assert attempts == by_cell(all_of_them)[cell]
    assert 0 < sum(map(len, known)) <= len(all_of_them.cell)
    if how in ("output trips", "aborted from its panel"):
        assert unknown.sum() == 1, "the attempt that it was in"
        assert sum(map(len, known)) < len(all_of_them.cell)
    assert not any(state.output for state in one.open.sources["smu"].state().values())
    with pytest.raises(InstrumentError, match="made safe"):
        one.die.program(plan)
    instrument.fault = lambda line: Fault.NONE
    monkeypatch.undo()
    one.open.off()
    again = one.die.program(plan)
    assert again.verified.sum() >= all_of_them.verified.sum()


def test_where_nothing_is_told_every_attempt_counts_as_made(station):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan.take(slice(0, 1)))
    one.twin.instruments["smu"].fault = lambda line: Fault.DEAF
    with pytest.raises(LabError):
        one.die.program(plan)
    rescued = one.die.scripts.rescued
    assert rescued.lost.all()
    assert np.array_equal(np.bincount(rescued.cell, minlength=len(plan)), plan.most)
    assert rescued.verified.sum() == 0
    one.twin.instruments["smu"].fault = lambda line: Fault.NONE


def test_a_line_of_the_script_that_is_lost_on_its_way_is_known(station):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan.take(slice(0, 1)))
    one.twin.instruments["smu"].fault = lambda line: Fault.DEAF if line.startswith(b"mtj_cell") else Fault.NONE
    with pytest.raises(InstrumentError):
        one.die.program(plan)
    one.twin.instruments["smu"].fault = lambda line: Fault.NONE


def test_relays_that_stick_end_the_script_before_a_pulse(station):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan.take(slice(0, 2)))
    before = one.states.copy()
    one.twin.instruments["matrix"].sticks = lambda crosspoint: True
    with pytest.raises(InstrumentError, match="relays: "):
        one.die.program(plan.take(slice(2, 4)))
    assert np.array_equal(one.states, before)
    assert one.die.scripts.rescued is not None
    assert len(one.die.scripts.rescued.cell) == 0
    one.twin.instruments["matrix"].sticks = lambda crosspoint: False


def test_the_link_is_asked_for_the_matrix(station):
    one = station(instruments__matrix__tsplink=5)
    one.twin.instruments["matrix"].link.node = 6  # as somebody left it
    with pytest.raises(InstrumentError, match="no node 5"):
        one.die.program(plan_of(one.die))
    other = station(instruments__matrix__model="708B")
    other.twin.instruments["matrix"].model = "707B"
    with pytest.raises(InstrumentError, match="is a 707B, and matrix is a 708B"):
        other.die.program(plan_of(other.die))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instruments__smu__tsplink": None}, "write 'tsplink' with the node number of each"),
        ({"instruments__smu__tsplink": 2}, "one node number"),
    ],
)
def test_a_bus_with_one_end_or_one_number_is_refused(changes, message):
    with pytest.raises(BenchError, match=message):
        planned_die(bench(**changes), NOMINAL)


def test_a_script_that_would_not_fit_is_refused_in_the_plan():
    die = planned_die(bench(), NOMINAL)
    assert die.scripts is not None
    plan = plan_of(die)
    die.scripts.require_fit(plan)
    long = replace(plan, ladder=np.full(5000, 0.5), budget=np.full(len(plan), 5000))
    with pytest.raises(BenchError, match=r"attempts, and smu \(2602B\) is taken to hold 4000"):
        die.scripts.require_fit(long)


def test_the_length_of_a_script_is_not_underestimated(station):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan)
    scripts, source = one.die.scripts, one.open.sources["smu"]
    cells = scripts.planner.of(plan)
    moves = scripts._moves(cells.relays, frozenset())
    program = scripts._program(plan, cells, range(len(plan)), moves)
    lines = compiled(program, source._steps).lines
    kinds = sum(characters_of(kind) for kind in cells.kinds)
    relays = sum(6 * (len(m.opening) + len(m.closing)) + 60 for of_cell in moves for m in of_cell)
    assert sum(len(line) + 1 for line in lines) < kinds + CELL * len(plan) + relays + 12 * len(plan.ladder)
    assert max(map(len, FUNCTIONS)) < 1000


def test_attempts_that_do_not_follow_each_other_are_refused(station):
    one = station()
    plan = plan_of(one.die)
    scripts = one.die.scripts
    cells = scripts.planner.of(plan)
    program = scripts._program(plan, cells, range(len(plan)), [()] * len(plan))
    good = ["0 1 1e-5 0 0 0 0", "0 2 1e-5 0 0 1 0", "3 1"]
    assert [a.flag for a, _ in attempts_in(good, program, "smu")] == [Flag(0), Flag(0), Flag.UNKNOWN]
    for bad in (
        ["0 2 1e-5 0 0 0 0"],
        ["0 1 1e-5 0 0 1 0", "0 2 1e-5 0 0 1 0"],
        ["0 1 1e-5 1 0 0 0", "0 2 1e-5 0 0 1 0"],
        ["3 1 1e-5 0 0 1 0", "0 1 1e-5 0 0 1 0"],
        ["0 1", "1 1 1e-5 0 0 1 0"],
        ["99 1 1e-5 0 0 1 0"],
        ["0 1 1e-5 9 0 1 0"],
        ["0 1 nothing 0 0 1 0"],
        ["0 1 nan 0 0 1 0"],
        ["0 1 9.91e37 1 0 0 0"],
        ["0"],
    ):
        with pytest.raises(InstrumentError, match="no attempt of the script, or not the next one"):
            attempts_in(bad, program, "smu")


def test_a_pulse_of_a_pulse_source_is_left_to_the_host():
    tee = {"pulses": "pulser.out1", "shortest": "5 ns", "longest": "1 us", "junction": ["1 kohm", "10 kohm"]}
    changes = {
        "instruments__pulser": {"driver": "keysight81160a", "resource": "3"},
        "wiring__tees": {"smu.smua": tee},
        "wiring__fastest_pulse": {"matrix": "10 ns"},
        "limits__pulse_current": "20 mA",
        "limits__v_towards_p": "0.85 V",
        "limits__v_towards_ap": "0.85 V",
    }
    die = planned_die(bench(**changes), NOMINAL)
    plan = plan_of(die)
    die.check(plan)
    row = np.zeros((1, M))
    row[0, 0] = 1.0
    whole = Bias(row, np.zeros((1, N)), kernel=np.array(0), pulsed=np.array(0), compliance=1e-3)
    read = Bias(0.1 * row, np.zeros((1, N)), kernel=np.array(0), compliance=1e-3)
    short = replace(plan.take(slice(0, 1)), write=whole, verify=Sense(read, np.array([0])), width=50e-9)
    with pytest.raises(BenchError, match="comes from a pulse source"):
        die.check(short)


def test_an_attempt_without_a_number_is_refused_whichever_source_made_it_and_all_count(station, monkeypatch):
    one = station()
    plan = plan_of(one.die)
    source = one.open.sources["smu"]
    program = source.program

    def silent(given):
        return [replace(made, current=float("nan"), flag=Flag(0)) for made in program(given)]

    monkeypatch.setattr(source, "program", silent)
    monkeypatch.setattr(source, "rescue", lambda: None)
    with pytest.raises(InstrumentError, match="attempt 1 at a cell has read nan A"):
        one.die.program(plan)
    assert len(one.die.scripts.rescued.cell) > 0
    one.open.off()


def test_replies_that_are_no_attempts_are_refused_and_tell_nothing(station, monkeypatch):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan.take(slice(0, 1)))
    source = one.open.sources["smu"]
    asked, cold = source._tsp.text, ["true\t1\t0"] * 2

    def fail(text: str) -> Attempts | None:
        marks: list[str] = []

        def script(*lines: Any, **more: Any) -> list[str]:
            marks.append(source._tsp.next_mark)
            return ["0 1 nonsense", *cold, "5"]

        def told(expression: str) -> str:
            return text.replace("MARK", marks[-1]) if expression == PROGRESS else asked(expression)

        one.die.program(plan.take(slice(0, 1)))  # outputs on
        with monkeypatch.context() as patch:
            patch.setattr(source._tsp, "script", script)
            patch.setattr(source._tsp, "text", told)
            with pytest.raises(InstrumentError, match="no attempt of the script"):
                one.die.program(plan)
        one.open.off()
        return one.die.scripts.rescued

    for text in ("another;0 1 1e-5 0 0 1 0", "MARK;0 9 1e-5 0 0 1 0"):
        rescued = fail(text)
        assert rescued is not None
        assert rescued.lost.all(), text
    told = fail("MARK;0 1 1e-5 0 0 1 0;1 1;true\t1\t0;12")
    assert told is not None
    assert told.cell.tolist() == [0, 1]
    assert told.lost.tolist() == [k == 1 for k in range(len(plan))]
    assert source.rescue() is None, "it was told already"
    monkeypatch.setattr(source._tsp, "text", lambda expression: "half\tnil")
    with pytest.raises(InstrumentError, match="the state of TSP-Link and a model"):
        source.linked(2)
    monkeypatch.undo()


def test_a_read_after_a_plan_of_another_aperture_has_its_own(station):
    one = station()
    plan = plan_of(one.die)
    longer = replace(plan, verify=replace(plan.verify, aperture=5 * plan.verify.aperture))
    smus = one.twin.instruments["smu"].smus
    apertures = []
    for act in (
        lambda: one.die.sense(plan.verify),
        lambda: one.die.program(longer),
        lambda: one.die.sense(plan.verify),
    ):
        act()
        apertures.append({name: smu.aperture for name, smu in smus.items()})
    assert apertures[1] != apertures[0]
    assert apertures[2] == apertures[0]


def test_a_rescue_that_is_interrupted_leaves_every_attempt_counted(station, monkeypatch):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan.take(slice(0, 1)))
    at_pulse(one, monkeypatch, 3, one.twin.instruments["smu"].trip)

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(one.open.sources["smu"], "rescue", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.die.program(plan)
    rescued = one.die.scripts.rescued
    assert rescued.lost.all()
    assert np.array_equal(np.bincount(rescued.cell, minlength=len(plan)), plan.most)


def test_of_a_script_that_is_not_accepted_nothing_is_told(station, monkeypatch):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan.take(slice(0, 1)))
    tsp = one.open.sources["smu"]._tsp
    script = tsp.script

    def one_step_less(*lines: Any, **more: Any) -> list[str]:
        *printed, steps = script(*lines, **more)
        return [*printed, f"{float(steps) - 1:g}"]

    monkeypatch.setattr(tsp, "script", one_step_less)
    with pytest.raises(NotDriven, match="nothing of it is accepted"):
        one.die.program(plan)
    rescued = one.die.scripts.rescued
    assert rescued.lost.all()
    assert np.array_equal(np.bincount(rescued.cell, minlength=len(plan)), plan.most)
    assert not rescued.verified.any()


def test_a_plan_that_is_refused_before_anything_was_sent_has_no_attempt(station, monkeypatch):
    one = station(reads__lead_resistance="20 ohm")
    plan = plan_of(one.die)

    def refuse() -> None:
        raise ContactError("the needles are not in contact")

    with monkeypatch.context() as patch:
        patch.setattr(one.die._io, "switch_on", refuse)
        with pytest.raises(ContactError):
            one.die.program(plan)
    assert len(one.die.scripts.rescued.cell) == 0
    assert len(one.die.scripts.rescued.verified) == len(plan)
    made = one.die.program(plan)
    assert one.die.scripts.rescued is made
    long = replace(plan, ladder=np.full(5000, 0.5), budget=np.full(len(plan), 5000))
    with pytest.raises(BenchError, match="is taken to hold 4000"):
        one.die.check(long)
    with pytest.raises(BenchError, match="is taken to hold 4000"):
        one.die.program(long)
    assert len(one.die.scripts.rescued.cell) == 0


def test_a_second_source_on_the_link_is_met_after_the_first_has_let_the_matrix_go(station):
    one = station()
    plan = plan_of(one.die)
    one.die.program(plan)
    asked: list[str] = []

    class Second:
        name = "smu2"

        def linked(self, node: int) -> str:
            asked.append(one.sent[-1][1])
            return "707B"

        def release(self) -> None:
            asked.append("released")

    one.sent.clear()
    second: Any = Second()
    for _ in range(2):
        one.die.scripts._hand_over(second, second)
    assert len(asked) == 1, "met once, and not released between two of its own scripts"
    assert [name for name, text in one.sent if text.startswith("abort\n")] == ["smu"]
    assert asked[0].startswith("abort\n")
    one.die.sense(plan.verify)
    assert asked[1:] == ["released"]


@pytest.mark.parametrize("voltage", [0.3, 0.8])
def test_trials_of_a_cell_are_one_message_and_the_same_as_by_the_host(station, voltage):
    trials = WriteTrials(trials=20, v_start=voltage, v_max=0.85, v_step=0.05, compliance=5e-3)
    made = []
    for changes in ({}, {"linked": False}, {"inside": False, "linked": False}):
        one = station(**changes)
        cell = Cells(np.array([0]), np.array([1]), np.array([2]))
        plan = trials.loop_plan(one.die.geometry, cell, np.array([2.8e-4]), True, voltage, trials.trials)
        one.die.program(plan.take(slice(0, 1)))
        one.sent.clear()
        made.append(one.die.program(plan))
        if changes.get("inside", True):
            assert len(one.sent) == 1
        assert one.clean()
    for other in made[1:]:
        assert by_cell(made[0]) == by_cell(other)
        assert np.array_equal(made[0].verified, other.verified)
    assert made[0].verified[::2].all(), "set back each time"
    assert made[0].verified[1::2].all() == (voltage > 0.5)
