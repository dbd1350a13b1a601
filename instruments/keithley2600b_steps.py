"""Steps of channels as Lua of a Keithley 2600B: what may be asked, in which words, and how long it takes.

Nothing is sent from here. The functions that the script calls are those of `keithley2600b_script`.
"""

import math
from collections.abc import Sequence

from instruments.keithley2600b_models import MODELS
from instruments.timing import RAMP_STEP
from instruments.tsp import number
from labctl.core.errors import BenchError, InstrumentError
from labctl.core.source import Aperture, ChannelSetup, Hold, Level, Limit, Measure, Ramp, Step, Watch
from labctl.core.units import Ampere, Second, Volt

LINE_FREQUENCY = 60.0
"""Mains frequency that is assumed before the instrument was asked, Hz."""

STATEMENT: Second = 1e-3
"""[?] Longest time of one step, or of one small step of a ramp, beside the times that the step names."""

LONGEST_APERTURE = 25
"""Power line cycles, of the instrument; assumed for a channel whose aperture was not set."""

READING_CYCLES = 3
"""Apertures of one reading: autozero measures a reference and a zero beside the signal."""

SLACK: Second = 0.5
"""[?] Added to the time limit of a script, and again to that of the host, so that the instrument ends first."""


REMOTE = "node[{node}].{channel}"
"""Name of a channel of a node of TSP-Link in a script of another one."""


def condition_of(channel: str) -> str:
    """Return the register that tells the limits of a channel.

    >>> condition_of("smua"), condition_of("node[2].smua")
    ('mtj_m.smua', 'node[2].status.measurement.instrument.smua')
    """
    node, _, own = channel.rpartition(".")
    return f"{node}.status.measurement.instrument.{own}" if node else f"mtj_m.{own}"


class StepCompiler:
    """The steps of one instrument, by what its channels were set up for.

    Args:
        name: of the instrument in the bench file, for messages.
        model: a model of the family.
    """

    def __init__(self, name: str, model: str) -> None:
        self.name, self._model, self._data = name, model, MODELS[model]
        self.setups: dict[str, ChannelSetup] = {}
        self.apertures: dict[str, Second] = {}
        """Of the channels whose aperture was set, s."""
        self.line_frequency = LINE_FREQUENCY

    def check(self, step: Step) -> None:
        """Refuse a step that the setup of its channel does not allow."""
        if isinstance(step, Hold):
            return
        setup = self.setups.get(step.channel)
        if setup is None:
            raise InstrumentError(f"{self.name}.{step.channel} has not been set up")
        if isinstance(step, Level | Ramp) and not abs(step.volts) <= setup.range_v * (1 + 1e-9):
            raise InstrumentError(
                f"{self.name}.{step.channel}: {step.volts:.6g} V asked for, set up for at most {setup.range_v:.6g} V"
            )
        if isinstance(step, Limit) and not 0 < step.limit <= setup.limit * (1 + 1e-9):
            raise InstrumentError(
                f"{self.name}.{step.channel}: a current limit of {step.limit:.6g} A asked for, "
                f"set up for at most {setup.limit:.6g} A"
            )

    def compile(self, steps: Sequence[Step]) -> tuple[list[str], Second]:
        """Return the lines of the script and its longest run time, s: twice the time of its steps, and some slack."""
        lines: list[str] = []
        seconds, line_no, levels = 0.0, 1, dict.fromkeys(self.setups, 0.0)
        for step in steps:
            seconds += STATEMENT
            match step:
                case Level(channel, volts):
                    lines.append(f"{channel}.source.levelv={number(volts)}")
                    levels[channel] = volts
                case Ramp(channel, volts, rate):
                    lines.append(f"mtj_to({channel},{number(volts)},{number(rate * RAMP_STEP)})")
                    small = math.ceil(abs(volts - levels[channel]) / (rate * RAMP_STEP))
                    seconds += small * (RAMP_STEP + STATEMENT)
                    levels[channel] = volts
                case Hold(duration):
                    seconds += duration
                    if duration > 0:
                        lines.append(f"mtj_wait({number(duration)})")
                case Limit(channel, limit, range_i):
                    lines.append(f"mtj_limit({channel},{number(limit)},{number(self.range_i(range_i))})")
                case Aperture(channel, aperture):
                    lines.append(f"{channel}.measure.nplc={number(aperture * self.line_frequency)}")
                    self.apertures[channel] = aperture
                case Watch(channel):
                    line_no += 1
                    lines.append(f"r[{line_no}]=mtj_w({channel})")
                case Measure(channel, voltage):
                    line_no += 1
                    seconds += self.reading_time(channel)
                    what = f"mtj_{'iv' if voltage else 'i'}({channel},{condition_of(channel)}{self.known(channel)})"
                    lines.append(f"r[{line_no}]={what}")
        return lines, SLACK + 2 * seconds

    def reading_time(self, channel: str) -> Second:
        """Return the longest time of one reading, s."""
        aperture = self.apertures.get(channel, LONGEST_APERTURE / self.line_frequency)
        return READING_CYCLES * aperture + STATEMENT

    @property
    def colds(self) -> str:
        """The statement that makes `mtj_c`, what every script ends with: all channels that were set up."""
        return f"mtj_c={{{','.join(self.low(channel) for channel in self.setups)}}}"

    def forget_joined(self) -> None:
        """Forget channels of other nodes."""
        for channel in [name for name in self.setups if "." in name]:
            del self.setups[channel]
            self.apertures.pop(channel, None)

    def known(self, channel: str) -> str:
        """Return the argument that tells the time of a reading on a channel of another node; "" of others."""
        if "." not in channel:
            return ""
        return f",{number(self.apertures.get(channel, LONGEST_APERTURE / self.line_frequency))}"

    def low(self, channel: str) -> str:
        """Return the entry of a channel in `mtj_c`: the channel, its cold limit and the range that holds it."""
        low = self.setups[channel].cold_limit
        return f"{{s={channel},l={number(low)},r={number(self.range_i(low))}}}"

    def range_v(self, volts: Volt) -> float:
        """Return the smallest source range that holds `volts`, V; BenchError if none does."""
        return self._range("source", "V", self._data.ranges_v, volts)

    def range_i(self, ampere: Ampere) -> float:
        """Return the smallest current range that holds `ampere`, A; BenchError if none does."""
        return self._range("current", "A", self._data.ranges_i, ampere)

    def _range(self, quantity: str, unit: str, ranges: Sequence[float], value: float) -> float:
        """Return the smallest range that holds `value`; BenchError if none does."""
        for full_scale in ranges:
            if abs(value) <= full_scale * (1 + 1e-9):
                return full_scale
        raise BenchError(f"{self.name}: {value:.6g} {unit} is beyond the {quantity} ranges of a {self._model}")
