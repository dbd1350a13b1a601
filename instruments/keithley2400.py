"""Keithley Series 2400 source-measure units. Written from public manual facts; not verified on a real instrument.

Verified against: transcripts of the manual's facts, the emulated Series 2400 of this project, and that in turn by
PyMeasure's driver.

One channel over SCPI, by GPIB or RS-232. The host sends every step; a pulse is a list of two levels that the instrument
goes through by itself, the second being the level from before, so that its width is the instrument's and it ends
whatever becomes of the host. Output, level and compliance are in the one reply of each reading.

What an `:OUTPut OFF` leaves is 0 V behind half a percent of the measure range (NORMal), behind the limit that was set
(ZERO), or an open relay (HIMPedance); a 2410 has GUARd after a reset, which is a current source. A level cannot be set
in list mode, and leaving list mode brings the fixed level back: the output goes off before the mode is changed.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from instruments.host_timed import restored
from instruments.keithley2400_models import LONGEST_PULSE, MODELS, SHORTEST_PULSE
from instruments.keithley2400_settings import AFTER_RESET, FULL, NEUTRAL, OFF_MODE, settings
from instruments.scpi import number
from instruments.scpi_source import CHANNEL, STEP_MESSAGES, ScpiSource, Setting, word
from instruments.transport import CHECK, MAINS, unexpected
from instruments.tsp import old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError
from labctl.core.model import Model, one_of
from labctl.core.source import ChannelSetup, ChannelState, OffState, SourceCapabilities, refuse_undriven
from labctl.core.transport import Transport, Wait
from labctl.core.units import Ampere, Second, Volt

LINE_FREQUENCY = 60.0
"""Mains frequency that is assumed before the instrument was asked, Hz."""
CYCLES = (0.01, 10.0)
"""Shortest and longest integration, power line cycles."""
CONVERSIONS = 3
"""Conversions of a reading with automatic zero: signal, reference, zero."""
CONVERT: Second = 185e-6
"""Of one conversion, beside its integration (manual, A-6)."""
FIRMWARE: Second = 300e-6
"""Of one cycle that sources a voltage (manual, A-6)."""
SLACK: Second = 1.0
"""Added to the time that a reading takes, before it is late."""
LONGEST_DELAY: Second = 999.9999
"""Of the source and of the trigger."""

_REAL, _RANGE = 1 << 3, 1 << 16
"""Bits of the status word of a reading: at the compliance that was set, and at that of the measure range."""
_STATE = (
    ":OUTP?", ":SOUR:VOLT?", ":SENS:CURR:PROT?", ":SOUR:FUNC?", ":SOUR:CURR?", ":SENS:VOLT:PROT?", ":SOUR:VOLT:MODE?",
)  # fmt: skip
_READ = (":READ?", ":OUTP?", ":SOUR:VOLT?")


class Keithley2400Options(Model):
    """Options of a Series 2400 in the bench file."""

    model: Annotated[str, AfterValidator(one_of("keithley2400: model", MODELS))] = Field(
        default="2400", json_schema_extra={"x-form": f"one of {', '.join(MODELS)}"}
    )
    terminals: Annotated[str, AfterValidator(one_of("terminals", ("front", "rear")))] = Field(
        default="front", json_schema_extra={"x-form": "front or rear"}, description="jacks that the cables are on"
    )
    output_enable: bool = Field(default=False, description="the output enable line must switch the output off")
    session_off: OffState = Field(default=OffState.HIGH_Z, description="off state left behind at the end")


class Keithley2400(ScpiSource):
    """One Series 2400 with its channel.

    Args:
        name: in the bench file.
        options: from the bench file; `connect` refuses another model.
        transport: the wire.
    """

    neutral = NEUTRAL
    off_commands = (
        ":SOUR:VOLT 0", ":SOUR:CURR 0", ":OUTP 0", ":SOUR:CLE:AUTO 0",
        ":SOUR:VOLT:MODE FIX", ":SOUR:CURR:MODE FIX", ":SOUR:VOLT 0", ":SOUR:CURR 0",
    )  # fmt: skip

    def __init__(self, name: str, options: Keithley2400Options, transport: Transport) -> None:
        super().__init__(name, _capabilities(options), transport)
        self._options, self._data = options, MODELS[options.model]
        self._frequency, self._cycles = LINE_FREQUENCY, 1.0
        self._range_i: Ampere | None = None

    # -- what it is and does

    def identify(self) -> str:
        """Return the identity; the mains frequency is asked for, and the error queue read empty."""
        identity = self._scpi.identity(self._options.model)
        self._read_frequency()
        self.old_errors = self._scpi.errors()
        return identity

    def _read_frequency(self) -> None:
        """Read the mains frequency by which the instrument counts integrations; somebody may have set it."""
        reply = self._scpi.ask([":SYST:LFR?"])[0]
        self._frequency = self._scpi.number(reply, ":SYST:LFR?")
        if self._frequency not in MAINS:
            raise unexpected(self.name, ":SYST:LFR?", reply, "a mains frequency of 50 or 60")
        self.capabilities = _capabilities(self._options, self._frequency)

    def read_state(self, channel: str) -> ChannelState:
        """Read output, level and limit in one reply; the level is NaN in a mode in which the instrument chooses it."""
        output, volts, limit, func, amps, limit_v, mode = self._scpi.ask(_STATE)
        text = ";".join(_STATE)
        level, most, current, most_v = (self._scpi.number(reply, text) for reply in (volts, limit, amps, limit_v))
        on = self._scpi.is_on(output)
        if on and mode.upper() != "FIX":
            level = math.nan
        forced = current if func.upper().startswith("CURR") else None
        return ChannelState(on, level, abs(most), forced, abs(most_v))

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return the output enable line, settings others than after a reset, old errors; and an open line that acts."""
        acts, asserted = (part == "1" for part in self._scpi.ask([":OUTP:ENAB?", ":OUTP:ENAB:TRIP?"]))
        line = "asserted" if asserted else "NOT asserted"
        state = [f"{CHANNEL}: output enable {line}, {'switches the output off' if acts else 'ignored'}"]
        others = [f"{setting.header} {reply}" for setting, reply in self._others(AFTER_RESET)]
        if others:
            state.append(f"{CHANNEL}: not as after a reset, and set anew before it is used: {', '.join(others)}")
        faults = [f"{CHANNEL}: the output enable line is open; no output goes on before it is closed"]
        return state + old_errors_text(self.old_errors), faults if acts and not asserted else []

    # -- settings

    def set_up(self, channel: str, range_v: Volt, setup: ChannelSetup) -> None:
        """Reset the unit, which is off, set everything that a reading or a time depends on, and read it back."""
        terminals = "REAR" if self._options.terminals == "rear" else "FRON"
        enable = self._options.output_enable
        plan = settings(setup, range_v, self._data, terminals=terminals, output_enable=enable)
        self._scpi.set("*RST")
        self._read_frequency()
        self._set(plan)
        self._scpi.set(':SENS:FUNC:OFF:ALL;:SENS:FUNC "CURR"')
        self._range_i, self._cycles, self._waiting = None, 1.0, 0.0
        self._compare([*plan, word(":SENS:FUNC", "CURR:DC")])

    def set_limit(self, channel: str, limit: Ampere, range_i: Ampere) -> None:
        """Set limit and measure range, read the range back; a range above that of the limit would hold nothing more.

        The instrument has no measure range above that of its limit, and limits at a lower one: going up the limit
        comes first, going down the range.
        """
        full = min(self._range(limit, self._data.ranges_i, "A"), range_i)
        limited, ranged = f":SENS:CURR:PROT {number(limit)}", f":SENS:CURR:RANG {number(full)}"
        if self._range_i is None:  # 105 uA and automatic ranges after the reset
            self._scpi.set(f":SENS:CURR:RANG {number(self._data.ranges_i[0])}")
        up = full >= (self._range_i or 0.0)
        self._scpi.set(f"{limited};{ranged}" if up else f"{ranged};{limited}")
        self._range_i = full
        present, automatic = self._scpi.ask([":SENS:CURR:RANG?", ":SENS:CURR:RANG:AUTO?"])
        if not Setting("", "", full, FULL).answered(present) or automatic != "0":
            raise InstrumentError(f"{self.name}.{channel}: a measure range of {present} for {full:.6g} A; {CHECK}")

    def set_aperture(self, channel: str, seconds: Second) -> None:
        """Set the integration time."""
        self._cycles = min(max(seconds * self._frequency, CYCLES[0]), CYCLES[1])
        self._scpi.set(f":SENS:CURR:NPLC {number(self._cycles)}")

    # -- readings

    def _reading(self, channel: str, voltage: bool = False) -> tuple[Ampere, Volt, bool]:
        """Take a reading, with what is to be waited for as its trigger delay; see `ScpiSource`.

        Without `voltage`, which is measured only then, the instrument tells the voltage that is set.
        """
        wait, self._waiting = self._waiting, 0.0
        while wait > LONGEST_DELAY:
            self._waiting, wait = LONGEST_DELAY, wait - LONGEST_DELAY
            self._reading(channel)
        if voltage:
            self._scpi.set(':SENS:FUNC "VOLT"')
        if wait > 0:
            self._scpi.set(f":TRIG:DEL {number(wait)}")
        conversions = CONVERSIONS * (1 + voltage)
        extra = wait + conversions * (self._cycles / self._frequency + CONVERT) + SLACK

        def usual() -> None:
            if wait > 0:
                self._scpi.set(":TRIG:DEL 0")
            if voltage:
                self._scpi.set(':SENS:FUNC:OFF "VOLT"')

        with restored(usual):
            replies = self._read(_READ, extra)
        volts, amps, limited = self._status(replies[0])
        level = self._scpi.number(replies[2], ":SOUR:VOLT?")
        refuse_undriven(f"{self.name}.{channel}", self._scpi.is_on(replies[1]), level, self._at)
        return amps, volts, limited

    def _read(self, queries: Sequence[str], extra: Second) -> list[str]:
        """Return the replies to a reading and what goes with it; NotDriven if the instrument refuses to read."""
        text = ";".join(queries)
        replies = self._scpi.transport.query(text, wait=Wait.MEASURE, extra=extra).strip().split(";")
        if len(replies) != len(queries):
            errors = "; ".join(self._scpi.errors())
            refuse_undriven(f"{self.name}.{CHANNEL}", self._scpi.is_on(replies[0], text), 0.0, 0.0)
            raise unexpected(self.name, text, ";".join(replies), f"{len(queries)} replies; {errors or 'no error'}")
        return replies

    def _status(self, reply: str) -> tuple[Volt, Ampere, bool]:
        """Return volts, amps and compliance of a reply with one reading."""
        values = self._scpi.numbers(reply, ":READ?", 3)
        if not math.isfinite(values[2]):
            raise unexpected(self.name, ":READ?", reply, "voltage, current and status")
        return values[0], values[1], bool(int(values[2]) & (_REAL | _RANGE))

    @property
    def _shortest(self) -> Second:
        """One short conversion and what goes with it; see `ScpiSource`."""
        return CYCLES[0] / self._frequency + CONVERT + FIRMWARE

    def _pulse(self, volts: Volt, seconds: Second) -> bool:
        """Go through a list of a level and the present one; see `ScpiSource`.

        The first level stands for the source delay and one short conversion, of which the delay is what is left of the
        time. The list is read back before it is begun, and the level comes back with its reading. Automatic zero is off
        meanwhile: it would come on top.
        """
        delay = seconds - self._shortest
        levels = f"{number(volts)},{number(self._at)}"
        usual = f":SOUR:VOLT:MODE FIX;:TRIG:COUN 1;:SOUR:DEL 0;:SENS:CURR:NPLC {number(self._cycles)};:SYST:AZER 1"
        with restored(lambda: self._scpi.set(usual)):
            self._scpi.set(
                f":SYST:AZER 0;:SENS:CURR:NPLC {number(CYCLES[0])};:SOUR:DEL {number(delay)};"
                f":TRIG:COUN 2;:SOUR:LIST:VOLT {levels};:SOUR:VOLT:MODE LIST"
            )
            taken, waits, count = self._scpi.ask([":SOUR:LIST:VOLT?", ":SOUR:DEL?", ":TRIG:COUN?"])
            wanted = [volts, self._at, delay, 2.0]
            read = [
                *self._scpi.numbers(taken, ":SOUR:LIST:VOLT?", 2),
                *(self._scpi.number(reply, ":SOUR:DEL?;:TRIG:COUN?") for reply in (waits, count)),
            ]
            if not all(math.isclose(r, w, rel_tol=1e-5, abs_tol=1e-6) for r, w in zip(read, wanted, strict=True)):
                raise InstrumentError(
                    f"{self.name}.{CHANNEL} took {read} for '{levels}' and its delay; it was not begun; {CHECK}"
                )
            readings, output = self._read([":READ?", ":OUTP?"], 2 * seconds + SLACK)
        fields = readings.split(",")
        if len(fields) != 6:
            raise unexpected(self.name, ":READ?", readings, "the two readings of a pulse")
        level, _, limited = self._status(",".join(fields[:3]))
        refuse_undriven(f"{self.name}.{CHANNEL}", self._scpi.is_on(output), level, volts)
        return limited

    def close(self) -> None:
        """Leave a unit that this session set up in the session's off state, and close the connection."""
        try:
            if self._setups:
                self.verify_off()
                self._setups.clear()
                self._scpi.set(f":OUTP:SMOD {OFF_MODE[self._options.session_off]}")
        finally:
            self._scpi.transport.close()


def _capabilities(options: Keithley2400Options, frequency: float = LINE_FREQUENCY) -> SourceCapabilities:
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


def _make(name: str, options: Keithley2400Options, transport: Transport) -> Keithley2400:
    """Return the driver of a Series 2400."""
    return Keithley2400(name, options, transport)


DRIVER = Driver(
    DriverKind.SOURCE,
    _make,
    Keithley2400Options,
    capabilities=_capabilities,
    emulator="keithley2400",
    serial_clear=b"\x03",  # clears what is pending, and discards what is to be sent (manual, RS-232)
)
