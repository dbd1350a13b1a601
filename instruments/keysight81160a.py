"""Keysight 81160A pulse generator. Written from public facts; not verified on a real instrument.

Verified against: transcripts of those facts, the emulated 81160A of this project, and that in turn by PyMeasure's
driver and the messages of its tests.

Dialect: the messages of PyMeasure's driver; limits as in the manuals of the 81100 family (:VOLTage:LIMit:STATe: levels
beyond them are refused while they are on); triggered pulses as in the 81160A user's guide, 3.1 and 3.4.1 (one pulse for
each trigger, whatever the period).

Levels are programmed for a load of 50 ohm behind 50 ohm, which is what the instrument begins with and is told again: a
junction of kiloohms sees nearly twice of them. So they are half of what an open end sees, which is what all else counts
in, and the limits of the instrument with them.

An output is on for one pulse only: set, read back, on, trigger, its error queue, the width waited for, levels read
again, off, read back. A trigger is taken not to wait for its pulse [?], which an output that goes off would cut short.
Levels change while it is off, since a change of polarity would leave the line at the level of the pulse. A negative
pulse is an inverted one, whose idle level is 0 V. What switches it on sets trigger, shape, levels and limits once
more, in the same message: an instrument that lost its power since it was read back makes a sine of its own by itself.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from instruments.scpi import Scpi
from instruments.scpi_source import Setting, pieces, plain, word
from instruments.transport import CHECK
from instruments.tsp import old_errors_text
from labctl.core.driver import Driver, DriverKind
from labctl.core.errors import InstrumentError, LabError, LinkTimeoutError, NotDriven
from labctl.core.model import Model
from labctl.core.pulse_source import PulseCapabilities, PulseSetup, PulseState
from labctl.core.transport import Transport, Wait
from labctl.core.units import Ohm, Second, Volt

MODEL = "81160A"
IMPEDANCE: Ohm = 50.0
"""Of its outputs, and the load that it is told."""
OPEN = 2.0
"""An open end sees this times what is programmed for that load."""
LEVELS: tuple[Volt, Volt] = (0.05, 5.0)
"""Smallest and largest amplitude that is programmed for it."""
WIDTHS: tuple[Second, Second] = (1.5e-9, 1.0)
"""[?] Shortest pulse by PyMeasure's driver; the longest is this project's, as the period is."""
EDGE: Second = 1e-9
"""Fastest edge by PyMeasure's driver."""
PERIOD: Second = 2.0
"""More than the longest pulse. Ignored for triggered pulses; without a trigger there would be few."""
MESSAGES = 14.0
"""Messages of one pulse."""


class Keysight81160AOptions(Model):
    """Options of an 81160A in the bench file."""

    outputs: Literal[1, 2] = Field(default=2, description="outputs of the instrument; one without its option 002")


class Keysight81160A:
    """An 81160A; see `labctl.core.pulse_source.PulseSource`.

    Args:
        name: in the bench file.
        transport: the wire.
    """

    def __init__(self, name: str, options: Keysight81160AOptions, transport: Transport) -> None:
        self.name, self.capabilities = name, _capabilities(options)
        self._scpi = Scpi(transport, name)
        self._setups: dict[str, PulseSetup] = {}
        self.old_errors: tuple[str, ...] = ()
        """Errors that stood in the queue of the instrument when it was connected."""

    # -- what it is and does

    def connect(self) -> str:
        """Read identity and state, change nothing; return the identity. The error queue is read empty."""
        identity = self._scpi.identity(MODEL)
        self.old_errors = self._scpi.errors()
        self.state()
        return identity

    def state(self) -> dict[str, PulseState]:
        """Return what every channel does now."""
        return {channel: self._state(channel) for channel in self.capabilities.channels}

    def _state(self, channel: str) -> PulseState:
        n = _number(channel)
        queries = [
            f":OUTP{n}?", f":VOLT{n}:HIGH?", f":VOLT{n}:LOW?", f":OUTP{n}:LOAD?", f":ARM:SOUR{n}?",
            f":VOLT{n}:LIM:STAT?", f":VOLT{n}:LIM:LOW?", f":VOLT{n}:LIM:HIGH?",
        ]  # fmt: skip
        output, high, low, load, trigger, limited, lowest, highest = self._scpi.ask(queries)
        text = ";".join(queries)
        by = 1 + IMPEDANCE / self._scpi.number(load, text)
        ends = [self._scpi.number(reply, text) * by for reply in (high, low, lowest, highest)]
        limits = (ends[2], ends[3]) if self._scpi.is_on(limited, text) else None
        return PulseState(self._scpi.is_on(output, text), ends[0], ends[1], trigger.upper() == "MAN", limits)

    def diagnosis(self) -> tuple[list[str], list[str]]:
        """Return settings that are others than those of a pulse, and old errors; no fault."""
        others = [f"{s.header} {reply}" for c in self.capabilities.channels for s, reply in self._others(_neutral(c))]
        state = [f"not as for pulses, and set anew before it is used: {', '.join(others)}"] if others else []
        return state + old_errors_text(self.old_errors), []

    # -- settings

    def _others(self, plan: Sequence[Setting]) -> list[tuple[Setting, str]]:
        """Return the settings that are others than in a plan, with what they are."""
        replies = [
            (setting, reply)
            for piece in pieces(plan, plan)
            for setting, reply in zip(piece, self._scpi.ask([s.query for s in piece]), strict=True)
        ]
        return [(setting, reply) for setting, reply in replies if not setting.answered(reply)]

    def _compare(self, plan: Sequence[Setting]) -> None:
        """Read settings back; InstrumentError with all that are others."""
        others = [f"{s.header} is {reply} after {s.text} was set" for s, reply in self._others(plan)]
        if others:
            raise InstrumentError(f"{self.name}: {'; '.join(others)}; the output stays off; {CHECK}")

    def prepare(self, setups: Mapping[str, PulseSetup]) -> None:
        """Reset it, which is off, set channels up for one pulse for each trigger, limits on, and read all of it back.

        Raises:
            InstrumentError: an output is on, a setup is beyond the instrument, or a setting was not taken.
        """
        for channel, setup in setups.items():
            if not self.capabilities.volts[0] <= setup.limit <= self.capabilities.volts[1] * (1 + 1e-9):
                self._refuse(channel, f"a limit of {setup.limit:.6g} V", self.capabilities.volts, "V")
            if not self.capabilities.widths[0] <= setup.longest <= self.capabilities.widths[1] * (1 + 1e-9):
                self._refuse(channel, f"pulses of {setup.longest:.6g} s", self.capabilities.widths, "s")
        self.verify_off()
        self._setups.clear()
        self._scpi.set("*RST")
        self.verify_off()
        for channel, setup in setups.items():
            plan = [*_neutral(channel), *_levels(channel, LEVELS[0]), *_limits(channel, setup)]
            for setting in plan:
                self._scpi.set(setting.command)
            self._compare(plan)
        self._setups.update(setups)

    # -- pulses

    def fire(self, channel: str, volts: Volt, seconds: Second) -> None:
        """Make one pulse; see `PulseSource`.

        Where the link does not answer, whoever called makes it safe with the rest: to try it here as well would keep
        the others waiting.
        """
        setup, smallest, n = self._setups.get(channel), self.capabilities.volts[0], _number(channel)
        if setup is None:
            raise InstrumentError(f"{self.name}.{channel} has not been set up; nothing was sent")
        if not smallest * (1 - 1e-9) <= abs(volts) <= setup.limit * (1 + 1e-9):
            self._refuse(channel, f"a pulse of {volts:.6g} V", (smallest, setup.limit), "V")
        if not self.capabilities.widths[0] * (1 - 1e-9) <= seconds <= setup.longest * (1 + 1e-9):
            self._refuse(channel, f"a pulse of {seconds:.6g} s", (self.capabilities.widths[0], setup.longest), "s")
        levels = [*_levels(channel, volts / OPEN), plain(f":PULS:WIDT{n}", seconds)]
        self._scpi.set(";".join(setting.command for setting in levels))
        whole = [*_neutral(channel), *levels, *_limits(channel, setup)]
        self._compare([*whole, *(plain(f":OUTP{_number(other)}", 0) for other in self.capabilities.channels)])
        try:
            load = f":OUTP{n}:LOAD"  # which may not be set again while limits are on
            again = [setting.command for setting in whole if setting.header != load]
            self._scpi.set(";".join([*again, f":OUTP{n} 1"]))
            asked = [plain(f":OUTP{n}", 1), *levels]
            self._scpi.set("*TRG", extra=seconds)  # its reply tells that it was not lost on the way
            self._scpi.transport.let_pass(seconds)
            replies = self._scpi.ask([setting.query for setting in asked], wait=Wait.MEASURE, extra=seconds)
            others = [f"{s.header} is {r}" for s, r in zip(asked, replies, strict=True) if not s.answered(r)]
            if others:
                raise NotDriven(
                    f"{self.name}.{channel}: behind '*TRG' for {volts:.6g} V and {seconds:.6g} s {', '.join(others)}; "
                    "the pulse is not accepted. Look whether somebody works at its front panel"
                )
            if errors := self._scpi.errors():
                raise InstrumentError(f"{self.name}.{channel}: {'; '.join(errors)} behind '*TRG'; {CHECK}")
        except LinkTimeoutError:
            raise
        except BaseException:
            self._switch_off(channel)
            raise
        self._switch_off(channel)

    def _switch_off(self, channel: str) -> None:
        """Switch an output off and read it back; InstrumentError if it is not verified off."""
        self._scpi.set(f":OUTP{_number(channel)} 0")
        self.verify_off()

    def _refuse(self, channel: str, what: str, within: tuple[float, float], unit: str) -> None:
        low, high = within
        raise InstrumentError(
            f"{self.name}.{channel}: {what} asked for, it makes {low:.6g} to {high:.6g} {unit} here; nothing was sent"
        )

    # -- off

    def off(self, rate: float | None = None) -> None:
        """Switch every output off and read back; every one is tried, whatever those before it raised."""
        for channel in self.capabilities.channels:
            with contextlib.suppress(LabError):  # what counts is read back
                self._scpi.set(f":OUTP{_number(channel)} 0")
        self.verify_off()

    def verify_off(self) -> None:
        """Read back that every output is off; InstrumentError if one is not."""
        self._require_off(self._scpi.ask(self._outputs()))

    def _outputs(self) -> list[str]:
        return [f":OUTP{_number(channel)}?" for channel in self.capabilities.channels]

    def _require_off(self, replies: Sequence[str]) -> None:
        live = [
            f"{channel}: output {reply}"
            for channel, reply in zip(self.capabilities.channels, replies, strict=True)
            if reply.strip() != "0"
        ]
        if live:
            raise InstrumentError(f"{self.name} is NOT verified off: {', '.join(live)}; go there and switch it off")

    def emergency_off(self) -> Mapping[str, PulseState]:
        """Switch every output off by the first bytes of a fresh connection, then verify it.

        Where the link has a device clear, that goes first, and an abort, which an instrument without one passes over.
        What it did before is not asked: that would keep it on.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or is not verified off.
        """
        outputs = self._outputs()
        replies = self._scpi.cut_in(
            [":ABOR", *(f":OUTP{_number(channel)} 0" for channel in self.capabilities.channels)],
            (*outputs, ":ARM:SOUR1?"),
        )
        self._require_off(replies[: len(outputs)])
        return {}

    def close(self) -> None:
        """Verify that what this session set up is off, and close the connection."""
        try:
            if self._setups:
                self._setups.clear()
                self.verify_off()
        finally:
            self._scpi.transport.close()


def _number(channel: str) -> str:
    """Return the suffix of a channel in commands."""
    return channel.removeprefix("out")


def _neutral(channel: str) -> list[Setting]:
    """Return the settings of a channel with one value in use, ordered so that none conflicts with one before it.

    The load is told before limits, which count by it.
    """
    n = _number(channel)
    return [
        plain(f":TRAC:CHAN{n}", 0),
        word(f":FUNC{n}", "PULS"),
        word(f":ARM:SOUR{n}", "MAN"),
        word(f":ARM:SENS{n}", "EDGE"),
        plain(f":BURS{n}:STAT", 0),
        plain(f":TRIG{n}:COUN", 1),
        plain(f":OUTP{n}:LOAD", IMPEDANCE),
        word(f":VOLT{n}:UNIT", "VPP"),
        word(f":PULS:HOLD{n}", "WIDT"),
        plain(f":PULS:PER{n}", PERIOD),
        plain(f":FUNC{n}:PULS:TRAN", EDGE),
    ]


def _levels(channel: str, level: Volt) -> list[Setting]:
    """Return polarity and levels of a pulse from 0 V to `level`, for the load that is told; the far one comes first."""
    n = _number(channel)
    high, low = plain(f":VOLT{n}:HIGH", max(level, 0.0)), plain(f":VOLT{n}:LOW", min(level, 0.0))
    ends = [high, low] if level > 0 else [low, high]
    return [word(f":OUTP{n}:POL", "NORM" if level > 0 else "INV"), *ends]


def _limits(channel: str, setup: PulseSetup) -> list[Setting]:
    """Return the limits of a channel, on."""
    n, most = _number(channel), setup.limit / OPEN
    return [
        plain(f":VOLT{n}:LIM:HIGH", most),
        plain(f":VOLT{n}:LIM:LOW", -most),
        plain(f":VOLT{n}:LIM:STAT", 1),
    ]


def _capabilities(options: Keysight81160AOptions) -> PulseCapabilities:
    """Return the capabilities of an 81160A."""
    channels = tuple(f"out{n}" for n in range(1, 1 + options.outputs))
    volts = LEVELS[0] * OPEN, LEVELS[1] * OPEN
    return PulseCapabilities(MODEL, channels, volts, IMPEDANCE, WIDTHS, EDGE, MESSAGES)


def _make(name: str, options: Keysight81160AOptions, transport: Transport) -> Keysight81160A:
    """Return the driver of a Keysight 81160A."""
    return Keysight81160A(name, options, transport)


DRIVER = Driver(DriverKind.PULSES, _make, Keysight81160AOptions, pulses=_capabilities, emulator="keysight81160a")
