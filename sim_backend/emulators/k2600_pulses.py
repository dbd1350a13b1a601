"""The factory script KIPulse of a 2600B: pulse trains that are configured under a tag, looked at, and started.

What the functions take, return and do: Series 2600B reference manual (2600BS-901-01), the commands `ConfigPulse...`,
`InitiatePulseTest...`, `QueryPulseConfig` and `Pulse...Measure...`. A measured pulse keeps its level for `ton` and is
integrated at its end; `toff` at the bias follows. Of two trains the pulse of the first encloses that of the second.
[?] Texts of the messages, and what the script checks beyond that the pulses are possible, are ours. Of two trains the
manual says that they measure at the same time; here one channel measures after the other, before both pulses end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labctl.core.units import Second
from sim_backend.emulators.k2600_buffer import Buffer
from sim_backend.emulators.k2600_engine import SweepEngine
from sim_backend.emulators.k2600_lines import LINES, DigitalLines
from sim_backend.emulators.k2600_smu import ON, VOLTS, SmuReading
from sim_backend.emulators.k2600_sweep import MOST_POINTS, SweptChannel
from sim_backend.emulators.tsp.vm import Refusal, number, whole

ENCLOSED: Second = 40e-6
"""How much longer the first of two pulses has to be."""
TIMEOUT: Second = 10.0
"""How long a pulse waits for its input trigger where nothing else is said."""


@dataclass(frozen=True)
class Train:
    """A configured pulse train.

    Args:
        volts: it forces volts and measures a current; otherwise the other way round.
        levels: of its pulses, V or A.
        sync_in: digital line whose trigger each pulse waits for, 0 without.
        sync_out: digital line that gets an output trigger before each pulse, 0 without.
        abort: an input trigger that does not come ends the train.
    """

    tag: int
    channel: SweptChannel
    volts: bool
    kind: str
    bias: float
    levels: tuple[float, ...]
    limit: float
    ton: Second
    toff: Second
    buffer: Buffer | None
    sync_in: int = 0
    sync_out: int = 0
    timeout: Second = TIMEOUT
    abort: bool = True

    @property
    def level(self) -> str:
        """Name of the setting that pulses."""
        return "levelv" if self.volts else "leveli"

    @property
    def limited(self) -> str:
        """Name of the setting that limits."""
        return "limiti" if self.volts else "limitv"

    def text(self) -> str:
        """Return it as `QueryPulseConfig(tag).tostring()` does, whose form is that of the manual's example."""
        first, last = self.levels[0], self.levels[-1]
        shape = [f"level = {first:.6g}"] if self.kind == "pulse" else [f"start = {first:.6g}", f"stop = {last:.6g}"]
        lines = [
            f"tag = {self.tag}", f"smu = {self.channel.name}", f"func = {'volts' if self.volts else 'amps'}",
            f"type = {self.kind}", f"bias = {self.bias:.6g}", *shape, f"limit = {self.limit:.6g}",
            f"time on = {self.ton:.6g}", f"time off = {self.toff:.6g}", f"points = {len(self.levels)}",
            f"measure = {'no' if self.buffer is None else 'yes'}", f"sync_in = {self.sync_in}",
            f"sync_out = {self.sync_out}", f"sync_in_timeout = {self.timeout if self.sync_in else 0:.6g}",
            f"sync_out_abort = {int(self.abort and bool(self.sync_in))}",
            "{ " + ", ".join(f"{level:.6g}" for level in self.levels) + " }",
        ]  # fmt: skip
        return "".join(f">> {line}\n" for line in lines)


def levels_of(kind: str, start: float, stop: float, points: int) -> tuple[float, ...]:
    """Return the levels of a sweep, `lin` or `log`; Refusal if there is no such.

    >>> levels_of("log", 1.0, 100.0, 3)
    (1.0, 10.0, 100.0)
    """
    if kind == "log":
        if not start * stop > 0:
            raise Refusal(-221, "Settings conflict")
        return tuple(float(level) for level in np.geomspace(start, stop, points))
    return tuple(float(level) for level in np.linspace(start, stop, points))


class PulseTests:
    """The trains of an instrument by their tags.

    Args:
        engine: waits for input triggers.
        port: the digital lines; None of a model without.
    """

    def __init__(self, engine: SweepEngine, port: DigitalLines | None) -> None:
        self._engine, self._port = engine, port
        self.trains: dict[int, Train] = {}

    def configure(self, channel: SweptChannel, volts: bool, kind: str, arguments: Sequence[Any]) -> tuple[bool, str]:
        """Take (bias, level, limit, ton, toff, points, buffer, tag, ...) of `kind` pulse, or with start and stop in the
        place of the level of `lin` and `log`; return whether it is accepted, and a message.

        The buffer is one, or None.
        """
        sweeps = kind != "pulse"
        if len(arguments) < 8 + sweeps:
            return False, f"Expected at least {9 + sweeps} parameters"
        try:
            train = self._train(channel, volts, kind, arguments)
            reason = self._reason(train)
        except Refusal as refusal:
            return False, refusal.message
        if reason:
            return False, reason
        self.trains[train.tag] = train
        return True, f"Pulse {train.tag} configured."

    @staticmethod
    def _train(channel: SweptChannel, volts: bool, kind: str, arguments: Sequence[Any]) -> Train:
        shape = 3 if kind != "pulse" else 2
        bias, start, *rest = (number(value) for value in arguments[:shape])
        limit, ton, toff = (number(value) for value in arguments[shape : shape + 3])
        points = whole(arguments[shape + 3], MOST_POINTS, 1 if kind == "pulse" else 2)
        buffer, tag = arguments[shape + 4], whole(arguments[shape + 5], 10**9)
        sync_in, sync_out, timeout, abort = (*arguments[shape + 6 :], None, None, None, None)[:4]
        levels = levels_of("lin" if kind == "pulse" else kind, start, rest[0] if rest else start, points)
        return Train(
            tag, channel, volts, kind, bias, levels, limit, ton, toff, buffer,
            sync_in=whole(sync_in or 0, LINES), sync_out=whole(sync_out or 0, LINES),
            timeout=TIMEOUT if timeout is None else number(timeout), abort=abort is None or bool(abort),
        )  # fmt: skip

    def _reason(self, train: Train) -> str:
        """Return why a train is not possible, empty if it is."""
        smu = train.channel.smu
        present = smu.set
        for bad, reason in (
            ((present.func == VOLTS) != train.volts, "Source function is another one"),
            (present.autorangev or present.autorangei, "Source autorange must be off"),
            (present.measure_autorangev or present.measure_autorangei, "Measure autorange must be off"),
            (not (train.ton > 0 and train.toff > 0), "Pulse times and points must be positive"),
            (train.ton < max(_lead(train), smu.world.timing.source_settle), "Pulse on-time is too short"),
            (self._port is None and (train.sync_in or train.sync_out), "This model has no digital lines"),
        ):
            if bad:
                return reason
        for value in (train.bias, *train.levels):
            smu.check(train.level, value)
        smu.check(train.limited, train.limit)
        return ""

    def initiate(self, *tags: Any) -> tuple[bool, str]:
        """Run the train of a tag, or those of two at the same time; return whether it ran, and a message."""
        try:
            trains = [self.trains.get(int(number(tag))) for tag in tags]
        except Refusal as refusal:
            return False, refusal.message
        known = [train for train in trains if train is not None]
        if len(known) < len(trains):
            return False, "No pulse test with this tag"
        for train in known:
            if train.channel.smu.set.output != ON:
                return False, "Output must be on"
        if len(known) == 2 and (reason := _apart(*known)):
            return False, reason
        return self._run(known)

    def _run(self, trains: list[Train]) -> tuple[bool, str]:
        """Give the pulses of trains that have the same number of them, the first around the second."""
        first, last = trains[0], trains[-1]
        world = first.channel.smu.world
        limits = [getattr(train.channel.smu.set, train.limited) for train in trains]
        for train in trains:
            train.channel.smu.zero()
            if train.buffer is not None:
                train.buffer.begin()
            train.channel.smu.write(train.level, train.bias)
        for k in range(len(first.levels)):
            if not all(self._synchronous(train) for train in trains):
                return False, "Timer timeout"
            begun = world.now
            for train in trains:
                world.advance(max(begun + first.ton - train.ton - world.now, 0.0))
                _put(train, train.levels[k], train.limit)
            world.advance(max(begun + first.ton - sum(_lead(train) for train in trains) - world.now, 0.0))
            readings = [train.channel.smu.convert() if train.buffer is not None else None for train in trains]
            world.advance(max(begun + first.ton - world.now, 0.0))
            for train, limit in zip(trains, limits, strict=True):
                _put(train, train.bias, limit)
            self._store(trains, readings)
            world.advance(last.toff)
        return True, f"Pulse {' and '.join(str(train.tag) for train in trains)} complete."

    @staticmethod
    def _store(trains: list[Train], readings: list[SmuReading | None]) -> None:
        for train, reading in zip(trains, readings, strict=True):
            if reading is not None and train.buffer is not None:
                train.channel.store(train.buffer, "i" if train.volts else "v", reading)

    def _synchronous(self, train: Train) -> bool:
        """Wait for the input trigger of a pulse, and give its output trigger; return whether the train goes on."""
        if self._port is None:
            return True
        if train.sync_in:
            came = self._engine.wait(self._port.lines[train.sync_in].detector, train.timeout)
            if not came and train.abort:
                return False
        if train.sync_out:
            self._port.trigger(train.sync_out)
        return True


def _put(train: Train, level: float, limit: float) -> None:
    """Set level and limit of a train at once; its pulse takes the time of settling."""
    setattr(train.channel.smu.set, train.limited, limit)
    setattr(train.channel.smu.set, train.level, level)
    train.channel.smu.apply()


def _lead(train: Train) -> Second:
    """Return how long before the end of its pulse a train begins to measure."""
    smu = train.channel.smu
    return smu.aperture + smu.world.timing.measure_overhead if train.buffer is not None else 0.0


def _apart(first: Train, second: Train) -> str:
    """Return why two trains are not started together, empty if they are."""
    for bad, reason in (
        (first.channel is second.channel, "The two pulse trains have one channel"),
        (first.ton - second.ton <= ENCLOSED, "ton of tag1 must be more than 40 us longer than that of tag2"),
        (first.toff != second.toff, "toff of both pulse trains must be the same"),
        (len(first.levels) != len(second.levels), "Both pulse trains must have the same number of points"),
        (second.ton < _lead(first) + _lead(second), "Pulse on-time is too short for the measurements"),
    ):
        if bad:
            return reason
    return ""
