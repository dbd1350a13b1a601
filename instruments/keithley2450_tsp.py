"""Keithley 2450, 2460 and 2461 over TSP. Written from public manual facts; not verified on a real instrument.

Verified against: transcripts of the manual's facts, and the emulated 2450 of this project.

Which command set an instrument has is asked for first, and never changed from here: that takes a restart. Each `run` is
one script and one round trip, so that levels, waits, pulses and readings are timed by the instrument; it runs in a
protected call within a time that the instrument's own timer judges, goes to 0 V if anything in it fails, and says at
its end whether the output was on, at which level, and how many of its steps were carried out. Levels stand between two
scripts, so that several of these act on one route. The Lua that a script calls is in `keithley2450_script`.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from instruments.host_timed import HostTimedSource, noting, refuse_unless_off
from instruments.keithley2450_models import MODELS, SHORTEST_TSP_PULSE, Keithley2450Options
from instruments.keithley2450_off import switched_off
from instruments.keithley2450_script import COUNTED_STEPS, FUNCTIONS, RAMP_STEP
from instruments.keithley2600b_replies import driven, numbers_in, sample_in
from instruments.transport import CHECK, LISTEN, MAINS, unexpected
from instruments.tsp import Queue, Refused, Tsp, number, old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError, LabError, NotDriven
from labctl.core.model import one_of
from labctl.core.source import (
    Aperture,
    ChannelSetup,
    ChannelState,
    Hold,
    Level,
    Limit,
    Measure,
    OffState,
    Ramp,
    Sample,
    SourceCapabilities,
    Step,
    Watch,
    levels_after,
)
from labctl.core.transport import Transport, Wait
from labctl.core.units import Ampere, Second, Volt

CHANNEL = "out"
"""The only channel."""
LINE_FREQUENCY = 60.0
"""Mains frequency that is assumed before the instrument was asked, Hz."""
CYCLES = (0.01, 10.0)
"""Shortest and longest integration, power line cycles."""
CONVERSIONS = 4
"""Conversions of a reading with automatic zero and the source read back."""
STATEMENT: Second = 2e-3
"""[?] Longest time of one step of a script, beside the times that the step names."""
SLACK: Second = 0.5
"""Added to the time limit of a script, and again to that of the host."""
AT_ONCE = 6
"""Settings that are read back in one message."""

EVENTS = Queue(
    count="eventlog.getcount(eventlog.SEV_ERROR)",
    following=r'(function(c,t) return string.format("%d\t%s\t20",c,t) end)(eventlog.next(eventlog.SEV_ERROR))',
    clear="eventlog.clear()",
    unasked=("localnode.prompts", "localnode.showevents"),
)
"""Errors of these instruments, among other events. [?] What `getcount` counts, the manual says in two ways."""
OFF_MODE = {OffState.NORMAL: "NORMAL", OffState.ZERO: "ZERO", OffState.HIGH_Z: "HIGHZ"}
_STATE = (
    'string.format("%d,%d,%.9e,%.9e",smu.source.output==smu.ON and 1 or 0,'
    "smu.source.func==smu.FUNC_DC_VOLTAGE and 1 or 0,smu.source.level,"
    "smu.source.func==smu.FUNC_DC_VOLTAGE and smu.source.ilimit.level or smu.source.vlimit.level)"
)


@dataclass(frozen=True)
class TspSetting:
    """An attribute and the value that it gets: a number, or an enumerated value by its name."""

    attribute: str
    value: float | str

    @property
    def text(self) -> str:
        """The value as it is sent."""
        return self.value if isinstance(self.value, str) else number(self.value)

    @property
    def taken(self) -> str:
        """Expression that is true if it has the value."""
        if isinstance(self.value, str):
            return f"{self.attribute}=={self.value}"
        return f"math.abs({self.attribute}-{self.text})<={number(1e-4 * abs(self.value) + 1e-12)}"


NEUTRAL = (
    TspSetting("smu.source.autodelay", "smu.OFF"),
    TspSetting("smu.source.delay", 0.0),
    TspSetting("smu.source.highc", "smu.OFF"),
    TspSetting("smu.source.readback", "smu.OFF"),
    TspSetting("smu.measure.func", "smu.FUNC_DC_CURRENT"),
    TspSetting("smu.measure.unit", "smu.UNIT_AMP"),
    TspSetting("smu.measure.count", 1.0),
    TspSetting("smu.measure.nplc", 1.0),
    TspSetting("smu.measure.autozero.enable", "smu.ON"),
    TspSetting("smu.measure.filter.enable", "smu.OFF"),
    TspSetting("smu.measure.rel.enable", "smu.OFF"),
    TspSetting("smu.measure.math.enable", "smu.OFF"),
    TspSetting("defbuffer1.fillmode", "buffer.FILL_CONTINUOUS"),
)
"""Settings with one value in use."""


class Keithley2450TspOptions(Keithley2450Options):
    """Options of a 2450, 2460 or 2461 that is set to TSP, in the bench file."""

    model: Annotated[str, AfterValidator(one_of("keithley2450_tsp: model", MODELS))] = Field(
        default="2450", json_schema_extra={"x-form": f"one of {', '.join(MODELS)}"}
    )


class Keithley2450Tsp(HostTimedSource):
    """One 2450, 2460 or 2461 with its channel.

    Args:
        name: in the bench file.
        options: from the bench file; `connect` refuses another model, and another command set.
        transport: the wire.
    """

    def __init__(self, name: str, options: Keithley2450TspOptions, transport: Transport) -> None:
        super().__init__(name, _capabilities(options))
        self._tsp = Tsp(transport, name, EVENTS)
        self._options, self._data = options, MODELS[options.model]
        self._frequency, self._aperture = LINE_FREQUENCY, CYCLES[1] / LINE_FREQUENCY
        self.old_errors: tuple[str, ...] = ()
        """Errors that stood in the event log of the instrument when it was connected."""

    # -- what it is and does

    def identify(self) -> str:
        """Return the identity; the command set is asked for first, the mains frequency and old errors after it.

        Raises:
            BenchError: another command set, another model, or lines that come unasked.
        """
        language = self._tsp.transport.query("*LANG?").strip().upper()
        if language != "TSP":
            raise BenchError(
                f"{self.name}: its command set is {language[:40]}, expected TSP: set it under MENU, System, Settings, "
                "Command Set, and restart it, or write 'driver: keithley2450'; nothing was changed, and '*LANG?' was "
                "all that was asked"
            )
        identity = self._tsp.identity([self._options.model])
        (self._frequency,) = self._tsp.numbers("localnode.linefreq", 1)
        if self._frequency not in MAINS:
            raise unexpected(self.name, "localnode.linefreq", f"{self._frequency:g}", "a mains frequency of 50 or 60")
        self.capabilities = _capabilities(self._options, self._frequency)
        self.old_errors = self._tsp.old_errors()
        return identity.line

    def mains(self) -> float:
        """Return the mains frequency that the instrument integrates by, Hz, as it was read when it was connected."""
        return self._frequency

    def read_state(self, channel: str) -> ChannelState:
        """Read output, level and limit in one reply."""
        output, volts, level, limit = self._tsp.parsed(self._tsp.text(_STATE), _STATE, 4)
        if volts == 1:
            return ChannelState(output == 1, level, limit)
        return ChannelState(output == 1, 0.0, 0.0, level, limit)

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return the interlock, settings that others are in use for, and old errors; an open interlock is no fault."""
        closed = self._tsp.text("smu.interlock.tripped==smu.ON") == "true"
        state = [f"{CHANNEL}: interlock {'asserted' if closed else 'open, no level above 42 V'}"]
        if others := self._others(NEUTRAL):
            state.append(f"{CHANNEL}: set anew before it is used: {', '.join(others)}")
        return state + old_errors_text(self.old_errors), []

    def warnings(self) -> list[str]:
        """Return the warnings that the instrument gave since the last call, each once in a session."""
        return self._tsp.warnings()

    # -- settings

    def set_up(self, channel: str, range_v: Volt, setup: ChannelSetup) -> None:
        """Reset the unit, which is off, set everything that a reading or a time depends on, and read it back."""
        protection = next((f"{volts:.0f}V" for volts in self._data.protection if volts >= range_v), "NONE")
        lowest = self._data.ranges_i[0]
        plan = [
            TspSetting("smu.terminals", f"smu.TERMINALS_{self._options.terminals.upper()}"),
            TspSetting("smu.source.func", "smu.FUNC_DC_VOLTAGE"),
            TspSetting("smu.source.offmode", f"smu.OFFMODE_{OFF_MODE[setup.off_state]}"),
            TspSetting("smu.measure.sense", f"smu.SENSE_{4 if setup.remote_sense else 2}WIRE"),
            TspSetting("smu.source.level", 0.0),
            TspSetting("smu.source.autorange", "smu.OFF"),
            TspSetting("smu.source.range", range_v),
            TspSetting("smu.source.protect.level", f"smu.PROTECT_{protection}"),
            *NEUTRAL,
            TspSetting("smu.measure.autorange", "smu.OFF"),
            TspSetting("smu.measure.range", lowest),
        ]
        for text in (*FUNCTIONS, "smu.reset() defbuffer1.clear()"):
            self._tsp.set(text)
        for setting in plan:
            self._tsp.set(f"{setting.attribute}={setting.text}")
        self._aperture = 1.0 / self._frequency
        if others := self._others(plan):
            raise InstrumentError(f"{self.name}.{CHANNEL}: {'; '.join(others)}; the output stays off; {CHECK}")

    def _others(self, plan: Sequence[TspSetting]) -> list[str]:
        """Return the settings that have not the value of a plan, with what they have."""
        others: list[str] = []
        for begin in range(0, len(plan), AT_ONCE):
            piece = plan[begin : begin + AT_ONCE]
            ask = ",".join(setting.taken for setting in piece)
            replies = self._tsp.text(ask).split("\t")
            if len(replies) != len(piece) or not set(replies) <= {"true", "false"}:
                raise unexpected(self.name, ask, " ".join(replies), f"{len(piece)} times true or false")
            wrong = [setting for setting, reply in zip(piece, replies, strict=True) if reply == "false"]
            others += [
                f"{s.attribute} is {self._tsp.text(f'tostring({s.attribute})')} where {s.text} was set" for s in wrong
            ]
        return others

    def set_level(self, channel: str, volts: Volt) -> None:
        """Set the level."""
        self._tsp.set(f"smu.source.level={number(volts)}")

    def set_limit(self, channel: str, limit: Ampere, range_i: Ampere) -> None:
        """Set limit and measure range, and read both back."""
        self._tsp.set(self._limit_line(limit, range_i))

    def _limit_line(self, limit: Ampere, range_i: Ampere) -> str:
        """Return the statement that sets a limit; no measure range is above that of the limit."""
        full = min(self._range(limit, self._data.ranges_i, "A"), range_i)
        return f"mtj_limit({number(limit)},{number(full)})"

    def set_output(self, channel: str, on: bool) -> None:
        """Switch the output."""
        self._tsp.set(f"smu.source.output=smu.{'ON' if on else 'OFF'}")

    def set_aperture(self, channel: str, seconds: Second) -> None:
        """Set the integration time."""
        self.run([Aperture(channel, seconds)])

    def pause(self, seconds: Second) -> None:
        """Let a time pass by the instrument's clock."""
        self._tsp.set(f"delay({number(seconds)})", wait=Wait.MEASURE)

    def limited(self, channel: str) -> bool:
        """Return whether the source is at its limit."""
        return bool(self.run([Watch(channel)])[0].flag)

    def measure(self, channel: str, voltage: bool) -> tuple[Ampere, Volt]:
        """Measure the current and, with `voltage`, the voltage."""
        (sample,) = self.run([Measure(channel, voltage)])
        return sample.current, sample.voltage

    # -- steps

    def run(self, steps: Sequence[Step]) -> list[Sample]:
        """Carry out `steps` as one script in one round trip; return a sample per `Watch` and `Measure`.

        Raises:
            NotDriven: the output was off, or at another level than was set, or a step was not carried out.
            InstrumentError: a step is beyond the setup of its channel (nothing sent), or the script failed.
        """
        if not steps:
            return []
        for step in steps:
            self._check(step)
        lines, seconds = self._compiled(steps)
        before = dict(self._levels)
        try:
            printed = self._tsp.script(
                [f"mtj_run({number(seconds)},function(r)", *lines, "end)"], wait=Wait.MEASURE, extra=seconds + SLACK
            )
        except Refused:
            self._levels[CHANNEL] = 0.0  # a script that fails ends there
            raise
        self._levels |= levels_after(steps, before)
        readings = [step for step in steps if isinstance(step, Watch | Measure)]
        if len(printed) != len(readings) + 2:
            raise InstrumentError(f"{self.name}: {len(readings)} readings expected, got {printed}; {CHECK}")
        where = f"{self.name}.{CHANNEL}"
        counted = sum(line.startswith(COUNTED_STEPS) for line in lines)
        if (done := numbers_in(printed[-1], 1, self.name, "number of steps")[0]) != counted:
            raise NotDriven(
                f"{self.name}: a script of {counted} steps has carried out {done:g}; nothing of it is accepted. "
                f"{LISTEN}"
            )
        driven(where, printed[-2], self._levels.get(CHANNEL, 0.0))
        samples, level, texts = [], before.get(CHANNEL, 0.0), iter(printed)
        for step in steps:
            match step:
                case Level(_, volts) | Ramp(_, volts, _):
                    level = volts
                case Watch() | Measure():
                    samples.append(sample_in(step, driven(where, next(texts), level), where))
        return samples

    def _compiled(self, steps: Sequence[Step]) -> tuple[list[str], Second]:
        """Return the lines of the script, and its longest time, s: twice that of its steps, and some slack."""
        lines: list[str] = []
        seconds, level = 0.0, self._levels.get(CHANNEL, 0.0)
        for step in steps:
            seconds += STATEMENT
            match step:
                case Level(_, volts):
                    lines.append(f"smu.source.level={number(volts)}")
                    level = volts
                case Ramp(_, volts, rate):
                    lines.append(f"mtj_to({number(volts)},{number(rate * RAMP_STEP)})")
                    seconds += math.ceil(abs(volts - level) / (rate * RAMP_STEP)) * (RAMP_STEP + STATEMENT)
                    level = volts
                case Hold(duration):
                    seconds += duration
                    if duration > 0:
                        lines.append(f"mtj_wait({number(duration)})")
                case Limit(_, limit, range_i):
                    lines.append(self._limit_line(limit, self._range(range_i, self._data.ranges_i, "A")))
                case Aperture(_, aperture):
                    cycles = min(max(aperture * self._frequency, CYCLES[0]), CYCLES[1])
                    self._aperture = cycles / self._frequency
                    lines.append(f"smu.measure.nplc={number(cycles)}")
                case Watch():
                    lines.append("r[table.getn(r)+1]=mtj_w()")
                case Measure(_, voltage):
                    wait = CONVERSIONS * self._aperture
                    seconds += wait + STATEMENT
                    lines.append(f"r[table.getn(r)+1]=mtj_i{'v' if voltage else ''}({number(wait)})")
        return lines, SLACK + 2 * seconds

    # -- off

    def off(self, rate: float | None = None) -> None:
        """Abort, go to 0 V (ramped at `rate` V/s if given), switch off, and read back.

        Every command is tried, whatever those before it raised; but a link that does not answer is given up at once,
        for `emergency_off`, while other sources may be on. InstrumentError if not verified off.
        """
        failures: list[str] = []
        with noting(failures):
            self._tsp.transport.write("abort")
            state = self.read_state(CHANNEL)
            if rate and state.output and state.level and state.current is None and math.isfinite(state.level):
                self._ramp(CHANNEL, 0.0, rate)
        self._levels[CHANNEL] = 0.0
        for command in ("smu.source.level=0", "smu.source.output=smu.OFF"):
            with noting(failures), contextlib.suppress(Refused):  # what counts is read back
                self._tsp.set(command)
        with noting(failures):
            for setup in self._setups.values():
                low = min(setup.cold_limit, setup.off_limit)
                self._limit(CHANNEL, low, low)
        try:
            self.verify_off()
        except LabError as error:
            raise InstrumentError("; ".join([str(error), *failures])) from error

    def verify_off(self) -> None:
        """Read back that the output is off at 0 V and 0 A; InstrumentError if it is not."""
        state = self.read_state(CHANNEL)
        refuse_unless_off(
            f"{self.name}.{CHANNEL}", str(int(state.output)), f"{state.level:.9e}", f"{state.current or 0.0:.9e}"
        )

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """Switch off by the first bytes of a fresh connection, in both command sets, then ask which it is and verify.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or is not verified off.
        """
        off = (":SOUR:VOLT 0", ":SOUR:CURR 0", ":OUTP 0")
        language, *replies = switched_off(self._tsp.transport, off)
        self._levels[CHANNEL] = 0.0
        refuse_unless_off(f"{self.name}.{CHANNEL}", *replies)
        if language == "TSP":
            with contextlib.suppress(LabError):
                self._tsp.set(EVENTS.quiet)
                self._tsp.errors()  # of the other command set, and of the aborted script
        return {}

    def close(self) -> None:
        """Leave a unit that this session set up in the session's off state, and close the connection."""
        try:
            if self._setups:
                self.verify_off()
                self._setups.clear()
                self._tsp.set(f"smu.source.offmode=smu.OFFMODE_{OFF_MODE[self._options.session_off]}")
        finally:
            self._tsp.transport.close()


def _capabilities(options: Keithley2450TspOptions, frequency: float = LINE_FREQUENCY) -> SourceCapabilities:
    """Return the capabilities of a model on a mains frequency, Hz."""
    data = MODELS[options.model]
    apertures = (CYCLES[0] / frequency, CYCLES[1] / frequency)
    return SourceCapabilities(options.model, (CHANNEL,), data.ranges_v, data.ranges_i, SHORTEST_TSP_PULSE, apertures)


def _make(name: str, options: Keithley2450TspOptions, transport: Transport) -> Keithley2450Tsp:
    """Return the driver of a 2450, 2460 or 2461 that is set to TSP."""
    return Keithley2450Tsp(name, options, transport)


DRIVER = Driver(
    DriverKind.SOURCE, _make, Keithley2450TspOptions, capabilities=_capabilities, emulator="keithley2450_tsp"
)
