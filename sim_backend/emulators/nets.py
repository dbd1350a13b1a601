"""Nets of sources, relays and die, and their common operating point.

A net is a set of conductors joined by closed relays: sources, lines of the die, perhaps the common LO. A source is a
level with a limit, so the current that the sources of a net supply falls with its voltage, and the current into the die
rises with it. One rule finds the voltage where the two are equal; it covers compliance on the true load line, a channel
on many lines, two sources fighting and floating lines joined to each other. One module: the operating
point of a net depends on those of all others.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

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

    def version(self, kernel: int) -> int:
        """Return a number that grows whenever a kernel answers a hold otherwise than before: a cell has changed."""
        ...


class Drive(NamedTuple):
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
        return math.copysign(self.limit, self.level) if self.current else self.level

    @property
    def amps(self) -> Ampere:
        """Current limit of the equivalent voltage source."""
        return abs(self.level) if self.current else self.limit


class ChannelPoint(NamedTuple):
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
    drives: tuple[Drive | None, ...] = ()
    """Outputs that `supplies` were made of, as `connect` got them."""
    supplies: list[tuple[str, Volt, Ampere]] = field(default_factory=list)
    volts: Volt = 0.0
    amps: Ampere = 0.0

    def __post_init__(self) -> None:
        self.width = sum(map(len, self.lines.values()))
        """Number of lines of the die on it."""
        self.places = {kernel: [int(line) for line in lines] for kernel, lines in self.lines.items()}
        """The same as `lines`, for one at a time."""
        self.connect((None,) * len(self.channels))

    def connect(self, drives: tuple[Drive | None, ...]) -> None:
        """Connect its sources, `drives` in the order of `channels`."""
        self.drives = drives
        self.supplies = [("", 0.0, math.inf)] if self.grounded else []
        for name, drive in zip(self.channels, drives, strict=True):
            if drive is not None and drive.amps > 0:
                self.supplies.append((name, drive.volts, drive.amps))
        self.volts, self.amps = (self.supplies[0][1] if self.supplies else 0.0), 0.0
        if len(self.supplies) > 1:
            _balance(self, lambda _: 0.0)
        self._unloaded = self.volts, self.amps
        self.simple = len(self.supplies) == 1 and self.width == 1
        """Whether the die itself can apply the limit: one source on one line."""
        self.undecided = (
            not self.simple and (len(self.supplies) > 1 or self.supplies[0][2] < math.inf)
            if self.supplies
            else self.width > 1
        )
        """Whether its voltage depends on the currents of the die: a limit or a floating potential is shared."""

    def unload(self) -> None:
        """Go back to the voltage without a die; a floating net is at 0 V until the die is solved."""
        self.volts, self.amps = self._unloaded

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


@dataclass(eq=False)
class Held:
    """What the live kernels of a die are held at, and the die's version at which that was solved for.

    Args:
        kernels: the live ones.
        nets: those with a line of them.
        version: of each of the kernels when voltages of shared nets were solved; empty until they are.
        levels: voltage, driven and compliance of each of the kernels, as `Load.hold` takes them.
    """

    kernels: list[int]
    nets: list[Net]
    version: list[int] = field(default_factory=list)
    levels: list[tuple[FloatArray, BoolArray, FloatArray]] = field(default_factory=list)


class Nets:
    """All present nets, sorted by their sources and lines; their operating point is that of the last `solve`.

    Args:
        nets: together they hold every conductor.
    """

    def __init__(self, nets: list[Net]) -> None:
        self.sourced = [net for net in nets if net.channels or net.grounded]
        self.contested = [net for net in self.sourced if len(net.channels) + net.grounded > 1]
        """Those that may have several sources."""
        self._at = {node: net for net in nets for node in net.nodes}
        self._of_kernel: dict[int, list[Net]] = {}
        for net in nets:
            for kernel in net.lines:
                self._of_kernel.setdefault(kernel, []).append(net)
        self._supplying = {name: net for net in self.sourced for name in net.channels}
        self._alone = [(net.channels[0], net) for net in self.sourced if len(net.channels) == 1]
        self._shared = [net for net in self.sourced if len(net.channels) > 1]
        self._lined = [net for net in self.sourced if net.lines]
        self._nets = nets
        self.begin()

    def begin(self) -> None:
        """Begin anew, where nothing is driven: relays have moved, and a net may have been one of other nets since."""
        for net in self._nets:
            net.unload()
        self.held: Held | None = None
        self.limited: set[int] = set()
        """Ids of simple nets at their limit."""
        self.line_voltage: dict[int, FloatArray] = {}
        """Line voltages of every kernel that is driven."""

    def at(self, nodes: Iterable[str]) -> list[Net]:
        """Return the nets that `nodes` belong to, each once."""
        return list(dict.fromkeys(self._at[node] for node in nodes if node in self._at))

    def drive(self, drives: Mapping[str, Drive | None]) -> None:
        """Connect the sources whose outputs are others than before, and take the die off."""
        for net in self.held.nets if self.held is not None else ():
            net.unload()
        self.held, self.limited, self.line_voltage = None, set(), {}
        for name, net in self._alone:  # a drive is never changed, only replaced
            if drives.get(name) is not net.drives[0]:
                net.connect((drives.get(name),))
        for net in self._shared:
            present = tuple([drives.get(name) for name in net.channels])
            if not all(map(operator.is_, present, net.drives)):
                net.connect(present)

    def live(self) -> list[int]:
        """Return the kernels that a source drives away from 0 V."""
        return sorted({kernel for net in self._lined if net.volts != 0.0 and net.supplies for kernel in net.lines})

    def of(self, kernels: list[int]) -> list[Net]:
        """Return the nets with lines of any of `kernels`, each once."""
        if len(kernels) == 1:
            return self._of_kernel[kernels[0]]
        return list(dict.fromkeys(net for kernel in kernels for net in self._of_kernel[kernel]))

    def point(self, channel: str) -> ChannelPoint:
        """Return the operating point of a channel; KeyError if it is on no net."""
        net = self._supplying[channel]
        drive = net.drives[net.channels.index(channel)]
        if drive is None:
            return ChannelPoint(0.0, 0.0, False)
        amps = net.share().get(channel, 0.0)
        if id(net) in self.limited:
            return ChannelPoint(net.volts, amps, not drive.current)
        at_current = drive.amps > 0 and not abs(amps) < drive.amps * (1 - 1e-6)
        at_limit = at_current != drive.current and (drive.amps > 0 or not drive.current)
        return ChannelPoint(net.volts, amps, at_limit)

    def solve(self, drives: Mapping[str, Drive | None], load: Load | None, duration: Second) -> None:
        """Take over the operating point after the die was held at it for `duration`; nets carry their volts and amps.

        Voltages of nets with a shared limit are solved to 1 ppm of the limit, the others by the die itself.
        """
        self.drive(drives)
        if load is not None and (live := self.live()):
            self.held = held = Held(live, self.of(live))
            version = [load.version(kernel) for kernel in live]
            _settle([net for net in held.nets if net.undecided], held, load)
            self.line_voltage, self.limited = _hold(held, load, duration)
            held.version = version

    def stay(self, load: Load, duration: Second) -> bool | None:
        """Hold the die for another `duration` at what the last `solve` found; return whether that changed something.

        None if it has to be solved again: nothing is held, or the die is not the one that it was solved for, which its
        version says. The drives must be those of the last `solve`.
        """
        held = self.held
        if held is None or held.version != [load.version(kernel) for kernel in held.kernels]:
            return None
        answers = [
            load.hold(kernel, *levels, duration) for kernel, levels in zip(held.kernels, held.levels, strict=True)
        ]
        if held.version == [load.version(kernel) for kernel in held.kernels]:
            return False
        self.line_voltage, self.limited = _take_over(held, answers)
        return True


def _hold(held: Held, load: Load, duration: Second) -> tuple[dict[int, FloatArray], set[int]]:
    """Hold the live kernels; return their line voltages and the ids of simple nets at their limit."""
    n_lines = load.geometry.n_rows + load.geometry.n_cols
    held.levels, answers = [], []
    for kernel in held.kernels:
        voltage, driven, compliance = [0.0] * n_lines, [False] * n_lines, [math.inf] * n_lines
        for net in held.nets:
            for line in net.places.get(kernel, ()):
                if net.simple:
                    _, voltage[line], compliance[line] = net.supplies[0]
                    driven[line] = True
                elif net.supplies or net.width > 1:
                    voltage[line], driven[line] = net.volts, True
        levels = np.array(voltage, np.float64), np.array(driven, np.bool_), np.array(compliance, np.float64)
        held.levels.append(levels)
        answers.append(load.hold(kernel, *levels, duration))
    return _take_over(held, answers)


def _take_over(
    held: Held, answers: list[tuple[FloatArray, FloatArray, BoolArray]]
) -> tuple[dict[int, FloatArray], set[int]]:
    """Give the nets the volts and amps that the die answered with; return as `_hold` does."""
    limited: set[int] = set()
    volts: dict[int, Volt] = {}
    for net in held.nets:
        net.amps = 0.0
    for kernel, (line_voltage, line_current, at_limit) in zip(held.kernels, answers, strict=True):
        for net in held.nets:
            lines = net.places.get(kernel)
            if lines is None:
                continue
            if not (net.supplies or net.width > 1):
                volts[id(net)] = float(line_voltage[lines[0]])
                continue
            net.amps += float(line_current[lines[0]] if len(lines) == 1 else line_current[net.lines[kernel]].sum())
            if net.simple:
                volts[id(net)] = float(line_voltage[lines[0]])
                if at_limit[lines[0]]:
                    limited.add(id(net))
    for net in held.nets:
        net.volts = volts.get(id(net), net.volts)
    return {kernel: one[0] for kernel, one in zip(held.kernels, answers, strict=True)}, limited


def _settle(shared: list[Net], held: Held, load: Load) -> None:
    """Solve the voltages of nets whose limit is shared by several lines or sources, each in turn until none changes."""
    for _ in range(40):
        change = 0.0
        for net in shared:

            def current(volts: Volt, net: Net = net) -> Ampere:
                net.volts = volts
                _hold(held, load, 0.0)
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
    low, high = -math.inf, math.inf
    taken = 0.0
    levels = sorted({v for _, v, _ in net.supplies}, key=lambda v: (v != net.volts, abs(v)))
    for level in levels:
        if not low < level < high:
            continue
        taken = current(level)
        least, most = net.supply(level)
        slack = 1e-6 * min((i for _, _, i in net.supplies if math.isfinite(i)), default=0.0)
        if least - slack <= taken <= most + slack:
            net.volts, net.amps = level, taken
            return
        if taken > most:
            high = level
        else:
            low = level
    if math.isfinite(high):
        inside = 0.5 * (low + high) if math.isfinite(low) else high - 1
    else:
        inside = low + 1
    target = net.supply(inside if net.supplies else 0.0)[1]
    net.volts = rising(current, target, low, high, net.volts)
    net.amps = target


def rising(current: Callable[[Volt], Ampere], target: Ampere, low: Volt, high: Volt, guess: Volt) -> Volt:
    """Return the voltage between `low` and `high` where a rising `current` equals `target`: secant in bounds.

    Without bounds it begins at `guess`, V.
    """
    a = high if math.isfinite(high) else low if math.isfinite(low) else guess
    f_a = current(a) - target
    b = a - 1e-3 if math.isfinite(high) else a + 1e-3
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
        if not low <= step <= high and math.isfinite(low) and math.isfinite(high):
            step = 0.5 * (low + high)
        a, f_a, b = b, f_b, step
    return b
