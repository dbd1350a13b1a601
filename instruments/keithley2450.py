"""Keithley 2450, 2460 and 2461 over SCPI. Written from public manual facts; not verified on a real instrument.

Verified against: transcripts of the manual's facts, the emulated 2450 of this project, and that in turn by PyMeasure's
driver.

One channel. These instruments have three command sets, and another one only after a restart, so that it is asked for
first and never changed from here. Switching off in an emergency speaks both, since nothing is asked before it.

The host sends every step. A pulse is one message: the level, readings that integrate for the width, and the
level from before; the instrument times it by its integrations, and a message that has arrived ends with that level.
The one reply of a reading has the level that was set, the current, and the status of the source: output, limit.
"""

import contextlib
import math
from collections.abc import Mapping

from instruments.host_timed import refuse_unless_off, restored
from instruments.keithley2450_models import LONGEST_PULSE, MODELS, SHORTEST_PULSE, Keithley2450Options
from instruments.keithley2450_off import switched_off
from instruments.scpi import Refused, number
from instruments.scpi_source import CHANNEL, STEP_MESSAGES, ScpiSource, Setting, plain, word
from instruments.transport import CHECK, MAINS, unexpected
from instruments.tsp import old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import BenchError, InstrumentError, LabError
from labctl.core.source import ChannelSetup, ChannelState, OffState, SourceCapabilities, refuse_undriven
from labctl.core.transport import Transport, Wait
from labctl.core.units import Ampere, Second, Volt

LINE_FREQUENCY = 60.0
"""Mains frequency that is assumed before the instrument was asked, Hz."""
CYCLES = (0.01, 10.0)
"""Shortest and longest integration, power line cycles."""
CONVERSIONS = 4
"""Conversions of a reading with automatic zero and the source read back."""
OVERHEAD: Second = 1e-3
"""[?] Time that a level stands for one reading, beside the integration."""
SLACK: Second = 1.0
"""Added to the time that a reading takes, before it is late."""
OFF_MODE = {OffState.NORMAL: "NORM", OffState.ZERO: "ZERO", OffState.HIGH_Z: "HIMP"}

NEUTRAL: tuple[Setting, ...] = (
    word(":FORM:DATA", "ASC"),
    plain(":FORM:ASC:PREC", 0),
    plain(":SOUR:VOLT:READ:BACK", 0),
    plain(":SOUR:VOLT:DEL", 0),
    plain(":SOUR:VOLT:HIGH:CAP", 0),
    plain(":SENS:COUN", 1),
    plain(":SENS:CURR:NPLC", 1),
    plain(":SENS:CURR:AZER", 1),
    plain(":SENS:CURR:AVER", 0),
    word(":SENS:CURR:AVER:TCON", "REP"),
    word(":SENS:CURR:UNIT", "AMP"),
    plain(":SENS:CURR:REL:STAT", 0),
    plain(":CALC:CURR:MATH:STAT", 0),
)
"""Settings with one value in use."""
AFTER_RESET: tuple[Setting, ...] = (
    word(":ROUT:TERM", "FRON"),
    word(":SOUR:FUNC", "VOLT"),
    word(":SENS:FUNC", "CURR:DC"),
    plain(":SENS:CURR:RSEN", 0),
    *(setting for setting in NEUTRAL if not setting.header.startswith(":SOUR:VOLT")),
)
"""Settings after a reset; `check` lists those that are others."""

_LIMITED, _ON = 32, 128
"""Bits of the source status of a reading."""
_READ = ':READ? "defbuffer1",SOUR,READ,SOURSTAT'
_STATE = (":OUTP?", ":SOUR:VOLT?", ":SOUR:VOLT:ILIM?", ":SOUR:FUNC?", ":SOUR:CURR?", ":SOUR:CURR:VLIM?")


class Keithley2450(ScpiSource):
    """One 2450, 2460 or 2461 with its channel.

    Args:
        name: in the bench file.
        options: from the bench file; `connect` refuses another model, and another command set.
        transport: the wire.
    """

    neutral = NEUTRAL
    off_commands = (":SOUR:VOLT 0", ":SOUR:CURR 0", ":OUTP 0")

    def __init__(self, name: str, options: Keithley2450Options, transport: Transport) -> None:
        super().__init__(name, _capabilities(options), transport)
        self._options, self._data = options, MODELS[options.model]
        self._frequency, self._cycles = LINE_FREQUENCY, 1.0
        self._range_i: Ampere | None = None

    # -- what it is and does

    def identify(self) -> str:
        """Return the identity; the command set is asked for first, the mains frequency and old errors after it.

        Raises:
            BenchError: another command set, or another model.
        """
        language = self._scpi.transport.query("*LANG?").strip().upper()
        if language != "SCPI":
            raise BenchError(
                f"{self.name}: its command set is {language[:40]}, expected SCPI: set it under MENU, System, Settings, "
                "Command Set, and restart it; nothing was changed, and '*LANG?' was all that was asked. One in TSP has "
                "the driver keithley2450_tsp"
            )
        identity = self._scpi.identity(self._options.model)
        reply = self._scpi.ask([":SYST:LFR?"])[0]
        self._frequency = self._scpi.number(reply, ":SYST:LFR?")
        if self._frequency not in MAINS:
            raise unexpected(self.name, ":SYST:LFR?", reply, "a mains frequency of 50 or 60")
        self.capabilities = _capabilities(self._options, self._frequency)
        self.old_errors = self._scpi.errors()
        return identity

    def read_state(self, channel: str) -> ChannelState:
        """Read output, level and limit in one reply."""
        output, volts, limit, func, amps, limit_v = self._scpi.ask(_STATE)
        text = ";".join(_STATE)
        level, most, current, most_v = (self._scpi.number(reply, text) for reply in (volts, limit, amps, limit_v))
        forced = current if func.upper().startswith("CURR") else None
        return ChannelState(self._scpi.is_on(output), level, most, forced, most_v)

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return the interlock, settings others than after a reset, and old errors; an open interlock is no fault."""
        closed = self._scpi.ask([":OUTP:INT:TRIP?"])[0] == "1"
        state = [f"{CHANNEL}: interlock {'asserted' if closed else 'open, no level above 42 V'}"]
        others = [f"{setting.header} {reply}" for setting, reply in self._others(AFTER_RESET)]
        if others:
            state.append(f"{CHANNEL}: not as after a reset, and set anew before it is used: {', '.join(others)}")
        return state + old_errors_text(self.old_errors), []

    # -- settings

    def set_up(self, channel: str, range_v: Volt, setup: ChannelSetup) -> None:
        """Reset the unit, which is off, set everything that a reading or a time depends on, and read it back."""
        protection = next((f"PROT{volts:.0f}" for volts in self._data.protection if volts >= range_v), "NONE")
        plan = [
            word(":ROUT:TERM", "REAR" if self._options.terminals == "rear" else "FRON"),
            word(":SOUR:FUNC", "VOLT"),
            Setting(":SENS:FUNC", '"CURR"', "CURR:DC"),
            word(":OUTP:SMOD", OFF_MODE[setup.off_state]),
            plain(":SENS:CURR:RSEN", float(setup.remote_sense)),
            plain(":SOUR:VOLT", 0),
            plain(":SOUR:VOLT:RANG", range_v),
            word(":SOUR:VOLT:PROT", protection),
            *NEUTRAL,
        ]
        self._scpi.set("*RST")
        self._set(plan)
        self._scpi.set(':TRAC:CLE "defbuffer1";:TRAC:FILL:MODE CONT,"defbuffer1"')
        self._range_i, self._cycles, self._waiting = None, 1.0, 0.0
        self._compare(plan)

    def set_limit(self, channel: str, limit: Ampere, range_i: Ampere) -> None:
        """Set limit and measure range, and read the range back.

        A measure range raises a limit that is below a thousandth of it: going up the limit comes first, going down the
        range, and no range is above that of the limit.
        """
        full = min(self._range(limit, self._data.ranges_i, "A"), range_i)
        limited, ranged = f":SOUR:VOLT:ILIM {number(limit)}", f":SENS:CURR:RANG {number(full)}"
        if self._range_i is None:  # 105 uA and automatic ranges after the reset
            self._scpi.set(f":SENS:CURR:RANG {number(self._data.ranges_i[0])}")
        up = full >= (self._range_i or 0.0)
        self._scpi.set(f"{limited};{ranged}" if up else f"{ranged};{limited}")
        self._range_i = full
        present, automatic = self._scpi.ask([":SENS:CURR:RANG?", ":SENS:CURR:RANG:AUTO?"])
        if not plain("", full).answered(present) or automatic != "0":
            raise InstrumentError(f"{self.name}.{channel}: a measure range of {present} for {full:.6g} A; {CHECK}")

    def set_aperture(self, channel: str, seconds: Second) -> None:
        """Set the integration time."""
        self._cycles = min(max(seconds * self._frequency, CYCLES[0]), CYCLES[1])
        self._scpi.set(f":SENS:CURR:NPLC {number(self._cycles)}")

    # -- readings

    def _reading(self, channel: str, voltage: bool = False) -> tuple[Ampere, Volt, bool]:
        """Take a reading, after a loop of the trigger model for what is to be waited for; see `ScpiSource`."""
        wait, self._waiting = self._waiting, 0.0
        seconds = CONVERSIONS * self._cycles / self._frequency + SLACK
        if wait > 0:
            try:
                loop = f':TRIG:LOAD "SimpleLoop",1,{number(wait)},"defbuffer1";:INIT;*WAI'
                self._scpi.set(loop, extra=wait + seconds)
            except Refused:
                refuse_undriven(f"{self.name}.{channel}", self._on(), 0.0, 0.0)
                raise
        if voltage:
            self._scpi.set(":SOUR:VOLT:READ:BACK 1")
            with restored(lambda: self._scpi.set(":SOUR:VOLT:READ:BACK 0")):
                reply, level = self._read(f"{_READ};:SOUR:VOLT?", seconds)
        else:
            reply, level = self._read(f"{_READ};:SOUR:VOLT?", seconds)
        volts, amps, output, limited = self._status(reply)
        refuse_undriven(f"{self.name}.{channel}", output, self._scpi.number(level, ":SOUR:VOLT?"), self._at)
        return amps, volts, limited

    def _read(self, text: str, extra: Second) -> list[str]:
        """Return the two replies to a reading and the level; NotDriven if the instrument refuses to read."""
        replies = self._scpi.transport.query(text, wait=Wait.MEASURE, extra=extra).strip().split(";")
        if len(replies) != 2:
            errors = "; ".join(self._scpi.errors())
            refuse_undriven(f"{self.name}.{CHANNEL}", self._on(), 0.0, 0.0)
            raise unexpected(self.name, text, ";".join(replies), f"two replies; {errors or 'no error'}")
        return replies

    def _on(self) -> bool:
        """Return whether the output is on now."""
        return self._scpi.is_on(self._scpi.ask([":OUTP?"])[0])

    def _status(self, reply: str) -> tuple[Volt, Ampere, bool, bool]:
        """Return volts of the source, amps, output and limit of a reply with one reading."""
        values = self._scpi.numbers(reply, _READ, 3)
        if not math.isfinite(values[2]):
            raise unexpected(self.name, _READ, reply, "source, current and status")
        status = int(values[2])
        return values[0], values[1], bool(status & _ON), bool(status & _LIMITED)

    @property
    def _shortest(self) -> Second:
        """One short integration and what goes with it; see `ScpiSource`."""
        return CYCLES[0] / self._frequency + OVERHEAD

    def _pulse(self, volts: Volt, seconds: Second) -> bool:
        """Set a level, integrate for the time, and set the present level again, in one message; see `ScpiSource`.

        A time that is too long for one integration takes as many equal readings as it needs; output, level and limit
        are those of the last one.
        """
        readings = math.ceil(seconds / (CYCLES[1] / self._frequency + OVERHEAD) - 1e-9)
        cycles = max(CYCLES[0], (seconds / readings - OVERHEAD) * self._frequency)
        back = f":SOUR:VOLT {number(self._at)}"
        self._scpi.set(f":SENS:CURR:AZER 0;:SENS:COUN {readings};:SENS:CURR:NPLC {number(cycles)}")
        usual = f"{back};:SENS:COUN 1;:SENS:CURR:NPLC {number(self._cycles)};:SENS:CURR:AZER 1"
        with restored(lambda: self._scpi.set(usual)):
            reply, level = self._read(f":SOUR:VOLT {number(volts)};{_READ};{back};:SOUR:VOLT?", seconds + SLACK)
        source, _, output, limited = self._status(reply)
        refuse_undriven(f"{self.name}.{CHANNEL}", output, source, volts)
        refuse_undriven(f"{self.name}.{CHANNEL}", output, self._scpi.number(level, ":SOUR:VOLT?"), self._at)
        return limited

    # -- off

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """Switch off by the first bytes of a fresh connection, in both command sets, then ask which it is and verify.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or is not verified off.
        """
        language, *replies = switched_off(self._scpi.transport, self.off_commands)
        refuse_unless_off(f"{self.name}.{CHANNEL}", *replies)
        if language != "TSP":
            with contextlib.suppress(LabError):
                self._scpi.errors()  # of the other command set
        return {}

    def close(self) -> None:
        """Leave a unit that this session set up in the session's off state, and close the connection."""
        try:
            if self._setups:
                self.verify_off()
                self._setups.clear()
                self._scpi.set(f":OUTP:SMOD {OFF_MODE[self._options.session_off]}")
        finally:
            self._scpi.transport.close()


def _capabilities(options: Keithley2450Options, frequency: float = LINE_FREQUENCY) -> SourceCapabilities:
    """Return the capabilities of a model on a mains frequency, Hz."""
    data = MODELS[options.model]
    apertures = (CYCLES[0] / frequency, CYCLES[1] / frequency)
    return SourceCapabilities(
        options.model,
        (CHANNEL,),
        data.ranges_v,
        data.ranges_i,
        SHORTEST_PULSE,
        apertures,
        step_messages=STEP_MESSAGES,
        longest_pulse=LONGEST_PULSE,
    )


def _make(name: str, options: Keithley2450Options, transport: Transport) -> Keithley2450:
    """Return the driver of a 2450, 2460 or 2461."""
    return Keithley2450(name, options, transport)


DRIVER = Driver(DriverKind.SOURCE, _make, Keithley2450Options, capabilities=_capabilities, emulator="keithley2450")
