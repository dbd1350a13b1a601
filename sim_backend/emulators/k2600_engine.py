"""What drives the sweeps of a 2600B: one event after the other, until each sweep is over or waits for somebody.

An instrument sweeps beside its script; here a sweep runs when it is initiated, as far as the events of the instrument
carry it, and goes on when another event comes: of a sweep that is initiated later, of `*TRG`, of the TRIG key.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from labctl.core.units import Second
from sim_backend.emulators.k2600_channel import Channel
from sim_backend.emulators.k2600_events import (
    BLENDER_EVENTS,
    COMMAND_EVENT,
    KEY_EVENT,
    LINE_EVENTS,
    SWEEP_EVENTS,
    TIMER_EVENTS,
    Detector,
    Events,
)
from sim_backend.emulators.k2600_sweep import EVENTS, sweep_of
from sim_backend.emulators.k2600_trigger import sweep_event
from sim_backend.emulators.tsp.vm import Refusal, number
from sim_backend.emulators.world import World


class SweepEngine:
    """The sweeps of all channels of one instrument and the events between them.

    Args:
        refuse: takes a refusal, which ends all sweeps.
    """

    def __init__(self, world: World, channels: Mapping[str, Channel], refuse: Callable[[Refusal], None]) -> None:
        self._world, self._channels, self._refuse = world, channels, refuse
        self.events = Events(world, self._hear)
        self.swept: set[str] = set()
        """Channels that have swept since somebody asked."""
        self._runs: dict[str, tuple[Iterator[str], str | None]] = {}
        self._moves = 0

    def gives(self, event: int) -> bool:
        """Return whether something in the instrument gives an event."""
        number_in_channel = event % SWEEP_EVENTS
        own = SWEEP_EVENTS <= event < SWEEP_EVENTS * (1 + len(self._channels)) and number_in_channel < len(EVENTS)
        events = self.events
        others = event - BLENDER_EVENTS in events.blenders or event - TIMER_EVENTS in events.timers
        others = others or event - LINE_EVENTS in events.lines
        return event in (COMMAND_EVENT, KEY_EVENT) or own or others

    def start(self, channel: Channel) -> None:
        """Start the sweep of a channel, and run it as far as it comes."""
        self.events.catch_up()
        name = channel.name
        channel.waiting = True
        self.swept.add(name)
        self._runs[name] = sweep_of(channel, lambda event: self.events.emit(sweep_event(name, event))), None
        self.go_on()

    def abort(self, channel: Channel) -> None:
        """End the sweep of a channel where it is."""
        self._runs.pop(channel.name, None)
        channel.waiting = False

    def command(self) -> None:
        """Process a `*TRG`."""
        self._happen(COMMAND_EVENT)

    def press(self) -> None:
        """Press the TRIG key."""
        self._happen(KEY_EVENT)

    def _happen(self, event: int) -> None:
        self.events.catch_up()
        self.events.emit(event)
        self.go_on()

    def complete(self) -> None:
        """Press the TRIG key as long as sweeps wait for it and come further by it."""
        before = -1
        while KEY_EVENT in self._awaited() and self._moves != before:
            before = self._moves
            self._world.advance(0.0)
            self.press()

    def wait(self, detector: Detector, timeout: Any) -> bool:
        """Let time pass until a detector has an event, no longer than `timeout` s; return whether it has."""
        self.events.catch_up()
        end: Second = self._world.now + _patience(timeout)
        while not detector.detected:
            following = self.events.next_due()
            if following is None or following[1] > end:
                self._world.advance(max(end - self._world.now, 0.0))
                break
            self.events.expire(following[0])
            self.go_on()
        return detector.take()

    def go_on(self) -> None:
        """Run the sweeps until each is over or waits for an event that no running timer gives."""
        try:
            while self._runs:
                self.events.catch_up()
                moved = [self._step(self._channels[name]) for name in list(self._runs)]
                if any(moved):
                    continue
                following = self.events.next_due(self.events.behind(self._awaited()))
                if following is None:
                    return
                self.events.expire(following[0])
        except Refusal as refusal:
            self._refuse(refusal)
            for channel in self._channels.values():
                self.abort(channel)
        except BaseException:
            for channel in self._channels.values():
                self.abort(channel)
            raise

    def _step(self, channel: Channel) -> bool:
        """Run one sweep to its next detector; return False if it waits there already and has no event."""
        sweep, layer = self._runs[channel.name]
        if layer is not None and channel.stimuli[layer] and not channel.detectors[layer].take():
            return False
        self._moves += 1
        try:
            self._runs[channel.name] = sweep, next(sweep)
        except StopIteration:
            self.abort(channel)
        return True

    def _awaited(self) -> set[int]:
        """Return the events that sweeps wait for, with all that those follow from."""
        stimuli = {self._channels[name].stimuli[layer] for name, (_, layer) in self._runs.items() if layer is not None}
        return self.events.behind(stimuli)

    def _hear(self, event: int) -> None:
        for channel in self._channels.values():
            channel.hear(event)


def _patience(timeout: Any) -> Second:
    wait = number(timeout)
    if not 0 <= wait <= 100_000:
        raise Refusal(1101, "Parameter too big") if wait > 0 else Refusal(1102, "Parameter too small")
    return wait
