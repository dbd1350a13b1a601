"""From bias patterns to visits: the source of each line, and the levels of each source.

Lines with the same levels share a channel; lines that stay at 0 V are connected to ground; a sensed column has its own
channel, and so has the line that makes a pulse. A V/2 write with its verify read on one route
therefore needs two channels and a ground as +V/2 on the row and -V/2 on the sensed column, three as V on the row and
V/2 on all half-selected lines. Sources that move are taken from the front of the list of channels and those that sense
from behind them, so that a pulse's channels sit in one instrument and its script times it.

Three channels and more read and write several cells on one route (`shared_routes`). Otherwise a pattern that senses
more columns than channels are free becomes several visits. Reads of one batch that need the
same route follow each other, of any pattern, and the columns are visited to and fro, so that few
relays move. All of it is array work over the whole batch, where every line reaches every channel. Where wires or
several matrices forbid that, or channels are too few, patterns are placed one by one (`assignment`).

Channels are counted from 0 here, those that a kernel may use; `plan` returns channels of the bench.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from instruments.assignment import OPEN, Assignment, NoWay, Pattern, Reach, assign
from instruments.shared_routes import shared
from labctl.core.bias import Bias
from labctl.core.errors import BenchError
from labctl.core.operations import Pulse, Sense
from labctl.core.units import BoolArray, FloatArray, IntArray


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
        rest: (v,), position of the wanted column that is on ground, whose current is that of all channels, or -1.
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
    rest: IntArray

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
    rest: IntArray

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
            np.where((self.rest >= 0) & read, self.rest + first, -1),
        )


def plan(operation: Sense | Pulse, reaches: Sequence[Reach], count: int, *, apart: bool = False) -> RouteVisits:
    """Return the visits of a batch on a bench with `count` channels.

    Args:
        reaches: of each kernel.
        apart: a pulse and its read are on routes of their own.

    Raises:
        TooFewChannels: more levels at once than there are channels.
        BenchError: a wired line cannot do what a pattern asks of it.
    """
    group = np.array([next(j for j, other in enumerate(reaches) if other.alike(reach)) for reach in reaches])
    reads = None if isinstance(operation, Sense) else operation.verify
    alike = np.ones(len(operation), np.bool_)
    if reads is not None:  # a pulse and its read may be on kernels that reach different sources
        alike = (group[operation.bias.kernel] == group[reads.bias.kernel]) & (not apart)
    pieces: list[RouteVisits] = []
    for first in np.unique(group).tolist():
        reach = reaches[first]
        index = np.flatnonzero((group[operation.bias.kernel] == first) & alike)
        if len(index):
            pieces.append(_plan_alike(operation.take(index), index, reach).on(reach.channels, count))
        if isinstance(operation, Sense) or reads is None or alike.all():
            continue
        for part in (replace(operation, verify=None), reads):
            index = np.flatnonzero((group[part.bias.kernel] == first) & ~alike)
            if len(index):
                pieces.append(_plan_alike(part.take(index), index, reach).on(reach.channels, count))
    visits = pieces[0] if len(pieces) == 1 else _joined(pieces)
    if isinstance(operation, Sense) or len(pieces) == 1:
        return visits
    return visits.take(np.lexsort((visits.reads & ~visits.pulses, visits.pattern)))


def _plan_alike(operation: Sense | Pulse, pattern: IntArray, reach: Reach) -> RouteVisits:
    """Return the visits of patterns, known as `pattern`, on kernels that reach the same sources."""
    if (blocks := shared(operation, reach)) is not None:
        v = len(blocks.pattern)
        return RouteVisits(
            pattern[blocks.pattern],
            blocks.kernel,
            blocks.route,
            np.full(v, isinstance(operation, Pulse)),
            blocks.pulse,
            blocks.maker,
            np.full(v, True),
            blocks.read,
            blocks.sense,
            np.full(v, -1),
        )
    if isinstance(operation, Sense):
        return _together(_in_order(_reads(operation, pattern, reach)))
    verify = operation.verify
    if verify is None or not verify.cols.shape[1]:
        return _in_order(_pulses(operation.bias, pattern, reach))
    both = _lines(operation.bias, verify.bias)
    same = (operation.bias.kernel == verify.bias.kernel) & (both.open == _lines(None, verify.bias).open).all(1)
    pieces: list[tuple[RouteVisits, IntArray]] = []
    together = np.flatnonzero(same)
    cols = verify.cols + operation.bias.row.shape[1]
    rounds, left = _rounds(both.take(together), cols[together], reach, singly=False)
    for index, order, first, routes in rounds:
        visits = routes.visits(pattern[together[index]], pulse=order == 0, read=True, first=first)
        pieces.append((visits, np.full(len(index), order)))
    apart = np.sort(np.concatenate([np.flatnonzero(~same), together[left]]))
    if len(apart):  # a pulse and its read that do not fit on one route take two
        pieces += _pulses(operation.bias.take(apart), pattern[apart], reach)
        pieces += _reads(verify.take(apart), pattern[apart], reach)
    return _in_order(pieces)


def _pulses(bias: Bias, pattern: IntArray, reach: Reach) -> list[tuple[RouteVisits, IntArray]]:
    """Return visits that pulse and do not read."""
    rounds, left = _rounds(_lines(bias, None), np.zeros((len(bias), 0), np.int64), reach)
    _refuse(left, _lines(bias, None), np.zeros((len(bias), 0), np.int64), pattern, reach)
    return [
        (routes.visits(pattern[index], pulse=True, read=False), np.full(len(index), -1))
        for index, _, _, routes in rounds
    ]


def _reads(sense: Sense, pattern: IntArray, reach: Reach) -> list[tuple[RouteVisits, IntArray]]:
    """Return visits that read, as many per pattern as the free channels make necessary."""
    lines = _lines(None, sense.bias)
    cols = sense.cols + sense.bias.row.shape[1]
    rounds, left = _rounds(lines, cols, reach)
    _refuse(left, lines, cols, pattern, reach)
    return [
        (routes.visits(pattern[index], pulse=False, read=True, first=first), np.full(len(index), order))
        for index, order, first, routes in rounds
    ]


def _rounds(
    lines: _Lines, cols: IntArray, reach: Reach, *, singly: bool = True
) -> tuple[list[tuple[IntArray, int, int, _Routes]], IntArray]:
    """Cut the wanted columns of each pattern into as few rounds as fit.

    Args:
        singly: where array work does not place a pattern, search for sources.

    Returns:
        (patterns, round, first wanted column, routes of those patterns) per piece, with `patterns` as indices into
        `lines`, and the patterns that fit in no number of rounds.
    """
    left, m, channels = np.arange(len(lines.a)), cols.shape[1], len(reach.channels)
    fitted: list[tuple[IntArray, int, int, _Routes]] = []
    sizes = [(size, not reach.full) for size in range(min(m, channels), 0, -1)] if m else [(0, not reach.full)]
    last = sizes[-1][0]
    for size, search in [*sizes, *([(last, True)] if reach.full and singly else [])]:
        starts = range(0, m, size) if m else (0,)
        pieces, fits = [], np.ones(len(left), np.bool_)
        for first in starts:
            if not fits.any():
                break
            wanted = cols[left, first : first + size]
            if search:
                routes = _assign_singly(lines.take(left), wanted, reach, last=singly and size == last)
            else:
                routes = _assign(lines.take(left), wanted, channels, reach.ground)
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
    return _Routes(lines.kernel, route, pulse, read, maker, sense[:, :channels], needed, np.full(n, -1))


def _assign_singly(lines: _Lines, cols: IntArray, reach: Reach, *, last: bool) -> _Routes:
    """Return the sources of n patterns that sense the lines `cols` (n, k), placed one by one.

    Patterns that cannot be placed need more channels than there are; so do all after the first of them if it is the
    `last` try, since the batch is refused then.
    """
    n, c = len(lines.a), len(reach.channels)
    routes = _Routes(
        lines.kernel,
        np.full(lines.a.shape, OPEN, np.int64),
        np.zeros((n, c)),
        np.zeros((n, c)),
        np.full(n, -1),
        np.full((n, c), -1),
        np.full(n, c + 1),
        np.full(n, -1),
    )
    placed: dict[bytes, Assignment | None] = {}
    for k in range(n):
        parts = (lines.a[k], lines.b[k], lines.open[k], lines.own[k], cols[k])
        key = b"".join(part.tobytes() for part in parts)
        if key not in placed:
            try:
                placed[key] = assign(_pattern(lines, k, cols[k]), reach)
            except NoWay:
                placed[key] = None
        if (one := placed[key]) is None:
            if last:
                break
            continue
        routes.route[k], routes.a[k], routes.b[k], routes.sense[k] = one.route, one.a, one.b, one.sense
        routes.maker[k], routes.rest[k], routes.needed[k] = one.maker, one.rest, c
    return routes


def _pattern(lines: _Lines, k: int, cols: IntArray) -> Pattern:
    return Pattern(lines.a[k], lines.b[k], lines.open[k], int(lines.own[k]), tuple(cols.tolist()))


def _refuse(left: IntArray, lines: _Lines, cols: IntArray, pattern: IntArray, reach: Reach) -> None:
    """Raise, naming the worst, if patterns are `left` that no sources can make.

    Args:
        cols: (n, m), lines that are sensed.
    """
    if not len(left):
        return
    channels, sensed = len(reach.channels), min(1, cols.shape[1])
    needed = _assign(lines, cols[:, :sensed], channels, reach.ground).needed
    for k in left[np.argsort(-needed[left], kind="stable")].tolist():
        for first in range(max(1, cols.shape[1])):
            try:
                assign(_pattern(lines, k, cols[k, first : first + sensed]), reach)
            except NoWay as no_way:
                subject, most, reason = f"pattern {int(pattern[k])}", int(needed[k]), str(no_way)
                if most > channels and (reach.full or not reason):
                    raise TooFewChannels(
                        f"{subject}: {most - sensed} levels{' and a sensed column' if sensed else ''} at once, "
                        f"{_sources(reach)}",
                        most,
                    ) from None
                raise BenchError(f"{subject}: {reason or _unreached(reach)}") from None


def _sources(reach: Reach) -> str:
    """Return the channels and the ground of a kernel, in operator words."""
    count = len(reach.channels)
    return f"{count} channel{'' if count == 1 else 's'} and {'a' if reach.ground else 'no'} ground"


def _unreached(reach: Reach) -> str:
    """Return why a pattern has no sources although the channels are enough, in operator words."""
    return (
        f"{_sources(reach)} would be enough, but "
        "the lines do not reach them as the pattern needs: no relay takes all its levels to channels of their own"
    )


def _joined(pieces: Sequence[RouteVisits]) -> RouteVisits:
    """Return visits one after the other."""
    return RouteVisits(*(np.concatenate([getattr(v, f.name) for v in pieces]) for f in fields(RouteVisits)))


def _in_order(pieces: list[tuple[RouteVisits, IntArray]]) -> RouteVisits:
    """Return one or more pieces concatenated, sorted by pattern and then by the order of each."""
    whole = _joined([visits for visits, _ in pieces])
    return whole.take(np.lexsort((np.concatenate([order for _, order in pieces]), whole.pattern)))


def _together(visits: RouteVisits) -> RouteVisits:
    """Return reads grouped by route, routes by their first pattern, to and fro."""
    keys = np.column_stack([visits.kernel, visits.route])
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    begins = first[group.reshape(-1)]
    _, number = np.unique(visits.pattern[begins], return_inverse=True)
    return visits.take(np.lexsort((np.where(number % 2 == 1, -begins, begins), number)))
