"""The steps of the sources during one visit, in order. Pure: the same steps are run and, for `check`, added up.

The order keeps the die safe. Lines that do not make the width go up first and come down last, ramped; the line that
makes it goes up and down in one edge each, timed inside its instrument; setting a level takes the source's settling
time, which is part of the width. Limits and ranges change at 0 V only. Before relays move, every source is at 0 V
behind a low limit, verified by its reading.

If levels do not stand between two calls of a source, every call begins and ends at 0 V behind the low limit: the steps
ramp down before their call ends, and the next call sets its limits anew.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from instruments.bench import Bench
from instruments.timing import BenchTiming
from labctl.core.errors import BenchError
from labctl.core.pulse_source import Fire
from labctl.core.source import Aperture, Hold, Level, Limit, Measure, Ramp, Step, Watch
from labctl.core.units import Ampere, Second, Volt

MESSAGES = 2
"""Messages of one call: a script and the mark behind it, or what is read back behind its steps."""

ENDING = 9
"""Commands and questions at the end of a script for each channel on another node: its state, 0 V, the low limit."""

FIRED = -1
"""Instead of the number of an instrument: the pulses of a pulse source."""

PULSE, READ, FORCE, ZERO, COLD = "pulse", "read", "force", "zero", "cold"


@dataclass(frozen=True)
class SourceChannel:
    """A source channel of the bench: index of the instrument that gets its steps, and its name there.

    Args:
        step_messages: messages that each step costs.
        pulse_messages: that each pulse of the pulse source on its line costs.
        home: index of the instrument that has it, where another one of its bus gets its steps; -1 if none does.
        own: its name at home.
    """

    instrument: int
    name: str
    step_messages: float = 0.0
    pulse_messages: float = 0.0
    home: int = -1
    own: str = ""

    @property
    def remote(self) -> bool:
        """Whether its steps go over the bus of another instrument."""
        return self.home not in (-1, self.instrument)

    @property
    def unit(self) -> int:
        """Index of the instrument that has it."""
        return self.instrument if self.home < 0 else self.home

    @property
    def part(self) -> str:
        """Its name at the instrument that has it."""
        return self.own or self.name


@dataclass(frozen=True)
class Tag:
    """Purpose of a sample: the kind, the visit it belongs to, the position in the wanted columns, the channel."""

    kind: str
    visit: int
    slot: int = -1
    channel: int = -1


@dataclass(frozen=True)
class ChannelStep:
    """A step of one channel, by its index in the bench; `tag` is the purpose of its sample."""

    channel: int
    step: Step | Fire
    tag: Tag | None = None


@dataclass(frozen=True)
class RouteVisit:
    """One visit as plain numbers; levels in V by channel, `sense` maps channels to wanted columns.

    With `rest`, the position of a wanted column that is on ground, every channel is measured.
    """

    number: int
    used: tuple[int, ...]
    pulses: bool
    pulse: tuple[Volt, ...]
    maker: int
    reads: bool
    read: tuple[Volt, ...]
    sense: dict[int, int]
    sense_range: Ampere
    rest: int = -1

    @property
    def meters(self) -> tuple[int, ...]:
        """Channels that are measured."""
        return tuple(self.sense) if self.rest < 0 else self.used


@dataclass(frozen=True)
class Act:
    """Settings common to all visits of an operation: width, compliances, aperture; `fired`: by pulse sources."""

    width: Second = 0.0
    pulse_compliance: Ampere = 0.0
    read_compliance: Ampere = 0.0
    aperture: Second = 1e-3
    fired: bool = False


@dataclass
class SourceState:
    """Last settings of the sources, by channel; None is unknown."""

    level: list[Volt]
    limit: list[tuple[Ampere, Ampere] | None]
    aperture: list[Second | None]

    @classmethod
    def fresh(cls, channels: int) -> "SourceState":
        """Return the state after outputs went on: 0 V, nothing else known."""
        return cls([0.0] * channels, [None] * channels, [None] * channels)

    def copy(self) -> "SourceState":
        """Return the same state, which does not change with this one."""
        return SourceState(list(self.level), list(self.limit), list(self.aperture))


@dataclass
class Composer:
    """Composes the steps of visits, keeping track of the present settings of the sources.

    Args:
        bench: limits, waits and corrections.
        channels: of the bench, in order.
        stands: levels and limits stand after a call; otherwise each is one of a single instrument.
        state: of the sources; advanced by every event that is yielded.
    """

    bench: Bench
    channels: Sequence[SourceChannel]
    stands: bool = True
    state: SourceState = field(init=False)

    def __post_init__(self) -> None:
        self.state = SourceState.fresh(len(self.channels))

    def forget(self, instrument: int) -> None:
        """Take no setting of an instrument for known: a program of its own has changed them, and has ended at 0 V."""
        for c, channel in enumerate(self.channels):
            if channel.instrument == instrument:
                self.state.level[c], self.state.limit[c], self.state.aperture[c] = 0.0, None, None

    def script(self, events: Iterable[ChannelStep]) -> Iterator[ChannelStep]:
        """Yield `events` as one call and, where levels do not stand, the ramps down that end it."""
        yield from events
        if not self.stands:
            every = range(len(self.channels))
            yield from self._to(every, [0.0] * len(self.channels))
            low = self.bench.outputs.relay_limit
            self.state.limit = [(low, low) for _ in every]

    def visit(self, visit: RouteVisit, act: Act) -> Iterator[ChannelStep]:
        """Yield the steps of a pulse, a read, or both; a pulse leaves 0 V, a read its levels."""
        if visit.pulses:
            yield from self._fire(visit, act) if act.fired else self._pulse(visit, act)
        if visit.reads:
            yield from self.read(visit, act, visit.sense_range)

    def read(self, visit: RouteVisit, act: Act, sense_range: Ampere) -> Iterator[ChannelStep]:
        """Yield the steps of a read; the sensing channels measure up to `sense_range` A."""
        limit = min(act.read_compliance, sense_range)
        for c in visit.used:
            wanted = (limit, sense_range) if c in visit.meters else (act.read_compliance, act.read_compliance)
            if self.state.limit[c] != wanted:
                yield from self._to(visit.used, [0.0] * len(self.channels))
        driving = next((c for c in visit.used if visit.read[c] != 0), visit.used[0] if visit.used else 0)
        for c in self._by_instrument(visit.used, last=driving):
            if c in visit.meters:
                yield from self._limit(c, limit, sense_range)
                yield from self._aperture(c, act.aperture)
            else:
                yield from self._limit(c, act.read_compliance, act.read_compliance)
        if self.bench.reads.zero_offset:
            yield from self._to(visit.used, [0.0] * len(self.channels))
            for c in self._by_instrument(visit.meters, last=driving):
                tag = Tag(ZERO, visit.number, visit.sense.get(c, -1), c)
                yield ChannelStep(c, Measure(self.channels[c].name), tag)
        yield from self._to(visit.used, visit.read)
        yield ChannelStep(driving, Hold(self.bench.settling.source))
        for c in self._by_instrument(visit.used):
            name = self.channels[c].name
            if c in visit.meters:
                yield ChannelStep(c, Measure(name), Tag(READ, visit.number, visit.sense.get(c, -1), c))
            else:
                yield ChannelStep(c, Watch(name), Tag(FORCE, visit.number))
        if visit.pulses:
            yield from self._to(visit.used, [0.0] * len(self.channels))

    def cold(self, used: Sequence[int]) -> Iterator[ChannelStep]:
        """Yield the steps to 0 V behind the low limit, and the readings that verify it."""
        yield from self._to(used, [0.0] * len(self.channels))
        low = self.bench.outputs.relay_limit
        for c in self._by_instrument(used):
            yield from self._limit(c, low, low)
            yield ChannelStep(c, Measure(self.channels[c].name, voltage=True), Tag(COLD, c))

    def _pulse(self, visit: RouteVisit, act: Act) -> Iterator[ChannelStep]:
        zero = [0.0] * len(self.channels)
        yield from self._to(visit.used, zero)
        moving = [c for c in visit.used if visit.pulse[c] != 0]
        makers = [visit.maker] if visit.maker >= 0 else moving
        if len({self.channels[c].instrument for c in makers}) > 1:
            raise BenchError(
                "lines at different levels that pulse together need channels of one instrument; "
                "name the line that makes the width, or wire the first channels to one instrument"
            )
        if len(makers) > 1 and any(self.channels[c].step_messages for c in makers):
            raise BenchError(
                "lines at different levels that pulse together need an instrument that times both by itself; this one "
                "gets each step in messages, so the width would be longer than asked for; name the line that makes it"
            )
        for c in self._by_instrument(visit.used, last=makers[0] if makers else 0):
            yield from self._limit(c, act.pulse_compliance, act.pulse_compliance)
        if makers:
            home = self.channels[makers[0]].instrument
            others = [c for c in moving if c not in makers]
            others.sort(key=lambda c: (self.channels[c].instrument == home, self.channels[c].instrument))
            yield from self._to(others, visit.pulse)
            for c in reversed(others):
                yield ChannelStep(c, Watch(self.channels[c].name), Tag(PULSE, visit.number))
        for c in makers:
            yield ChannelStep(c, Level(self.channels[c].name, visit.pulse[c]))
        yield ChannelStep(
            makers[0] if makers else visit.used[0] if visit.used else 0,
            Hold(max(0.0, act.width - self.bench.timing.source_settle)),
        )
        for c in makers:
            yield ChannelStep(c, Watch(self.channels[c].name), Tag(PULSE, visit.number))
        for c in reversed(makers):
            yield ChannelStep(c, Level(self.channels[c].name, 0.0))
        if makers:
            yield from self._to(list(reversed(others)), zero)

    def _fire(self, visit: RouteVisit, act: Act) -> Iterator[ChannelStep]:
        """Yield the steps of a pulse of a pulse source, on the one line that makes it; the others stand meanwhile."""
        zero = [0.0] * len(self.channels)
        yield from self._to(visit.used, zero)
        moving = [c for c in visit.used if visit.pulse[c] != 0]
        if not moving:
            return
        maker = visit.maker if visit.maker >= 0 else moving[0]
        others = self._by_instrument(c for c in moving if c != maker)
        if self.stands:  # the pulse comes back over channels that are behind the limit of a pulse
            for c in self._by_instrument(visit.used, last=maker):
                yield from self._limit(c, act.pulse_compliance, act.pulse_compliance)
        yield from self._to(others, visit.pulse)
        for c in reversed(others):
            yield ChannelStep(c, Watch(self.channels[c].name), Tag(PULSE, visit.number))
        if visit.pulse[maker]:
            yield ChannelStep(maker, Fire(self.channels[maker].name, visit.pulse[maker], act.width))
        yield from self._to(list(reversed(others)), zero)

    def _to(self, channels: Sequence[int], levels: Sequence[Volt]) -> Iterator[ChannelStep]:
        """Yield ramps of those channels that are at another level, in the order given."""
        rate = self.bench.limits.ramp_rate
        for c in channels:
            if self.state.level[c] != levels[c]:
                yield ChannelStep(c, Ramp(self.channels[c].name, levels[c], rate))
                self.state.level[c] = levels[c]

    def _limit(self, c: int, limit: Ampere, range_i: Ampere) -> Iterator[ChannelStep]:
        if self.state.limit[c] != (limit, range_i):
            self.state.limit[c] = (limit, range_i)
            yield ChannelStep(c, Limit(self.channels[c].name, limit, range_i))

    def _aperture(self, c: int, aperture: Second) -> Iterator[ChannelStep]:
        if self.state.aperture[c] != aperture:
            self.state.aperture[c] = aperture
            yield ChannelStep(c, Aperture(self.channels[c].name, aperture))

    def _by_instrument(self, channels: Iterable[int], last: int | None = None) -> list[int]:
        """Return channels so that those of one instrument are together, those of the channel `last` at the end."""
        home = None if last is None else self.channels[last].instrument
        return sorted(channels, key=lambda c: (self.channels[c].instrument == home, self.channels[c].instrument, c))


def calls(events: Iterator[ChannelStep], channels: Sequence[SourceChannel]) -> Iterator[tuple[int, list[ChannelStep]]]:
    """Return (instrument, events) for each script: consecutive events of one instrument cost one round trip.

    Pulses of a pulse source are no script; their instrument is `FIRED`.
    """

    def unit(event: ChannelStep) -> int:
        return FIRED if isinstance(event.step, Fire) else channels[event.channel].instrument

    script: list[ChannelStep] = []
    for event in events:
        if script and unit(event) != unit(script[0]):
            yield unit(script[0]), script
            script = []
        script.append(event)
    if script:
        yield unit(script[0]), script


def duration(
    events: Iterator[ChannelStep],
    channels: Sequence[SourceChannel],
    timing: BenchTiming,
    aperture: Second,
    *,
    calling: bool = True,
) -> Second:
    """Return the time that `events` take, s.

    Args:
        aperture: of readings before one is set.
        calling: with what a call costs beside its steps; False of a part of a longer script.
    """
    total, levels, apertures = 0.0, [0.0] * len(channels), [aperture] * len(channels)
    for unit, script in calls(events, channels):
        if unit != FIRED and calling:
            remote = sum(channel.remote and channel.instrument == unit for channel in channels)
            total += MESSAGES * timing.message + ENDING * remote * timing.link
        for event in script:
            c, step = event.channel, event.step
            if isinstance(step, Fire):
                total += step.seconds + channels[c].pulse_messages * timing.message
                continue
            total += timing.of(step, apertures[c], levels[c]) + channels[c].step_messages * timing.message
            if channels[c].remote:
                total += timing.over_link(step, levels[c])
            if isinstance(step, Ramp | Level):
                levels[c] = step.volts
            if isinstance(step, Aperture):
                apertures[c] = step.seconds
    return total
