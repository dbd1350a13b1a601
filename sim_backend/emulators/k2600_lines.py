"""The digital lines of a 2600B: read, written, protected, and as inputs and outputs of triggers.

Names, modes, ranges and defaults: Series 2600B reference manual (2600BS-901-01), "Hardware trigger modes" and the
commands `digio`. A line is low as soon as anybody pulls it; what a test pulls is all that is connected here.
[?] The manual says that the mode FALLING detects all falling edges: those of its own pulses too, here; the two modes
that latch the line do not see their own, since a pulse would latch itself. `assert` in the mode BYPASS does nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from labctl.core.units import Second
from sim_backend.emulators.k2600_events import LINE_EVENTS, MOST_EVENT, Detector, Events
from sim_backend.emulators.tsp.vm import Lua, Refusal, number, whole

LINES = 14
BYPASS, FALLING, RISING, EITHER, SYNCHRONOUSA, SYNCHRONOUS, SYNCHRONOUSM, RISINGA, RISINGM = range(9)
MODES: dict[str | int, Any] = {
    "TRIG_BYPASS": BYPASS, "TRIG_FALLING": FALLING, "TRIG_RISING": RISING, "TRIG_EITHER": EITHER,
    "TRIG_SYNCHRONOUSA": SYNCHRONOUSA, "TRIG_SYNCHRONOUS": SYNCHRONOUS, "TRIG_SYNCHRONOUSM": SYNCHRONOUSM,
    "TRIG_RISINGA": RISINGA, "TRIG_RISINGM": RISINGM,
}  # fmt: skip
WIDTH: Second = 10e-6
MOST_WIDTH: Second = 100_000.0
"""[?] Longest pulse: that of a timer's delay."""
_LATCHING = (SYNCHRONOUSA, SYNCHRONOUS)
_SEES_RISE, _SEES_FALL = (EITHER, SYNCHRONOUSM, RISINGA), (FALLING, EITHER, *_LATCHING)


@dataclass
class Line:
    """One line. It is high by itself; its mode says what pulls it low, and which edges it detects."""

    chosen: int = BYPASS
    """Mode that was set."""
    width: Second = WIDTH
    stimulus: int = 0
    detector: Detector = field(default_factory=Detector)
    written: bool = True
    """State that the user wrote, which counts in the mode BYPASS."""
    outside: bool = True
    """State that the other end of the cable leaves it."""
    asserted: bool = False
    latched: bool = False
    due: Second | None = None
    """When its pulse ends; None without one, or if it has no end."""

    @property
    def mode(self) -> int:
        """Mode that it acts in: RISING is one of two, by what was written."""
        if self.chosen == RISING:
            return RISINGA if self.written else RISINGM
        return self.chosen

    @property
    def high(self) -> bool:
        """State of the line."""
        if not self.outside or self.latched:
            return False
        if self.mode == BYPASS:
            return self.written
        return self.asserted if self.mode == RISINGM else not self.asserted

    def change(self, act: Callable[[], None], *, own: bool = False) -> bool:
        """Change something of the line; return whether its detector saw an edge.

        Args:
            own: it is an output trigger of the line itself.
        """
        before = self.high
        act()
        if before == self.high or (own and self.mode in _LATCHING):
            return False
        if self.mode not in (_SEES_FALL if before else _SEES_RISE):
            return False
        self.latched = self.mode in _LATCHING
        return True

    def trigger(self, at: Second) -> bool:
        """Give an output trigger; return whether its detector saw an edge."""
        if self.mode == BYPASS:
            return False
        if self.mode == SYNCHRONOUSA:
            return self.change(self._unlatch, own=True)

        def begin() -> None:
            self._unlatch()
            self.asserted, self.due = True, at + self.width if self.width else None

        return self.change(begin, own=True)

    def expire(self) -> tuple[Second, bool]:
        """End the pulse; return when it ended, and whether the detector saw an edge."""
        at = self.due
        assert at is not None, "a line without a pulse"
        return at, self.change(self._end, own=True)

    def release(self) -> bool:
        """End a pulse, and let go a latched line; return whether the detector saw an edge."""

        def let_go() -> None:
            self._end()
            self._unlatch()

        return self.change(let_go, own=True)

    def reset(self) -> None:
        """Go back to the defaults of a trigger; what was written stays."""
        self.chosen, self.width, self.stimulus = BYPASS, WIDTH, 0
        self._end()
        self._unlatch()
        self.detector.clear()

    def _end(self) -> None:
        self.asserted, self.due = False, None

    def _unlatch(self) -> None:
        self.latched = False


class DigitalLines:
    """The port: all lines, and which of them may not be written.

    Args:
        events: of the instrument.
        go_on: called when an event may have moved something.
    """

    def __init__(self, events: Events, go_on: Callable[[], None]) -> None:
        self._events, self._go_on = events, go_on
        self.protected = 0
        self.lines = {k: Line() for k in range(1, LINES + 1)}
        events.lines |= self.lines

    def reset(self) -> None:
        """Go back to the defaults; the lines keep the state that was written."""
        self.protected = 0
        for line in self.lines.values():
            line.reset()

    def pull(self, line: int, *, low: bool) -> None:
        """Pull a line low from outside, or let it go."""
        self._change(line, lambda: setattr(self.lines[line], "outside", not low))

    def write(self, port: int, lines: int = (1 << LINES) - 1) -> None:
        """Write some lines, a bit for each; those that are protected keep their state."""
        for k, line in self.lines.items():
            bit = 1 << (k - 1)
            high = bool(port & bit)
            if bit & lines & ~self.protected and high != line.written:
                self._change(k, partial(setattr, line, "written", high))

    def read(self) -> int:
        """Return the state of all lines, a bit for each."""
        self._events.catch_up()
        return sum(1 << (k - 1) for k, line in self.lines.items() if line.high)

    def trigger(self, line: int) -> None:
        """Give an output trigger on a line."""
        self._do(line, lambda: self.lines[line].trigger(self._events.now))

    def _change(self, line: int, act: Callable[[], None]) -> None:
        self._do(line, lambda: self.lines[line].change(act))

    def _do(self, line: int, act: Callable[[], bool]) -> None:
        """Act on a line, give its event if it saw an edge, and let the instrument go on."""
        self._events.catch_up()
        if act():
            self._events.saw(line)
        self._go_on()

    def node(self, lua: Lua, wait: Callable[[Detector, Any], bool]) -> Any:
        """Return `digio`.

        Args:
            wait: waits for a detector, no longer than a time; returns whether it has an event.
        """
        triggers: dict[str | int, Any] = {k: self._line(lua, k, wait) for k in self.lines}

        def bit(line: Any) -> int:
            return 1 << (whole(line, LINES, 1) - 1)

        return lua.node(
            "digio",
            get={"writeprotect": lambda: self.protected},
            set={"writeprotect": lambda value: setattr(self, "protected", whole(value, (1 << LINES) - 1))},
            objects={
                **MODES,
                "readbit": lambda line, *_: 1 if self.read() & bit(line) else 0,
                "readport": lambda *_: self.read(),
                "writebit": lambda line, data, *_: self.write(-1 if number(data) else 0, bit(line)),
                "writeport": lambda data, *_: self.write(whole(data, (1 << LINES) - 1)),
                "trigger": lua.node("digio_triggers", objects=triggers),
            },
        )

    def _line(self, lua: Lua, k: int, wait: Callable[[Detector, Any], bool]) -> Any:
        line = self.lines[k]

        def set_mode(value: Any) -> None:
            mode = whole(value, RISINGM)
            self._change(k, lambda: setattr(line, "chosen", mode))

        def set_width(value: Any) -> None:
            width = number(value)
            if not 0 <= width <= MOST_WIDTH:
                raise Refusal(1101, "Parameter too big") if width > 0 else Refusal(1102, "Parameter too small")
            line.width = width

        return lua.node(
            "digio_trigger",
            get={
                "mode": lambda: line.chosen,
                "pulsewidth": lambda: line.width,
                "stimulus": lambda: line.stimulus,
                "overrun": lambda: line.detector.overrun,
            },
            set={
                "mode": set_mode,
                "pulsewidth": set_width,
                "stimulus": lambda value: setattr(line, "stimulus", whole(value, MOST_EVENT)),
            },
            objects={
                "EVENT_ID": LINE_EVENTS + k,
                "assert": lambda *_: self.trigger(k),
                "release": lambda *_: self._do(k, line.release),
                "clear": lambda *_: line.detector.clear(),
                "reset": lambda *_: line.reset(),
                "wait": lambda timeout, *_: wait(line.detector, timeout),
            },
        )
