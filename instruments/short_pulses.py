"""Pulses that are shorter than those of sources: which pulse source makes them, and what carries them. Pure.

A pulse source is joined to the line of a channel by a bias tee, so its pulses go where that channel goes: by a wire, or
through the relays of a route. Tee, cables and relays carry pulses of some widths only, which the bench file says; what
nothing is said of carries none.

A pattern's level is that of an open end (`labctl.core.pulse_source`), and so what limits judge: no cell, whatever its
resistance, sees more of a pulse than was asked for. What it does see is told as a range. The current is limited by
nothing but the impedance of the source: what would flow into a short is judged by a limit of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from instruments.connections import Connections
from instruments.entry import Entry
from instruments.routing import RouteVisits
from instruments.wiring import Tee, Wiring
from labctl.core.driver import DriverKind
from labctl.core.errors import BenchError, refuse_beyond
from labctl.core.pulse_source import PulseCapabilities, across
from labctl.core.units import Ampere, FloatArray, IntArray, Second


@dataclass(frozen=True)
class PulseLine:
    """The pulse source at the tee of a channel.

    Args:
        instrument: name of the pulse source in the bench file, and `channel` its channel.
        tee: what joins it to the line.
    """

    instrument: str
    channel: str
    capabilities: PulseCapabilities
    tee: Tee

    @property
    def widths(self) -> tuple[Second, Second]:
        """Shortest and longest pulse that it makes and its tee carries, s."""
        shortest, longest = self.capabilities.widths
        return max(shortest, self.tee.shortest), min(longest, self.tee.longest)

    @property
    def part(self) -> tuple[float, float]:
        """What is across the junctions of the bench file, as a part of what an open end sees."""
        low, high = (across(1.0, ohms, self.capabilities.impedance) for ohms in self.tee.junction)
        return low, high

    def text(self, channel: str) -> str:
        """Return what it does, in operator words."""
        (shortest, longest), (low, high) = self.widths, self.part
        ohms = " to ".join(f"{r:g}" for r in self.tee.junction)
        return (
            f"{self.tee.pulses} by a bias tee on the line of {channel} with pulses of {shortest:.3g} to "
            f"{longest:.3g} s ({low:.1%} to {high:.1%} of the level are across {ohms} ohm)"
        )


def pulse_lines(wiring: Wiring, instruments: Mapping[str, Entry], connections: Connections) -> dict[int, PulseLine]:
    """Return the pulse source of each channel that has one, by the channel's number.

    Raises:
        ValueError: a tee joins what is no channel of a wired source and of a pulse source, or one twice; a matrix is
            named that there is not.
    """
    lines: dict[int, PulseLine] = {}
    taken: dict[str, str] = {}
    for channel, tee in wiring.tees.items():
        if channel not in connections.channels:
            raise ValueError(
                f"tees: {channel} is not among the wired channels, which are {', '.join(connections.channels)}"
            )
        name, _, part = tee.pulses.partition(".")
        entry = instruments.get(name)
        if entry is None or entry.kind is not DriverKind.PULSES:
            is_now = f"a {entry.kind}" if entry is not None else "no instrument of the bench"
            raise ValueError(
                f"tees: {channel} is to have the pulses of {tee.pulses}, and '{name}' is {is_now}; expected a pulse "
                "source and its channel, such as pulser.out1"
            )
        known = entry.pulses
        if part not in known.channels:
            raise ValueError(f"tees: {name} has no channel '{part}'; it has {', '.join(known.channels)}")
        if tee.pulses in taken:
            raise ValueError(f"tees: {tee.pulses} is at {taken[tee.pulses]} and at {channel}; a channel has one tee")
        taken[tee.pulses] = channel
        line = PulseLine(name, part, known, tee)
        if line.widths[0] > line.widths[1]:
            raise ValueError(
                f"tees: the tee of {channel} carries pulses of {tee.shortest:g} to {tee.longest:g} s, and {tee.pulses} "
                f"makes none of them: {known.widths[0]:g} to {known.widths[1]:g} s"
            )
        lines[connections.channels.index(channel)] = line
    for matrix in wiring.fastest_pulse:
        if matrix not in instruments or instruments[matrix].kind is not DriverKind.MATRIX:
            raise ValueError(f"fastest_pulse: '{matrix}' is no matrix of the bench")
    return lines


@dataclass(frozen=True)
class ShortPulses:
    """What a bench can do with pulses that its sources are too slow for.

    Args:
        lines: pulse source by the number of the channel at whose tee it is.
        stands: levels of sources stand between two calls.
        current: largest current of a pulse into a short, A.
    """

    wiring: Wiring
    connections: Connections
    lines: Mapping[int, PulseLine]
    stands: bool
    current: Ampere

    def refuse_width(self, width: Second, sources: str) -> None:
        """Raise BenchError unless a pulse source makes a pulse of this width, s, and its tee carries it.

        Args:
            sources: why the sources do not, in operator words.
        """
        if any(_within(width, line.widths) for line in self.lines.values()):
            return
        others = [
            f"{line.tee.pulses} by its tee {line.widths[0]:.3g} to {line.widths[1]:.3g} s"
            for line in self.lines.values()
        ]
        raise BenchError(f"a pulse of {width:.3g} s asked for; {'; '.join([sources, *others])}")

    def judge(self, visits: RouteVisits, width: Second) -> None:
        """Raise unless every pulse of a batch is made by one pulse source, and comes through its route.

        Raises:
            BenchError: a pattern's pulse is on a line without a pulse source, or on several; it needs other channels,
                of which nothing stands; it is weaker or stronger than the source makes; its route does not carry it.
            LimitError: into a short its current would be beyond the limit.
        """
        at = np.flatnonzero(visits.pulses)
        moving = visits.pulse[at] != 0
        makers = np.where(visits.maker[at] >= 0, visits.maker[at], np.where(moving.sum(1) == 1, moving.argmax(1), -1))
        for maker in np.unique(makers[moving.any(1)]).tolist():
            of = at[(makers == maker) & moving.any(1)]
            pattern = f"pattern {int(visits.pattern[of[0]])}"
            line = self.lines.get(maker)
            if maker < 0:
                raise BenchError(
                    f"{pattern}: several lines pulse together, and a pulse source pulses one; name the line that makes "
                    "the width"
                )
            if line is None:
                teed = ", ".join(self.connections.name(c) for c in self.lines)
                raise BenchError(
                    f"{pattern}: a pulse of {width:.3g} s on the line of {self.connections.name(maker)}, where no "
                    f"pulse source is; there is one on that of {teed}"
                )
            if not _within(width, line.widths):
                low, high = line.widths
                raise BenchError(
                    f"{pattern}: a pulse of {width:.3g} s asked for; {line.tee.pulses} makes and its tee carries "
                    f"{low:.3g} to {high:.3g} s"
                )
            used = visits.take(of).used(visits.pulse.shape[1])
            if not self.stands and np.delete(used, maker, axis=1).any():
                raise BenchError(
                    f"{pattern}: other lines are on channels while {line.tee.pulses} pulses, whose levels and limits "
                    "cannot be held from one script to the next; all but the one that pulses have to be on ground"
                )
            self._judge_levels(np.abs(visits.pulse[of, maker]), line, pattern)
        self._judge_route(visits, at, width)

    def _judge_levels(self, volts: FloatArray, line: PulseLine, pattern: str) -> None:
        low, high = line.capabilities.volts
        for value in (float(volts.min()), float(volts.max())):
            if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
                raise BenchError(
                    f"{pattern}: a pulse of {value:.3g} V asked for; {line.tee.pulses} makes {low:.3g} to {high:.3g} V "
                    "into an open end"
                )
        refuse_beyond(
            "current of a pulse into a short on this bench", float(volts.max()) / line.capabilities.impedance,
            self.current, "A",
        )  # fmt: skip

    def _judge_route(self, visits: RouteVisits, at: IntArray, width: Second) -> None:
        """Raise BenchError if a pulse goes, or comes back, through relays that do not carry it."""
        routes = np.unique(np.column_stack([visits.kernel[at], visits.route[at]]), axis=0)
        for kernel, *route in routes.tolist():
            for pad, source in zip(self.wiring.kernels[kernel].lines, route, strict=True):
                relay = self.connections.relay(pad, source) if source >= 0 else None
                if relay is None:
                    continue
                fastest = self.wiring.fastest_pulse.get(relay[0])
                if fastest is None or width < fastest * (1 - 1e-9):
                    known = "none of a pulse source" if fastest is None else f"none shorter than {fastest:.3g} s"
                    raise BenchError(
                        f"a pulse of {width:.3g} s asked for; it goes through {relay[0]} at pad {pad}, which carries "
                        f"{known} (wiring.fastest_pulse)"
                    )


def _within(width: Second, widths: tuple[Second, Second]) -> bool:
    return widths[0] * (1 - 1e-9) <= width <= widths[1] * (1 + 1e-9)
