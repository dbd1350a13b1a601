"""Nets of sources, relays and die, and their common operating point.

A net is a set of conductors joined by closed relays: sources, lines of the die, perhaps the common LO. A source is a
level with a limit, so the current that the sources of a net supply falls with its voltage, and the current into the die
rises with it. One rule finds the voltage where the two are equal; it covers compliance on the true load line, a channel
on many lines, two sources fighting and floating lines joined to each other. One module of 310 lines: the operating
point of a net depends on those of all others.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np

from labctl.core.bias import Geometry
from labctl.core.units import Ampere, BoolArray, FloatArray, IntArray, Second, Volt


class Load(Protocol):
    """Load under the needles: a simulated die, or a resistor array in a test."""

    @property
    def geometry(self) -> Geometry:
        """Shape of the die."""
        ...

    def hold(
        self, kernel: int, voltage: FloatArray, driven: BoolArray, compliance: FloatArray, duration: Second
    ) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Hold one kernel at levels for `duration` (0: no effect on the cells); lines are its rows, then its columns.

        Returns line voltages in V, currents into the lines in A and the mask of lines at their compliance.
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
class ChannelPoint:
    """Operating point of one channel: V, A out of its HI, and whether it is at its limit."""

    volts: Volt
    amps: Ampere
    limited: bool


@dataclass(eq=False)
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
    lines: dict[int, IntArray]
    supplies: list[tuple[str, Volt, Ampere]] = field(default_factory=list)
    volts: Volt = 0.0
    amps: Ampere = 0.0

    @cached_property
    def width(self) -> int:
        """Number of lines of the die on it."""
        return sum(map(len, self.lines.values()))

    @property
    def simple(self) -> bool:
        """Whether the die itself can apply the limit: one source on one line."""
        return len(self.supplies) == 1 and self.width == 1

    @property
    def undecided(self) -> bool:
        """Whether its voltage depends on the currents of the die: a limit or a floating potential is shared."""
        if not self.supplies:
            return self.width > 1
        return not self.simple and (len(self.supplies) > 1 or self.supplies[0][2] < np.inf)

    def supply(self, volts: Volt) -> tuple[Ampere, Ampere]:
        """Return the smallest and largest current that the sources give at `volts`."""
        low = sum(-i if volts >= v else i for _, v, i in self.supplies)
        high = sum(i if volts <= v else -i for _, v, i in self.supplies)
        return low, high

    def share(self) -> dict[str, Ampere]:
        """Return the current of every source at the operating point."""
        if len(self.supplies) == 1 and self.volts == self.supplies[0][1]:
            return {self.supplies[0][0]: self.amps}
        given = {name: (i if self.volts < v else -i) for name, v, i in self.supplies if self.volts != v}
        held = [name for name, v, _ in self.supplies if self.volts == v]
        rest = self.amps - sum(given.values())
        return given | {name: rest / len(held) for name in held}


@dataclass(frozen=True)
class NetSolution:
    """Operating point of the whole bench: per channel, and the line voltages of every kernel that is driven."""

    points: dict[str, ChannelPoint]
    line_voltage: dict[int, FloatArray]


class Nets:
    """All present nets, sorted by their sources and lines.

    Args:
        nets: together they hold every conductor.
    """

    def __init__(self, nets: list[Net]) -> None:
        self.sourced = [net for net in nets if net.channels or net.grounded]
        self._at = {node: net for net in nets for node in net.nodes}
        self._of_kernel: dict[int, list[Net]] = {}
        for net in nets:
            net.supplies, net.volts, net.amps = [], 0.0, 0.0
            for kernel in net.lines:
                self._of_kernel.setdefault(kernel, []).append(net)
        self._moved: list[Net] = []

    def at(self, nodes: Iterable[str]) -> list[Net]:
        """Return the nets that `nodes` belong to, each once."""
        return list(dict.fromkeys(self._at[node] for node in nodes if node in self._at))

    def drive(self, drives: Mapping[str, Drive | None]) -> None:
        """Connect the sources to their nets; a floating net is at 0 V until the die is solved."""
        for net in self._moved:
            net.volts, net.amps = 0.0, 0.0
        self._moved = []
        for net in self.sourced:
            net.supplies = [("", 0.0, np.inf)] if net.grounded else []
            for name in net.channels:
                drive = drives.get(name)
                if drive is not None and drive.amps > 0:
                    net.supplies.append((name, drive.volts, drive.amps))
            net.volts, net.amps = (net.supplies[0][1] if net.supplies else 0.0), 0.0
            if len(net.supplies) > 1:
                _balance(net, lambda _: 0.0)

    def live(self) -> list[int]:
        """Return the kernels that a source drives away from 0 V; their nets count as moved."""
        kernels = sorted({kernel for net in self.sourced if net.supplies and net.volts != 0.0 for kernel in net.lines})
        self._moved = self.of(kernels)
        return kernels

    def of(self, kernels: list[int]) -> list[Net]:
        """Return the nets with lines of any of `kernels`, each once."""
        if len(kernels) == 1:
            return self._of_kernel[kernels[0]]
        return list(dict.fromkeys(net for kernel in kernels for net in self._of_kernel[kernel]))


def solve(nets: Nets, drives: Mapping[str, Drive | None], load: Load | None, duration: Second) -> NetSolution:
    """Return the operating point after the die was held at it for `duration`; nets carry their volts and amps.

    Voltages of nets with a shared limit are solved to 1 ppm of the limit, the others by the die itself.
    """
    nets.drive(drives)
    line_voltage: dict[int, FloatArray] = {}
    limited: set[int] = set()
    if load is not None and (live := nets.live()):
        touched = nets.of(live)
        _settle([net for net in touched if net.undecided], touched, load, live)
        line_voltage, limited = _hold(touched, load, live, duration)
    points: dict[str, ChannelPoint] = {}
    for net in nets.sourced:
        if not net.channels:
            continue
        share = net.share()
        for name in net.channels:
            drive = drives.get(name)
            amps = share.get(name, 0.0)
            if drive is None:
                points[name] = ChannelPoint(0.0, 0.0, False)
                continue
            at_current = id(net) in limited or (drive.amps > 0 and not abs(amps) < drive.amps * (1 - 1e-6))
            if id(net) in limited:
                at_limit = not drive.current
            else:
                at_limit = at_current != drive.current and (drive.amps > 0 or not drive.current)
            points[name] = ChannelPoint(net.volts, amps, at_limit)
    return NetSolution(points, line_voltage)


def _hold(nets: list[Net], load: Load, kernels: list[int], duration: Second) -> tuple[dict[int, FloatArray], set[int]]:
    """Hold the live kernels; return their line voltages and the ids of simple nets at their limit."""
    n_lines = load.geometry.n_rows + load.geometry.n_cols
    voltages: dict[int, FloatArray] = {}
    limited: set[int] = set()
    for net in nets:
        net.amps = 0.0
    volts: dict[int, Volt] = {}
    for kernel in kernels:
        voltage, driven = np.zeros(n_lines), np.zeros(n_lines, np.bool_)
        compliance = np.full(n_lines, np.inf)
        here = [(net, lines) for net in nets if (lines := net.lines.get(kernel)) is not None]
        for net, lines in here:
            if net.simple:
                _, voltage[lines], compliance[lines] = net.supplies[0]
                driven[lines] = True
            elif net.supplies or net.width > 1:
                voltage[lines], driven[lines] = net.volts, True
        line_voltage, line_current, at_limit = load.hold(kernel, voltage, driven, compliance, duration)
        voltages[kernel] = line_voltage
        for net, lines in here:
            if not (net.supplies or net.width > 1):
                volts[id(net)] = float(line_voltage[lines[0]])
                continue
            net.amps += float(line_current[lines].sum())
            if net.simple:
                volts[id(net)] = float(line_voltage[lines[0]])
                if at_limit[lines[0]]:
                    limited.add(id(net))
    for net in nets:
        net.volts = volts.get(id(net), net.volts)
    return voltages, limited


def _settle(shared: list[Net], nets: list[Net], load: Load, kernels: list[int]) -> None:
    """Solve the voltages of nets whose limit is shared by several lines or sources, each in turn until none changes."""
    for _ in range(40):
        change = 0.0
        for net in shared:

            def current(volts: Volt, net: Net = net) -> Ampere:
                net.volts = volts
                _hold(nets, load, kernels, 0.0)
                net.volts = volts
                return net.amps

            before = net.volts
            _balance(net, current)
            change = max(change, abs(net.volts - before))
        if change <= 1e-9 or len(shared) == 1:
            return


def _balance(net: Net, current: Callable[[Volt], Ampere]) -> None:
    """Set the net's volts to where the current into the load equals the supply of its sources.

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
