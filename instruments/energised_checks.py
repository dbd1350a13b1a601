"""The checks of the first day that need an output: one channel at a time, at little, into an open end.

They go by the interface of a source and by nothing of any dialect. No relay is closed and the needles are up, or there
is no die; each channel is set up for no more than `Excitation` says, so that its driver refuses what is beyond, and is
off, verified, before the next one goes on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median, stdev
from typing import Self

from instruments.assumptions import Assumption, How, ledger
from instruments.bench import Bench
from instruments.first_day import SLOWER, Answer, Finding, Verdict
from instruments.open_bench import OpenBench
from labctl.core.errors import BenchError, InstrumentError, SwitchedOff, refuse_beyond
from labctl.core.operations import Flag
from labctl.core.prober import Compensated
from labctl.core.source import (
    Aperture,
    ChannelSetup,
    Hold,
    Level,
    Limit,
    Measure,
    OffState,
    Ramp,
    Sample,
    SourceMeasure,
    Step,
    Watch,
)
from labctl.core.units import Ampere, Second, Volt

VOLTS: Volt = 0.1
"""Highest level."""
CURRENT: Ampere = 1e-6
"""Highest current limit."""
NOISE = 2e-6
"""rms noise of one reading at 1 NPLC that is assumed, as a part of the range."""
NOISE_FACTOR = 1.5
"""Factor by which a noise may differ: that of 50 readings is known to a tenth."""
READINGS = 50
"""Readings of whose scatter the noise is made."""
FEW, MANY = 20, 120
"""Steps in one call of a source; the difference of their times is that of 100 steps."""
SWITCHINGS = 5
"""Times that an output goes on."""
AT_ONCE = 0.1
"""Part of the assumed time of an output below which the source does not wait for its relay."""
LATER = 10
"""Factor above `settling.source` after which all has settled."""
SETTLED = 1e-3
"""Change of a current, as a part of its range, that counts as settled."""


@dataclass(frozen=True)
class Excitation:
    """What is put on an open output at most: level, V, current limit, and that at 0 V between two calls, A."""

    volts: Volt
    limit: Ampere
    cold_limit: Ampere

    @classmethod
    def of(cls, bench: Bench) -> Self:
        """Return that of a bench: 0.1 V behind 1 uA, or its limits where they are lower."""
        limits = bench.limits
        limit = min(CURRENT, limits.compliance)
        return cls(min(VOLTS, limits.v_towards_p, limits.v_towards_ap), limit, min(limit, bench.outputs.relay_limit))

    @property
    def text(self) -> str:
        """It in operator words."""
        return f"{self.volts * 1e3:.4g} mV behind {self.limit * 1e6:.4g} uA at most"


def plan_text(bench: Bench) -> str:
    """Return what the checks will do to a bench, in operator words."""
    channels = ", ".join(bench.connections.channels)
    return (
        f"{channels}: each goes on, some ten times and one channel at a time, at {Excitation.of(bench).text}, with "
        "every relay open and the needles up, and ends at 0 V and off"
    )


@dataclass(frozen=True)
class Driven:
    """One channel whose output may be on, into an open end.

    Args:
        channel: as its source names it.
        clock: in s.
        permit: raises when nothing may be energised or the operator wants to end; called before each call.
    """

    bench: Bench
    source: SourceMeasure
    channel: str
    excitation: Excitation
    clock: Callable[[], Second]
    permit: Callable[[], None]

    def set_up(self, off_state: OffState = OffState.NORMAL) -> None:
        """Set the channel, which is off, up for the excitation and nothing more; off is 0 V behind the limit."""
        at = self.excitation
        off_limit = min(self.bench.outputs.off_limit, at.limit)
        setup = ChannelSetup(at.volts, at.limit, at.limit, off_state, off_limit, cold_limit=at.cold_limit)
        self.permit()
        self.source.prepare({self.channel: setup})

    def on(self) -> Second:
        """Switch its output on at 0 V; return the time of that, s."""
        self.permit()
        begun = self.clock()
        self.source.output([self.channel])
        return self.clock() - begun

    def off(self) -> None:
        """Switch the output off and read it back."""
        self.source.off(self.bench.limits.ramp_rate)
        self.source.verify_off()

    def run(self, *steps: Step, aperture: Second) -> list[Sample]:
        """Do steps behind the limit of the excitation, then go to 0 V; LimitError for a level beyond it."""
        for step in steps:
            if isinstance(step, Level | Ramp):
                refuse_beyond("level of an open output", abs(step.volts), self.excitation.volts, "V")
        limit = Limit(self.channel, self.excitation.limit, self.excitation.limit)
        down = Ramp(self.channel, 0.0, self.bench.limits.ramp_rate)
        self.permit()
        return self.source.run([limit, Aperture(self.channel, aperture), *steps, down])

    def aperture(self, seconds: Second) -> Second:
        """Return the integration time that is nearest to one, of those that the source has, s."""
        shortest, longest = self.source.capabilities.apertures
        return min(max(seconds, shortest), longest)

    @property
    def up(self) -> Ramp:
        """The way from 0 V to the level."""
        return Ramp(self.channel, self.excitation.volts, self.bench.limits.ramp_rate)

    @property
    def range_i(self) -> Ampere:
        """Full scale of the range that holds the current limit, A."""
        ranges = self.source.capabilities.ranges_i
        return next((full for full in ranges if full >= self.excitation.limit * (1 - 1e-9)), ranges[-1])

    def seconds_each(self, steps: Sequence[Step], aperture: Second) -> Second:
        """Return the time of one step, s, from that of few and of many; what a call takes besides drops out."""
        times = []
        for count in (FEW, MANY):
            begun = self.clock()
            self.run(*islice(cycle(steps), count), aperture=aperture)
            times.append(self.clock() - begun)
        return (times[1] - times[0]) / (MANY - FEW)


def _noise(driven: Driven) -> Answer:
    aperture = driven.aperture(1 / driven.bench.timing.line_frequency)
    cycles = aperture * driven.bench.timing.line_frequency
    settle = Hold(max(0.1, driven.bench.settling.source))
    measures = [Measure(driven.channel)] * READINGS
    samples = driven.run(driven.up, settle, *measures, aperture=aperture)
    assumed = NOISE / math.sqrt(cycles)
    expected = f"{assumed * 1e6:.3g} ppm of range at {cycles:.3g} NPLC"
    if refused := _not_usable(samples):
        return expected, refused, None
    rms = stdev(sample.current for sample in samples) / driven.range_i
    reply = f"{rms * 1e6:.3g} ppm of {driven.range_i:.3g} A"
    if rms == 0:
        return expected, f"{reply}: all {READINGS} readings are equal", None
    return expected, reply, assumed / NOISE_FACTOR <= rms <= assumed * NOISE_FACTOR


def _cold_current(driven: Driven) -> Answer:
    outputs = driven.bench.outputs
    settle, measure = Hold(driven.bench.settling.source), Measure(driven.channel, voltage=True)
    (sample,) = driven.run(settle, measure, aperture=driven.aperture(outputs.cold_aperture))
    expected = f"at most {outputs.cold_current:.3g} A"
    if refused := _not_usable([sample]):
        limit = driven.excitation.limit
        return expected, f"{refused}, behind {limit:.3g} A", False if outputs.cold_current <= limit else None
    return expected, f"{sample.current:.3g} A at {sample.voltage:.3g} V", abs(sample.current) <= outputs.cold_current


def _step_time(driven: Driven) -> Answer:
    """Time steps in one call; sending a script drops out, but for whole messages, by steps that take no time."""
    timing, channel = driven.bench.timing, driven.channel
    aperture = driven.aperture(0.0)
    messages = driven.source.capabilities.step_messages * timing.message
    sending = 0.0 if messages else driven.seconds_each([Watch(channel)], aperture)
    levels = [Level(channel, driven.excitation.volts), Level(channel, 0.0)]
    replies, holds, whole = [], True, 2 * timing.message / (MANY - FEW)
    for what, steps, own in (("level", levels, 0.0), ("reading", [Measure(channel)], aperture)):
        assumed = timing.of(steps[0], aperture) - own + messages
        seconds = driven.seconds_each(steps, aperture) - own - sending
        replies.append((f"{what} {assumed:.3g} s", f"{what} {seconds:.3g} s"))
        holds = holds and seconds <= SLOWER * assumed + whole
    expected, measured = (", ".join(texts) for texts in zip(*replies, strict=True))
    return f"{expected}, beside the aperture", measured, holds


def _output_relay(driven: Driven) -> Answer:
    """Compare switching on an output that is off with one that is on: the difference is that of the relay."""
    assumed, times = driven.bench.timing.output_relay, []
    for _ in range(SWITCHINGS):
        driven.off()
        driven.set_up()
        times.append(driven.on() - driven.on())
    seconds = median(times)
    expected = f"output_relay {assumed:.3g} s"
    if abs(seconds) < AT_ONCE * assumed:
        return expected, f"{seconds:.3g} s: it answers before the relay has moved, or that is not seen", None
    return expected, f"{seconds:.3g} s", seconds <= SLOWER * assumed


def _source_settling(driven: Driven) -> Answer:
    """Compare a current after the wait with one that waited longer; without a die there are the cables alone."""
    wait, channel = driven.bench.settling.source, driven.channel
    edge, measure = Level(channel, driven.excitation.volts), Measure(channel)
    aperture = driven.aperture(driven.bench.outputs.cold_aperture)
    samples = driven.run(edge, Hold(wait), measure, Hold(LATER * wait), measure, aperture=aperture)
    expected = f"{wait:.3g} s, as after {LATER * wait:.3g} s"
    if refused := _not_usable(samples):
        return expected, f"{refused}, behind {driven.excitation.limit:.3g} A", False
    change = abs(samples[0].current - samples[1].current)
    reply = f"{samples[0].current:.3g} A, then {samples[1].current:.3g} A"
    if change > SETTLED * driven.range_i:
        return expected, reply, False
    return expected, f"{reply}: settled with the cables, which says nothing of a die", None


def _not_usable(samples: Sequence[Sample]) -> str:
    """Return what is wrong with currents of an open output, in operator words; "" if nothing is."""
    if any(sample.flag & Flag.COMPLIANCE for sample in samples):
        return "at its current limit: the output is not open"
    if any(sample.flag & Flag.OVERRANGE or not math.isfinite(sample.current) for sample in samples):
        return "beyond its range: the output is not open"
    return ""


ENERGISED_CHECKS: Mapping[str, Callable[[Driven], Answer]] = {
    "noise": _noise,
    "generic-noise": _noise,
    "cold-current": _cold_current,
    "step-time-of-a-source": _step_time,
    "output-relay": _output_relay,
    "source-settling": _source_settling,
}
"""The check of each assumption that an output on an open end settles, by its id."""


def energised(
    opened: OpenBench, *, clock: Callable[[], Second], stop: Callable[[], None] = lambda: None
) -> list[Finding]:
    """Return a finding for each channel and each assumption of the ledger that an output on an open end settles.

    The bench has passed `require_open_ends`. It ends as `OpenBench` is left: at 0 V and off, verified.

    Args:
        clock: of the instruments, s; on a twin that of the twin.
        stop: raises when the operator wants to end; called before each call of a source.

    Raises:
        ContactError: the needles are not known to be up, as `require_open_ends` has to tell before.
        LimitError: a level beyond what is announced; nothing was sent.
        InstrumentError: a source is not verified off.
        SwitchedOff: the latch of the bench is set.
    """
    bench, state = opened.bench, opened.die.state

    def permit() -> None:
        opened.permit()
        stop()

    rows = [row for row in ledger().assumptions if row.how is How.ENERGISED]
    by_source = _channels(bench)
    findings: list[Finding] = []
    with state.exercise():
        for name, source in opened.sources.items():
            driver = bench.instruments[name].driver
            concerned = [row for row in rows if not row.drivers or driver in row.drivers]
            for channel in by_source.get(name, ()):
                driven = Driven(bench, source, channel, Excitation.of(bench), clock, permit)
                findings += [_checked(row, name, driven) for row in concerned]
                driven.set_up(bench.outputs.off_state)
    return findings


def require_open_ends(opened: OpenBench) -> None:
    """Raise BenchError unless every output is off, every relay open, and the needles up; nothing is changed.

    Where no prober tells of the needles, the operator who has asked for the check has said that no die is under them.
    """
    state, prober = opened.die.state, opened.prober
    nothing = "nothing was changed"
    for name, matrix in opened.matrices.items():
        if closed := matrix.closed():
            raise BenchError(
                f"{name}: {len(closed)} relays are closed, expected none; {nothing}. Open them with 'labctl off BENCH'"
            )
    if prober is not None and (prober.in_contact() or _at_contact_height(prober)):
        raise BenchError(f"{prober.name}: the needles are in contact, expected up; {nothing}. Lift them first")
    opened.die.verify_off()
    state.needles(down=False)


def _at_contact_height(prober: object) -> bool:
    """Return whether a prober whose heights may be off says contact by the heights alone."""
    return isinstance(prober, Compensated) and prober.at_contact_height()


def _channels(bench: Bench) -> dict[str, list[str]]:
    """Return the channels of the wiring by their source."""
    channels: dict[str, list[str]] = {}
    for text in bench.connections.channels:
        name, _, channel = text.partition(".")
        channels.setdefault(name, []).append(channel)
    return channels


def _checked(row: Assumption, name: str, driven: Driven) -> Finding:
    """Return the finding of a check on a channel that is switched on for it, and verified off whatever happens."""
    where = f"{name}.{driven.channel}"
    try:
        driven.set_up()
        driven.on()
        expected, reply, holds = ENERGISED_CHECKS[row.id](driven)
    except SwitchedOff:
        raise
    except InstrumentError as error:
        expected, reply, holds = row.statement, str(error), None
    finally:
        driven.off()
    verdict = {True: Verdict.HOLDS, False: Verdict.FAILS, None: Verdict.OPEN}[holds]
    return Finding(row.id, row.statement, where, verdict, expected, reply, row.step, "")
