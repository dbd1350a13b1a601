"""One world for all emulated instruments: sources, relays and needles act on the same die.

Channels, matrix rows, matrix columns and pads are nodes; relays join them, needles bring the pads to the lines of the
die under the prober. During the time of an operation the die is held at the present levels, so that half-select dwell,
ramps and outputs left on act as on a bench.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from labctl.core.errors import BenchError
from labctl.core.units import Ampere, Ohm, Second, Volt
from sim_backend.emulators.board import BoardNeedles
from sim_backend.emulators.clock import Clock, EmulatorTiming, VirtualClock
from sim_backend.emulators.connectivity import Joints
from sim_backend.emulators.nets import ChannelPoint, Drive, Load, Net, Nets, rising
from sim_backend.emulators.safety_audit import HOT_VOLTAGE, SafetyAudit
from sim_backend.emulators.shared_lock import SharedLock

Line = tuple[int, str, int]
Place = tuple[int, int, int]
Crosspoint = tuple[str, str]
SLICE: Second = 0.05
"""Longest wait on a real clock after which a script is asked whether it goes on."""


@dataclass(frozen=True)
class Cables:
    """Cables of a bench. Nodes are names; those of a matrix are its rows and columns, `matrix.A` and `matrix.1-05`.

    Args:
        channels: SMU channel (`smu.smua`) -> node its HI is wired to.
        lines: line of the die (kernel, `row` or `col`, index) -> node of its pad.
        ground: nodes tied to the common LO of all instruments.
        wires: pairs of nodes that are joined by a wire.
        tees: channel of a pulse source -> SMU channel whose line a bias tee puts its pulses on.
    """

    channels: Mapping[str, str]
    lines: Mapping[Line, str]
    ground: tuple[str, ...] = ()
    wires: tuple[tuple[str, str], ...] = ()
    tees: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kernel, axis, index in self.lines:
            if axis not in ("row", "col") or kernel < 0 or index < 0:
                raise BenchError(
                    f"line {(kernel, axis, index)} in the wiring; expected (kernel, 'row' or 'col', index)"
                )


@dataclass
class World:
    """The die under the needles, the wiring, the clock and the audit.

    Args:
        dies: the die at (x, y, site), None where there is none; or one die for a bench without prober.
        in_contact: the needles are down at the start.
        hot_current: current above which moving a relay counts as a hot switch, A.
    """

    wiring: Cables
    dies: Load | Callable[[int, int, int], Load | None]
    clock: Clock = field(default_factory=VirtualClock)
    timing: EmulatorTiming = field(default_factory=EmulatorTiming)
    place: Place = (0, 0, 0)
    in_contact: bool = True
    hot_current: Ampere = 1e-6

    def __post_init__(self) -> None:
        self.lock = SharedLock()
        self.go_on: Callable[[], None] | None = None
        """Called by the script that runs wherever time passes; raises an error if the script has to end."""
        self.cabled: dict[str, Any] = {}
        """Instruments on one TSP-Link cable, by name."""
        self.boards: BoardNeedles | None = None
        """Boards whose lines end at the needles."""
        self._ledger = SafetyAudit()
        if self.in_contact:
            self._ledger.touched()
        self._channels = dict(self.wiring.channels)
        self._drives: dict[str, Drive | None] = dict.fromkeys(self._channels)
        self._closed: set[Crosspoint] = set()
        self._pending: Second = 0.0
        self._passed: Second = 0.0
        self._dirty = True
        self._nets: Nets | None = None
        self._joints: Joints | None = None
        self._spread: Volt = 0.0
        """Largest difference between two lines of a kernel."""
        self._load = self._load_at(self.place)
        self._fighting: set[frozenset[str]] = set()

    @property
    def ledger(self) -> SafetyAudit:
        """The audit, up to the present."""
        with self.lock:
            self.settle()
            return self._ledger

    def note(self, what: str, detail: str) -> None:
        """Record an event at the present time."""
        self._ledger.note(self.now, what, detail)

    def count_message(self) -> None:
        """Count one message of the host."""
        self._ledger.messages += 1

    # -- time

    @property
    def now(self) -> Second:
        """Seconds on the clock."""
        return self.clock.now

    def advance(self, seconds: Second, times: int = 1) -> None:
        """Advance by the time of an operation; the die is held at the present levels meanwhile.

        On a clock that waits the other instruments go on; they may wait as well, and what passes passes once.

        Args:
            times: how often such a time passes, one after the other; once on a clock that waits.
        """
        if self.go_on is not None:
            self.go_on()
        begin = self.clock.now
        if self.clock.waits:
            go_on, self.go_on = self.go_on, None
            while (left := begin + seconds - self.clock.now) > 0:
                with self.lock.released():
                    self.clock.advance(min(left, SLICE))
                if go_on is not None:
                    go_on()
            self.go_on = go_on
        else:
            for _ in range(times):
                self.clock.advance(seconds)
        now = self.clock.now
        self._pending += max(0.0, now - max(begin, self._passed))
        self._passed = now

    def settle(self) -> Nets:
        """Apply the elapsed time to the die and return the nets at their operating point.

        It is solved anew if a drive, a relay, the needles or the die under them have changed (`_dirty`), or a cell of
        the die (its version); otherwise time passes at the same point, and where nothing is driven changes nothing.
        """
        pending, self._pending = self._pending, 0.0
        nets = self._find_nets()
        if not self._dirty and (pending == 0 or nets.held is None):
            return nets
        load = self._load if self.in_contact else None
        if not self._dirty and load is not None and (changed := nets.stay(load, pending)) is not None:
            if changed:
                self._account(nets, pending)
            elif self._spread > HOT_VOLTAGE:
                self._ledger.energise(self.now - pending, self.now)
            return nets
        self._dirty = False
        nets.solve(self._drives, load, pending)
        self._account(nets, pending)
        return nets

    def _account(self, nets: Nets, pending: Second) -> None:
        largest = 0.0
        n_rows = self._load.geometry.n_rows if self._load is not None else 0
        for volts in nets.line_voltage.values():
            spread = float(volts.max() - volts.min())
            if np.isnan(spread):
                spread = float(np.nanmax(volts) - np.nanmin(volts)) if np.isfinite(volts).any() else 0.0
            largest = max(largest, spread)
            if spread > self._ledger.peak_cell_voltage:
                rows, cols = volts[:n_rows], volts[n_rows:]
                peak = max(np.nanmax(rows) - np.nanmin(cols), np.nanmax(cols) - np.nanmin(rows))
                self._ledger.peak_cell_voltage = max(self._ledger.peak_cell_voltage, float(peak))
        self._spread = largest
        self._ledger.biased(largest)
        if largest > HOT_VOLTAGE:
            self._ledger.energise(self.now - pending, self.now)
        if not nets.contested and not self._fighting:
            return
        fighting = set()
        for net in nets.contested:
            if len(net.supplies) < 2:
                continue
            levels = [v for _, v, _ in net.supplies]
            if max(levels) - min(levels) > HOT_VOLTAGE:
                fighting.add(net.nodes)
                if net.nodes not in self._fighting:
                    names = ", ".join(f"{name or 'ground'} at {v:.6g} V" for name, v, _ in net.supplies)
                    self._ledger.note(self.now, "sources fight", f"{names} on one net")
        self._fighting = fighting

    # -- sources

    def attach(self, channel: str) -> None:
        """Add a channel; one that the wiring does not name is unconnected."""
        if channel not in self._channels:
            self._channels[channel] = f"unwired {channel}"
            self._drives[channel] = None
            self._joints = None
            self._rewire()

    def drive(self, channel: str, drive: Drive | None) -> None:
        """Set the output of a channel; None is an open output. BenchError if the channel is unknown."""
        if channel not in self._drives:
            raise BenchError(f"channel '{channel}' is not in the wiring; it has {sorted(self._drives)}")
        if self._drives[channel] != drive:
            self.settle()  # the level that ends now acts on the die, however short it was
            self._drives[channel] = drive
            self._dirty = True

    def pulse(self, source: str, base: Volt, top: Volt, impedance: Ohm, seconds: Second) -> None:
        """Put a pulse on the line that a bias tee joins to a pulse source: a step from `base` to `top` and back.

        It comes on top of the level of the channel at the tee, which supplies no current meanwhile; a level that stands
        does not pass. The line is where the current through the impedance is that into the die, as the die is when the
        pulse begins. A source that no tee joins to a line reaches nothing.

        Args:
            base, top: V into an open end.
            impedance: of the pulse source, ohm.
        """
        channel = self.wiring.tees.get(source)
        if channel is None:
            return
        nets, drives = self.settle(), dict(self._drives)
        held = drives[channel]
        open_end = (held.volts if held is not None else 0.0) + top - base
        load = self._load if self.in_contact else None

        def taken(volts: Volt, duration: Second = 0.0) -> Ampere:
            drives[channel] = Drive(volts, math.inf)
            nets.solve(drives, load, duration)
            return nets.point(channel).amps

        volts = rising(lambda v: taken(v) + v / impedance, open_end / impedance, -math.inf, math.inf, open_end)
        taken(volts, seconds)
        self.clock.advance(seconds)
        self._passed = max(self._passed, self.now)
        self._account(nets, seconds)
        self._ledger.pulses += 1
        self._dirty = True

    def observe(self, channel: str, aperture: Second = 0.0) -> ChannelPoint:
        """Return the operating point of a channel after the next `aperture` seconds."""
        nets = self.settle()
        if aperture > 0:
            self.advance(aperture)
            nets = self.settle()
        return nets.point(channel)

    # -- relays

    @property
    def closed(self) -> frozenset[Crosspoint]:
        """Closed crosspoints, (row, column)."""
        return frozenset(self._closed)

    def switch(self, close: Iterable[Crosspoint] = (), open: Iterable[Crosspoint] = ()) -> None:
        """Close and open crosspoints at one moment; those that move under voltage or current are recorded as hot."""
        closing, opening = set(close) - self._closed, set(open) & self._closed
        moved = closing | opening
        if not moved:
            return
        self.settle()
        for row, column in sorted(moved):
            self._ledger.relay_operations += 1
            hot = [n for n in self._nets_at(row, column) if self._is_hot(n)]
            if hot:
                what = "closed" if (row, column) in closing else "opened"
                where = ", ".join(f"{net.volts:.6g} V {net.amps:.3g} A" for net in hot)
                self._ledger.note(self.now, "hot switch", f"{row} to {column} {what} at {where}")
        self._closed = (self._closed | closing) - opening
        self._rewire()

    # -- needles

    def clean_needles(self) -> None:
        """Let the needles, which are off the die, touch a metal; recorded as unsafe if they are live."""
        if self.in_contact:
            self._ledger.note(self.now, "move in contact", f"from {self.place} to be cleaned")
        self.settle()
        live = [net for net in self._nets_at(*self.wiring.lines.values()) if self._is_hot(net)]
        if live or (self.boards is not None and self.boards.hot()):
            self._ledger.note(self.now, "hot touch", f"needles cleaned under {live[0].volts if live else 0:.6g} V")

    def touch(self, down: bool) -> None:
        """Put the needles on the pads, or lift them."""
        if down == self.in_contact:
            return
        hot = [n for n in self.settle().sourced if n.width and n.supplies and self._is_hot(n)]
        if hot:
            where = ", ".join(f"{net.volts:.6g} V {net.amps:.3g} A" for net in hot)
            self._ledger.note(self.now, "hot touch", f"pads {'touched' if down else 'left'} at {where}")
        if self.boards is not None and (live := self.boards.hot()):
            self._ledger.note(self.now, "hot touch", f"pads {'touched' if down else 'left'} under a board: {live}")
        self.in_contact = down
        self._rewire()
        if self.boards is not None:
            self.boards.moved(self.place, down)
        if down:
            self._ledger.touched()

    def move(self, place: Place) -> None:
        """Put another die under the needles; recorded as unsafe if they are down."""
        self.settle()
        if self.in_contact:
            self._ledger.note(self.now, "move in contact", f"from {self.place} to {place}")
        self.place = place
        self._load, self._joints = self._load_at(place), None
        self._rewire()
        if self.boards is not None and self.in_contact:
            self.boards.moved(place, True)

    def has_die(self, place: Place) -> bool:
        """Return whether there is a die at (x, y, site)."""
        return self._load_at(place) is not None

    # -- inside

    def _load_at(self, place: Place) -> Load | None:
        return self.dies(*place) if callable(self.dies) else self.dies

    def _rewire(self) -> None:
        self._nets, self._dirty = None, True

    def _is_hot(self, net: Net) -> bool:
        return abs(net.volts) > HOT_VOLTAGE or abs(net.amps) > self.hot_current

    def _nets_at(self, *nodes: str) -> list[Net]:
        nets = self._find_nets()
        assert self._joints is not None
        return nets.at(map(self._joints.conductor, nodes))

    def _find_nets(self) -> Nets:
        if self._nets is None:
            if self._joints is None:
                die = self._load.geometry if self._load is not None else None
                self._joints = Joints(self._channels, self.wiring.lines, self.wiring.ground, die, self.wiring.wires)
            self._nets = self._joints.nets(self._closed)
        return self._nets
