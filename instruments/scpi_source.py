"""A source of one channel over SCPI whose steps the host sends, and whose pulses it times itself.

What is the same for all of them: settings with what is read back of them, levels that are proved by each reading,
pulses among the steps, switching off. What a subclass gives is in which words.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from instruments.host_timed import HostTimedSource, noting, refuse_unless_off
from instruments.scpi import Refused, Scpi, number
from instruments.transport import CHECK
from labctl.core.errors import InstrumentError, LabError
from labctl.core.operations import Flag
from labctl.core.source import (
    ChannelSetup,
    ChannelState,
    Hold,
    Level,
    Measure,
    Sample,
    SourceCapabilities,
    Step,
    Watch,
    refuse_undriven,
)
from labctl.core.transport import Transport
from labctl.core.units import Ampere, Second, Volt

CHANNEL = "out"
"""The only channel."""
AT_ONCE = 8
"""Settings that go as one message."""
STEP_MESSAGES = 3.0
"""Messages of a step, as a mean: a level takes two, a wait before a reading four, a pulse of four steps six."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        header: of its command; with a question mark it asks for the value.
        text: its value as it is sent.
        value: number that is read back, or text in capitals.
        scale: the value may be answered as this times itself.
    """

    header: str
    text: str
    value: float | str
    scale: float = 1.0

    @property
    def command(self) -> str:
        """The message that sets it."""
        return f"{self.header} {self.text}"

    @property
    def query(self) -> str:
        """The message that asks for it."""
        return f"{self.header}?"

    def answered(self, reply: str) -> bool:
        """Return whether a reply is this value."""
        if isinstance(self.value, str):
            return reply.replace('"', "").replace(" ", "").upper() == self.value
        try:
            present = float(reply)
        except ValueError:
            return False
        return any(math.isclose(present, self.value * by, rel_tol=1e-4, abs_tol=1e-12) for by in (1.0, self.scale))


def word(header: str, text: str) -> Setting:
    """Return a setting whose value is a word, in its short form."""
    return Setting(header, text, text)


def plain(header: str, value: float, scale: float = 1.0) -> Setting:
    """Return a setting whose value is a number."""
    return Setting(header, number(value), value, scale)


def pieces(plan: Sequence[Setting], together: Sequence[Setting]) -> list[list[Setting]]:
    """Return settings in pieces that go as one message; those that are not among `together` go alone."""
    alone = [[setting] for setting in plan if setting not in together]
    others = [setting for setting in plan if setting in together]
    return alone + [others[at : at + AT_ONCE] for at in range(0, len(others), AT_ONCE)]


def flag_of(limited: bool) -> Flag:
    """Return the flag of a reading."""
    return Flag.COMPLIANCE if limited else Flag(0)


class ScpiSource(HostTimedSource):
    """A source over SCPI; levels stand, and every level that is left for the one from before is a pulse.

    Args:
        name: in the bench file.
        capabilities: of its model; it has one channel.
        transport: the wire.
    """

    neutral: Sequence[Setting] = ()
    """Settings with one value in use."""
    off_commands: Sequence[str] = ()
    """What switches it off from any state, in this order; what is refused on the way is passed over."""

    def __init__(self, name: str, capabilities: SourceCapabilities, transport: Transport) -> None:
        super().__init__(name, capabilities)
        self._scpi = Scpi(transport, name)
        self._waiting, self._at = 0.0, 0.0
        self.old_errors: tuple[str, ...] = ()
        """Errors that stood in the queue of the instrument when it was connected."""

    # -- what a subclass gives

    @abstractmethod
    def _reading(self, channel: str, voltage: bool = False) -> tuple[Ampere, Volt, bool]:
        """Take a reading after what is still to be waited for; return current, voltage, and whether it was limited.

        Raises:
            NotDriven: the output was off, or at another level than was set.
        """

    @abstractmethod
    def _pulse(self, volts: Volt, seconds: Second) -> bool:
        """Go to a level for a time and back to where it is, by the instrument's clock; return whether it was limited.

        Raises:
            NotDriven: the output was off, or at another level than was set.
        """

    @property
    @abstractmethod
    def _shortest(self) -> Second:
        """Shortest time of `_pulse`."""

    # -- settings

    def _others(self, plan: Sequence[Setting]) -> list[tuple[Setting, str]]:
        """Return the settings that are others than in a plan, with what they are."""
        replies = [
            (setting, reply)
            for piece in pieces(plan, self.neutral)
            for setting, reply in zip(piece, self._scpi.ask([s.query for s in piece]), strict=True)
        ]
        return [(setting, reply) for setting, reply in replies if not setting.answered(reply)]

    def _set(self, plan: Sequence[Setting]) -> None:
        """Send settings, those with one value in use together."""
        for piece in pieces(plan, self.neutral):
            self._scpi.set(";".join(setting.command for setting in piece))

    def _compare(self, plan: Sequence[Setting]) -> None:
        """Read settings back; InstrumentError with all that are others."""
        others = [f"{s.header} is {reply} after {s.text} was set" for s, reply in self._others(plan)]
        if others:
            raise InstrumentError(f"{self.name}.{CHANNEL}: {'; '.join(others)}; the output stays off; {CHECK}")

    def prepare(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Set the unit up at 0 V, off, behind the limit of the off state; see `HostTimedSource.prepare`."""
        super().prepare(setups)
        for channel in setups:
            self._rest(channel)

    def _rest(self, channel: str) -> None:
        """Set the limit that the off state keeps, and the range of which it takes a part."""
        setup = self._setups[channel]
        self._limit(channel, low := min(setup.cold_limit, setup.off_limit), low)

    def set_level(self, channel: str, volts: Volt) -> None:
        """Set the level, after what is still to be waited for."""
        self._pass_time()
        self._scpi.set(f":SOUR:VOLT {number(volts)}")
        self._at = volts

    def set_output(self, channel: str, on: bool) -> None:
        """Switch the output."""
        self._scpi.set(f":OUTP {int(on)}")

    def pause(self, seconds: Second) -> None:
        """Let a time pass by the instrument's clock, before the next reading or the next setting."""
        self._waiting += seconds

    def _pass_time(self) -> None:
        if self._waiting > 0:
            self._reading(CHANNEL)

    # -- steps

    def limited(self, channel: str) -> bool:
        """Take a reading, and return whether it was limited."""
        return self._reading(channel)[2]

    def measure(self, channel: str, voltage: bool) -> tuple[Ampere, Volt]:
        """Measure the current and, with `voltage`, the voltage."""
        amps, volts, _ = self._reading(channel, voltage)
        return amps, volts if voltage else math.nan

    def _do(self, step: Step) -> Sample | None:
        match step:
            case Watch(channel):
                return Sample(channel, math.nan, math.nan, flag_of(self._reading(channel)[2]))
            case Measure(channel, voltage):
                amps, volts, limited = self._reading(channel, voltage)
                overrange = Flag.OVERRANGE if math.isnan(amps) else Flag(0)
                return Sample(channel, amps, volts if voltage else math.nan, flag_of(limited) | overrange)
        return super()._do(step)

    def run(self, steps: Sequence[Step]) -> list[Sample]:
        """Carry out `steps` in order; a level that is held and left again is timed by the instrument.

        Raises:
            NotDriven: the output was off, or at another level than was set.
            InstrumentError: a step is beyond the setup of its channel, and nothing was sent; or a pulse is shorter or
                longer than the instrument times by itself, and was not begun.
        """
        for step in steps:
            self._check(step)
        samples: list[Sample] = []
        at = 0
        while at < len(steps):
            end = self._pulse_end(steps, at)
            if end > at:
                limited = self._timed(steps[at], steps[at + 1])
                watches = [step for step in steps[at:end] if isinstance(step, Watch)]
                samples += [Sample(step.channel, math.nan, math.nan, flag_of(limited)) for step in watches]
                at = end
                continue
            sample = self._do(steps[at])
            if sample is not None:
                samples.append(sample)
            at += 1
        self._pass_time()
        if steps:
            state = self.read_state(CHANNEL)
            refuse_undriven(f"{self.name}.{CHANNEL}", state.output, state.level, self._at)
        return samples

    def _pulse_end(self, steps: Sequence[Step], at: int) -> int:
        """Return where a pulse ends that begins at a step; that step if none does.

        A pulse is a level, one hold, any number of watches, and the level from before.
        """
        match steps[at : at + 2]:
            case [Level(_, volts), Hold(_)] if volts != self._at:
                end = at + 2
                while end < len(steps) and isinstance(steps[end], Watch):
                    end += 1
                match steps[end : end + 1]:
                    case [Level(_, back)] if back == self._at:
                        return end + 1
        return at

    def _timed(self, level: Step, hold: Step) -> bool:
        """Carry out a pulse; return whether it was limited."""
        assert isinstance(level, Level)
        assert isinstance(hold, Hold)
        longest = self.capabilities.longest_pulse
        if not self._shortest <= hold.seconds <= longest * (1 + 1e-9):
            raise InstrumentError(
                f"{self.name}.{CHANNEL} holds the level of a pulse for {self._shortest:.3g} to {longest:.3g} s, not "
                f"{hold.seconds:.3g} s; it was not begun"
            )
        self._pass_time()
        return self._pulse(level.volts, hold.seconds)

    # -- off

    def off(self, rate: float | None = None) -> None:
        """End what runs, go to 0 V (ramped at `rate` V/s if given), switch off, and read back.

        Every command is tried, whatever those before it raised; but a link that does not answer is given up at once,
        for `emergency_off`, while other sources may be on. InstrumentError if not verified off.
        """
        failures: list[str] = []
        self._waiting = 0.0
        with noting(failures):
            self._scpi.transport.write(":ABOR")
            state = self.read_state(CHANNEL)
            if rate and state.output and state.level and state.current is None and math.isfinite(state.level):
                self._at = state.level
                self._ramp(CHANNEL, 0.0, rate)
        self._levels[CHANNEL], self._at, self._waiting = 0.0, 0.0, 0.0
        for command in self.off_commands:
            with noting(failures), suppress(Refused):  # what counts is read back
                self._scpi.set(command)
        with noting(failures):
            for channel in self._setups:
                self._rest(channel)
        try:
            self.verify_off()
        except LabError as error:
            raise InstrumentError("; ".join([str(error), *failures])) from error

    def emergency_off(self) -> Mapping[str, ChannelState]:
        """End what runs, 0 V and off by the first bytes of a fresh connection, then verify it.

        Where the link has a device clear, that goes first. What it did before cannot be told: the instrument keeps no
        copy of it, and a question before would keep it on for longer.

        Raises:
            InstrumentError: it cannot be reached, does not answer, or is not verified off.
        """
        replies = self._scpi.cut_in([":ABOR", *self.off_commands], (":OUTP?", ":SOUR:VOLT?", ":SOUR:CURR?"))
        refuse_unless_off(f"{self.name}.{CHANNEL}", *replies)
        return {}
