"""A source whose steps the host sends one by one: what is the same for all of them, over a few commands of each.

For instruments that run no scripts. Every step costs at least one message, so that pulses are as long as messages make
them, and levels stand from one call to the next. What is beyond a setup is refused before anything is sent.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from instruments.transport import CHECK
from labctl.core.errors import BenchError, InstrumentError, LinkTimeoutError
from labctl.core.operations import Flag
from labctl.core.source import (
    Aperture,
    ChannelSetup,
    ChannelState,
    Hold,
    Level,
    Limit,
    Measure,
    Ramp,
    Sample,
    SourceCapabilities,
    Step,
    Watch,
    levels_after,
    refuse_undriven,
)
from labctl.core.units import Ampere, Second, Volt

RAMP_STEP: Second = 1e-3
"""Wait between two small steps of a ramp."""
READ_BACK = 1e-4
"""How far what is read back may differ from what was set, as a part of it."""


class HostTimedSource(ABC):
    """A source over the commands that a subclass gives: identity, state, and one setting each.

    Args:
        name: in the bench file.
        capabilities: of its model; `stands` is True.
    """

    def __init__(self, name: str, capabilities: SourceCapabilities) -> None:
        self.name, self.capabilities = name, capabilities
        self._setups: dict[str, ChannelSetup] = {}
        self._levels: dict[str, Volt] = {}
        """Level of each channel that was set last, V."""

    # -- commands of the instrument

    @abstractmethod
    def identify(self) -> str:
        """Return the identity; BenchError if another instrument answers."""

    @abstractmethod
    def read_state(self, channel: str) -> ChannelState:
        """Read output, level in V and current limit in A of a channel."""

    @abstractmethod
    def set_up(self, channel: str, range_v: Volt, setup: ChannelSetup) -> None:
        """Make a channel, which is off, force volts in the fixed source range `range_v`, with the setup's off state."""

    @abstractmethod
    def set_level(self, channel: str, volts: Volt) -> None:
        """Set the level of a channel, V."""

    @abstractmethod
    def set_limit(self, channel: str, limit: Ampere, range_i: Ampere) -> None:
        """Set the current limit of a channel and its fixed measure range, A."""

    @abstractmethod
    def set_output(self, channel: str, on: bool) -> None:
        """Switch the output of a channel."""

    @abstractmethod
    def set_aperture(self, channel: str, seconds: Second) -> None:
        """Set the integration time of a channel, s."""

    @abstractmethod
    def pause(self, seconds: Second) -> None:
        """Let a time pass, by the instrument's clock if it has a command for that."""

    @abstractmethod
    def limited(self, channel: str) -> bool:
        """Return whether a channel is at its current limit."""

    @abstractmethod
    def measure(self, channel: str, voltage: bool) -> tuple[Ampere, Volt]:
        """Measure the current, A, NaN beyond the range, and with `voltage` the voltage, V, else NaN."""

    @abstractmethod
    def close(self) -> None:
        """End the conversation."""

    # -- the interface of a source

    def connect(self) -> str:
        """Read identity and state; change nothing."""
        identity = self.identify()
        self.state()
        return identity

    def state(self) -> dict[str, ChannelState]:
        """Return the present state of every channel."""
        return {channel: self.read_state(channel) for channel in self.capabilities.channels}

    def prepare(self, setups: Mapping[str, ChannelSetup]) -> None:
        """Set channels up at 0 V behind the cold limit, outputs off; the limit is read back.

        Raises:
            BenchError: a setup beyond the ranges; nothing was sent.
            InstrumentError: a channel is on, or a limit was not taken.
        """
        for setup in setups.values():
            self._range(setup.range_v, self.capabilities.ranges_v, "V")
            for amps in (setup.limit, setup.range_i, setup.off_limit, setup.cold_limit):
                self._range(amps, self.capabilities.ranges_i, "A")
        on = [channel for channel in setups if self._known(channel).output]
        if on:
            raise InstrumentError(f"{self.name}: {', '.join(on)} on; channels are set up while they are off; {CHECK}")
        for channel, setup in setups.items():
            self.set_up(channel, self._range(setup.range_v, self.capabilities.ranges_v, "V"), setup)
            self._setups[channel] = setup
            self._cool(channel)

    def output(self, channels: Iterable[str]) -> None:
        """Switch outputs on at 0 V behind the cold limit; level and limit verified before, output after."""
        for channel in channels:
            if channel not in self._setups:
                raise InstrumentError(f"{self.name}.{channel} has not been set up; its output stays off")
            self._cool(channel)
            self.set_output(channel, True)
            if not self._known(channel).output:
                raise InstrumentError(
                    f"{self.name}.{channel} did not switch on; look at its interlock and output-enable line"
                )

    def run(self, steps: Sequence[Step]) -> list[Sample]:
        """Send `steps` in order; return a sample per `Watch` and `Measure`. The state is read back at their end.

        Raises:
            NotDriven: the output of a channel among the steps is off, or at another level than was set.
            InstrumentError: a step is beyond the setup of its channel; nothing was sent.
        """
        for step in steps:
            self._check(step)
        samples = [sample for step in steps if (sample := self._do(step)) is not None]
        for channel in levels_after(steps, {}):
            state = self._known(channel)
            refuse_undriven(f"{self.name}.{channel}", state.output, state.level, self._levels.get(channel, 0.0))
        return samples

    def off(self, rate: float | None = None) -> None:
        """Go to 0 V (ramped at `rate` V/s if given), switch off, read back.

        Every command is tried on every channel, whatever those before it raised; but a link that does not answer is
        given up at once, for who makes safe, while other sources may be on. InstrumentError if not verified off.
        """
        self._switch_off(rate)

    def _switch_off(self, rate: float | None = None, *, urgent: bool = False) -> None:
        """Go to 0 V and off, read back; see `off`.

        Args:
            urgent: nobody comes after this one: every command is tried although the link does not answer.
        """
        failures: list[str] = []
        for channel in self.capabilities.channels:
            with noting(failures, urgent=urgent):
                if rate and self._known(channel).output:
                    self._ramp(channel, 0.0, rate)
            with noting(failures, urgent=urgent):
                self.set_level(channel, 0.0)
            with noting(failures, urgent=urgent):
                self.set_output(channel, False)
        unverified: list[str] = []
        with noting(unverified, urgent=urgent):
            self.verify_off()
        if unverified:
            raise InstrumentError("; ".join([*unverified, *failures]))

    def verify_off(self) -> None:
        """Read back that every output is off at 0 V; InstrumentError if one is not."""
        live = {name: state for name, state in self.state().items() if state.output or state.level != 0}
        if live:
            states = (f"{n} {'on' if state.output else 'off'} at {state.level:.6g} V" for n, state in live.items())
            raise InstrumentError(f"{self.name} is NOT verified off: {', '.join(states)}; go there and switch it off")

    def _known(self, channel: str) -> ChannelState:
        """Return the state of a channel; InstrumentError if its level or its limit is no number."""
        state = self.read_state(channel)
        if not math.isfinite(state.level) or not math.isfinite(state.limit):
            raise InstrumentError(f"{self.name}.{channel} tells no number of its level or its limit: {state}; {CHECK}")
        return state

    def _check(self, step: Step) -> None:
        """Refuse a step beyond the setup of its channel."""
        if isinstance(step, Hold):
            return
        setup, where = self._setups.get(step.channel), f"{self.name}.{step.channel}"
        if setup is None:
            raise InstrumentError(f"{where} has not been set up")
        match step:
            case Level(_, volts) | Ramp(_, volts, _) if not abs(volts) <= setup.range_v * (1 + 1e-9):
                raise InstrumentError(f"{where}: {volts:.6g} V is beyond the setup, {setup.range_v:.6g} V")
            case Ramp(_, _, rate) if not rate > 0:
                raise InstrumentError(f"{where}: a ramp of {rate:.6g} V/s")
            case Limit(_, limit, _) if not 0 < limit <= setup.limit * (1 + 1e-9):
                raise InstrumentError(f"{where}: a limit of {limit:.6g} A is beyond the setup, {setup.limit:.6g} A")
            case Limit(_, _, range_i):
                self._range(range_i, self.capabilities.ranges_i, "A")
            case Aperture(_, seconds):
                shortest, longest = self.capabilities.apertures
                if not shortest * (1 - 1e-9) <= seconds <= longest * (1 + 1e-9):
                    raise InstrumentError(f"{where} integrates {shortest:.3g} to {longest:.3g} s, not {seconds:.3g} s")

    def _do(self, step: Step) -> Sample | None:
        """Carry out one step; return its sample, if it has one."""
        match step:
            case Level(channel, volts):
                self._levels[channel] = volts
                self.set_level(channel, volts)
            case Ramp(channel, volts, rate):
                before = self._levels.get(channel, 0.0)
                self._levels[channel] = volts
                self._ramp(channel, volts, rate, before)
            case Hold(seconds):
                self.pause(seconds)
            case Limit(channel, limit, range_i):
                self._limit(channel, limit, range_i)
            case Aperture(channel, seconds):
                self.set_aperture(channel, seconds)
            case Watch(channel):
                return Sample(channel, math.nan, math.nan, self._flag(channel))
            case Measure(channel, voltage):
                current, volts = self.measure(channel, voltage)
                overrange = Flag.OVERRANGE if math.isnan(current) else Flag(0)
                return Sample(channel, current, volts, self._flag(channel) | overrange)
        return None

    def _ramp(self, channel: str, volts: Volt, rate: float, before: Volt | None = None) -> None:
        """Go to `volts` in steps; NotDriven if the channel is not on at the level `before`, if there is one."""
        state = self._known(channel)
        if before is not None:
            refuse_undriven(f"{self.name}.{channel}", state.output, state.level, before)
        start = state.level
        count = math.ceil(abs(volts - start) / (rate * RAMP_STEP) - 1e-9)
        for k in range(1, count):
            self.set_level(channel, start + (volts - start) * k / count)
            self.pause(RAMP_STEP)
        self.set_level(channel, volts)

    def _cool(self, channel: str) -> None:
        """Set a channel to 0 V behind its cold limit, and read both back."""
        cold = self._setups[channel].cold_limit
        self._levels[channel] = 0.0
        self.set_level(channel, 0.0)
        self._limit(channel, cold, cold)
        level = self._known(channel).level
        if level != 0:
            raise InstrumentError(f"{self.name}.{channel} is at {level:.6g} V; 0 V were set; {CHECK}")

    def _limit(self, channel: str, limit: Ampere, range_i: Ampere) -> None:
        self.set_limit(channel, limit, self._range(range_i, self.capabilities.ranges_i, "A"))
        taken = self._known(channel).limit
        if not math.isclose(taken, limit, rel_tol=READ_BACK):
            raise InstrumentError(f"{self.name}.{channel} took a limit of {taken:.6g} A for {limit:.6g} A; {CHECK}")

    def _flag(self, channel: str) -> Flag:
        return Flag.COMPLIANCE if self.limited(channel) else Flag(0)

    def _range(self, value: float, ranges: Sequence[float], unit: str) -> float:
        """Return the smallest range that holds `value`; BenchError if none does."""
        full = next((full for full in ranges if abs(value) <= full * (1 + 1e-9)), None)
        if full is None:
            model = self.capabilities.model
            raise BenchError(f"{self.name}: {value:.6g} {unit} is beyond the ranges of a {model}")
        return full


@contextmanager
def noting(failures: list[str], *, urgent: bool = False) -> Iterator[None]:
    """Append the text of an exception of any type, and go on; but a link that does not answer is an error.

    Args:
        urgent: go on even then.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, LinkTimeoutError) and not urgent:
            raise
        failures.append(str(error) or type(error).__name__)


@contextmanager
def restored(restore: Callable[[], None]) -> Iterator[None]:
    """Set back what a step needed otherwise, however the step ends, unless its link does not answer.

    A link that does not answer is not waited for once more while other sources are on: who makes safe is told at once,
    and a channel is reset before its output goes on again.
    """
    try:
        yield
    except LinkTimeoutError:
        raise
    except BaseException:
        restore()
        raise
    restore()


def refuse_unless_off(channel: str, output: str, volts: str, amps: str) -> None:
    """Raise InstrumentError unless replies say that the output of a channel is off, at 0 V and 0 A."""
    try:
        off = output.strip() == "0" and float(volts) == 0 and float(amps) == 0
    except ValueError:
        off = False
    if not off:
        raise InstrumentError(
            f"{channel} is NOT verified off: output {output}, {volts} V, {amps} A; go there and switch it off"
        )
