"""Whatever ends a run on a bench, the dies come to no harm: counted by the emulated world, not by those who drive it.

Two dies of 2 kernels of 4 x 3 cells stand side by side under a prober; each is stepped to, touched, mapped and pulsed.
The run is broken off at every stage: by ^C before and after a message, by a bug, by an instrument that falls silent,
obeys without answering, answers late or drops its connection, once or for good.
"""

import itertools
from dataclasses import dataclass, field

import pytest

from instruments.bench import Bench
from labctl.core.errors import LabError, LeftUnverified
from labctl.core.exit_codes import Status
from labctl.core.procedure import Procedure
from labctl.core.site import Site
from labctl.execution import die_job
from labctl.execution.die_job import Job, run_die
from labctl.execution.stop import Stop
from labctl.station.bench_session import OnBench
from labctl.station.bench_setup import on_bench
from labctl.station.hand_session import bench_limits
from protocols.by_hand import MapCells, PulseCell
from sim_backend.description import DieDescription
from sim_backend.emulators.link import Fault

K, M, N = 2, 4, 3
LIMIT, RELAY_LIMIT = 0.5, 10e-6
PADS = [f"{axis}{k}{i}" for k in range(K) for axis, n in (("r", M), ("c", N)) for i in range(n)]
BENCH = {
    "name": "small",
    "instruments": {
        "smu1": {"driver": "keithley2600b", "resource": "1", "patience": "3 s"},
        "smu2": {"driver": "keithley2600b", "resource": "2", "patience": "3 s"},
        "matrix": {"driver": "keithley707b", "resource": "3", "patience": "3 s"},
        "prober": {"driver": "mpi_sentio", "resource": "4", "overtravel_ceiling": "50 um"},
    },
    "wiring": {
        "channels": {"smu1.smua": "A", "smu1.smub": "B", "smu2.smua": "C", "smu2.smub": "D"},
        "ground": "H",
        "pads": {pad: f"{1 + j // 12}-{1 + j % 12:02d}" for j, pad in enumerate(PADS)},
        "kernels": [{"rows": [f"r{k}{i}" for i in range(M)], "cols": [f"c{k}{i}" for i in range(N)]} for k in range(K)],
    },
    "limits": {
        "v_towards_p": f"{LIMIT} V", "v_towards_ap": f"{LIMIT} V", "width": "10 ms", "compliance": "10 mA",
        "ramp_rate": "1000 V/s",
    },
    "contact": {"structures": [["r00", "c00"], ["r13", "c12"]], "retouches": 1, "touches_per_die": 3},
}  # fmt: skip
DIE = {
    "name": "small",
    "geometry": {"kernels": K, "n_rows": M, "n_cols": N},
    "junction": {"diameter": "80 nm"},
    "simulation": {"ideal": True},
}
PROCEDURES: tuple[Procedure, ...] = (
    MapCells(kernel=1),
    PulseCell(kernel=0, row=2, col=1, to_p=True, voltage=0.45),
    PulseCell(kernel=1, row=3, col=0, to_p=False, voltage=0.45),
)
INSTRUMENTS = tuple(BENCH["instruments"])


class Buggy(Procedure):
    """A procedure with a bug in its middle."""

    name = "buggy"

    def run(self, die, history):
        yield from MapCells(kernel=0).run(die, history)
        raise ZeroDivisionError("a bug")


@dataclass
class Night:
    """What is left of one run over two dies."""

    results: list = field(default_factory=list)
    error: BaseException | None = None
    messages: int = 0
    standing: list = field(default_factory=list)
    """(source, index) of messages between which and the next a channel had a level"""
    catching: list = field(default_factory=list)
    """(instrument, index) of messages during which ^C would be caught"""
    twin: object = None

    @property
    def codes(self):
        return {r.outcome.exit_code for r in self.results} | ({self.error.exit_code} if self.error else set())


def night(folder, monkeypatch, intrude=None, procedures=PROCEDURES, between="open"):
    """Run two dies; `intrude(instrument, index, line, before)` is called around every message and may raise or,
    before it, return a `Fault`."""
    monkeypatch.setattr(die_job, "seal_in_subprocess", lambda folder, die: "")
    bench = Bench.model_validate({**BENCH, "outputs": {"between_routes": between}}, context={"file": True})
    description = DieDescription.model_validate(DIE, context={"file": True})
    subjects = [Site(f"D{k}", description, 5 + k, (k, 0)) for k in range(2)]
    found, stop, numbers = Night(), Stop(), itertools.count()
    try:
        with on_bench(bench, subjects, "bytes") as body:
            assert isinstance(body, OnBench)
            found.twin = body.twin
            for name, instrument in body.twin.instruments.items():
                intercept(instrument, name, stop, numbers, found, intrude)
            for subject in subjects:
                job = Job(folder, subject, bench_limits(bench))
                result = run_die(job, procedures, lambda *message: None, stop, body)
                found.results.append(result)
                if result.outcome.status is Status.ABORT:
                    break
    except LabError as error:
        found.error = error
    found.messages = next(numbers)
    return found


def intercept(instrument, name, stop, numbers, found, intrude):
    """Call `intrude` around every message of an instrument."""
    obey, at = instrument.execute, [0]

    def fault(line):
        at[0] = next(numbers)
        if stop.interruptible:
            found.catching.append((name, at[0]))
        return (intrude(name, at[0], stop, True) if intrude else None) or Fault.NONE

    def execute(message):
        reply = obey(message)
        if any(smu.set.levelv for smu in getattr(instrument, "smus", {}).values()):
            found.standing.append((name, at[0]))
        if intrude:
            intrude(name, at[0], stop, False)
        return reply

    instrument.fault, instrument.execute = fault, execute


def assert_unharmed(found, gone=None):
    """No hot switch, no move in contact, no volt above the limit, no level between two messages to a source, and
    nothing energised once it is over.

    A source that is `gone` for good keeps its outputs on, and nothing but a person can end that: at 0 V, behind the low
    limit. Every other output is off.
    """
    world = found.twin.world
    end = world.now
    world.advance(10.0)
    ledger = world.ledger
    assert (ledger.hot_switches, ledger.moves_in_contact, ledger.fights) == (0, 0, 0), ledger.events
    assert ledger.peak_cell_voltage <= LIMIT * (1 + 1e-9)
    assert found.standing == []
    for name in ("smu1", "smu2"):
        for channel, part in found.twin.instruments[name].smus.items():
            assert part.set.levelv == 0.0, f"{name}.{channel}"
            assert not part.set.output or (name == gone and part.set.limiti == RELAY_LIMIT), f"{name}.{channel}"
    assert ledger.energised_time(since=end) == 0.0


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        return night(tmp_path_factory.mktemp("clean"), monkeypatch)


def test_an_undisturbed_night_is_clean(clean):
    assert clean.codes == {0}
    assert [r.outcome.status for r in clean.results] == [Status.SUCCESS] * 2
    assert_unharmed(clean)
    assert clean.twin.ledger.first_bias == pytest.approx([15e-3] * 2)
    assert clean.twin.ledger.peak_cell_voltage == pytest.approx(0.45)
    assert clean.twin.instruments["prober"].level != "contact"
    assert not clean.twin.world.closed


def stages(clean, count):
    """Return `count` messages spread over those during which ^C is caught."""
    return [index for _, index in clean.catching[:: max(1, len(clean.catching) // count)]]


@pytest.mark.parametrize(
    ("before", "count"),
    [
        pytest.param(True, 10, id="before the message"),
        pytest.param(True, 18, id="before more messages", marks=pytest.mark.slow),
        pytest.param(False, 18, id="after it", marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_at_any_message_ends_safe(clean, tmp_path, monkeypatch, before, count):
    indices = stages(clean, count)
    assert len(indices) >= count
    for index in indices:

        def interrupt(name, at, stop, early, index=index):
            if at == index and early == before:
                assert stop.interruptible
                raise KeyboardInterrupt

        found = night(tmp_path / str(index), monkeypatch, interrupt)
        assert (found.error, found.codes) == (None, {4}) or found.codes == {0, 4}, index
        assert_unharmed(found)
        assert not found.twin.world.closed


def test_a_night_whose_lines_are_grounded_between_routes_ends_safe_wherever_it_is_broken_off(tmp_path, monkeypatch):
    whole = night(tmp_path / "whole", monkeypatch, between="grounded")
    assert whole.codes == {0}
    assert_unharmed(whole)
    for index in stages(whole, 8):

        def interrupt(name, at, stop, early, index=index):
            if at == index and not early:
                raise KeyboardInterrupt

        broken = night(tmp_path / str(index), monkeypatch, interrupt, between="grounded")
        assert (broken.error, broken.codes) == (None, {4}) or broken.codes == {0, 4}, index
        assert_unharmed(broken)
        assert not broken.twin.world.closed


def test_a_bug_in_a_procedure_ends_safe(tmp_path, monkeypatch):
    found = night(tmp_path, monkeypatch, procedures=(Buggy(),))
    assert found.codes == {70}
    assert_unharmed(found)
    assert not found.twin.world.closed


@pytest.mark.slow
@pytest.mark.parametrize("fault", [f for f in Fault if f is not Fault.NONE], ids=lambda f: f.name)
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_an_instrument_that_fails_once_ends_safe(clean, tmp_path, monkeypatch, name, fault):
    """One bad exchange is never sent again: the die fails, and the bench is verified off."""
    for number, index in enumerate(moments(clean, name, 3)):
        found = night(
            tmp_path / str(number),
            monkeypatch,
            lambda who, at, stop, early, index=index: fault if (who, at, early) == (name, index, True) else None,
        )
        assert_unharmed(found)
        assert not found.twin.world.closed
        assert found.codes <= {0, 1, 3, 6}


@pytest.mark.parametrize("fault", [Fault.DEAF, Fault.DROP], ids=lambda f: f.name)
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_an_instrument_that_is_gone_is_told_and_harms_nothing(clean, tmp_path, monkeypatch, name, fault):
    """What cannot be verified off is said with code 6; the needles stay where they are."""
    for number, index in enumerate(moments(clean, name, 2)):
        found = night(
            tmp_path / str(number),
            monkeypatch,
            lambda who, at, stop, early, index=index: fault if who == name and at >= index and early else None,
        )
        assert_unharmed(found, gone=name)
        if name != "prober":
            assert 6 in found.codes
            assert isinstance(found.error, LeftUnverified)
        assert found.codes & {1, 3, 6}


def moments(clean, name, count):
    """Return messages to one instrument, spread over the night, the first contact included."""
    own = [index for who, index in clean.catching if who == name] or [*range(5, clean.messages, clean.messages // 8)]
    return own[:: max(1, len(own) // count)]
