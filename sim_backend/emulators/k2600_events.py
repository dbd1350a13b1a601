"""Events of a 2600B: its detectors, timers, blenders, lines, TRIG key and `*TRG`, and who hears whom.

Names, ranges and defaults: Series 2600B reference manual, "Triggering" and the commands `trigger.timer`,
`trigger.blender` and `display.trigger`. An event reaches everything that has it as stimulus at its own time, also when
the clock was already further because an operation took longer: what follows a timer keeps to the timer. An event that
would be its own cause ends there.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from labctl.core.units import Second
from sim_backend.emulators.tsp.vm import Refusal
from sim_backend.emulators.world import World

COMMAND_EVENT = 1
"""A `*TRG`."""
KEY_EVENT = 2
"""The TRIG key of the front panel."""
SWEEP_EVENTS = 16
"""First event of `smua`; those of `smub` follow after as many."""
BLENDER_EVENTS = 64
"""Event of blender N, less N."""
TIMER_EVENTS = 80
"""Event of timer N, less N."""
LINE_EVENTS = 100
"""Event of digital line N, less N."""
MOST_EVENT = 1000
"""Largest number that is taken for an event."""
BLENDERS, INPUTS, TIMERS = 6, 4, 8
MOST_COUNT = 1_048_575
MOST_DELAY: Second = 100_000.0
LEAST_AVERAGE: Second = 50e-6
_MISSED = 1000


@dataclass
class Detector:
    """Remembers that an event came, and that more came before it was asked."""

    detected: bool = False
    overrun: bool = False

    def detect(self) -> None:
        """Take an event."""
        self.overrun |= self.detected
        self.detected = True

    def clear(self) -> None:
        """Forget the events."""
        self.detected = self.overrun = False

    def take(self) -> bool:
        """Return whether an event came, and wait for the next one."""
        came = self.detected
        self.detected = False
        return came


@dataclass
class Blender:
    """Makes one event of up to four: of any of them, or of all of them."""

    orenable: bool = False
    stimuli: list[int] = field(default_factory=lambda: [0] * INPUTS)
    detector: Detector = field(default_factory=Detector)
    seen: set[int] = field(default_factory=set)

    def reset(self) -> None:
        """Go back to the defaults."""
        self.orenable, self.stimuli = False, [0] * INPUTS
        self.clear()

    def clear(self) -> None:
        """Forget the events."""
        self.detector.clear()
        self.seen.clear()

    def hears(self, event: int) -> bool:
        """Return whether an event makes it give its own."""
        wanted = {stimulus for stimulus in self.stimuli if stimulus}
        if event not in wanted:
            return False
        self.seen.add(event)
        if not self.orenable and not wanted <= self.seen:
            return False
        self.seen.clear()
        return True


@dataclass
class Timer:
    """Gives `count` events (0: without end), one after each delay; with `passthrough` one at once as well."""

    count: int = 1
    passthrough: bool = False
    stimulus: int = 0
    delays: list[Second] = field(default_factory=lambda: [10e-6])
    detector: Detector = field(default_factory=Detector)
    due: Second | None = None
    left: float = 0
    next_delay: int = 0

    def reset(self) -> None:
        """Go back to the defaults, not running."""
        self.count, self.passthrough, self.stimulus = 1, False, 0
        self.set_delays([10e-6])
        self.detector.clear()
        self.due = None

    def set_delays(self, delays: list[Second]) -> None:
        """Take the delays, which are used one after the other; Refusal out of their range."""
        if not delays or not all(delay >= 0 for delay in delays):
            raise Refusal(1102, "Parameter too small")
        if max(delays) > MOST_DELAY:
            raise Refusal(1101, "Parameter too big")
        if len(delays) > 1 and sum(delays) / len(delays) < LEAST_AVERAGE:
            raise Refusal(1102, "Parameter too small")
        self.delays, self.next_delay = list(delays), 0

    def start(self, at: Second) -> None:
        """Begin the first delay."""
        self.left = self.count or inf
        self._delay_from(at)

    def expire(self) -> Second:
        """End the present delay, begin the next one, and return when it ended."""
        at = self.due
        assert at is not None, "a timer that does not run"
        self.left -= 1
        self.due = None
        if self.left > 0:
            self._delay_from(at)
        return at

    def _delay_from(self, at: Second) -> None:
        self.due = at + self.delays[self.next_delay]
        self.next_delay = (self.next_delay + 1) % len(self.delays)


class TriggerLine(Protocol):
    """A line as the events see it: an event makes it give a pulse, and an edge is an event."""

    stimulus: int
    due: Second | None
    detector: Detector

    def trigger(self, at: Second) -> bool:
        """Give an output trigger; return whether its detector saw an edge."""
        ...

    def expire(self) -> tuple[Second, bool]:
        """End the pulse; return when it ended, and whether the detector saw an edge."""
        ...


class Events:
    """The events of one instrument.

    Args:
        listen: hears every event, for the sweeps.
    """

    def __init__(self, world: World, listen: Callable[[int], None]) -> None:
        self._world, self._listen = world, listen
        self.blenders = {k: Blender() for k in range(1, BLENDERS + 1)}
        self.timers = {k: Timer() for k in range(1, TIMERS + 1)}
        self.lines: dict[int, TriggerLine] = {}
        self.key, self.command = Detector(), Detector()

    def reset(self) -> None:
        """Go back to the defaults."""
        for blender in self.blenders.values():
            blender.reset()
        for timer in self.timers.values():
            timer.reset()
        self.key.clear()
        self.command.clear()

    @property
    def now(self) -> Second:
        """Seconds on the clock."""
        return self._world.now

    def saw(self, line: int) -> None:
        """Give the event of a line whose detector saw an edge now."""
        self.emit(LINE_EVENTS + line)

    def emit(self, event: int, at: Second | None = None) -> None:
        """Give an event, and those that follow from it at once; at present unless `at` says when."""
        at = self._world.now if at is None else at
        events, gave = deque([event]), set()
        while events:
            event = events.popleft()
            self._latch(event)
            self._listen(event)
            for k, blender in self.blenders.items():
                if blender.hears(event) and BLENDER_EVENTS + k not in gave:
                    gave.add(BLENDER_EVENTS + k)
                    events.append(BLENDER_EVENTS + k)
            for k, timer in self.timers.items():
                if event == timer.stimulus and timer.due is None:
                    timer.start(at)
                    if timer.passthrough:
                        events.append(TIMER_EVENTS + k)
            for k, line in self.lines.items():
                if event == line.stimulus and LINE_EVENTS + k not in gave and line.trigger(at):
                    gave.add(LINE_EVENTS + k)
                    events.append(LINE_EVENTS + k)

    def _latch(self, event: int) -> None:
        if event == KEY_EVENT:
            self.key.detect()
        elif event == COMMAND_EVENT:
            self.command.detect()
        elif event - BLENDER_EVENTS in self.blenders:
            self.blenders[event - BLENDER_EVENTS].detector.detect()
        elif event - TIMER_EVENTS in self.timers:
            self.timers[event - TIMER_EVENTS].detector.detect()
        elif event - LINE_EVENTS in self.lines:
            self.lines[event - LINE_EVENTS].detector.detect()

    def behind(self, events: set[int]) -> set[int]:
        """Return some events and all those that they can follow from."""
        known, pending = set(), list(events)
        while pending:
            event = pending.pop()
            if event and event not in known:
                known.add(event)
                if event - BLENDER_EVENTS in self.blenders:
                    pending += self.blenders[event - BLENDER_EVENTS].stimuli
                if event - TIMER_EVENTS in self.timers:
                    pending.append(self.timers[event - TIMER_EVENTS].stimulus)
                if event - LINE_EVENTS in self.lines:
                    pending.append(self.lines[event - LINE_EVENTS].stimulus)
        return known

    def next_due(self, among: set[int] | None = None) -> tuple[int, Second] | None:
        """Return which timer or pulse of a line ends first, by its event, and when; None if none runs.

        Args:
            among: events, of which it is one.
        """
        running = [(TIMER_EVENTS + k, timer.due) for k, timer in self.timers.items() if timer.due is not None]
        running += [(LINE_EVENTS + k, line.due) for k, line in self.lines.items() if line.due is not None]
        wanted = [(event, due) for event, due in running if among is None or event in among]
        return min(wanted, key=lambda entry: entry[1], default=None)

    def expire(self, event: int) -> None:
        """Let time pass until a timer or a pulse ends, and give its event."""
        timer = self.timers.get(event - TIMER_EVENTS)
        due = self.lines[event - LINE_EVENTS].due if timer is None else timer.due
        self._world.advance(max((due or 0.0) - self._world.now, 0.0))
        at, seen = self.lines[event - LINE_EVENTS].expire() if timer is None else (timer.expire(), True)
        if seen:
            self.emit(event, at)

    def catch_up(self) -> None:
        """Give the events of timers and pulses that ended while the instrument did something else."""
        for _ in range(_MISSED):
            following = self.next_due()
            if following is None or following[1] >= self._world.now:
                return
            self.expire(following[0])
        for timer in self.timers.values():  # too many to tell one by one
            if timer.due is not None and timer.left == inf:
                timer.due = max(timer.due, self._world.now)
            while timer.due is not None and timer.due < self._world.now:
                timer.expire()
