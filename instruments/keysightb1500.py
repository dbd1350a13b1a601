"""Keysight B1500A and E5270B over FLEX, up to eight source-measure units. Not verified on a real instrument.

Written from PyMeasure's and QCoDeS's commands and public code for both. Verified against: transcripts of those facts,
and the emulated one of this project, which PyMeasure's and QCoDeS's drivers drive as well.

The host sends every step: `DV` has level and limit in one command, `TI` one reading with a status letter. A level
that is held and left again is one message, whose wait (`PA`) the instrument times by itself. A unit that is off is
open, knows no level and no limit, and comes on at 0 V behind 100 uA: level and limit follow in the next message and
are read back before anything else. Ranges are those that all units have.
"""

import contextlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from instruments.flex import Flex, Refused
from instruments.host_timed import HostTimedSource, noting
from instruments.identity import fields_of
from instruments.keysightb1500_models import (
    CYCLE,
    LONGEST_WAIT,
    MODELS,
    RANGES_I,
    RANGES_V,
    READING,
    UNITS,
    KeysightB1500Options,
    capabilities,
    frequency,
    integration,
)
from instruments.scpi import number
from instruments.transport import CHECK, unexpected
from instruments.tsp import old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError, LabError, NotDriven
from labctl.core.operations import Flag
from labctl.core.source import (
    ChannelSetup,
    ChannelState,
    Hold,
    Level,
    Measure,
    Sample,
    Step,
    Watch,
    levels_after,
    refuse_undriven,
)
from labctl.core.transport import Transport
from labctl.core.units import Ampere, Second, Volt

SLACK: Second = 1.0
"""Added to the time that a reading takes, before it is late."""
LEVEL_ERROR, LEVEL_OFFSET = 0.02, 5e-3
"""How far the voltage that is measured in a pulse may be from its level, as a part of it and in V."""
CONVERTER, FILTER, RESISTOR, MODES = 55, 30, 53, 31
"""Kinds of `*LRN?`."""


class KeysightB1500(HostTimedSource):
    """One mainframe with its source-measure units.

    Args:
        name: in the bench file.
        options: from the bench file; `connect` refuses another model, and slots without a unit.
        transport: the wire.
    """

    def __init__(self, name: str, options: KeysightB1500Options, transport: Transport) -> None:
        super().__init__(name, capabilities(options))
        self._options = options
        self._flex = Flex(transport, name, MODELS[options.model])
        self._limits: dict[str, tuple[Ampere, int]] = {}
        """Limit of each channel, A, and the code of its measure range."""
        self._apertures: dict[str, Second] = {}
        self._integration = ""
        """What the converter, which all units share, was last told."""
        self._modules: dict[int, str] = {}
        self.old_errors: tuple[str, ...] = ()
        """Errors that it told when it was connected."""

    # -- what it is and does

    def identify(self) -> str:
        """Return the identity; BenchError if another model answers, or a slot has no source-measure unit."""
        line = self._flex.transport.query("*IDN?").strip()
        if fields_of(line, self._options.model).model.upper() != self._options.model:
            raise BenchError(
                f"{self.name}: '{line}' answers, and the bench file says {self._options.model}; check its address in "
                "the bench file"
            )
        self.old_errors = self._flex.errors()
        modules = self._flex.ask("UNT?").split(";")
        self._modules = {slot: text.split(",")[0].strip() for slot, text in enumerate(modules, 1)}
        for slot in self._options.slots:
            module = self._modules.get(slot, "0")
            if module not in UNITS:
                raise BenchError(
                    f"{self.name}: slot {slot} has {'no module' if module == '0' else f'a {module}'}; expected one of "
                    f"{', '.join(UNITS)}"
                )
        return line

    def read_state(self, channel: str) -> ChannelState:
        """Read how a channel is: off, and then without a level, or what it forces."""
        slot = _slot(channel)
        for name, values in self._flex.learn(slot):
            if values[:1] != (slot,):
                continue
            match name, values:
                case "CL", _:
                    return ChannelState(False, 0.0, self._limits.get(channel, (0.0, 0))[0])
                case "DV", (_, _, volts, amps, *_):
                    return ChannelState(True, volts, amps)
                case "DI", (_, _, amps, volts, *_):
                    return ChannelState(True, 0.0, 0.0, amps, volts)
        raise unexpected(self.name, f"*LRN? {slot}", "something else", f"DV{slot}, DI{slot} or CL{slot}")

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return the modules of the slots in use, and old errors."""
        modules = ", ".join(f"smu{slot} {self._modules.get(slot, 'unknown')}" for slot in self._options.slots)
        return [f"{modules}; off is open, whatever the off state of the bench", *old_errors_text(self.old_errors)], []

    # -- settings

    def set_up(self, channel: str, range_v: Volt, setup: ChannelSetup) -> None:
        """Set what a reading or an edge depends on: filter, no series resistor, converter, format; and read it back.

        The filter is on, since a level that overshoots switches a junction. No calibration runs by itself.
        """
        slot = _slot(channel)
        self._flex.set("FMT1,0", "TSC0", "CM0", "AZ0", "WAT1,1,0", "WAT2,1,0", "BC")
        self._flex.set(f"FL1,{slot}", f"SSR{slot},0", f"AAD{slot},1")
        self._integration = ""
        wanted = ((FILTER, "FL", 1), (RESISTOR, "SSR", 0), (CONVERTER, "AAD", 1))
        taken = [(header, self._switch(kind, header, slot), value) for kind, header, value in wanted]
        modes = {name: values[0] for name, values in self._flex.learn(MODES) if values}
        taken += [(header, modes.get(header), value) for header, value in (("CM", 0), ("FMT", 1))]
        others = [f"{header} is {present}, not {value}" for header, present, value in taken if present != value]
        if others:
            raise InstrumentError(f"{self.name}.{channel}: {'; '.join(others)}; its output stays off; {CHECK}")
        self._apertures[channel] = CYCLE

    def _switch(self, kind: int, header: str, slot: int) -> float | None:
        """Return a setting of a slot; None if it is not told. `FL` has its value first, and no slots means all."""
        for name, values in self._flex.learn(kind):
            if name != header or not values:
                continue
            if header == "FL" and (len(values) == 1 or slot in values[1:]):
                return values[0]
            if header != "FL" and values[0] == slot:
                return values[1]
        return None

    def _cool(self, channel: str) -> None:
        """Note 0 V behind the cold limit for a channel that is off, which takes neither; set it where it is on."""
        cold = self._setups[channel].cold_limit
        self._levels[channel] = 0.0
        self._limits[channel] = cold, self._code(cold, cold)
        if self.read_state(channel).output:
            self._force(channel, 0.0)
            self._prove(channel, 0.0, cold)

    def output(self, channels: Iterable[str]) -> None:
        """Switch outputs on, at 0 V behind the cold limit, which is read back."""
        for channel in channels:
            if channel not in self._setups:
                raise InstrumentError(f"{self.name}.{channel} has not been set up; its output stays off")
            self.set_output(channel, True)
            self._cool(channel)
            if not self._known(channel).output:
                raise InstrumentError(f"{self.name}.{channel} did not switch on; look at its cables and its interlock")

    def set_output(self, channel: str, on: bool) -> None:
        """Switch the output of a channel."""
        self._flex.set(f"{'CN' if on else 'CL'}{_slot(channel)}")

    def set_level(self, channel: str, volts: Volt) -> None:
        """Set the level, behind the present limit."""
        self._force(channel, volts)

    def set_limit(self, channel: str, limit: Ampere, range_i: Ampere) -> None:
        """Set the limit at the present level, and choose the measure range, which is none above that of the limit."""
        self._limits[channel] = limit, self._code(limit, range_i)
        self._force(channel, self._levels.get(channel, 0.0))

    def _code(self, limit: Ampere, range_i: Ampere) -> int:
        full = min(self._range(limit, tuple(RANGES_I), "A"), self._range(range_i, tuple(RANGES_I), "A"))
        return RANGES_I[full]

    def _force(self, channel: str, volts: Volt) -> None:
        """Send level and limit of a channel, in its fixed range.

        Raises:
            NotDriven: the instrument refuses, and the output is off.
        """
        try:
            self._flex.set(self._forcing(channel, volts))
        except Refused:
            refuse_undriven(f"{self.name}.{channel}", self.read_state(channel).output, 0.0, 0.0)
            raise

    def _forcing(self, channel: str, volts: Volt) -> str:
        """Return the command of a level, behind the present limit, in the fixed range."""
        full = self._range(self._setups[channel].range_v, tuple(RANGES_V), "V")
        return f"DV{_slot(channel)},{RANGES_V[full]},{number(volts)},{number(self._limits[channel][0])}"

    def _prove(self, channel: str, volts: Volt, limit: Ampere) -> None:
        state = self._known(channel)
        if state.level != volts or not math.isclose(state.limit, limit, rel_tol=1e-4) or state.current is not None:
            raise InstrumentError(
                f"{self.name}.{channel} is at {state.level:.6g} V behind {state.limit:.6g} A; {volts:.6g} V behind "
                f"{limit:.6g} A were set; {CHECK}"
            )

    def set_aperture(self, channel: str, seconds: Second) -> None:
        """Note the integration time; the converter is told before the next reading, since all units share it."""
        self._apertures[channel] = seconds

    def pause(self, seconds: Second) -> None:
        """Let a time pass by the clock of the host."""
        self._flex.transport.let_pass(seconds)

    # -- readings

    def limited(self, channel: str) -> bool:
        """Take a reading, and return whether it was limited."""
        return self._current(channel)[1]

    def measure(self, channel: str, voltage: bool) -> tuple[Ampere, Volt]:
        """Measure the current and, with `voltage`, the voltage."""
        sample = self._sample(channel, voltage)
        return sample.current, sample.voltage

    def run(self, steps: Sequence[Step]) -> list[Sample]:
        """Carry out `steps` in order; a level that is held and left again is timed by the instrument.

        See `HostTimedSource.run`.
        """
        for step in steps:
            self._check(step)
        samples: list[Sample] = []
        at = 0
        while at < len(steps):
            end = self._pulse_end(steps, at)
            if end > at:
                samples += self._pulse(steps[at:end])
                at = end
                continue
            sample = self._do(steps[at])
            if sample is not None:
                samples.append(sample)
            at += 1
        for channel in levels_after(steps, {}):
            state = self._known(channel)
            refuse_undriven(f"{self.name}.{channel}", state.output, state.level, self._levels.get(channel, 0.0))
        return samples

    def _pulse_end(self, steps: Sequence[Step], at: int) -> int:
        """Return where a pulse ends that begins at a step; that step if none does.

        A pulse is another level, one hold, any number of watches of the channel, and the level from before.
        """
        match steps[at : at + 2]:
            case [Level(channel, volts), Hold(seconds)] if (
                volts != self._levels.get(channel, volts) and seconds <= LONGEST_WAIT
            ):
                end = at + 2
                while end < len(steps) and steps[end] == Watch(channel):
                    end += 1
                if steps[end : end + 1] == [Level(channel, self._levels[channel])]:
                    return end + 1
        return at

    def _pulse(self, steps: Sequence[Step]) -> list[Sample]:
        """Carry out a pulse in one message, which ends with the level from before; return a sample per watch.

        The voltage is measured at its level: a message that got lost, or a level that was not taken, is no pulse.

        Raises:
            NotDriven: the instrument refuses, and the output is off; or the level was not reached.
        """
        up, hold = steps[:2]
        assert isinstance(up, Level)
        assert isinstance(hold, Hold)
        channel, slot, watches = up.channel, _slot(up.channel), len(steps) - 3
        before, full = self._levels[channel], self._range(self._setups[channel].range_v, tuple(RANGES_V), "V")
        reads = [f"TI{slot},{-self._limits[channel][1]}"] if watches else []
        reads.append(f"TV{slot},{-RANGES_V[full]}")
        self._integrate(integration(CYCLE, frequency(self._options)))
        wait = max(1e-4, hold.seconds - READING * len(reads))
        message = [self._forcing(channel, up.volts), f"PA{wait:.4f}", *reads, self._forcing(channel, before)]
        kinds = "IV" if watches else "V"
        try:
            data = self._flex.data(";".join(message), slot, kinds, extra=hold.seconds + SLACK)
        except Refused:
            with contextlib.suppress(Refused):  # what comes behind an error may not be carried out
                self._flex.set(message[-1])
            refuse_undriven(f"{self.name}.{channel}", self.read_state(channel).output, 0.0, 0.0)
            raise
        limited = any(datum.status == "C" for datum in data)
        if not limited and not abs((volts := data[-1].value) - up.volts) <= _slack(up.volts, before):
            measured = f"{volts:.6g} V" if math.isfinite(volts) else "a voltage beyond the range"
            raise NotDriven(
                f"{self.name}.{channel}: {measured} was measured in a pulse of {up.volts:.6g} V that no limit held "
                "back; nothing of this script is accepted. Look at its cables, and whether another program uses it"
            )
        return [Sample(channel, math.nan, math.nan, Flag.COMPLIANCE if limited else Flag(0))] * watches

    def _do(self, step: Step) -> Sample | None:
        match step:
            case Watch(channel):
                limited = self._current(channel)[1]
                return Sample(channel, math.nan, math.nan, Flag.COMPLIANCE if limited else Flag(0))
            case Measure(channel, voltage):
                return self._sample(channel, voltage)
        return super()._do(step)

    def _sample(self, channel: str, voltage: bool) -> Sample:
        amps, limited = self._current(channel)
        volts = math.nan
        if voltage:
            full = self._range(self._setups[channel].range_v, tuple(RANGES_V), "V")
            volts = self._read(channel, "V", RANGES_V[full])[0]
        flag = (Flag.COMPLIANCE if limited else Flag(0)) | (Flag.OVERRANGE if math.isnan(amps) else Flag(0))
        return Sample(channel, amps, volts, flag)

    def _current(self, channel: str) -> tuple[Ampere, bool]:
        return self._read(channel, "I", self._limits[channel][1])

    def _read(self, channel: str, kind: str, code: int) -> tuple[float, bool]:
        """Take a reading in a fixed range; return it, NaN beyond the range, and whether the channel was limited.

        Raises:
            NotDriven: the instrument refuses to read, and the output is off.
        """
        slot, seconds = _slot(channel), self._apertures[channel]
        self._integrate(integration(seconds, frequency(self._options)))
        try:
            datum = self._flex.datum(f"T{kind}{slot},{-code}", slot, kind, extra=seconds + SLACK)
        except Refused:
            refuse_undriven(f"{self.name}.{channel}", self.read_state(channel).output, 0.0, 0.0)
            raise
        return datum.value, datum.status == "C"

    def _integrate(self, wanted: str) -> None:
        """Tell the converter how to integrate, unless it was told so last."""
        if wanted != self._integration:
            self._integration = ""
            self._flex.set(wanted)
            self._integration = wanted

    # -- off

    def off(self, rate: float | None = None) -> None:
        """Go to 0 V (ramped at `rate` V/s if given), open, and read back.

        Every command is tried, whatever those before it raised; but a link that does not answer is given up at once,
        for `emergency_off`, while other sources may be on. InstrumentError if not verified off.
        """
        failures: list[str] = []
        slots = ",".join(str(_slot(channel)) for channel in self.capabilities.channels)
        try:
            if rate:
                for channel in self._setups:
                    with noting(failures):
                        if self._known(channel).output:
                            self._ramp(channel, 0.0, rate)
            with noting([]):  # a channel that is off takes no level; what counts is read back
                self._flex.set(f"DZ{slots}")
            with noting(failures):
                self._flex.set(f"CL{slots}")
        finally:
            self._levels.update(dict.fromkeys(self._levels, 0.0))
        unverified: list[str] = []
        with noting(unverified):
            self.verify_off()
        if unverified:
            raise InstrumentError("; ".join([*unverified, *failures]))

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """End what runs, 0 V and open by the first bytes of a fresh connection, on all units, then verify it.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or is not verified off.
        """
        text = "*LRN? 0"
        reply = self._flex.transport.cut_in("AB\nDZ\nCL", text, lambda line: bool(_SWITCHES.match(line)))[-1].strip()
        if reply != "CL":
            raise InstrumentError(f"{self.name} is NOT verified off: {reply}; go there and switch it off")
        with contextlib.suppress(LabError):
            self._flex.errors()  # of channels that took no level
        return {}

    def close(self) -> None:
        """Close the connection; outputs stay off."""
        self._flex.transport.close()


_SWITCHES = re.compile(r"\s*(CL|CN[\d, ]*)\s*$")


def _slack(level: Volt, before: Volt) -> Volt:
    """Return how far the voltage measured in a pulse may be from its level, V; never as far as half way back."""
    return min(LEVEL_ERROR * abs(level) + LEVEL_OFFSET, abs(level - before) / 2)


def _slot(channel: str) -> int:
    return int(channel.removeprefix("smu"))


def _make(name: str, options: KeysightB1500Options, transport: Transport) -> KeysightB1500:
    """Return the driver of a B1500A or E5270B."""
    return KeysightB1500(name, options, transport)


DRIVER = Driver(DriverKind.SOURCE, _make, KeysightB1500Options, capabilities=capabilities, emulator="keysightb1500")
