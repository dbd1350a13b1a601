"""Keithley Series 2600B SourceMeter: its object tree over the channels, its triggers and its status.

Names, constants and defaults: Series 2600B reference manual (2600BS-901-01), the commands chapter.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from labctl.core.units import Ampere, Ratio
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.k2600_buffer import Buffer
from sim_backend.emulators.k2600_channel import Channel
from sim_backend.emulators.k2600_display import FrontPanel, Setups
from sim_backend.emulators.k2600_engine import SweepEngine
from sim_backend.emulators.k2600_events import COMMAND_EVENT, KEY_EVENT, Detector, Timer
from sim_backend.emulators.k2600_factory import FactoryScripts
from sim_backend.emulators.k2600_lines import DigitalLines
from sim_backend.emulators.k2600_models import model_named
from sim_backend.emulators.k2600_pulses import PulseTests
from sim_backend.emulators.k2600_smu import OFF, ON, VOLTS, Smu
from sim_backend.emulators.k2600_trigger import common_triggers
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.registers import Register
from sim_backend.emulators.tsp.far import FarLua
from sim_backend.emulators.tsp.instrument import TspInstrument
from sim_backend.emulators.tsp.status import register_node
from sim_backend.emulators.tsp.vm import Lua
from sim_backend.emulators.world import World


class K2600(TspInstrument):
    """A Series 2600B SourceMeter.

    Args:
        model: `2601B` to `2636B`.
        wires: channel (`smua`) -> its name in the wiring of the world; `<name>.<channel>` if not given.
        ideal: no noise, no programming steps, no resolution.
        offset: zero-bias error of the ammeters, A.
        gain: error of the gain of each channel, quantity and range, standard deviation of its logarithm.
    """

    def __init__(
        self, name: str, model: str, world: World, *, wires: Mapping[str, str] | None = None, ideal: bool = True,
        seed: int = 0, offset: Ampere = 0.0, gain: Ratio = 0.0, **options: Any,
    ) -> None:  # fmt: skip
        self.spec = model_named(model)
        names = wires or {channel: f"{name}.{channel}" for channel in self.spec.channels}
        self.smus = {
            channel: Smu(world, names[channel], self.spec, ideal=ideal, seed=seed + k, offset=offset, gain=gain)
            for k, channel in enumerate(self.spec.channels)
        }
        self.channels: dict[str, Channel] = {}
        self.sweeps = SweepEngine(world, self.channels, lambda r: self.error(r.code, r.message, r.severity))
        for smu in self.smus.values():
            smu.apply()
        super().__init__(name, model, world, **options)

    def seek(self, operation: int) -> None:
        """Set the noise of all channels to the number of an operation."""
        for smu in self.smus.values():
            smu.seek(operation)

    def outputs(self) -> dict[str, float]:
        """Return the levels of the outputs that are on, V, or A of one that forces a current."""
        on = {channel: smu.set for channel, smu in self.smus.items() if smu.set.output == ON}
        return {channel: state.levelv if state.func == VOLTS else state.leveli for channel, state in on.items()}

    def trip(self) -> None:
        """Switch every output off by itself."""
        for smu in self.smus.values():
            if smu.set.output == ON:
                smu.switch(OFF)

    def power_off(self) -> None:
        """Drive nothing any more."""
        for smu in self.smus.values():
            self.world.drive(smu.wire, None)

    def build_registers(self) -> dict[str, Register]:
        """Return `status.measurement` and the others, with the limit bits of the channels."""

        def limit_bits(bit: Callable[[str, Smu], int]) -> Callable[[], int]:
            return lambda: sum(bit(n, s) for n, s in self.smus.items() if s.compliance)

        def channel_bit(name: str) -> int:
            return 2 << "ab".index(name[-1])

        channels = {n: Register(partial(_limit_bits, s)) for n, s in self.smus.items()}
        instrument = Register(lambda: sum(channel_bit(n) for n, s in self.smus.items() if _limit_bits(s)), channels)
        voltage = Register(limit_bits(lambda n, s: channel_bit(n) if s.set.func != VOLTS else 0))
        current = Register(limit_bits(lambda n, s: channel_bit(n) if s.set.func == VOLTS else 0))
        overflow = Register(lambda: sum(channel_bit(n) for n, s in self.smus.items() if s.overflowed))

        def sweeping_bits() -> int:
            # a sweep ends with its message; drivers wait for its begin, so the first query still shows it
            swept, self.sweeps.swept = self.sweeps.swept, set()
            return sum(channel_bit(n) for n, c in self.channels.items() if c.waiting or n in swept)

        sweeping = Register(sweeping_bits)
        registers = super().build_registers()
        registers["measurement"] = Register(
            lambda: (1 if voltage.condition() else 0) | (2 if current.condition() else 0)
            | (128 if overflow.condition() else 0) | (8192 if instrument.condition() else 0),
            {"voltage_limit": voltage, "current_limit": current, "reading_overflow": overflow,
             "instrument": instrument},
            {"VOLTAGE_LIMIT": 1, "CURRENT_LIMIT": 2, "READING_OVERFLOW": 128, "INSTRUMENT": 8192},
        )  # fmt: skip
        overruns = Register(lambda: 0, {name: Register(lambda: 0, {"trigger_overrun": Register(overrun)})
                                        for name, overrun in self._overruns().items()})  # fmt: skip
        registers["operation"] = Register(
            lambda: 8 if sweeping.condition() else 0, {"sweeping": sweeping, "instrument": overruns}
        )
        return registers

    def _overruns(self) -> dict[str, Callable[[], int]]:
        """Return whose events came too fast: a bit for each detector, counted from bit 1."""

        def bits(detectors: Callable[[], Iterable[Detector]]) -> Callable[[], int]:
            return lambda: sum(1 << k for k, detector in enumerate(detectors(), 1) if detector.overrun)

        events = self.sweeps.events
        own = {name: bits(lambda n=name: self.channels[n].detectors.values()) for name in self.smus}  # type: ignore[misc]
        return {
            **own,
            "trigger_timer": bits(lambda: (timer.detector for timer in events.timers.values())),
            "trigger_blender": bits(lambda: (blender.detector for blender in events.blenders.values())),
            "digio": bits(lambda: (line.detector for line in events.lines.values())),
            "tsplink": lambda: 0,
            "lan": lambda: 0,
        }

    def build(self) -> None:
        """Add the channels, triggers, display and factory scripts."""
        lua, names = self.lua, self.lua.globals
        for name, smu in self.smus.items():
            self.channels[name] = Channel(self, name, smu)
            names[name] = self.channels[name].node
        screens: dict[str | int, Any] = {
            n: lua.table({"measure": lua.table({"func": 0}), "digits": 5, "limit": lua.table({"func": 0})})
            for n in self.channels
        }
        kinds: dict[str | int, Any] = {
            "MEASURE_DCAMPS": 0, "MEASURE_DCVOLTS": 1, "MEASURE_OHMS": 2, "MEASURE_WATTS": 3
        }  # fmt: skip
        names["trigger"], key = common_triggers(lua, self.sweeps)
        self.port = DigitalLines(self.sweeps.events, self.sweeps.go_on) if self.spec.digital_lines else None
        if self.port is not None:
            names["digio"] = self.port.node(lua, self.sweeps.wait)
        self.panel = FrontPanel(lambda: bool(self.errors))
        names["display"] = self.panel.node(lua, kinds | screens | {"trigger": key})
        names["setup"] = Setups(self.reset, self._settings).node(lua)
        names["waitcomplete"] = lua.function(lambda *_: self.sweeps.complete())
        self.pulses = PulseTests(self.sweeps, self.port)
        for name, function in FactoryScripts(lua, self.pulses).functions().items():
            names[name] = lua.function(function)

    def remote(self, lua: Lua) -> dict[str | int, Any]:
        """Return its objects for the interpreter of another node: what it is, its channels and what they measure.

        Reading buffers, triggers and the front panel are not reached from another node here.
        """
        far = FarLua(lua, lambda: self.world.advance(self.world.timing.link))
        channels: dict[str | int, Any] = {name: channel.seen_from(far) for name, channel in self.channels.items()}
        status = lua.table({"measurement": register_node(self.registers["measurement"], far)})
        return {**super().remote(lua), **channels, "status": status}

    def _settings(self) -> Callable[[], None]:
        """Return what puts the present settings of all channels back, with their outputs off."""
        saved = {name: copy(smu.set) for name, smu in self.smus.items()}

        def put_back() -> None:
            for name, settings in saved.items():
                self.smus[name].set = replace(settings, output=0)
                self.smus[name].apply()

        return put_back

    def gives(self, event: int) -> bool:
        """Return whether something in the instrument gives an event."""
        return self.sweeps.gives(event)

    def start_sweep(self, channel: Channel) -> None:
        """Start the sweep of a channel."""
        self.sweeps.start(channel)

    def sweep_on(self) -> None:
        """Go on with the sweeps as far as they come."""
        self.sweeps.go_on()

    def abort(self, channel: Channel) -> None:
        """End the sweep of a channel."""
        self.sweeps.abort(channel)

    def trigger(self) -> None:
        """Process a `*TRG`."""
        self.sweeps.command()

    def reset(self) -> None:
        """Reset the channels, the triggers and the format."""
        for channel in self.channels.values():
            channel.reset()
        self.sweeps.events.reset()
        if self.port is not None:
            self.port.reset()
        self.format.reset()

    def device_clear(self) -> None:
        """End sweeps and scripts; levels and outputs stay."""
        super().device_clear()
        for channel in self.channels.values():
            self.abort(channel)

    def leftovers(self) -> dict[str, Leave]:
        """Return how its state is left, with sweeps that wait for a trigger, TRIG pressed and entries of the menu."""

        def armed(channel: Channel) -> Leave:
            def leave(rng: Random) -> str:
                channel.sweep.linear(VOLTS, 0.0, rng.uniform(-1, 1), rng.randint(2, 50))
                channel.sweep.source_action = 1
                channel.sweep.arm_stimulus = rng.choice((COMMAND_EVENT, KEY_EVENT))
                channel.sweep.source_stimulus = channel.sweep.measure_stimulus = channel.sweep.endpulse_stimulus = 0
                channel.initiate()
                return f"{len(channel.sweep.levels)} levels, for event {channel.sweep.arm_stimulus}"

            return leave

        def delays(timer: Timer) -> Leave:
            def leave(rng: Random) -> str:
                timer.set_delays([rng.uniform(1e-4, 10.0) for _ in range(rng.randint(2, 20))])
                return f"{len(timer.delays)} delays"

            return leave

        def pressed(rng: Random) -> str:
            presses = rng.randint(1, 3)
            for _ in range(presses):
                self.sweeps.press()
            return f"{presses} times"

        def entry(rng: Random) -> str:
            self.panel.menu[f"test {rng.randint(1, 9)}"] = "smua.source.levelv = 1"
            return f"{len(self.panel.menu)} entries"

        more: dict[str, Leave] = {f"{n}.trigger.initiate": armed(c) for n, c in self.channels.items()}
        more |= {f"trigger.timer.{k}.delaylist": delays(timer) for k, timer in self.sweeps.events.timers.items()}
        return {**super().leftovers(), **more, "display.trigger": pressed, "display.loadmenu": entry}

    def values_of(self, table: Any, first: int, last: int) -> list[float]:
        """Return entries of a buffer, of one of its columns or of a list."""
        thing = self.lua.thing_of(table)
        if isinstance(thing, Buffer):
            thing = thing.columns["readings"]
        if isinstance(thing, list):
            return [float(v) for v in thing[max(first - 1, 0) : last]]
        return super().values_of(table, first, last)


def _limit_bits(smu: Smu) -> int:
    """Return bit 0 for the voltage limit and bit 1 for the current limit of one channel."""
    if not smu.compliance:
        return 0
    return 2 if smu.set.func == VOLTS else 1


def emulate(name: str, options: Any, context: EmulatorContext) -> K2600:
    """Return the emulated 2600B of an entry of the bench file; its options give the model."""
    ideal, seed, offset, gain = context.ideal, context.seed, context.offset, context.gain
    made = K2600(name, options.model, context.world, ideal=ideal, seed=seed, offset=offset, gain=gain)
    if (node := getattr(options, "tsplink", None)) is not None:  # a stranger's driver has options of its own
        made.link.cable(node, made)
    return made
