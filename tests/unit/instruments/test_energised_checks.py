"""Checks with outputs on: what they say of the twin and of one that is otherwise, and that no die sees any of it."""

from contextlib import suppress
from types import SimpleNamespace

import pytest

from instruments.bench import Bench
from instruments.bench_file import read_bench
from instruments.energised_checks import ENERGISED_CHECKS, energised, plan_text
from instruments.entry import Entry
from instruments.first_day import Verdict
from instruments.open_bench import open_bench
from instruments.open_end import CURRENT, VOLTS, Driven, Excitation, require_open_ends
from labctl.cli.bench_options import die_of_twin
from labctl.core.bias import Nominal
from labctl.core.errors import BenchError, ContactError, InstrumentError, LimitError, SwitchedOff
from labctl.core.operations import Flag
from labctl.core.source import Level, Limit, Ramp, Sample
from labctl.station.energise import Stopped, energise
from labctl.station.twin import Twin
from sim_backend.emulators import k2600_smu
from tests.unit.instruments.test_bench import EXAMPLE
from tests.unit.instruments.test_probed_die import bench

GENERIC = {
    "channels": ["out"], "ranges_v": ["200 mV", "2 V"],
    "ranges_i": ["1 uA", "10 mA"], "shortest_pulse": "1 ms", "shortest_aperture": "100 us", "longest_aperture": "1 s",
}  # fmt: skip


def two_needles(driver):
    """Return the example bench of one source on two needles, with the source of a driver."""
    example = "bench-two-needles.yaml" if driver == "keithley2600b" else "bench-2400-two-needles.yaml"
    bench = read_bench(EXAMPLE.parent / example).value
    keys = {"driver": driver, "resource": "5", **(GENERIC if driver == "generic_source" else {})}
    entry = Entry.model_validate(keys, context={"file": True})
    return Bench.model_validate(
        {**{key: getattr(bench, key) for key in Bench.model_fields}, "instruments": {"smu": entry}}
    )


class OnTwin:
    """A bench on its twin, needles up, with what its sources have driven.

    Args:
        twin: the bench that the twin is of; None is the same one.
    """

    def __init__(self, file, twin=None, permit=lambda: None):
        self.twin = Twin(twin or file, {(0, 0, 0): die_of_twin(file, None, 0, "die")}, seed=3)
        self.world, self.sent, self.at = self.twin.world, 0, None
        self.world.touch(False)
        self.driven, drive = [], self.world.drive

        def kept(channel, given):
            if given is not None:
                self.driven.append(given)
            drive(channel, given)

        self.world.drive = kept
        nominal = Nominal.alike(1e-4, 5e-5, len(file.wiring.kernels))
        self.opened = open_bench(file, nominal, connect=self.connect, wait=self.twin.wait, permit=permit)

    def connect(self, name, entry):
        wire = self.twin.connect(name, entry)
        send = wire._send

        def counted(data, deadline):
            self.sent += 1
            if self.sent == self.at:
                raise KeyboardInterrupt
            send(data, deadline)

        wire._send = counted
        return wire

    def findings(self, **options):
        require_open_ends(self.opened)
        with self.opened:
            return energised(self.opened, clock=lambda: self.world.clock.now, **options)

    def live(self):
        return [name for name, one in self.twin.instruments.items() if one.outputs()]


def of(findings, id):
    return {one.instrument: one for one in findings if one.id == id}


@pytest.mark.parametrize("driver", ["keithley2600b", "keithley2400", "keithley2450", "generic_source", None])
def test_on_the_twin_all_holds_within_what_was_announced_and_the_outputs_end_off(driver):
    file = bench() if driver is None else two_needles(driver)
    on = OnTwin(file)
    before = on.world.ledger.relay_operations
    findings = on.findings()
    assert {one.id for one in findings} == {
        "cold-current", "output-relay", "source-settling", "step-time-of-a-source",
        "generic-noise" if driver == "generic_source" else "noise",
    }  # fmt: skip
    verdicts = {(one.id, one.verdict) for one in findings}
    assert {id for id, verdict in verdicts if verdict is not Verdict.HOLDS} == {"source-settling"}
    assert {one.verdict for one in of(findings, "source-settling").values()} == {Verdict.OPEN}
    assert len(of(findings, "cold-current")) == len(file.connections.channels)
    assert on.live() == []
    assert str(on.opened.die.state) == "cold, needles up"
    assert 0 < max(abs(drive.level) for drive in on.driven) <= VOLTS * (1 + 1e-9)
    assert max(drive.limit for drive in on.driven if drive.level) <= CURRENT * (1 + 1e-9)
    assert on.world.ledger.relay_operations == before
    assert on.world.ledger.peak_cell_voltage == 0
    assert on.world.ledger.hot_switches == 0


def test_lower_limits_of_the_bench_are_those_of_the_check():
    file = bench(limits__v_towards_ap="60 mV", outputs__relay_limit="500 nA")
    assert Excitation.of(file) == Excitation(pytest.approx(0.06), CURRENT, pytest.approx(5e-7))
    assert "smu1.smua, smu1.smub, smu2.smua, smu2.smub: each goes on" in plan_text(file)
    assert "60 mV behind 1 uA at most" in plan_text(file)
    on = OnTwin(file)
    on.findings()
    assert max(abs(drive.level) for drive in on.driven) == pytest.approx(0.06)


def test_a_level_beyond_what_was_announced_is_not_sent():
    on = OnTwin(bench())
    driven = Driven(
        on.opened.bench, on.opened.sources["smu1"], "smua", Excitation.of(on.opened.bench), lambda: 0.0, lambda: None
    )
    for step in (Level("smua", 0.11), Ramp("smua", -0.11, 1.0)):
        before = on.sent
        with pytest.raises(LimitError, match="level of an open output"):
            driven.run(step, aperture=1e-3)
        assert on.sent == before


def otherwise(**changes):
    """Return the findings on a twin of the usual bench for a bench file that assumes something else."""
    return OnTwin(bench(**changes), twin=bench()).findings()


def test_an_instrument_that_is_otherwise_does_not_hold(monkeypatch):
    slow = otherwise(timing__output_relay="200 us", timing__measure_overhead="20 us")
    assert of(slow, "output-relay")["smu1.smua"].reply == "0.001 s"
    assert {one.id for one in slow if one.verdict is Verdict.FAILS} == {"output-relay", "step-time-of-a-source"}
    leaky = OnTwin(bench(outputs__cold_current="1 nA"), twin=bench(twin__offset="2 nA"))
    hot = of(leaky.findings(), "cold-current")
    assert {one.verdict for one in hot.values()} == {Verdict.FAILS}
    monkeypatch.setattr(k2600_smu, "NOISE", 8e-6)
    noisy = of(otherwise(), "noise")["smu2.smub"]
    assert (noisy.verdict, noisy.expected) == (Verdict.FAILS, "2 ppm of range at 1 NPLC")
    assert 6 < float(noisy.reply.split()[0]) < 10
    monkeypatch.setattr(k2600_smu, "NOISE", 0.0)
    assert of(otherwise(), "noise")["smu1.smua"].verdict is Verdict.OPEN


class Replying:
    """A source that answers readings with currents in A, and flags."""

    def __init__(self, currents, flag=Flag(0)):
        self.capabilities = SimpleNamespace(apertures=(1e-5, 1.0), ranges_i=(1e-6,), step_messages=0.0)
        self.samples = [Sample("a", current, 0.0, flag) for current in currents]

    def run(self, steps):
        return self.samples


@pytest.mark.parametrize(
    ("id", "currents", "flag", "verdict"),
    [
        ("source-settling", (2e-8, 1e-12), Flag(0), False),
        ("source-settling", (1e-12, 2e-12), Flag(0), None),
        ("source-settling", (1e-6, 1e-12), Flag.COMPLIANCE, False),
        ("cold-current", (1e-12,), Flag(0), True),
        ("cold-current", (1e-12,), Flag.COMPLIANCE, False),
        ("cold-current", (float("nan"),), Flag.OVERRANGE, False),
        ("noise", (1e-12, 3e-12), Flag.COMPLIANCE, None),
        ("generic-noise", (1e-9, 3e-9), Flag(0), False),
    ],
)
def test_what_a_current_says(id, currents, flag, verdict):
    file = bench()
    driven = Driven(file, Replying(currents, flag), "a", Excitation.of(file), lambda: 0.0, lambda: None)
    assert ENERGISED_CHECKS[id](driven)[2] is verdict


def test_a_current_that_is_limited_below_what_is_assumed_tells_nothing():
    file = bench(outputs__cold_current="5 uA")
    driven = Driven(file, Replying((1e-6,), Flag.COMPLIANCE), "a", Excitation.of(file), lambda: 0.0, lambda: None)
    assert ENERGISED_CHECKS["cold-current"](driven)[2] is None


def test_a_source_that_does_not_wait_for_its_relay_tells_nothing_of_it():
    on = OnTwin(bench(), twin=bench(timing__output_relay="1 us"))
    relay = of(on.findings(), "output-relay")["smu1.smua"]
    assert (relay.verdict, "before the relay has moved" in relay.reply) == (Verdict.OPEN, True)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda on: on.twin.instruments["matrix"].execute('channel.close("1A01,2B02")'), "2 relays are closed"),
        (lambda on: on.world.touch(True), "the needles are in contact"),
    ],
)
def test_a_bench_that_has_no_open_ends_is_refused_and_nothing_is_changed(act, message):
    on = OnTwin(bench())
    if message.startswith("the"):
        on.twin.instruments["prober"].session().handle(b"move_chuck_contact\n")
    else:
        act(on)
    closed, relays = set(on.twin.instruments["matrix"].closed), on.world.ledger.relay_operations
    options = {"clock": lambda: 0.0, "wait": on.twin.wait, "ask": lambda text: False, "real": False}
    with pytest.raises(BenchError, match=message):
        energise(bench(), connect=on.connect, **options)
    assert (set(on.twin.instruments["matrix"].closed), on.world.ledger.relay_operations) == (closed, relays)
    assert not any(drive.level for drive in on.driven)


def test_without_the_proof_of_open_ends_nothing_goes_on():
    on = OnTwin(bench())
    on.opened.die.verify_off()
    with on.opened, pytest.raises(ContactError, match="needles are unknown"):
        energised(on.opened, clock=lambda: 0.0)
    assert not any(drive.level for drive in on.driven)


@pytest.mark.parametrize("calls", [0, 1, 7, 40])
def test_who_stops_it_between_two_calls_has_every_output_off(calls):
    on, asked = OnTwin(bench()), []

    def stop():
        asked.append(1)
        if len(asked) > calls:
            raise Stopped("stopped")

    with pytest.raises(Stopped):
        on.findings(stop=stop)
    assert on.live() == []
    assert str(on.opened.die.state) == "cold, needles up"


def test_a_latch_that_is_set_meanwhile_ends_it_off():
    asked = []

    def permit():
        asked.append(1)
        if len(asked) > 9:
            raise SwitchedOff("switched off by alice")

    on = OnTwin(bench(), permit=permit)
    with pytest.raises(SwitchedOff):
        on.findings()
    assert on.live() == []


@pytest.mark.parametrize("driver", ["keithley2600b", "keithley2400", "generic_source"])
def test_an_interrupt_at_any_message_ends_off(driver):
    whole = OnTwin(two_needles(driver))
    begun = whole.sent
    whole.findings()
    for at in range(begun + 1, whole.sent, (whole.sent - begun) // 12):
        on = OnTwin(two_needles(driver))
        on.at = at
        with suppress(KeyboardInterrupt):  # one while the bench is left is no reason not to leave it safe
            on.findings()
        assert on.sent >= at
        assert on.live() == [], at


def test_an_error_of_a_source_is_told_and_the_next_check_is_made(monkeypatch):
    def refused(driven):
        driven.run(Limit("smua", 1.0, 1.0), aperture=1e-3)

    monkeypatch.setitem(ENERGISED_CHECKS, "noise", refused)
    findings = OnTwin(two_needles("keithley2600b")).findings()
    (noise,) = of(findings, "noise").values()
    assert (noise.verdict, "beyond" in noise.reply or "set up for at most" in noise.reply) == (Verdict.OPEN, True)
    assert {one.verdict for one in of(findings, "cold-current").values()} == {Verdict.HOLDS}


def test_a_source_that_is_not_verified_off_ends_the_checks(monkeypatch):
    on = OnTwin(two_needles("keithley2600b"))
    failing = InstrumentError("smu is NOT verified off")

    def off(driven):
        raise failing

    monkeypatch.setattr(Driven, "off", off)
    with pytest.raises(InstrumentError, match="NOT verified off"):
        on.findings()
    assert on.live() == []  # leaving the bench has made it safe by another way
