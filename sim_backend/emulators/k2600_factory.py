"""Functions of the factory scripts KISweep and KIPulse of a 2600B, which every one has in its memory.

Names, arguments, order of steps and where the readings go: Series 2600B reference manual (2600BS-901-01), the commands
`Sweep...Measure...`, `Pulse...Measure...` and `ConfigPulse...`, and section 13 of that of the Series 2600. They are
written here from that; nobody has listed those of an instrument.
[?] A sweep chooses its source function and switches the output on, since the manual's examples call it after a reset;
that it ends at 0 with the output off and the other settings as they were is ours. An argument that is missing, which an
instrument asks for at its front panel, is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sim_backend.emulators.k2600_channel import Channel
from sim_backend.emulators.k2600_pulses import PulseTests, levels_of
from sim_backend.emulators.k2600_smu import OFF, ON, VOLTS
from sim_backend.emulators.k2600_sweep import MOST_POINTS
from sim_backend.emulators.tsp.vm import Fatal, Lua, Refusal, number, whole

_LONGEST = 100_000.0
_KINDS = {"": "pulse", "SweepLin": "lin", "SweepLog": "log"}


class FactoryScripts:
    """The functions as globals of an interpreter.

    Args:
        pulses: the pulse trains of the instrument.
    """

    def __init__(self, lua: Lua, pulses: PulseTests) -> None:
        self._lua, self._pulses = lua, pulses

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """Return the functions by their names."""
        functions: dict[str, Callable[..., Any]] = {
            "InitiatePulseTest": lambda tag, *_: self._pulses.initiate(tag),
            "InitiatePulseTestDual": lambda tag1, tag2, *_: self._pulses.initiate(tag1, tag2),
            "QueryPulseConfig": self._query,
        }
        for volts, source, measure in ((True, "V", "I"), (False, "I", "V")):
            for title, kind in _KINDS.items():
                functions[f"ConfigPulse{source}Measure{measure}{title}"] = self._configure(volts, kind)
            for title, kind in (("Lin", "lin"), ("Log", "log")):
                functions[f"Sweep{source}{title}Measure{measure}"] = self._stairs(volts, kind)
            functions[f"Sweep{source}ListMeasure{measure}"] = self._list(volts)
            functions[f"Pulse{source}Measure{measure}"] = self._cycles(volts)
        return functions

    def _channel(self, smu: Any) -> Channel:
        channel = self._lua.thing_of(smu)
        if not isinstance(channel, Channel):
            raise Fatal("bad argument #1 (smu expected)")
        return channel

    def _configure(self, volts: bool, kind: str) -> Callable[..., tuple[bool, str]]:
        place = 6 if kind == "pulse" else 7

        def configure(smu: Any, *rest: Any) -> tuple[bool, str]:
            channel = self._channel(smu)
            if len(rest) > place and rest[place] is not None:
                rest = (*rest[:place], channel.buffer(rest[place]), *rest[place + 1 :])
            return self._pulses.configure(channel, volts, kind, rest)

        return configure

    def _query(self, tag: Any, *_: Any) -> Any:
        train = self._pulses.trains.get(whole(tag, 10**9))
        if train is None:
            return (None,)
        entries = {
            "tag": train.tag, "smu": train.channel.node, "func": VOLTS if train.volts else 1 - VOLTS,
            "bias": train.bias, "limit": train.limit, "ton": train.ton, "toff": train.toff,
            "points": len(train.levels), "buf": None if train.buffer is None else train.buffer.node,
            "sync_in": train.sync_in, "sync_out": train.sync_out,
            "sourcevalues": self._lua.table(dict(enumerate(train.levels, 1))),
            "tostring": self._lua.function(lambda *_: train.text()),
        }  # fmt: skip
        ends = ("level",) if train.kind == "pulse" else ("start", "stop")
        entries |= dict(zip(ends, (train.levels[0], train.levels[-1]), strict=False))
        return self._lua.table({name: value for name, value in entries.items() if value is not None})

    def _stairs(self, volts: bool, kind: str) -> Callable[..., None]:
        def sweep(smu: Any, start: Any, stop: Any, settling: Any, points: Any, *_: Any) -> None:
            levels = levels_of(kind, number(start), number(stop), whole(points, MOST_POINTS, 2))
            self._sweep(self._channel(smu), volts, levels, settling)

        return sweep

    def _list(self, volts: bool) -> Callable[..., None]:
        def sweep(smu: Any, table: Any, settling: Any, points: Any, *_: Any) -> None:
            levels, count = self._lua.numbers(table), whole(points, MOST_POINTS, 2)
            if count > len(levels):
                raise Refusal(1101, "Parameter too big")
            self._sweep(self._channel(smu), volts, tuple(levels[:count]), settling)

        return sweep

    def _sweep(self, channel: Channel, volts: bool, levels: tuple[float, ...], settling: Any) -> None:
        """Measure at each level behind its settling time into the first buffer of the channel."""
        wait = _duration(settling)

        def measure(level: float) -> None:
            self._step(channel, volts, level, wait)
            self._store(channel, volts)

        self._carry_out(channel, volts, levels, measure)

    def _cycles(self, volts: bool) -> Callable[..., None]:
        def pulse(smu: Any, bias: Any, level: Any, ton: Any, toff: Any, points: Any, *_: Any) -> None:
            low, high, up, down = number(bias), number(level), _duration(ton), _duration(toff)
            channel, count = self._channel(smu), whole(points, MOST_POINTS, 1)

            def cycle(level: float) -> None:
                lead = channel.smu.aperture + channel.smu.world.timing.measure_overhead
                self._step(channel, volts, level, max(up - lead, 0.0))
                self._store(channel, volts)
                self._step(channel, volts, low, down)

            self._carry_out(channel, volts, (high,) * count, cycle, begin=(low, down))

        return pulse

    def _carry_out(
        self, channel: Channel, volts: bool, levels: tuple[float, ...], act: Callable[[float], None],
        begin: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        """Act at each level with the output on, into an empty buffer; all levels are checked before.

        Args:
            begin: level, and how long it stands before the first one.
        """
        smu, name = channel.smu, "levelv" if volts else "leveli"
        function, first = VOLTS if volts else 1 - VOLTS, begin[0] if begin else levels[0]
        kept = replace(smu.set)
        if smu.set.func != function:
            smu.switch(OFF)
            smu.set.func = function
        try:
            for level in (first, *levels):
                smu.check(name, level)
            smu.write(name, first)
        except Refusal:
            smu.set = replace(kept, output=smu.set.output)
            smu.apply()
            raise
        buffer = channel.buffers[0]
        buffer.clear()
        buffer.appendmode = buffer.collectsourcevalues = buffer.collecttimestamps = 1
        smu.zero()
        smu.switch(ON)
        if begin:
            smu.world.advance(begin[1])
        for level in levels:
            act(level)
        smu.write(name, 0.0)
        smu.switch(OFF)
        smu.set = replace(kept, output=OFF, levelv=0.0, leveli=0.0)
        smu.apply()

    @staticmethod
    def _step(channel: Channel, volts: bool, level: float, dwell: float) -> None:
        """Set a level and let it stand, its settling included."""
        began = channel.smu.world.now
        channel.smu.write("levelv" if volts else "leveli", level)
        channel.smu.world.advance(max(began + dwell - channel.smu.world.now, 0.0))

    @staticmethod
    def _store(channel: Channel, volts: bool) -> None:
        quantity = "i" if volts else "v"
        channel.store(channel.buffers[0], quantity, channel.smu.convert(volts_too=not volts))


def _duration(value: Any) -> float:
    """Return a time in s; Refusal out of its range."""
    seconds = number(value)
    if not 0 <= seconds <= _LONGEST:
        raise Refusal(1101, "Parameter too big") if seconds > 0 else Refusal(1102, "Parameter too small")
    return seconds
