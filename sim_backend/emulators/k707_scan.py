"""Scans of a 707B or 708B: relays that move by themselves, step by step, while other messages are answered.

Dialect: Series 700B reference manual (707B-901-01), scanning and the commands chapter. A scan has a step for each
channel or pattern of its list; a step opens what the step before has closed, and closes its own. Steps follow each
other at once, or each waits for an event: a `*TRG`. A scan in the background takes a step before each message that
comes when one is due, since the clock of the twin stands between messages. Not emulated: events of other kinds, the
wait for the start.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from labctl.core.units import Second
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.tsp.vm import Fatal, Lua, whole
from sim_backend.emulators.world import World

EMPTY, BUILDING, RUNNING, ABORTED, SUCCESS = 0, 1, 2, 3, 6
AT_ONCE, COMMAND_EVENT = 0, 40
MOST_SCANS = 2**31 - 1


class Scan:
    """The scan of one instrument.

    Args:
        resolve: the channels of a list that is to close, in its order.
        closed: the channels that are closed now.
        move: opens and closes channels: (open, close).
    """

    def __init__(
        self,
        world: World,
        resolve: Callable[[Any], list[str]],
        closed: Callable[[], set[str]],
        move: Callable[[list[str], list[str]], None],
    ) -> None:
        self._world, self._resolve, self._closed, self._move = world, resolve, closed, move
        self.reset()

    def reset(self) -> None:
        """Go back to the defaults: no list, all channels opened before a scan, steps at once, one scan."""
        self.steps: list[list[str]] = []
        self.mode, self.bypass, self.scancount, self.stimulus = 0, 1, 1, AT_ONCE
        self.state, self.scans_done, self.steps_done = EMPTY, 0, 0
        self._next: Second = 0.0

    @property
    def running(self) -> bool:
        """Whether it goes on in the background."""
        return self.state == RUNNING

    def node(self, lua: Lua) -> Any:
        """Return `scan` as an instrument object."""
        return lua.node(
            "scan",
            get={
                "mode": lambda: self.mode, "bypass": lambda: self.bypass, "scancount": lambda: self.scancount,
                "stepcount": lambda: len(self.steps),
            },
            set={
                "mode": lambda v: setattr(self, "mode", whole(v, 1)),
                "bypass": lambda v: setattr(self, "bypass", whole(v, 1)),
                "scancount": lambda v: setattr(self, "scancount", whole(v, MOST_SCANS, 1)),
            },
            objects={
                "MODE_OPEN_ALL": 0, "MODE_OPEN_SELECTIVE": 1, "OFF": 0, "ON": 1,
                "EMPTY": EMPTY, "BUILDING": BUILDING, "RUNNING": RUNNING, "ABORTED": ABORTED, "SUCCESS": SUCCESS,
                "create": self._create, "add": self._add, "list": self._list,
                "background": lambda *_: self._start(), "execute": self._execute, "abort": lambda *_: self.abort(),
                "state": lambda *_: (self.state, self.scans_done, self.steps_done), "reset": lambda *_: self.reset(),
                "trigger": lua.node(
                    "scan_trigger",
                    objects={
                        "channel": lua.node(
                            "scan_trigger_channel",
                            get={"stimulus": lambda: self.stimulus},
                            set={"stimulus": lambda v: setattr(self, "stimulus", whole(v, 60))},
                        )
                    },
                ),
            },
        )  # fmt: skip

    def _create(self, names: Any = "") -> None:
        self.steps, self.state = [], EMPTY
        if names:
            self._add(names)

    def _add(self, names: Any) -> None:
        self.steps += [[channel] for channel in self._resolve(names)]
        self.state = BUILDING

    def _list(self, *_: Any) -> str:
        before: list[str] = []
        lines = ["Init) OPEN..."]
        for k, step in enumerate(self.steps, 1):
            lines.append(f"{k}) STEP: {','.join(step)}")
            lines += [f"OPEN: {','.join(before)}"] if before else []
            lines.append(f"CLOSE: {','.join(step)}")
            before = step
        return "\n".join(lines)

    def _start(self) -> None:
        if not self.steps:
            return
        listed = {channel for step in self.steps for channel in step}
        self._move(sorted(self._closed() if self.mode == 0 else self._closed() & listed), [])
        self.state, self.scans_done, self.steps_done = RUNNING, 0, 0
        self._next = self._world.now
        if self.bypass and self.stimulus:
            self._step()

    def _execute(self, *_: Any) -> None:
        self._start()
        if self.running and self.stimulus:
            raise Fatal("the scan waits for an event that nobody gives")
        while self.running:
            self._step()

    def abort(self) -> None:
        """End a scan that is running; what it has closed stays closed."""
        if self.running:
            self.state = ABORTED

    def trigger(self) -> None:
        """Take the next step if it waits for `*TRG`."""
        if self.running and self.stimulus == COMMAND_EVENT:
            self._step()

    def go_on(self) -> None:
        """Take a step if one is due."""
        if self.running and self.stimulus == AT_ONCE and self._next <= self._world.now:
            self._step()

    def _step(self) -> None:
        k = self.steps_done % len(self.steps)
        before = self.steps[k - 1] if self.steps_done else []
        self._move([channel for channel in before if channel not in self.steps[k]], self.steps[k])
        self.steps_done += 1
        self._next = self._world.now
        if k + 1 == len(self.steps):
            self.scans_done += 1
            if self.scans_done >= self.scancount:
                self.state = SUCCESS

    def leftovers(self, every: Callable[[], list[str]]) -> dict[str, Leave]:
        """Return how a scan is left running; `every` is all channels."""

        def running(rng: Random) -> str | None:
            channels = every()
            if not channels:
                return None
            self.steps = [[channel] for channel in rng.sample(channels, min(len(channels), rng.randint(2, 8)))]
            self.scancount, self.stimulus = MOST_SCANS, rng.choice((AT_ONCE, COMMAND_EVENT, 3))
            self._start()
            return f"{len(self.steps)} steps, for event {self.stimulus}"

        return {"scan.background": running}
