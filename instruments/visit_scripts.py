"""Visits as scripts: which of them make one script, and what their samples are readings of."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from instruments.assignment import Assignment, Reach
from instruments.routing import RouteVisits
from instruments.scpi import BEYOND
from instruments.step_sequence import FORCE, PULSE, READ, ZERO, Act, RouteVisit, Tag
from labctl.core.operations import Flag, Reading
from labctl.core.pulse_source import Fire
from labctl.core.source import Measure, Sample, Step
from labctl.core.units import Ampere, BoolArray, FloatArray

MOST_VISITS = 32
"""Reads on one route that go into one script."""


def route_visit(visits: RouteVisits, k: int, ranges: FloatArray, count: int) -> RouteVisit:
    """Return visit `k` of an operation on a bench with `count` channels; `ranges` (n,) in A."""
    route = visits.route[k]
    return RouteVisit(
        k,
        tuple(c for c in range(count) if (route == c).any()),
        bool(visits.pulses[k]),
        tuple(visits.pulse[k].tolist()),
        int(visits.maker[k]),
        bool(visits.reads[k]),
        tuple(visits.read[k].tolist()),
        {c: int(slot) for c, slot in enumerate(visits.sense[k].tolist()) if slot >= 0},
        float(ranges[k]),
        int(visits.rest[k]),
    )


def contact_visit(place: Assignment, reach: Reach, count: int, sense_range: Ampere) -> RouteVisit:
    """Return the visit of one read on a bench with `count` channels; levels in V, the range in A."""
    levels, sense = np.zeros(count), {}
    levels[list(reach.channels)] = place.b
    for channel, slot in zip(reach.channels, place.sense.tolist(), strict=True):
        if slot >= 0:
            sense[channel] = slot
    used = sorted({reach.source(s, count) for s in place.route.tolist() if 0 <= s < len(reach.channels)})
    volts = tuple(levels.tolist())
    return RouteVisit(0, tuple(used), False, volts, -1, True, volts, sense, sense_range, place.rest)


def flagged(piece: Iterable[RouteVisit], samples: Iterable[tuple[Tag, Sample]], act: Act) -> list[RouteVisit]:
    """Return the visits with a flagged reading, or offset of one, that a larger range may take."""
    flagged = {tag.visit for tag, sample in samples if tag.kind in (READ, ZERO) and sample.flag}
    return [v for v in piece if v.number in flagged and v.sense_range < act.read_compliance * (1 - 1e-9)]


def flagged_without_number(step: Step | Fire, sample: Sample) -> Sample:
    """Return a sample; one of a measurement that has no number is flagged, whether or not its driver has done so."""
    if isinstance(step, Measure) and not abs(sample.current) < BEYOND:
        return replace(sample, current=math.nan, flag=sample.flag | Flag.OVERRANGE)
    return sample


def put(
    visits: RouteVisits,
    piece: Sequence[RouteVisit],
    samples: Sequence[tuple[Tag, Sample]],
    reading: Reading,
) -> None:
    """Put the samples of visits into `reading`."""
    by_number = {visit.number: visit for visit in piece}
    zero = {(tag.visit, tag.channel): sample for tag, sample in samples if tag.kind == ZERO}
    force = {tag.visit: Flag(0) for tag, _ in samples}
    for tag, sample in samples:
        if tag.kind == FORCE:
            force[tag.visit] |= sample.flag
        if tag.kind == PULSE:
            reading.pulse_flag[visits.pattern[tag.visit]] |= sample.flag
    for visit in piece:
        if visit.rest >= 0:  # all channels together feed the column that is on ground
            slot = int(visits.pattern[visit.number]), visit.rest
            reading.current[slot], reading.flag[slot] = 0.0, force[visit.number]
    for tag, sample in samples:
        if tag.kind == READ:
            pattern, current, flag = int(visits.pattern[tag.visit]), sample.current, sample.flag
            if offset := zero.get((tag.visit, tag.channel)):
                current, flag = current - offset.current, flag | offset.flag
            if tag.slot >= 0:
                reading.current[pattern, tag.slot] = -current
                reading.flag[pattern, tag.slot] = flag | force[tag.visit]
            if (rest := by_number[tag.visit].rest) >= 0:
                reading.current[pattern, rest] += current
                reading.flag[pattern, rest] |= flag


def scripts(visits: RouteVisits) -> Iterator[range]:
    """Yield the ranges of visits that make one script each, route by route."""
    for begin, end in pairwise([*np.flatnonzero(visits.moves).tolist(), len(visits)]):
        yield from _pieces(visits.pulses[begin:end], begin)


def _pieces(pulses: BoolArray, begin: int) -> Iterator[range]:
    """Yield ranges of the visits on one route, counted from `begin`: a pulse alone, reads together in one script.

    >>> list(_pieces(np.array([False, False, True, False]), 5))
    [range(5, 7), range(7, 8), range(8, 9)]
    """
    k, n = 0, len(pulses)
    while k < n:
        end = k + 1
        while not pulses[k] and end < n and not pulses[end] and end - k < MOST_VISITS:
            end += 1
        yield range(begin + k, begin + end)
        k = end
