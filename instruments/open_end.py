"""A channel whose output is on and reaches no die: what it is set up for, what it may be asked, and what has to be so.

No relay is closed and the needles are up, or there is no die. Each channel is set up for no more than `Excitation`
says, so that its driver refuses what is beyond.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Self

from instruments.bench import Bench
from instruments.open_bench import OpenBench
from labctl.core.errors import BenchError, refuse_beyond
from labctl.core.prober import Compensated
from labctl.core.source import Aperture, ChannelSetup, Level, Limit, OffState, Ramp, Sample, SourceMeasure, Step
from labctl.core.units import Ampere, Second, Volt

VOLTS: Volt = 0.1
"""Highest level."""
CURRENT: Ampere = 1e-6
"""Highest current limit."""
FEW, MANY = 20, 120
"""Steps in one call of a source; the difference of their times is that of 100 steps."""


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
