"""How long the visits of an operation take on a bench, predicted from the steps that carry them out."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from instruments.bench import Bench
from instruments.bench_io import BenchIO
from instruments.inside_scripts import MOVES, ROUTES, InsideScripts
from instruments.routing import RouteVisits
from instruments.step_sequence import MESSAGES, Act, ChannelStep, RouteVisit, duration
from instruments.visit_scripts import route_visit, scripts
from labctl.core.units import FloatArray, Second

MATRIX_MESSAGES = 2
"""Open and close, and the query of errors and the closed set."""


class VisitTime:
    """The times of a bench: of an operation, of a change of route, of a script."""

    def __init__(self, bench: Bench, io: BenchIO) -> None:
        self._bench, self._io = bench, io

    def operation(self, visits: RouteVisits, act: Act, ranges: FloatArray, inside: InsideScripts | None) -> Second:
        """Return the time of all visits, s; equal visits after equal predecessors are composed once and counted.

        The time of a visit depends on the levels that its predecessor left within the same script.

        Args:
            inside: what carries them out inside the sources; None: the host.
        """
        moves, channels = visits.moves, len(self._io.channels)
        route = self.route() if inside is None else inside.route_time
        kinds = np.column_stack(
            [
                visits.pulses,
                visits.reads,
                visits.maker,
                visits.pulse,
                visits.read,
                visits.sense >= 0,
                visits.rest >= 0,
                visits.used(channels),
                ranges,
            ]
        )
        kind = np.unique(kinds, axis=0, return_inverse=True)[1].reshape(-1)
        begins, ends = np.zeros(len(visits), np.bool_), np.zeros(len(visits), np.bool_)
        for piece in scripts(visits):
            begins[piece.start] = ends[piece.stop - 1] = True
        last = np.append(moves[1:], True)
        before = np.where(begins, -1, np.roll(kind, 1))
        cases = np.column_stack([before, kind, moves, ends, last])
        _, first, count = np.unique(cases, axis=0, return_index=True, return_counts=True)
        total = 0.0
        for k, times in zip(first.tolist(), count.tolist(), strict=True):
            head = [] if begins[k] else [route_visit(visits, k - 1, ranges, channels)]
            calls = inside is None
            whole = [*head, route_visit(visits, k, ranges, channels)]
            seconds = self.script(whole, act, ends=ends[k], last=last[k], calling=calls)
            seconds -= self.script(head, act, calling=calls) if head else 0.0
            total += times * (seconds + (route if moves[k] else 0.0))
        return total if inside is None else total + MESSAGES * self._bench.timing.message

    def route(self) -> Second:
        """Return the time of a change of route, s; none without a matrix."""
        timing, matrices = self._bench.timing, len(self._io.relays.matrices)
        if not matrices:
            return 0.0
        between = self._bench.outputs.between_routes
        messages = MATRIX_MESSAGES * (matrices if matrices == 1 else 2 * matrices)
        seconds = ROUTES[between] * (messages * timing.message + self._bench.settling.relays)
        return seconds + MOVES[between] * timing.relay * matrices

    def script(
        self,
        visits: Sequence[RouteVisit],
        act: Act,
        *,
        ends: bool = False,
        last: bool = False,
        calling: bool = True,
    ) -> Second:
        """Return the time of visits in one script, s; with its end if `ends`, with the cold check if `last`.

        Args:
            calling: with what a call costs beside its steps.
        """
        composer = self._io.new_composer()
        events: Iterator[ChannelStep] = (event for visit in visits for event in composer.visit(visit, act))
        if last:
            events = chain(events, composer.cold(visits[-1].used))
        if ends:
            events = composer.script(events)
        aperture = self._bench.outputs.cold_aperture
        return duration(events, self._io.channels, self._bench.timing, aperture, calling=calling)
