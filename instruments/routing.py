"""From bias patterns to visits: the source of each line, and the levels of each source.

Lines with the same levels share a channel; lines that stay at 0 V are connected to ground; a sensed column has its own
channel, and so has the line that makes a pulse. A V/2 write with its verify read on one route
therefore needs two channels and a ground as +V/2 on the row and -V/2 on the sensed column, three as V on the row and
V/2 on all half-selected lines. Sources that move are taken from the front of the list of channels and those that sense
from behind them, so that a pulse's channels sit in one instrument and its script times it.

A pattern that senses more columns than channels are free becomes several visits. Reads of one batch that need the
same route follow each other, of any pattern, and the columns are visited to and fro, so that few
relays move. All of it is array work over the whole batch.

Channels are counted from 0 here; the caller maps them to channels of the bench (`RouteVisits.on`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from labctl.core.bias import Bias
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray

OPEN = -1
"""Source of an unconnected line. Sources 0 to c - 1 are channels, c is the ground."""


class TooFewChannels(BenchError):
    """A pattern that needs more channels at once, `needed`, than there are."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


@dataclass(frozen=True, eq=False)
class RouteVisits:
    """v visits in order; c channels, l lines (rows, columns, gates).

    Args:
        pattern: (v,), index of the pattern in the batch.
        kernel: (v,).
        route: (v, l), source of each line.
        pulses: (v,), true for a pulse; `pulse` (v, c) V its levels, `maker` (v,) the channel of the width or -1.
        reads: (v,), true for a read; `read` (v, c) V its levels.
        sense: (v, c), position in the wanted columns that a channel senses, or -1.
    """

    pattern: IntArray
    kernel: IntArray
    route: IntArray
    pulses: BoolArray
    pulse: FloatArray
    maker: IntArray
    reads: BoolArray
    read: FloatArray
    sense: IntArray

    def __len__(self) -> int:
        return len(self.pattern)

    def take(self, index: IntArray) -> "RouteVisits":
        """Return the visits at `index`, in that order."""
        return RouteVisits(*(getattr(self, f.name)[index] for f in fields(self)))

    def on(self, channels: Sequence[int], count: int) -> "RouteVisits":
        """Return the same visits with channel k as channel `channels[k]` of a bench that has `count`."""
        source = np.array([*channels, count, OPEN])
        pulse, read = np.zeros((len(self), count)), np.zeros((len(self), count))
        sense = np.full((len(self), count), -1)
        pulse[:, channels], read[:, channels], sense[:, channels] = self.pulse, self.read, self.sense
        return replace(self, route=source[self.route], maker=source[self.maker], pulse=pulse, read=read, sense=sense)

    @property
    def moves(self) -> BoolArray:
        """(v,), the route differs from the one before; true for the first."""
        same = (self.route[1:] == self.route[:-1]).all(1) & (self.kernel[1:] == self.kernel[:-1])
        return np.concatenate([[True], ~same]) if len(self) else np.zeros(0, np.bool_)

    def used(self, channels: int) -> BoolArray:
        """Return (v, c), the channel is connected to a line."""
        return np.stack([(self.route == c).any(1) for c in range(channels)], axis=1)


@dataclass(frozen=True, eq=False)
class _Lines:
    """Levels of all lines of n patterns, (n, l): a during the pulse, b during the read; `own` (n,) makes the pulse."""

    a: FloatArray
    b: FloatArray
    open: BoolArray
    own: IntArray
    kernel: IntArray

    def take(self, index: IntArray) -> "_Lines":
        return _Lines(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True, eq=False)
class _Routes:
    """Sources of n patterns: routes, levels per channel, and how many channels each pattern needs."""

    kernel: IntArray
    route: IntArray
    a: FloatArray
    b: FloatArray
    maker: IntArray
    sense: IntArray
    needed: IntArray

    def take(self, index: IntArray) -> "_Routes":
        return _Routes(*(getattr(self, f.name)[index] for f in fields(self)))

    def visits(self, pattern: IntArray, *, pulse: bool, read: bool, first: int = 0) -> RouteVisits:
        """Return these patterns, known as `pattern`, as visits; sensed columns count from `first`."""
        n = len(pattern)
        return RouteVisits(
            pattern,
            self.kernel,
            self.route,
            np.full(n, pulse),
            self.a * pulse,
            np.where(pulse, self.maker, -1),
            np.full(n, read),
            self.b * read,
            np.where((self.sense >= 0) & read, self.sense + first, -1),
        )


def plan(operation: Sense | Pulse, channels: int, ground: bool) -> RouteVisits:
    """Return the visits of a batch on a bench with `channels` source channels and perhaps a ground.

    Raises:
        TooFewChannels: more levels at once than there are channels.
    """
    pattern = np.arange(len(operation))
    if isinstance(operation, Sense):
        return _together(_in_order(_reads(operation, pattern, channels, ground)))
    verify = operation.verify
    if verify is None or not verify.cols.shape[1]:
        return _in_order(_pulses(operation.bias, pattern, channels, ground))
    both = _lines(operation.bias, verify.bias)
    same = (operation.bias.kernel == verify.bias.kernel) & (both.open == _lines(None, verify.bias).open).all(1)
    pieces: list[tuple[RouteVisits, IntArray]] = []
    together = np.flatnonzero(same)
    cols = verify.cols + operation.bias.row.shape[1]
    rounds, left = _rounds(both.take(together), cols[together], channels, ground)
    for index, order, first, routes in rounds:
        visits = routes.visits(together[index], pulse=order == 0, read=True, first=first)
        pieces.append((visits, np.full(len(index), order)))
    apart = np.sort(np.concatenate([np.flatnonzero(~same), together[left]]))
    if len(apart):  # a pulse and its read that do not fit on one route take two
        pieces += _pulses(operation.bias.take(apart), apart, channels, ground)
        pieces += _reads(verify.take(apart), apart, channels, ground)
    return _in_order(pieces)


def _pulses(bias: Bias, pattern: IntArray, channels: int, ground: bool) -> list[tuple[RouteVisits, IntArray]]:
    """Return visits that pulse and do not read."""
    n = len(bias)
    routes = _assign(_lines(bias, None), np.zeros((n, 0), np.int64), channels, ground)
    _refuse(np.flatnonzero(routes.needed > channels), routes, pattern, channels, ground, 0)
    return [(routes.visits(pattern, pulse=True, read=False), np.full(n, -1))]


def _reads(sense: Sense, pattern: IntArray, channels: int, ground: bool) -> list[tuple[RouteVisits, IntArray]]:
    """Return visits that read, as many per pattern as the free channels make necessary."""
    lines = _lines(None, sense.bias)
    cols = sense.cols + sense.bias.row.shape[1]
    rounds, left = _rounds(lines, cols, channels, ground)
    if len(left):
        wanted = min(1, cols.shape[1])
        routes = _assign(lines, cols[:, :wanted], channels, ground)
        _refuse(left, routes, pattern, channels, ground, wanted)
    return [
        (routes.visits(pattern[index], pulse=False, read=True, first=first), np.full(len(index), order))
        for index, order, first, routes in rounds
    ]


def _rounds(
    lines: _Lines, cols: IntArray, channels: int, ground: bool
) -> tuple[list[tuple[IntArray, int, int, _Routes]], IntArray]:
    """Cut the wanted columns of each pattern into as few rounds as fit.

    Returns:
        (patterns, round, first wanted column, routes of those patterns) per piece, with `patterns` as indices into
        `lines`, and the patterns that fit in no number of rounds.
    """
    left, m = np.arange(len(lines.a)), cols.shape[1]
    fitted: list[tuple[IntArray, int, int, _Routes]] = []
    for size in range(min(m, channels), 0, -1) if m else (0,):
        starts = range(0, m, size) if m else (0,)
        pieces, fits = [], np.ones(len(left), np.bool_)
        for first in starts:
            if not fits.any():
                break
            routes = _assign(lines.take(left), cols[left, first : first + size], channels, ground)
            fits &= routes.needed <= channels
            pieces.append((first, routes))
        good = np.flatnonzero(fits)
        if len(good):
            fitted += [(left[good], order, first, routes.take(good)) for order, (first, routes) in enumerate(pieces)]
        left = left[~fits]
        if not len(left):
            break
    return fitted, left


def _lines(pulse: Bias | None, read: Bias | None) -> _Lines:
    """Return the levels of all lines, 0 V where there is no bias."""
    bias = read if pulse is None else pulse
    assert bias is not None

    def levels(of: Bias | None) -> FloatArray:
        if of is None:
            parts = [bias.row * 0, bias.col * 0] + ([] if bias.gate is None else [bias.gate * 0])
        else:
            parts = [of.row, of.col] + ([] if of.gate is None else [of.gate])
        return np.round(np.concatenate(parts, axis=1), 12) + 0.0

    a = levels(pulse)
    floating = np.zeros(a.shape, np.bool_)
    if bias.floating is not None:
        floating[:, : bias.floating.shape[1]] = bias.floating
    own = np.full(len(bias), -1) if pulse is None else pulse.pulsed.copy()
    maker = np.arange(len(bias)), own
    own[(a[maker] == 0) | floating[maker]] = -1
    return _Lines(a, levels(read), floating, own, bias.kernel)


def _assign(lines: _Lines, cols: IntArray, channels: int, ground: bool) -> _Routes:
    """Return the sources of n patterns that sense the lines `cols` (n, k)."""
    n, k = cols.shape
    each = np.arange(n)
    route = np.full(lines.a.shape, OPEN, np.int64)
    sensed = np.zeros(lines.a.shape, np.bool_)
    sensed[each[:, None], cols] = True
    pool = ~lines.open & ~sensed
    own = (lines.own >= 0) & ~sensed[each, lines.own]
    pool[each[own], lines.own[own]] = False
    if ground:
        still = pool & (lines.a == 0) & (lines.b == 0)
        route[still] = channels
        pool &= ~still
    order = np.lexsort((lines.b, lines.a, -np.abs(lines.b), -np.abs(lines.a), ~pool), axis=-1)
    a, b, member = (np.take_along_axis(x, order, 1) for x in (lines.a, lines.b, pool))
    new = member.copy()
    new[:, 1:] = member[:, 1:] & ((a[:, 1:] != a[:, :-1]) | (b[:, 1:] != b[:, :-1]))
    group = np.empty_like(route)
    np.put_along_axis(group, order, new.cumsum(1) - 1 + own[:, None], 1)
    route[pool] = group[pool]
    route[each[own], lines.own[own]] = 0
    needed = new.sum(1) + own + k
    sense = np.full((n, max(channels, int(needed.max(initial=0)))), -1)
    for slot in range(k):
        connected = ~lines.open[each, cols[:, slot]]  # a floating column has no reading, and no channel either
        route[each[connected], cols[connected, slot]] = (needed - k + slot)[connected]
        sense[each[connected], (needed - k + slot)[connected]] = slot
    pulse, read = np.zeros((n, channels)), np.zeros((n, channels))
    at, line = np.nonzero((route >= 0) & (route < channels) & (needed <= channels)[:, None])
    pulse[at, route[at, line]] = lines.a[at, line]
    read[at, route[at, line]] = lines.b[at, line]
    maker = np.where(lines.own >= 0, route[each, lines.own], -1)
    return _Routes(lines.kernel, route, pulse, read, maker, sense[:, :channels], needed)


def _refuse(bad: IntArray, routes: _Routes, pattern: IntArray, channels: int, ground: bool, sensed: int) -> None:
    """Raise TooFewChannels, naming the worst, if any pattern is `bad`."""
    if not len(bad):
        return
    worst = int(bad[routes.needed[bad].argmax()])
    needed = int(routes.needed[worst])
    raise TooFewChannels(
        f"pattern {int(pattern[worst])}: {needed - sensed} levels{' and a sensed column' if sensed else ''} at once, "
        f"{channels} channels{' and a ground' if ground else ' and no ground'}",
        needed,
    )


def _in_order(pieces: list[tuple[RouteVisits, IntArray]]) -> RouteVisits:
    """Return one or more pieces concatenated, sorted by pattern and then by the order of each."""
    whole = RouteVisits(*(np.concatenate([getattr(v, f.name) for v, _ in pieces]) for f in fields(RouteVisits)))
    return whole.take(np.lexsort((np.concatenate([order for _, order in pieces]), whole.pattern)))


def _together(visits: RouteVisits) -> RouteVisits:
    """Return reads grouped by route, routes by their first pattern, to and fro."""
    keys = np.column_stack([visits.kernel, visits.route])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    begins = first[group.reshape(-1)]
    _, number = np.unique(visits.pattern[begins], return_inverse=True)
    return visits.take(np.lexsort((np.where(number % 2 == 1, -begins, begins), number)))
