"""What the sources, the relays and the die agree on: one operating point for everything that is connected.

A net is what closed relays join: sources, lines of the die, perhaps the common LO. A source is a level with a limit,
so the current that the sources of a net can give falls with its voltage, and the current that the die takes rises
with it. One rule finds the voltage where the two meet; it covers compliance on the true load line, a channel on many
lines, two sources fighting and floating lines joined to each other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from labctl.core.die import Geometry
from labctl.core.units import Ampere, BoolArray, FloatArray, Second, Volt


class Load(Protocol):
    """What the needles touch: a simulated die, or a resistor array in a test."""

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        ...

    def hold(
        self, kernel: int, voltage: FloatArray, driven: BoolArray, compliance: FloatArray, duration: Second
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Hold one kernel at levels for `duration` (0: look only); lines are its rows, then its columns.

        Returns line voltages in V, currents into the lines in A and which lines are at their compliance.
        """
        ...


@dataclass(frozen=True)
class Drive:
    """Output of one source.

    Args:
        level: V, or A if `current`.
        limit: largest current in A, or largest voltage in V if `current`.
        current: a current source.
    """

    level: float
    limit: float
    current: bool = False

    @property
    def volts(self) -> Volt:
        """Level of the equivalent voltage source."""
        return float(np.copysign(self.limit, self.level)) if self.current else self.level

    @property
    def amps(self) -> Ampere:
        """Current limit of the equivalent voltage source."""
        return abs(self.level) if self.current else self.limit


@dataclass(frozen=True)
class Point:
    """Operating point of one channel: V, A out of its HI, and whether it is at its limit."""

    volts: Volt
    amps: Ampere
    limited: bool


@dataclass
class Net:
    """One set of joined conductors.

    Args:
        channels: names of the sources on it.
        grounded: tied to the common LO.
        lines: per kernel, indices of lines (rows, then columns).
    """

    nodes: frozenset[str]
    channels: tuple[str, ...]
    grounded: bool
    lines: dict[int, list[int]]
    supplies: list[tuple[str, Volt, Ampere]] = field(default_factory=list)
    volts: Volt = 0.0
    amps: Ampere = 0.0

    @cached_property
    def width(self) -> int:
        """Lines of the die on it."""
        return sum(map(len, self.lines.values()))

    @property
    def simple(self) -> bool:
        """The die itself can apply the limit: one source on one line."""
        return len(self.supplies) == 1 and self.width == 1

    def supply(self, volts: Volt) -> tuple[Ampere, Ampere]:
        """Return the smallest and largest current that the sources give at `volts`."""
        low = sum(-i if volts >= v else i for _, v, i in self.supplies)
        high = sum(i if volts <= v else -i for _, v, i in self.supplies)
        return low, high

    def share(self) -> dict[str, Ampere]:
        """Return the current of every source at the operating point."""
        given = {name: (i if self.volts < v else -i) for name, v, i in self.supplies if self.volts != v}
        held = [name for name, v, _ in self.supplies if self.volts == v]
        rest = self.amps - sum(given.values())
        return given | {name: rest / len(held) for name in held}


@dataclass(frozen=True)
class Solution:
    """Operating point of the whole bench: per channel, and the line voltages of every kernel that is driven."""

    points: dict[str, Point]
    line_voltage: dict[int, FloatArray]


def drive_nets(nets: list[Net], drives: dict[str, Drive | None]) -> None:
    """Put the sources on their nets."""
    for net in nets:
        net.supplies = [("", 0.0, np.inf)] if net.grounded else []
        for name in net.channels:
            drive = drives.get(name)
            if drive is not None and drive.amps > 0:
                net.supplies.append((name, drive.volts, drive.amps))


def solve(nets: list[Net], drives: dict[str, Drive | None], load: Load | None, duration: Second) -> Solution:
    """Return the operating point after the die was held at it for `duration`; nets carry their volts and amps.

    Voltages of nets with a limit to share are found to 1 ppm of the limit, the others by the die itself.
    """
    drive_nets(nets, drives)
    for net in nets:
        net.volts, net.amps = (net.supplies[0][1] if net.supplies else 0.0), 0.0
        if len(net.supplies) > 1:
            _balance(net, lambda _: 0.0)
    touched = [net for net in nets if load is not None and net.width]
    kernels = sorted({kernel for net in touched for kernel in net.lines})
    live = [k for k in kernels if any(k in n.lines and n.supplies and n.volts != 0.0 for n in touched)]
    found: dict[int, FloatArray] = {}
    limited: set[int] = set()
    if load is not None and live:
        shared = [n for n in touched if not n.simple and (n.supplies or n.width > 1) and set(n.lines) & set(live)]
        _settle(shared, touched, load, live)
        found, limited = _hold(touched, load, live, duration)
    points: dict[str, Point] = {}
    for net in nets:
        if not net.channels:
            continue
        share = net.share()
        for name in net.channels:
            drive = drives.get(name)
            amps = share.get(name, 0.0)
            if drive is None:
                points[name] = Point(0.0, 0.0, False)
                continue
            at_current = id(net) in limited or (drive.amps > 0 and not abs(amps) < drive.amps * (1 - 1e-6))
            if id(net) in limited:
                at_limit = not drive.current
            else:
                at_limit = at_current != drive.current and (drive.amps > 0 or not drive.current)
            points[name] = Point(net.volts, amps, at_limit)
    return Solution(points, found)


def _hold(nets: list[Net], load: Load, kernels: list[int], duration: Second) -> tuple[dict[int, FloatArray], set[int]]:
    """Hold the live kernels; return their line voltages and the ids of simple nets at their limit."""
    n_lines = load.geometry.n_rows + load.geometry.n_cols
    found: dict[int, FloatArray] = {}
    limited: set[int] = set()
    amps = {id(net): 0.0 for net in nets}
    volts: dict[int, Volt] = {}
    for kernel in kernels:
        voltage, driven = np.zeros(n_lines), np.zeros(n_lines, np.bool_)
        compliance = np.full(n_lines, np.inf)
        for net in nets:
            lines = net.lines.get(kernel)
            if lines and (net.supplies or net.width > 1):
                voltage[lines] = net.supplies[0][1] if net.simple else net.volts
                driven[lines] = True
                if net.simple:
                    compliance[lines] = net.supplies[0][2]
        line_voltage, line_current, at_limit = load.hold(kernel, voltage, driven, compliance, duration)
        found[kernel] = line_voltage
        for net in nets:
            lines = net.lines.get(kernel)
            if lines:
                amps[id(net)] += float(np.sum(line_current[lines])) if driven[lines[0]] else 0.0
                if net.simple or not driven[lines[0]]:
                    volts[id(net)] = float(line_voltage[lines[0]])
                if net.simple and bool(at_limit[lines[0]]):
                    limited.add(id(net))
    for net in nets:
        if not net.lines.keys().isdisjoint(kernels):
            net.amps = amps[id(net)]
            net.volts = volts.get(id(net), net.volts)
    return found, limited


def _settle(shared: list[Net], nets: list[Net], load: Load, kernels: list[int]) -> None:
    """Find the voltages of nets whose limit is shared by several lines or sources, each in turn until none moves."""
    for _ in range(40):
        moved = 0.0
        for net in shared:

            def current(volts: Volt, net: Net = net) -> Ampere:
                net.volts = volts
                _hold(nets, load, kernels, 0.0)
                net.volts = volts
                return net.amps

            before = net.volts
            _balance(net, current)
            moved = max(moved, abs(net.volts - before))
        if moved <= 1e-9 or len(shared) == 1:
            return


def _balance(net: Net, current: Callable[[Volt], Ampere]) -> None:
    """Set the net's volts to where what the load takes equals what its sources give.

    The load's current rises with voltage and the supply falls in steps at the source levels, so the crossing is
    either at a level or between two of them, where the supply is constant.
    """
    low, high = -np.inf, np.inf
    taken = 0.0
    levels = sorted({v for _, v, _ in net.supplies}, key=lambda v: (v != net.volts, abs(v)))
    for level in levels:
        if not low < level < high:
            continue
        taken = current(level)
        least, most = net.supply(level)
        slack = 1e-6 * min((i for _, _, i in net.supplies if np.isfinite(i)), default=0.0)
        if least - slack <= taken <= most + slack:
            net.volts, net.amps = level, taken
            return
        if taken > most:
            high = level
        else:
            low = level
    inside = (
        0.5 * (low + high) if np.isfinite(low) and np.isfinite(high) else (high - 1 if np.isfinite(high) else low + 1)
    )
    target = net.supply(inside if net.supplies else 0.0)[1]
    net.volts = _root(current, target, low, high, net.volts)
    net.amps = target


def _root(current: Callable[[Volt], Ampere], target: Ampere, low: Volt, high: Volt, guess: Volt) -> Volt:
    """Return the voltage between `low` and `high` where a rising `current` equals `target`: secant in bounds."""
    a = high if np.isfinite(high) else low if np.isfinite(low) else guess
    f_a = current(a) - target
    b = a - 1e-3 if np.isfinite(high) else a + 1e-3
    scale = max(abs(target), 1e-12)
    for _ in range(60):
        f_b = current(b) - target
        if f_b > 0:
            high = min(high, b)
        else:
            low = max(low, b)
        if abs(f_b) <= 1e-9 * scale or f_b == f_a:
            return b
        step = b - f_b * (b - a) / (f_b - f_a)
        if not low <= step <= high and np.isfinite(low) and np.isfinite(high):
            step = 0.5 * (low + high)
        a, f_a, b = b, f_b, step
    return b
