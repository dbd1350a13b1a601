"""Keithley Series 2600B SourceMeter: its object tree over the channels, its triggers and its status.

Names, constants and defaults: Series 2600B reference manual (2600BS-901-01), the commands chapter.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from labctl.core.units import Ampere
from sim_backend.emulators.context import EmulatorContext
from sim_backend.emulators.k2600_buffer import Buffer
from sim_backend.emulators.k2600_channel import Channel
from sim_backend.emulators.k2600_display import FrontPanel, Setups
from sim_backend.emulators.k2600_models import model_named
from sim_backend.emulators.k2600_smu import VOLTS, Smu
from sim_backend.emulators.k2600_sweep import TRIGGER_EVENT, PulseTests, run_sweep
from sim_backend.emulators.leftovers import Leave
from sim_backend.emulators.tsp.instrument import TspInstrument
from sim_backend.emulators.tsp.status import Register
from sim_backend.emulators.tsp.vm import Fatal, Refusal
from sim_backend.emulators.world import World


class K2600(TspInstrument):
    """A Series 2600B SourceMeter.

    Args:
        model: `2601B` to `2636B`.
        wires: channel (`smua`) -> its name in the wiring of the world; `<name>.<channel>` if not given.
        ideal: no noise, no programming steps, no resolution.
        offset: zero-bias error of the ammeters, A.
    """

    def __init__(
        self, name: str, model: str, world: World, *, wires: Mapping[str, str] | None = None, ideal: bool = True,
        seed: int = 0, offset: Ampere = 0.0, **options: Any,
    ) -> None:  # fmt: skip
        self.spec = model_named(model)
        names = wires or {channel: f"{name}.{channel}" for channel in self.spec.channels}
        self.smus = {
            channel: Smu(world, names[channel], self.spec, ideal=ideal, seed=seed + k, offset=offset)
            for k, channel in enumerate(self.spec.channels)
        }
        self.channels: dict[str, Channel] = {}
        self._swept: set[str] = set()
        self.pulses = PulseTests()
        for smu in self.smus.values():
            smu.apply()
        super().__init__(name, model, world, **options)

    def seek(self, operation: int) -> None:
        """Set the noise of all channels to the number of an operation."""
        for smu in self.smus.values():
            smu.seek(operation)

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
            swept, self._swept = self._swept, set()
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
        registers["operation"] = Register(lambda: 8 if sweeping.condition() else 0, {"sweeping": sweeping})
        return registers

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
        names["display"] = FrontPanel(lambda: bool(self.errors)).node(lua, kinds | screens)
        names["setup"] = Setups(self.reset, self._settings).node(lua)
        blenders = {
            k: lua.table({"orenable": False, "stimulus": lua.table({}), "EVENT_ID": 64 + k,
                          "reset": lua.function(lambda *_: None)})
            for k in range(1, 7)
        }  # fmt: skip
        self._blenders = blenders
        names["trigger"] = lua.table(
            {"EVENT_ID": TRIGGER_EVENT, "blender": lua.table(blenders), "clear": lua.function(lambda *_: None),
             "wait": lua.function(self._wait)}
        )  # fmt: skip
        for kind in "vi":
            title = f"ConfigPulse{'V' if kind == 'v' else 'I'}Measure{'I' if kind == 'v' else 'V'}"
            names[title] = lua.function(lambda smu, *rest, k=kind: self._configure_pulse(k, smu, rest))
        names["InitiatePulseTest"] = lua.function(lambda tag, *_: self.pulses.initiate(tag))

    def _settings(self) -> Callable[[], None]:
        """Return what puts the present settings of all channels back, with their outputs off."""
        saved = {name: copy(smu.set) for name, smu in self.smus.items()}

        def put_back() -> None:
            for name, settings in saved.items():
                self.smus[name].set = replace(settings, output=0)
                self.smus[name].apply()

        return put_back

    def _configure_pulse(self, kind: str, smu: Any, rest: tuple[Any, ...]) -> tuple[bool, str]:
        channel = self.lua.thing_of(smu)
        if not isinstance(channel, Channel):
            raise Fatal("bad argument #1 (smu expected)")
        if len(rest) > 6 and rest[6] is not None:
            rest = (*rest[:6], channel.buffer(rest[6]), *rest[7:])
        return self.pulses.configure(channel, kind, rest)

    def _wait(self, timeout: Any, *_: Any) -> bool:
        self.delay(timeout)
        return False

    def own_event(self, event: int) -> bool:
        """Return whether a stimulus is an event of the channels or of a blender."""
        return 16 <= event < 48 or 65 <= event <= 70

    def events_behind(self, stimulus: int) -> set[int]:
        """Return the events of a stimulus: itself, or those of a blender."""
        if stimulus - 64 not in self._blenders:
            return {stimulus}
        inputs = self._blenders[stimulus - 64]["stimulus"]
        return {int(inputs[k]) for k in range(1, 5) if isinstance(inputs[k], int | float)}

    def trigger(self) -> None:
        """Process a `*TRG`: run every initiated sweep that waits for it."""
        self.sweep_now([c for c in self.channels.values() if c.waiting and c.sweep.arm_stimulus == TRIGGER_EVENT])

    def sweep_now(self, first: list[Channel]) -> None:
        """Run initiated sweeps in step with those triggered by them; a refusal ends them all."""
        names = {channel.name for channel in first}
        channels = first + [c for c in self.channels.values() if c.waiting and c not in first and c.leaders & names]
        try:
            if channels:
                run_sweep(channels)
        except Refusal as refusal:
            self.error(refusal.code, refusal.message, refusal.severity)
        finally:
            for channel in channels:
                channel.waiting = False
                self._swept.add(channel.name)

    def reset(self) -> None:
        """Reset the channels and the format."""
        for channel in self.channels.values():
            channel.reset()
        self.format.reset()

    def device_clear(self) -> None:
        """End sweeps and scripts; levels and outputs stay."""
        super().device_clear()
        for channel in self.channels.values():
            channel.waiting = False

    def leftovers(self) -> dict[str, Leave]:
        """Return how the parts of its state are left, sweeps that wait for their trigger among them."""

        def armed(channel: Channel) -> Leave:
            def leave(rng: Random) -> str:
                channel.sweep.linear(VOLTS, 0.0, rng.uniform(-1, 1), rng.randint(2, 50))
                channel.sweep.source_action, channel.sweep.arm_stimulus = 1, TRIGGER_EVENT
                channel.waiting = True
                return f"{len(channel.sweep.levels)} levels"

            return leave

        return {**super().leftovers(), **{f"{n}.trigger.initiate": armed(c) for n, c in self.channels.items()}}

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
    ideal, seed, offset = context.ideal, context.seed, context.offset
    return K2600(name, options.model, context.world, ideal=ideal, seed=seed, offset=offset)
