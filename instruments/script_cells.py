"""From a write plan to the cells that scripts inside a source write: their steps, ranges, relays and times.

The steps are those of the host loop (`step_sequence`), so that a cell meets the same levels, waits and readings.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from instruments.bench import Bench
from instruments.bench_io import BenchIO
from instruments.connections import Relay
from instruments.reading_math import driven_voltage
from instruments.routing import RouteVisits
from instruments.step_sequence import READ, Act, ChannelStep, Composer, RouteVisit, duration
from labctl.core.cell_program import AttemptSteps, ReadSteps
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, WritePlan
from labctl.core.pulse_source import Fire
from labctl.core.source import Measure, Step
from labctl.core.units import FloatArray, Second, Volt

STEP, CELL, KIND = 100, 200, 400
"""Characters of a script at most: of one step, of one cell beside its relays, and of one kind of attempt."""


@dataclass(frozen=True)
class Visits:
    """What a bench knows of visits, as functions of the die of which they are.

    Args:
        plan: from an operation to its visits.
        ranges: (v,) A, the measure range of each.
        one: one of them as plain numbers.
        relays: that are closed during one of them.
        route_time: time of a change of route by the host, s.
        first_voltage: applies the first voltage after a touch.
    """

    plan: Callable[[Pulse], tuple[RouteVisits, Act]]
    ranges: Callable[[Pulse, RouteVisits], FloatArray]
    one: Callable[[RouteVisits, int, FloatArray], RouteVisit]
    relays: Callable[[RouteVisits, int], list[Relay]]
    route_time: Callable[[], Second]
    first_voltage: Callable[[], None]


@dataclass
class Cells:
    """The cells of a plan that may get a pulse, (c,) of each.

    Args:
        number: in the plan.
        unit: index of the source that writes each.
        kind: index into `kinds`.
        relays: that are closed while it is written.
        spread: the most that two lines differ by, V.
    """

    number: list[int] = field(default_factory=list)
    unit: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    relays: list[frozenset[Relay]] = field(default_factory=list)
    kinds: list[AttemptSteps] = field(default_factory=list)
    seconds: list[tuple[Second, Second]] = field(default_factory=list)
    """Of each kind: time of an attempt, and of the check that all is cold, s."""
    spread: Volt = 0.0


class CellPlanner:
    """What scripts need to know of the cells of a plan.

    Args:
        visits: of the die.
    """

    def __init__(self, bench: Bench, io: BenchIO, visits: Visits) -> None:
        self._bench, self._io, self._visits = bench, io, visits

    def of(self, plan: WritePlan) -> Cells:
        """Return the cells of a plan that may get a pulse; BenchError if one cannot be written by a script."""
        pulse = Pulse(plan.write.scaled(plan.ladder.max()), plan.width, plan.verify)
        visits, act = self._visits.plan(pulse)
        if act.fired:
            raise BenchError(
                f"a pulse of {plan.width:.3g} s comes from a pulse source, which no script of a source reaches; "
                "'programming: host' in the bench file writes such cells"
            )
        if not (np.array_equal(np.sort(visits.pattern), np.arange(len(plan))) and (visits.pulses & visits.reads).all()):
            raise BenchError(
                "a pulse and its verify read do not fit on one route here, which a script needs; "
                "'programming: host' in the bench file writes such cells"
            )
        ranges = self._visits.ranges(pulse, visits)
        resistance = self._bench.reads.lead_resistance
        leads = resistance / driven_voltage(plan.verify.bias) if resistance else np.zeros(len(plan))
        cells, kinds = Cells(), dict[tuple[object, ...], int]()
        for k, number in enumerate(visits.pattern.tolist()):  # route by route
            if plan.most[number] <= 0:
                continue
            visit = replace(self._visits.one(visits, k, ranges), number=0)
            key = (*(getattr(visit, name) for name in ("used", "pulse", "maker", "read", "sense_range", "rest")),)
            key = (*key, tuple(sorted(visit.sense.items())), float(leads[number]))
            if key not in kinds:
                kinds[key] = len(cells.kinds)
                kind, seconds = self._kind(visit, act, float(leads[number]))
                cells.kinds.append(kind)
                cells.seconds.append(seconds)
            cells.number.append(number)
            cells.unit.append(self._io.channels[visit.used[0]].instrument)
            cells.kind.append(kinds[key])
            cells.relays.append(frozenset(self._visits.relays(visits, k)))
            for levels in (visit.pulse, visit.read):
                cells.spread = max(cells.spread, max(0.0, *levels) - min(0.0, *levels))
        return cells

    def _kind(self, visit: RouteVisit, act: Act, lead: float) -> tuple[AttemptSteps, tuple[Second, Second]]:
        """Return the steps of an attempt on a cell, and their times and those of its end, s."""
        io = self._io
        pulse = self._composed(lambda composer: composer.visit(replace(visit, reads=False), act))
        read = self._composed(lambda composer: composer.read(visit, act, visit.sense_range))
        largest, wider = io.range_for(act.read_compliance), None
        if visit.sense_range < act.read_compliance * (1 - 1e-9):
            wider = _read_steps(self._composed(lambda composer: composer.read(visit, act, largest)), visit)
        cold = self._composed(lambda composer: composer.cold(visit.used))

        def seconds(*parts: Sequence[ChannelStep]) -> Second:
            steps = [step for part in parts for step in part]
            return duration(iter(steps), io.channels, self._bench.timing, act.aperture, calling=False)

        steps = AttemptSteps(steps_of(pulse), _read_steps(read, visit), wider, steps_of(cold), lead)
        return steps, (seconds(pulse, read), seconds(cold))

    def _composed(self, compose: Callable[[Composer], Iterator[ChannelStep]]) -> list[ChannelStep]:
        """Return steps that begin and end at 0 V, and take no setting for given."""
        composer = self._io.new_composer()
        return list(composer.script(compose(composer)))


def steps_of(events: Sequence[ChannelStep]) -> tuple[Step, ...]:
    """Return the steps of channels, without those of pulse sources."""
    return tuple(event.step for event in events if not isinstance(event.step, Fire))


def _read_steps(events: Sequence[ChannelStep], visit: RouteVisit) -> ReadSteps:
    """Return a read with the parts of its readings: the sensed column takes what leaves it, one on ground the sum."""
    weights, flagged = [], []
    for event in events:
        if isinstance(event.step, Measure):
            assert event.tag is not None
            part = 1.0 if visit.rest >= 0 else -1.0 if event.tag.slot >= 0 else 0.0
            reads = event.tag.kind == READ
            weights.append(part if reads else -part)
            flagged.append(reads and part != 0.0)
    return ReadSteps(steps_of(events), tuple(weights), tuple(flagged))


def characters_of(kind: AttemptSteps) -> int:
    """Return the characters at most of the functions of a kind."""
    reads = [kind.read, *([] if kind.wider is None else [kind.wider])]
    return KIND + STEP * (len(kind.pulse) + len(kind.cold) + sum(len(read.steps) for read in reads))


def pieces_of(cells: Cells, *, linked: bool) -> Iterator[list[int]]:
    """Yield the cells of each script, as indices: of one source, and of one route where relays are the host's."""
    piece: list[int] = []
    for c in range(len(cells.number)):
        same = bool(piece) and cells.unit[c] == cells.unit[piece[-1]]
        if piece and not (same and (linked or cells.relays[c] == cells.relays[piece[-1]])):
            yield piece
            piece = []
        piece.append(c)
    if piece:
        yield piece
