"""One pattern on sources that cannot reach everything: wired lines, few channels, matrices of their own. Pure.

A crossbar knows only differences. So where lines are on ground by wire, or channels are too few, the whole pattern is
shifted until one of its levels is that of ground; the levels of an instrument are then others than those asked for, and
the voltages of all cells the same. It is not shifted where on the way up a cell would see more than was asked for, in
either direction, nor where a gate opens against ground.

A column on ground has the current that all other lines together take in, if none of them is on ground too. That is how
one channel reads a die of one cell.

The search is exact: what it does not place cannot be placed. It is for dies of few lines, or of few channels; where
every line reaches every channel and channels suffice, `routing` has array work that does the same.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from labctl.core.units import BoolArray, FloatArray, IntArray, Volt

OPEN = -1
"""Source of an unconnected line. Sources 0 to c - 1 are channels, c is the ground."""

Levels = tuple[Volt, Volt]
"""Level of a line during the pulse and during the read."""


@dataclass(frozen=True, eq=False)
class Reach:
    """Sources that the l lines of a kernel (rows, columns, gates) can be connected to.

    Args:
        pads: (l,) names of the lines.
        rows, cols: how many of the lines are rows, and columns.
        channels: channels of the bench that a visit may use, in the order in which they are taken; c of them.
        can: (l, c + 1), the line can be connected to the channel; the ground comes last.
        wired: (l,), source that the line is wired to, counted as in `can`; `OPEN` if it has relays.
    """

    pads: tuple[str, ...]
    rows: int
    cols: int
    channels: tuple[int, ...]
    can: BoolArray
    wired: IntArray

    def source(self, source: int, count: int) -> int:
        """Return a source, counted as in `can`, as a source of the bench with `count` channels; `OPEN` stays."""
        return OPEN if source == OPEN else count if source == len(self.channels) else self.channels[source]

    @property
    def ground(self) -> bool:
        """Whether any line can be on ground."""
        return bool(self.can[:, -1].any())

    @property
    def full(self) -> bool:
        """Whether every line reaches every channel by a relay, and all or none the ground."""
        return bool(
            (self.wired == OPEN).all()
            and self.can[:, :-1].all()
            and (self.can[:, -1].all() or not self.can[:, -1].any())
        )

    def alike(self, other: "Reach") -> bool:
        """Return whether patterns are placed alike on both kernels."""
        return (
            self.channels == other.channels
            and bool((self.can == other.can).all())
            and bool((self.wired == other.wired).all())
        )


@dataclass(frozen=True, eq=False)
class Pattern:
    """Levels of the l lines of one pattern.

    Args:
        a, b: (l,) V during the pulse, and during the read; zeros where there is none.
        open: (l,), floating.
        own: line that makes the width of the pulse; -1 if all lines move together.
        cols: lines that are sensed, in the order wanted.
    """

    a: FloatArray
    b: FloatArray
    open: BoolArray
    own: int
    cols: tuple[int, ...]

    def against(self, reference: Levels) -> "Pattern":
        """Return the same pattern with its levels counted from `reference`, V."""
        a, b = (np.round(x - r, 12) + 0.0 for x, r in zip((self.a, self.b), reference, strict=True))
        return Pattern(a, b, self.open, self.own, self.cols)

    def levels(self, line: int) -> Levels:
        """Return the levels of a line."""
        return float(self.a[line]), float(self.b[line])


@dataclass(frozen=True, eq=False)
class Assignment:
    """Sources of one pattern on c channels.

    Args:
        route: (l,), source of each line.
        a, b: (c,) V, levels of the channels.
        maker: channel that makes the width, or -1.
        sense: (c,), position in the wanted columns that a channel senses, or -1.
        rest: position of the wanted column that is on ground, whose current is that of all channels together, or -1.
    """

    route: IntArray
    a: FloatArray
    b: FloatArray
    maker: int
    sense: IntArray
    rest: int


class NoWay(Exception):
    """A pattern that these sources cannot make; the reason is in operator words."""


def assign(pattern: Pattern, reach: Reach) -> Assignment:
    """Return the sources of one pattern.

    Raises:
        NoWay: there are none.
    """
    c = len(reach.channels)
    closed = ~pattern.open
    for line in np.flatnonzero(pattern.open & (reach.wired != OPEN)):
        raise NoWay(f"{reach.pads[line]} has to float, and it is wired to its source")
    for line in np.flatnonzero(closed & ~reach.can.any(1)):
        raise NoWay(f"{reach.pads[line]} reaches none of the channels of this visit")
    grounded = [int(line) for line in np.flatnonzero(closed & (reach.wired == c))]
    reasons: list[str] = []
    for reference in _references(pattern, reach, grounded, reasons):
        shifted = pattern if reference == (0.0, 0.0) else pattern.against(reference)
        if shifted is not pattern and (reason := _worse(shifted, pattern, reach)):
            reasons.append(reason)
            continue
        for rest in _sensed_on_ground(shifted, reach, grounded, reasons):
            placed = _place(shifted, reach, rest, moves_as_one=shifted is not pattern and pattern.own < 0)
            if placed is not None:
                return placed
    raise NoWay(reasons[0] if reasons else "")


def _references(pattern: Pattern, reach: Reach, grounded: Sequence[int], reasons: list[str]) -> Iterator[Levels]:
    """Yield the levels that may be those of ground, those of no shift first."""
    shiftable = len(reach.pads) == reach.rows + reach.cols
    if grounded:
        levels = {pattern.levels(line): line for line in reversed(grounded)}
        if len(levels) > 1:
            *_, other, one = levels.values()
            reasons.append(
                f"{reach.pads[one]} and {reach.pads[other]} are both on ground by wire, "
                "and have to be at different levels"
            )
            return
        (reference,) = levels
        if reference != (0.0, 0.0) and not shiftable:
            reasons.append(f"{reach.pads[grounded[0]]} is on ground by wire, and has to be at {max(reference):.3g} V")
            return
        yield reference
        return
    yield 0.0, 0.0
    if shiftable:
        lines: list[int] = np.flatnonzero(~pattern.open & reach.can[:, -1]).tolist()
        yield from (level for level, _ in Counter(map(pattern.levels, lines)).most_common() if level != (0.0, 0.0))


def _worse(shifted: Pattern, pattern: Pattern, reach: Reach) -> str:
    """Return why a shift would do to a cell what was not asked for, in operator words; "" if it would not."""
    for new, old in ((shifted.a, pattern.a), (shifted.b, pattern.b)):
        for now, asked in zip(_extremes(new, shifted, reach), _extremes(old, pattern, reach), strict=True):
            if now > asked + 1e-9:
                return (
                    f"with the lines that are on ground at 0 V, a cell would see {now:.3g} V on the way where at most "
                    f"{asked:.3g} V in that direction is asked for"
                )
    return ""


def _extremes(levels: FloatArray, pattern: Pattern, reach: Reach) -> tuple[Volt, Volt]:
    """Return the highest row minus column, and column minus row, of any cell at any moment, V; 0 V is on the way."""
    driven = np.where(pattern.open, 0.0, levels)
    rows, cols = driven[: reach.rows], driven[reach.rows : reach.rows + reach.cols]
    high_row, low_row = max(0.0, rows.max()), min(0.0, rows.min())
    high_col, low_col = max(0.0, cols.max()), min(0.0, cols.min())
    if pattern.open.any():
        worst = max(high_row, high_col) - min(low_row, low_col)
        return worst, worst
    return high_row - low_col, high_col - low_row


def _sensed_on_ground(
    pattern: Pattern, reach: Reach, grounded: Sequence[int], reasons: list[str]
) -> Iterator[int | None]:
    """Yield the wanted column that is sensed by the current of all other lines; None: each on its own channel."""
    sensed = [line for line in pattern.cols if not pattern.open[line]]
    blind = [line for line in sensed if line in grounded]
    if blind:
        others = [line for line in grounded if line != blind[0]]
        if others:
            reasons.append(
                f"{reach.pads[blind[0]]} is sensed on ground, where {reach.pads[others[0]]} is as well: "
                "their currents cannot be told apart"
            )
            return
        yield blind[0]
        return
    yield None
    if not grounded:
        yield from (line for line in sensed if reach.can[line, -1] and pattern.levels(line) == (0.0, 0.0))


def _place(pattern: Pattern, reach: Reach, rest: int | None, *, moves_as_one: bool) -> Assignment | None:
    """Return the sources of a pattern whose levels are counted from ground; None if they do not suffice.

    Args:
        rest: line that is sensed by the current of all others, or None.
        moves_as_one: only one channel may leave 0 V, since nothing says which would go first.
    """
    c = len(reach.channels)
    route = np.full(len(reach.pads), OPEN)
    made = _makers(pattern)
    if made is None:
        return None
    makers, sensed = made, [line for line in pattern.cols if not pattern.open[line] and line != rest]
    taken: dict[int, tuple[Levels, bool]] = {}  # channel: its levels, and whether it is nobody else's
    groups: dict[tuple[Levels, bytes], list[int]] = {}
    own: list[list[int]] = []
    for line in np.flatnonzero(~pattern.open).tolist():
        levels, source = pattern.levels(line), int(reach.wired[line])
        if line == rest:
            route[line] = c
        elif source == c and rest is not None:
            return None
        elif source != OPEN:
            route[line] = source
            if source != c:
                taken[source] = levels, True
        elif line in sensed and line not in makers:
            own.append([line])
        elif line in makers and line == makers[0]:
            own.insert(0, list(makers))
        elif line in makers:
            continue
        elif rest is None and levels == (0.0, 0.0) and reach.can[line, -1]:
            route[line] = c
        else:
            groups.setdefault((levels, reach.can[line].tobytes()), []).append(line)
    if len(makers) > 1 and any(line in sensed or reach.wired[line] != OPEN for line in makers):
        return None
    shared = sorted(groups.values(), key=lambda lines: -abs(pattern.a[lines[0]]) - 1e-6 * abs(pattern.b[lines[0]]))
    first = [own.pop(0)] if makers and own and own[0] == list(makers) else []
    items = [(lines, True) for lines in first] + [(lines, False) for lines in shared] + [(lines, True) for lines in own]
    if not _fill(items, 0, pattern, reach, taken, route):
        return None
    a, b, sense = np.zeros(c), np.zeros(c), np.full(c, -1)
    for channel, ((level_a, level_b), _) in taken.items():
        a[channel], b[channel] = level_a, level_b
    for slot, line in enumerate(pattern.cols):
        if not pattern.open[line] and line != rest:
            sense[route[line]] = slot
    if moves_as_one and np.count_nonzero(a) > 1:
        return None
    maker = int(route[makers[0]]) if makers else -1
    if maker == c:
        return None
    return Assignment(route, a, b, maker, sense, -1 if rest is None else pattern.cols.index(rest))


def _makers(pattern: Pattern) -> tuple[int, ...] | None:
    """Return the lines that make the width: the one that is to, or its counterparts where it stays on ground.

    None if the counterparts are not at one level: nothing says which of them would go first.
    """
    own = pattern.own
    if own < 0 or pattern.open[own]:
        return ()
    if pattern.a[own] != 0:
        return (own,)
    moving = np.where(pattern.open, 0.0, pattern.a)
    if not moving.any():
        return ()
    lines = np.flatnonzero(np.abs(moving) >= np.abs(moving).max() - 1e-12).tolist()
    return tuple(lines) if len({pattern.levels(line) for line in lines}) == 1 else None


def _fill(
    items: Sequence[tuple[list[int], bool]],
    k: int,
    pattern: Pattern,
    reach: Reach,
    taken: dict[int, tuple[Levels, bool]],
    route: IntArray,
) -> bool:
    """Give items from the k-th on a channel each, in place; return whether that was possible.

    Args:
        items: lines of one level, and whether no others may be on their channel.
    """
    if k == len(items):
        return True
    lines, alone = items[k]
    levels = pattern.levels(lines[0])
    for channel in range(len(reach.channels)):
        if not reach.can[lines, channel].all():
            continue
        before = taken.get(channel)
        if before is not None and (alone or before[1] or before[0] != levels):
            continue
        taken[channel] = levels, alone
        route[lines] = channel
        if _fill(items, k + 1, pattern, reach, taken, route):
            return True
        if before is None:
            del taken[channel]
        else:
            taken[channel] = before
    return False
